//! A package on a folder of files, by the very pipeline of the daemon: spool, study assembly, routing, worker, results.
mod answers;
mod files;

pub use answers::TrialAnswer;
pub use files::{Found, SourceFile, find};

use crate::association::{Association, Intake, IntakeInstance};
use crate::config::Config;
use crate::dataset::part10;
use crate::fault::{Blame, Fault};
use crate::infer::Engines;
use crate::instance::{Arrival, Origin};
use crate::model::Package;
use crate::outcome::Outcome;
use crate::pipeline::{Pipeline, Recorder, Site, SpoolIntake, assemble, run_jobs};
use crate::route::{Mode, Route, Selection};
use crate::spool::Spool;
use crate::study::assembly::AssemblyRules;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

/// The AE title that files come from.
const FILES: &str = "FILES";

/// Who is told how far it is.
pub trait Progress {
    /// Files that were taken in, of how many.
    fn files(&mut self, done: usize, of: usize);
    /// Studies that have ended, of how many.
    fn studies(&mut self, done: usize, of: usize);
}

/// Runs a package on what was found in a folder. `scratch` is a folder for the spool, empty and soon to go.
pub async fn run(
    package: Package,
    found: &Found,
    scratch: &Path,
    progress: &mut dyn Progress,
) -> Result<Vec<TrialAnswer>, Fault> {
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
        routes: vec![route],
        destinations: Vec::new(),
        uid_key: config.uid_key,
        device: "trial".to_owned(),
        engines: Engines::here(config.worker.onnxruntime.as_deref()),
        launcher: config.worker.launcher,
        bounds: config.worker.bounds,
    };
    let pipeline = Pipeline::new(Spool::open(config.spool)?, site, vec![package], Recorder::new(None))?;
    let (intake, feed) = SpoolIntake::new(Arc::clone(&pipeline));
    let rules = AssemblyRules { complete_on_association_end: true, ..config.assembly };
    let assembly = tokio::spawn(assemble(Arc::clone(&pipeline), rules, feed));
    let runner = Arc::clone(&pipeline);
    let runner = tokio::task::spawn_blocking(move || run_jobs(&runner));

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
) -> Result<Vec<TrialAnswer>, Fault> {
    let studies: BTreeSet<&str> = found.files.iter().map(|file| file.study.as_str()).collect();
    let mut done = 0;
    for (n, study) in studies.iter().enumerate() {
        // One association for each study: its end completes the study.
        let association = Association {
            id: n as u64 + 1,
            calling_ae: FILES.to_owned(),
            called_ae: FILES.to_owned(),
            peer: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        };
        intake.opened(&association);
        for file in found.files.iter().filter(|file| file.study == *study) {
            take_in(intake, &association, file).await?;
            done += 1;
            progress.files(done, found.files.len());
        }
        intake.closed(&association);
    }
    let mut changes = pipeline.changes_of_state();
    loop {
        changes.borrow_and_update();
        let settled = studies.iter().filter(|study| pipeline.is_settled(study)).count();
        progress.studies(settled, studies.len());
        if settled == studies.len() {
            break;
        }
        if changes.changed().await.is_err() {
            return Err(Fault::new("agent-broken", Blame::Sund, "the pipeline ended by itself"));
        }
    }
    studies
        .iter()
        .enumerate()
        .map(|(n, study)| pipeline.trial_answers(n + 1, study))
        .collect::<Result<Vec<_>, _>>()
        .map(|all| all.concat())
}

async fn take_in(intake: &SpoolIntake, association: &Association, file: &SourceFile) -> Result<(), Fault> {
    let image = part10::read_file(&file.path)?;
    let mut instance = intake.begin(association, &file.study)?;
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
    intake.stored(association, &stored);
    Ok(())
}
