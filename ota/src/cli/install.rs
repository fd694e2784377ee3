//! `install`: a bundle from a stick goes into the updater's inbox, and the steps are told as they come. Where no updater runs, this
//! process is one for as long as it takes.
use super::run::{MAX_AT_ONCE, failed};
use crate::config::Config;
use crate::ddi::Progress;
use crate::exit::Exit;
use crate::fault::{Blame, Fault};
use crate::machine::Machine;
use crate::machine::cycle::Next;
use crate::machine::record::{Action, End, Record, Step};
use crate::status::{ActionStatus, Now};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Between two looks at the record, which tells nobody that it was replaced.
const LOOK: Duration = Duration::from_millis(200);
/// Refusals that end by themselves.
const LATER: [&str; 2] = ["inbox-taken", "action-under-way"];

pub(super) async fn install(config: Config, file: &Path, json: bool) -> Exit {
    let before = match Record::read(&config.record_file()) {
        Ok(record) => record,
        Err(fault) => return failed(&fault),
    };
    let refusal = before.action.filter(Action::is_under_way).map(|action| under_way(&action));
    let placed = match config.inbox().place(file, refusal).await {
        Ok(placed) => placed,
        Err(fault) if LATER.contains(&fault.code.as_ref()) => {
            eprintln!("{fault}");
            return Exit::Later;
        }
        Err(fault) => return failed(&fault),
    };
    let id = placed.waiting.id.clone();
    let mut teller = Teller { config: config.clone(), id, json, is_alone: false, told: 0, last: String::new() };
    teller.say(&format!("{} is in the updater's inbox, as {}", file.display(), teller.id));
    match Machine::load(config) {
        // The service has the directory: it takes the bundle up by itself.
        Err(fault) if fault.code == "already-running" => teller.follow(false).await,
        Err(fault) => failed(&fault),
        Ok(mut machine) => {
            teller.is_alone = true;
            let worked = {
                let mut work = std::pin::pin!(work(&mut machine));
                loop {
                    tokio::select! {
                        worked = &mut work => break worked,
                        () = tokio::time::sleep(LOOK) => teller.look(),
                    }
                }
            };
            teller.look();
            match teller.end() {
                Some(action) => teller.tell_end(&action),
                None => teller.tell_wait(worked.err()),
            }
        }
    }
}

/// Goes on until the action is over, or has to wait.
async fn work(machine: &mut Machine) -> Result<(), Fault> {
    for _ in 0..MAX_AT_ONCE {
        match machine.cycle().await? {
            Next::Again => {}
            Next::Wait(None) => return Ok(()),
            Next::Wait(Some(fault)) => return Err(fault),
        }
    }
    Ok(())
}

/// Says how far the action of a bundle is.
struct Teller {
    config: Config,
    id: String,
    json: bool,
    /// No updater runs beside this one.
    is_alone: bool,
    /// Steps that were said, by their ranks.
    told: u8,
    last: String,
}

