//! The site's acceptance cohort: studies of its own, of which it knows what a model has to say. A state that says otherwise of too
//! many does not serve.
//!
//! They are patients' studies. What is told of them is counts: no result of theirs is sent, stands in the ledger or is a figure of the
//! ward, and the spool that they are run in is removed behind it.
use super::expectations::{Cohort, Expected, FILE, unreadable};
use super::protocol::Finding;
use super::trial::{Beside, finding};
use crate::config::Channel;
use crate::counted::counted;
use crate::dataset::part10;
use crate::fault::{Blame, Fault};
use crate::infer::AcceptedEngines;
use crate::limits::cohort::MAX_TIME;
use crate::model::Package;
use crate::outcome::Outcome;
use crate::pipeline::Proven;
use crate::results::measured;
use crate::trial::{Aside, Models, TrialAnswer, find};
use crate::worker::Seat;
use bytes::Bytes;
use metrics::NoopRecorder;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The cohort's spool, in the channel's directory: the state's own disk, which the agent's user alone reads.
const SCRATCH: &str = "acceptance";
/// What is measured here is nothing of the ward: no thread of it counts.
static NOBODY: NoopRecorder = NoopRecorder;
/// For what is still under way when the time is over.
const LET_DOWN: Duration = Duration::from_secs(5);

/// How the answers of a model agree with what is expected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Agreement {
    asked: usize,
    agreed: usize,
    other_outcome: usize,
    other_value: usize,
}

/// Removes what a run has left behind that was cut off.
pub(super) fn sweep(channel: &Channel) {
    let scratch = channel.directory.join(SCRATCH);
    if let Err(error) = std::fs::remove_dir_all(&scratch)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::error!(path = %scratch.display(), %error, "what is left of an acceptance cohort cannot be removed");
    }
}

/// Runs packages over the cohort of a folder; `tell` is told how each agrees. The first that agrees too little is the fault. The engines
/// that it was run on, of the models that a study asks about.
pub(super) fn accept(
    folder: &Path,
    packages: &[Package],
    proven: &[Proven],
    beside: &Beside<'_>,
    seat: Seat,
    tell: &mut dyn FnMut(Finding),
) -> Result<AcceptedEngines, Fault> {
    let begun = Instant::now();
    let said = agreements(folder, packages, proven, beside, seat);
    if let Err(fault) = &said {
        tell(finding(None, "acceptance", false, fault.to_string(), begun.elapsed()));
    }
    let (least, agreements) = said?;
    let (mut missed, mut accepted) = (Vec::new(), AcceptedEngines::new());
    for package in packages {
        let name = package.manifest.name.as_str();
        let agreement = agreements.get(name).copied().unwrap_or_default();
        let held = agreement.holds(least);
        let text = agreement.told(least);
        tell(finding(Some(name), "acceptance", held, text.clone(), begun.elapsed()));
        if !held {
            missed.push(format!("`{name}`: {text}"));
        }
        if let Some(proven) = proven.iter().find(|proven| agreement.asked > 0 && proven.is_of(package)) {
            accepted.insert(package.digest.clone(), proven.accepted()?);
        }
    }
    if missed.is_empty() {
        return Ok(accepted);
    }
    let reason = format!("the site's acceptance cohort is answered otherwise: {}", missed.join("; "));
    Err(Fault::new("acceptance-missed", Blame::Package, reason))
}

