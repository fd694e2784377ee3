//! Packages on studies, one after the other, beside an agent that serves: by the pipeline of the daemon, in a spool that goes with
//! the run. There is no destination and no audit log behind it, and each study is erased when its answers are known.
use super::{FILES, Found, TrialAnswer, take_in};
use crate::association::{Association, Intake as _};
use crate::config::Config;
use crate::fault::{Blame, Fault};
use crate::infer::Engines;
use crate::model::Package;
use crate::pipeline::{Pipeline, Proven, Recorder, ServingSet, Site, SpoolIntake, assemble, run_jobs};
use crate::route::{Mode, Route, Selection};
use crate::spool::Spool;
use crate::study::assembly::AssemblyRules;
use crate::worker::{Bounds, Seat};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

/// Packages, each on the engine that its golden cases hold on.
pub(crate) struct Models {
    pub(crate) packages: Vec<Package>,
    pub(crate) proven: Vec<Proven>,
    pub(crate) engines: Engines,
    pub(crate) bounds: Bounds,
}

/// A pipeline of its own.
pub(crate) struct Aside {
    pipeline: Arc<Pipeline>,
    intake: SpoolIntake,
    studies: u64,
}

impl Aside {
    /// Brings it up; `scratch` is an empty folder that is soon to go. Each model is asked about each study.
    pub(crate) fn open(models: Models, seat: Seat, scratch: &Path) -> Result<Self, Fault> {
        // Keys of its own: no UID of a result here is one that the ward may see.
        let config = Config::embedded(scratch)?;
        let names = models.packages.iter().map(|package| package.manifest.name.clone());
        let route = Route {
            name: "acceptance".to_owned(),
            called_ae: Vec::new(),
            callers: Vec::new(),
            selection: Selection::default(),
            models: names.collect(),
            mode: Mode::Research,
            destinations: Vec::new(),
            outcome_reports: Vec::new(),
            deadline: None,
        };
        let site = Site {
            ae_title: config.node.ae_title,
            uid_key: config.uid_key,
            device: "acceptance".to_owned(),
            variant: config.variant,
            engines: models.engines,
            bounds: models.bounds,
            activation: config.worker.activation,
            has_channel: false,
        };
        let nothing = ServingSet::own(Vec::new(), Vec::new());
        let pipeline = Pipeline::new(Spool::open(config.spool)?, site, nothing, Recorder::new(None))?;
        pipeline.serve(ServingSet::own(models.packages, vec![route]), models.proven);
        let (intake, feed) = SpoolIntake::new(Arc::clone(&pipeline));
        let rules = AssemblyRules { complete_on_association_end: true, ..config.assembly };
        tokio::spawn(assemble(Arc::clone(&pipeline), rules, feed));
        let runner = Arc::clone(&pipeline);
        tokio::task::spawn_blocking(move || run_jobs(&runner, seat));
        Ok(Self { pipeline, intake, studies: 0 })
    }

    /// What the models say on the one study of a folder.
    pub(crate) async fn ask(&mut self, found: &Found, study: &str) -> Result<Vec<TrialAnswer>, Fault> {
        self.studies += 1;
        // Its end completes the study.
        let association = Association {
            id: self.studies,
            calling_ae: FILES.to_owned(),
            called_ae: FILES.to_owned(),
            peer: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        };
        self.intake.opened(&association, None);
        for file in &found.files {
            take_in(&self.intake, &association, file).await?;
        }
        self.intake.closed(&association);
        let mut changes = self.pipeline.changes_of_state();
        while !self.pipeline.is_settled(study) {
            let ended = |_| Fault::new("agent-broken", Blame::Sund, "the pipeline ended by itself");
            changes.changed().await.map_err(ended)?;
        }
        let answers = self.pipeline.trial_answers(1, study)?;
        self.pipeline.erase(study, "its answers are known")?;
        Ok(answers)
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        self.pipeline.drain();
    }
}