impl Teller {
    /// Looks until it is over or waits for something.
    async fn follow(&mut self, mut has_begun: bool) -> Exit {
        loop {
            self.look();
            let record = Record::read(&self.config.record_file()).unwrap_or_default();
            if let Some(action) = record.last.filter(|action| action.id == self.id) {
                return self.tell_end(&action);
            }
            match record.action.filter(|action| action.id == self.id) {
                Some(action) => {
                    has_begun = true;
                    if let Some(fault) = self.now().waits {
                        return self.tell_wait(Some(fault));
                    }
                    if matches!(action.step, Step::Rebooting) {
                        return self.tell_wait(None);
                    }
                }
                None if has_begun || !self.config.inbox().path(&self.id).exists() => {
                    let reason = "another bundle took its place";
                    return self.tell_wait(Some(Fault::new("bundle-replaced", Blame::Box, reason)));
                }
                None => {}
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Says what has not been said.
    fn look(&mut self) {
        let record = Record::read(&self.config.record_file()).unwrap_or_default();
        let Some(action) = record.action.filter(|action| action.id == self.id) else { return };
        self.steps(&action, &action.step);
        if let (Step::Candidate, Some(Progress { cnt, of: Some(of) })) = (&action.step, self.now().progress) {
            self.once(format!("  {cnt} of {of} KB are copied"));
        }
        if let Step::RollingBack { fault, .. } = &action.step {
            self.once(format!("it is taken back: {fault}"));
        }
    }

    /// Says the steps up to one, also those that came and went between two looks.
    fn steps(&mut self, action: &Action, to: &Step) {
        if matches!(to, Step::RollingBack { .. } | Step::Ended { .. }) {
            return;
        }
        let state = action.state().unwrap_or("no state");
        let steps = [
            format!("the bundle holds, and names the state {state}; what it needs is copied"),
            "all that the region has signed for it is on this box".to_owned(),
            "the new system is in the other slot".to_owned(),
            "the system that it names runs; the agent tries the models".to_owned(),
            "the trial held".to_owned(),
            format!("{state} serves, and is watched"),
        ];
        for (rank, line) in (0..=to.rank()).zip(&steps) {
            let is_of_it = rank != Step::Rebooting.rank() || action.os.is_some();
            if rank >= self.told && is_of_it {
                self.say(line);
            }
        }
        self.told = self.told.max(to.rank() + 1);
    }

    fn once(&mut self, line: String) {
        if line != self.last {
            self.say(&line);
            self.last = line;
        }
    }

    fn now(&self) -> Now {
        let now = std::fs::read(self.config.now_file()).ok();
        now.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// The action, where it is over.
    fn end(&self) -> Option<Action> {
        let record = Record::read(&self.config.record_file()).unwrap_or_default();
        record.last.filter(|action| action.id == self.id)
    }

    fn tell_end(&mut self, action: &Action) -> Exit {
        let Step::Ended { outcome } = &action.step else { return Exit::Failed };
        if outcome.end == End::Active {
            self.steps(
                action,
                &Step::Active { since: outcome.at, watched: 0, findings: Vec::new(), before: BTreeMap::new() },
            );
        }
        self.data(action);
        let state = action.state().unwrap_or("no state");
        let why = outcome.fault.as_ref().map_or_else(String::new, |fault| format!(": {fault}"));
        let end = match outcome.end {
            End::Active => format!("done: this box serves {state}"),
            End::RolledBack => format!("taken back: {state} did not hold{why}"),
            End::Refused => format!("refused: nothing was changed{why}"),
            End::Stopped => format!("stopped: {state} was not installed"),
        };
        self.say(&end);
        outcome.details.iter().for_each(|detail| self.say(&format!("  {detail}")));
        match (outcome.end, &outcome.fault) {
            (End::Active, _) => Exit::Done,
            (_, Some(fault)) => {
                eprintln!("{fault}");
                Exit::Failed
            }
            _ => Exit::Failed,
        }
    }

    fn tell_wait(&self, fault: Option<Fault>) -> Exit {
        let record = Record::read(&self.config.record_file()).unwrap_or_default();
        let action = record.action.filter(|action| action.id == self.id);
        if let Some(action) = &action {
            self.data(action);
        }
        match (fault, action.map(|action| action.step)) {
            (Some(fault), _) => self.say(&format!("waits: {fault}")),
            (None, Some(Step::Rebooting)) => self.say("waits: the box restarts into the new system as soon as it may"),
            (None, _) => self.say("waits"),
        }
        self.say(if self.is_alone {
            "it goes on once the updater runs, also without the stick: systemctl start sund-updater"
        } else {
            "the updater goes on by itself, also without the stick: `sund-updater status` tells how far it is"
        });
        Exit::Later
    }

    #[expect(clippy::print_stdout, reason = "stdout is for data, and this is the data")]
    fn data(&self, action: &Action) {
        if let (true, Ok(text)) = (self.json, serde_json::to_string_pretty(&ActionStatus::of(action))) {
            println!("{text}");
        }
    }

    #[expect(clippy::print_stdout, reason = "what a person asked for")]
    fn say(&self, line: &str) {
        if !self.json {
            println!("{line}");
        }
    }
}

pub(super) fn under_way(action: &Action) -> Fault {
    let (id, state, step) = (&action.id, action.state().unwrap_or("no state"), action.step.name());
    let reason =
        format!("{id} ({state}) has changed this box and is not over ({step}): bring the stick again after its end");
    Fault::new("action-under-way", Blame::Box, reason)
}
