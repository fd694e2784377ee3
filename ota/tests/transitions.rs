//! The updater dies at each durable transition of its record: right before the record of it has its name, or right after. `strace` sees to
//! that, so that no step is hit or missed by chance.
use super::appliance::Appliance;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use sund_ota::machine::record::{Record, Step};

/// More than any way here has transitions.
const MOST_RUNS: u32 = 60;

/// On which side of a transition it dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// What leads to it was done, and is not known to be.
    Before,
    /// It is known, and what follows is not begun.
    After,
}

impl Side {
    /// `strace` sends the signal as the call is entered: SIGKILL leaves the call no time, and SIGALRM, which nobody here handles, ends the
    /// process when the call is made.
    fn signal(self) -> (&'static str, i32) {
        match self {
            Self::Before => ("KILL", 9),
            Self::After => ("ALRM", 14),
        }
    }

    /// Which transition of a run that goes on from one it dies at: each run comes one further.
    fn of_next_run(self) -> u32 {
        match self {
            Self::Before => 2,
            Self::After => 1,
        }
    }
}

/// Lets the updater die at each transition until all `is_over`, and does `then` each time. Says how the record stood at each death.
pub async fn die_at_each(
    appliance: &Appliance,
    side: Side,
    mut then: impl FnMut(),
    is_over: impl Fn() -> bool,
) -> Vec<String> {
    let aside = appliance.directory.path().join("updater/state.json.new");
    let (mut deaths, mut seen) = (Vec::new(), vec![appliance.record()]);
    let mut nth = 1;
    for _ in 0..MOST_RUNS {
        if is_over() {
            eprintln!("{side:?}: {}", deaths.join("; "));
            return deaths;
        }
        let status = run(appliance, side, nth).await;
        if status.signal().is_none() {
            nth = 1;
            continue;
        }
        assert_eq!(status.signal(), Some(side.signal().1));
        assert_eq!(aside.exists(), side == Side::Before, "{side:?}: it died elsewhere");
        let record = appliance.record();
        // What each run does again before it comes further would keep it here for ever.
        nth = if seen.contains(&record) { nth + 1 } else { side.of_next_run() };
        deaths.push(standing(&record));
        seen.push(record);
        then();
    }
    panic!("{side:?}: it does not end: {deaths:?}");
}

/// It died at each of these steps.
pub fn has_died_at(deaths: &[String], steps: &[&str]) {
    let missing: Vec<&&str> = steps.iter().filter(|step| !deaths.iter().any(|death| death == *step)).collect();
    assert!(missing.is_empty(), "never at {missing:?}: {deaths:?}");
}

/// One poll and all that follows, until the updater gives its record a new name for the `nth` time.
async fn run(appliance: &Appliance, side: Side, nth: u32) -> ExitStatus {
    let updater = appliance.command(&["once"]);
    let aside = appliance.directory.path().join("updater/state.json.new");
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-P"]).arg(aside).args(["-e", "trace=rename"]);
    command.args(["-e", &format!("inject=rename:signal={}:when={nth}", side.signal().0)]);
    command.arg(updater.get_program()).args(updater.get_args());
    command.envs(updater.get_envs().filter_map(|(key, value)| Some((key, value?))));
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("a thread");
    output.expect("strace is installed (strace, Debian)").status
}

/// The step of the action in hand, and how far the box is with leaving a system.
fn standing(record: &Record) -> String {
    let step = match record.action.as_ref().map(|action| &action.step) {
        None => "none",
        Some(Step::RollingBack { boot: Some(_), .. }) => "given-up",
        Some(step) => step.name(),
    };
    let back = match &record.back {
        None => "",
        Some(back) if back.boot.is_some() => ", leaves: started",
        Some(back) if back.written.is_some() => ", leaves: written",
        Some(_) => ", leaves",
    };
    format!("{step}{back}")
}