/// The share that is asked for, and how each model agrees.
fn agreements(
    folder: &Path,
    packages: &[Package],
    proven: &[Proven],
    beside: &Beside<'_>,
    seat: Seat,
) -> Result<(f64, BTreeMap<String, Agreement>), Fault> {
    let cohort = Cohort::read(folder)?;
    let mut agreements: BTreeMap<String, Agreement> = BTreeMap::new();
    let is_here = |expected: &&Expected| packages.iter().any(|package| package.manifest.name == expected.model);
    if !cohort.studies.iter().flat_map(|study| &study.expected).any(|expected| is_here(&expected)) {
        return Ok((cohort.least_agreement, agreements));
    }
    sweep(beside.channel);
    let scratch = Scratch::make(beside.channel)?;
    let models = Models {
        packages: packages.to_vec(),
        proven: proven.to_vec(),
        engines: beside.pipeline.engines().clone(),
        bounds: beside.pipeline.bounds(),
    };
    let run = async {
        let mut aside = Aside::open(models, seat, &scratch.0)?;
        for (n, study) in (1..).zip(&cohort.studies) {
            let expected: Vec<&Expected> = study.expected.iter().filter(is_here).collect();
            if expected.is_empty() {
                continue;
            }
            // Names of folders and files may be a patient's, and what is said here reaches the region: the study's number says which.
            let its_own =
                |fault: Fault| unreadable(format!("study {n} of {FILE} cannot be read or asked ({})", fault.code));
            // A worker that cannot be had is no fault of the cohort.
            let whose = |fault: Fault| match fault.blame {
                Blame::Peer | Blame::Study => its_own(fault),
                _ => Fault { reason: format!("the acceptance cohort was cut off at study {n} of {FILE}"), ..fault },
            };
            let found = find(&folder.join(&study.folder), &mut |_, _| {}).map_err(its_own)?;
            let [uid] = found.studies()[..] else {
                return Err(unreadable(format!("study {n} of {FILE} has files of several studies")));
            };
            let answers = aside.ask(&found, uid).await.map_err(whose)?;
            for expected in expected {
                let agreement = agreements.entry(expected.model.clone()).or_default();
                agreement.note(expected, &answers).map_err(whose)?;
            }
        }
        Ok(())
    };
    let limited = async {
        let late = || {
            let reason = format!("the site's acceptance cohort has not ended within {} min", MAX_TIME.as_secs() / 60);
            Fault::new("acceptance-too-slow", Blame::Configuration, reason)
        };
        tokio::select! {
            ended = tokio::time::timeout(MAX_TIME, run) => ended.unwrap_or_else(|_| Err(late())),
            Some(left) = beside.off.is_called() => Err(left),
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .on_thread_start(|| std::mem::forget(metrics::set_default_local_recorder(&NOBODY)))
        .build()
        .map_err(|error| Fault::new("runtime", Blame::Box, format!("no threads can be had: {error}")))?;
    let ended = metrics::with_local_recorder(&NOBODY, || runtime.block_on(limited));
    runtime.shutdown_timeout(LET_DOWN);
    ended.map(|()| (cohort.least_agreement, agreements))
}

impl Agreement {
    /// Counts a study.
    fn note(&mut self, expected: &Expected, answers: &[TrialAnswer]) -> Result<(), Fault> {
        let of_model: Vec<&TrialAnswer> = answers.iter().filter(|answer| answer.model == expected.model).collect();
        self.asked += 1;
        if outcome(&of_model) != Some(expected.outcome) {
            self.other_outcome += 1;
            return Ok(());
        }
        let mut numbers = Vec::new();
        for (kind, file) in of_model.iter().flat_map(|answer| &answer.objects) {
            if kind == "SR" {
                numbers.extend(measured(&part10::read(&Bytes::copy_from_slice(file))?)?);
            }
        }
        let is_met = expected.measured.iter().all(|value| {
            numbers.iter().any(|found| {
                found.what == value.what
                    && found.unit == value.unit
                    && (found.value - value.value).abs() <= value.tolerance
            })
        });
        if is_met {
            self.agreed += 1;
        } else {
            self.other_value += 1;
        }
        Ok(())
    }

    /// A model that no study asks about is not held up by them.
    fn holds(self, least: f64) -> bool {
        // A share that was written as a decimal number is not quite that.
        self.agreed as f64 + 1e-9 >= least * self.asked as f64
    }

    fn told(self, least: f64) -> String {
        let Self { asked, agreed, other_outcome, other_value } = self;
        if asked == 0 {
            return "no study of the cohort asks about it".to_owned();
        }
        let share = agreed as f64 / asked as f64 * 100.0;
        let studies = counted(asked, "study", "studies");
        format!(
            "{agreed} of {studies} agree, {share:.0} % where {:.0} % must; {other_outcome} with another outcome, {other_value} with \
             another value",
            least * 100.0
        )
    }
}

/// What a model says of a study as a whole: the most that it says of one of its series.
fn outcome(answers: &[&TrialAnswer]) -> Option<Outcome> {
    const ORDER: [Outcome; 5] =
        [Outcome::Failed, Outcome::TooLate, Outcome::Finding, Outcome::NoFinding, Outcome::NotApplicable];
    ORDER.into_iter().find(|outcome| answers.iter().any(|answer| answer.outcome == Some(*outcome)))
}

/// The cohort's spool: it goes with the run.
struct Scratch(PathBuf);

impl Scratch {
    fn make(channel: &Channel) -> Result<Self, Fault> {
        use std::os::unix::fs::DirBuilderExt;
        let path = channel.directory.join(SCRATCH);
        std::fs::DirBuilder::new().mode(0o700).create(&path).map_err(|error| {
            Fault::new("folder-unwritable", Blame::Box, format!("{} cannot be made: {error}", path.display()))
        })?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::error!(path = %self.0.display(), %error, "the spool of an acceptance cohort cannot be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_that_is_just_reached_holds_and_a_model_that_is_not_asked_about_is_not_held_up() {
        let of = |agreed, asked| Agreement { asked, agreed, ..Agreement::default() };
        assert!(of(9, 10).holds(0.9) && of(7, 10).holds(0.7) && of(0, 0).holds(1.0) && of(0, 5).holds(0.0));
        assert!(!of(8, 10).holds(0.9) && !of(0, 1).holds(0.01));
        assert!(of(1, 2).told(0.9).starts_with("1 of 2 studies agree, 50 % where 90 % must"));
    }
}
