//! A package on a folder of files, by the very pipeline of the daemon: spool, study assembly, routing, worker, results.
mod answers;
mod each;
mod files;
mod golden;

pub use answers::{SeriesSeen, TrialAnswer};
pub(crate) use each::{Aside, Models};
pub use files::{Found, SourceFile, find};
pub use golden::{NotRun, Rig, Trial, Trials, this_program};

use crate::association::{Association, Intake, IntakeInstance};
use crate::config::Config;
use crate::dataset::part10;
use crate::fault::{Blame, Fault};
use crate::instance::{Arrival, Origin};
use crate::model::Package;
use crate::outcome::Outcome;
use crate::pipeline::{Pipeline, Recorder, ServingSet, Site, SpoolIntake, assemble, run_jobs};
use crate::route::{Mode, Route, Selection};
use crate::spool::Spool;
use crate::study::assembly::AssemblyRules;
use crate::worker::Seat;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// The AE title that files come from.
const FILES: &str = "FILES";

/// Who is told how far it is.
pub trait Progress {
    /// Files that were taken in, of how many.
    fn files(&mut self, done: usize, of: usize);
    /// Studies that have ended, of how many.
    fn studies(&mut self, done: usize, of: usize);
    /// What was said on one study, as soon as it has ended; a fault ends the run.
    fn answers(&mut self, answers: Vec<TrialAnswer>) -> Result<(), Fault>;
    /// A file that was found, and then could not be taken in.
    fn skipped(&mut self, path: &Path, reason: &str);
}

/// Runs a package on what was found in a folder. `scratch` is a folder for the spool, empty and soon to go.
pub async fn run(package: Package, found: &Found, scratch: &Path, progress: &mut dyn Progress) -> Result<(), Fault> {
    let config = Config::embedded(scratch)?;
    let route = Route {
        name: "trial".to_owned(),
        called_ae: Vec::new(),
        callers: Vec::new(),
        selection: Selection::default(),
        models: vec![package.manifest.name.clone()],
        mode: Mode::Research,
        destinations: Vec::new(),
        outcome_reports: vec![Outcome::NotApplicable, Outcome::Failed, Outcome::TooLate],
        deadline: None,
    };
    let site = Site {
        ae_title: config.node.ae_title,
        uid_key: config.uid_key,
        device: "trial".to_owned(),
        variant: config.variant,
        engines: config.worker.engines,
        bounds: config.worker.bounds,
        activation: config.worker.activation,
        has_channel: false,
    };
    let set = ServingSet::own(vec![package], vec![route]);
    let pipeline = Pipeline::new(Spool::open(config.spool)?, site, set, Recorder::new(None))?;
    let (intake, feed) = SpoolIntake::new(Arc::clone(&pipeline));
    let rules = AssemblyRules { complete_on_association_end: true, ..config.assembly };
    let assembly = tokio::spawn(assemble(Arc::clone(&pipeline), rules, feed));
    let runner = Arc::clone(&pipeline);
    let seat = Seat::new(config.worker.launcher, None);
    let runner = tokio::task::spawn_blocking(move || run_jobs(&runner, seat));

    let answers = play(&pipeline, &intake, found, progress).await;
    pipeline.drain();
    drop(intake);
    let ended = |error: tokio::task::JoinError| {
        Fault::new("agent-broken", Blame::Sund, format!("a part of the pipeline failed: {error}"))
    };
    runner.await.map_err(ended)?;
    assembly.await.map_err(ended)?;
    answers
}

async fn play(
    pipeline: &Arc<Pipeline>,
    intake: &SpoolIntake,
    found: &Found,
    progress: &mut dyn Progress,
) -> Result<(), Fault> {
    let studies = found.studies();
    let mut done = 0;
    let mut taken_in = Vec::new();
    for (n, study) in studies.iter().enumerate() {
        // One association for each study: its end completes the study.
        let association = Association {
            id: n as u64 + 1,
            calling_ae: FILES.to_owned(),
            called_ae: FILES.to_owned(),
            peer: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        };
        intake.opened(&association, None);
        let mut is_there = false;
        for file in found.files.iter().filter(|file| file.study == *study) {
            match take_in(intake, &association, file).await {
                Ok(()) => is_there = true,
                // A file that is damaged is no reason to give up the others; a spool that cannot be written is.
                Err(fault) if fault.blame == Blame::Peer || fault.code == "file-unreadable" => {
                    intake.refused(&association, &fault);
                    progress.skipped(&file.path, &fault.reason);
                }
                Err(fault) => return Err(fault),
            }
            done += 1;
            progress.files(done, found.files.len());
        }
        intake.closed(&association);
        if is_there {
            taken_in.push((n + 1, *study));
        }
    }
    let mut changes = pipeline.changes_of_state();
    for (n, (number, study)) in taken_in.iter().enumerate() {
        progress.studies(n, taken_in.len());
        while !pipeline.is_settled(study) {
            changes
                .changed()
                .await
                .map_err(|_| Fault::new("agent-broken", Blame::Sund, "the pipeline ended by itself"))?;
        }
        progress.answers(pipeline.trial_answers(*number, study)?)?;
    }
    progress.studies(taken_in.len(), taken_in.len());
    Ok(())
}

async fn take_in(intake: &SpoolIntake, association: &Association, file: &SourceFile) -> Result<(), Fault> {
    let began = Instant::now();
    let image = part10::read_file(&file.path)?;
    let mut instance = intake.begin(association, &file.study, &image.sop_instance)?;
    instance.write(&image.dataset)?;
    let arrival = Arrival {
        sop_class: image.sop_class,
        sop_instance: image.sop_instance,
        study: file.study.clone(),
        series: file.series.clone(),
        transfer_syntax: image.header.transfer_syntax,
        at: SystemTime::now(),
        origin: Origin::Received {
            calling_ae: association.calling_ae.clone(),
            called_ae: association.called_ae.clone(),
            peer: association.peer.to_string(),
            association: association.id,
        },
    };
    let stored = IntakeInstance::commit(instance, arrival).await?;
    intake.stored(association, &stored, began.elapsed());
    Ok(())
}
