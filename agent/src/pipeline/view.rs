//! The state of the pipeline for the console and for `sund status`.
use super::Pipeline;
use super::conclude::result_key;
use super::serving::ServingSet;
use super::standing::Standing;
use crate::console::{Readiness, StatusSource};
use crate::deliver::Destination;
use crate::deliver::queue::{Delivery, DeliveryState, InRecall};
use crate::deliver::record::ResultRecord;
use crate::infer::{Candidate, EngineKind};
use crate::job::{Job, JobState};
use crate::limits::console::MAX_STUDIES_SHOWN;
use crate::model::Package;
use crate::results::{Mode, preview_png};
use crate::spool::Table;
use crate::status::{
    DestinationStatus, EngineStatus, JobStatus, ModelStatus, Node, ResultStatus, SpoolStatus, Status, StudyStatus,
};
use crate::study::record::StudyRecord;
use bytes::Bytes;
use dicom_dictionary_std::tags;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use tokio::sync::watch;
use tracing::Span;

impl StatusSource for Pipeline {
    fn snapshot(&self) -> Status {
        // In the order in which a study goes on: what does so meanwhile is seen twice, and never not at all.
        let associations = self.traffic.open.load(Ordering::Relaxed);
        let unconsidered = self.unconsidered().into_iter().map(|(_, instances)| instances).sum();
        let usage = self.spool.usage();
        let jobs = self.seen.jobs.all(&self.spool);
        let deliveries = self.seen.deliveries.all(&self.spool);
        let (running, _) = self.jobs.view();
        let set = self.serving_set();
        Status {
            format: 1,
            state: set.state.as_ref().map(|state| state.name.clone()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            variant: self.site.variant.clone(),
            started: self.started,
            draining: *self.draining.borrow(),
            node: Node {
                ae_title: self.site.ae_title.clone(),
                address: self.address.lock().unwrap_or_else(PoisonError::into_inner).clone(),
                associations,
                received: self.traffic.received.load(Ordering::Relaxed),
            },
            spool: SpoolStatus {
                bytes: usage.bytes,
                quota: usage.quota,
                instances: usage.instances,
                unconsidered,
                accepting: usage.lack.is_none(),
                lack: usage.lack,
                damaged: usage.damaged,
            },
            certificate: self.certificate.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            forward: self.forward.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            models: self.model_status(&set, &jobs),
            workers: self.desks.all(),
            held_until: self.held_until(),
            gpus_left: self.breakers.left(),
            destinations: Self::destination_status(&set, &deliveries),
            queue: jobs
                .iter()
                .filter(|job| job.is_open())
                .map(|job| JobStatus {
                    id: job.id,
                    study: job.study.clone(),
                    model: job.package.title.clone(),
                    state: if running.contains(&job.id) { "running" } else { "waiting" }.to_owned(),
                    since: job.created,
                })
                .map(|mut status| {
                    status.study = self.study_record(&status.study).ok().flatten().map(|r| r.id).unwrap_or_default();
                    status
                })
                .collect(),
            studies: self.study_status(&jobs, &deliveries),
        }
    }

    fn readiness(&self) -> Readiness {
        match (*self.draining.borrow(), self.spool.usage().lack.is_none()) {
            (true, _) => Readiness::Draining,
            (false, false) => Readiness::Full,
            (false, true) => Readiness::Accepting,
        }
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.recorder.changes()
    }

    fn preview(&self, study_id: &str, result_index: usize) -> Option<Bytes> {
        let study = self.seen.studies.all(&self.spool).into_iter().find(|record| record.id == study_id)?;
        let jobs = self.seen.jobs.all(&self.spool);
        let job = jobs.iter().filter(|job| job.study == study.study && !job.is_open()).nth(result_index)?;
        let record: ResultRecord = self.spool.get(Table::Results, &result_key(job.id, "SC")).ok()??;
        let dataset = self.spool.read(&self.spool.instance(record.instance)?).ok()?;
        preview_png(&dataset).ok().map(Bytes::from)
    }
}

impl Pipeline {
    /// The span of a study.
    pub(super) fn span(&self, study: &str) -> Span {
        match self.study_record(study) {
            Ok(Some(record)) => self.recorder.span(&record.id),
            // Erased meanwhile.
            _ => Span::none(),
        }
    }

    /// Ends the span of a study for which no job is open and no delivery waits.
    pub(super) fn end_span_at_rest(&self, study: &str) {
        let is_busy = self.seen.jobs.all(&self.spool).iter().any(|job| job.study == study && job.is_open())
            || self
                .seen
                .deliveries
                .all(&self.spool)
                .iter()
                .any(|delivery| delivery.study == study && matches!(delivery.state, DeliveryState::Waiting { .. }));
        if let (false, Ok(Some(record))) = (is_busy, self.study_record(study)) {
            self.recorder.at_rest(&record.id);
        }
    }

    fn model_status(&self, set: &ServingSet, jobs: &[Arc<Job>]) -> Vec<ModelStatus> {
        let status = |package: &Package| {
            let manifest = &package.manifest;
            // On several routes, the one in which most depends on it.
            let routes = set.routes.iter().filter(|route| route.models.contains(&manifest.name));
            let mode = routes.map(|route| route.mode).max();
            let ended = |outcome| {
                let count = jobs.iter().filter(|job| {
                    job.package.digest == package.digest
                        && matches!(&job.state, JobState::Ended { outcome: o, .. } if *o == outcome)
                });
                (outcome, count.count() as u64)
            };
            let (mut state, engine, mut explanation) = match self.models.standing(&package.digest) {
                Some(Standing::Active(choice, _)) => ("active", Some(choice.engine), choice.explanation),
                Some(Standing::Checking(choice)) => {
                    let explanation = format!("jobs wait until its golden cases hold; {}", choice.explanation);
                    ("checking", Some(choice.engine), explanation)
                }
                Some(Standing::Unchecked(choice)) => {
                    let explanation =
                        format!("it serves before its golden cases have run here; {}", choice.explanation);
                    ("checking", Some(choice.engine), explanation)
                }
                Some(Standing::Waiting(waiting)) => {
                    ("off", None, format!("{}; it is tried again until a worker is there", waiting.fault))
                }
                Some(Standing::Off(fault)) => ("off", None, fault.to_string()),
                None => ("off", None, String::new()),
            };
            let engines = self.engine_status(package, state, engine.as_ref());
            if let Some(accepted) = self.models.accepted(&package.digest).filter(|_| state == "active") {
                let waits = engines.iter().filter(|engine| engine.reason == accepted.to_string());
                let waits: Vec<String> = waits.map(|engine| format!("{} {}", engine.name, engine.reason)).collect();
                if !waits.is_empty() {
                    explanation = waits.join("; ");
                }
            }
            let mut by = Vec::new();
            if let Some((fault, holders)) = self.suspended.off(&manifest.name, &manifest.version) {
                (state, explanation, by) = ("suspended", fault.to_string(), holders);
            }
            ModelStatus {
                name: manifest.name.clone(),
                title: manifest.title.clone(),
                version: manifest.version.clone(),
                vendor: manifest.vendor.clone(),
                digest: package.digest.clone(),
                mode: match mode {
                    Some(Mode::Clinical) => "clinical",
                    Some(Mode::Research) => "research",
                    _ => "shadow",
                }
                .to_owned(),
                state: state.to_owned(),
                by,
                engine: engine.map(|engine| engine.to_string()),
                explanation,
                engines,
                intended_use: manifest.intended_use.clone(),
                outcomes: crate::outcome::Outcome::ALL.into_iter().map(ended).collect(),
            }
        };
        set.packages.iter().map(status).collect()
    }

    /// Why each engine serves a package, or why not.
    fn engine_status(&self, package: &Package, state: &str, chosen: Option<&EngineKind>) -> Vec<EngineStatus> {
        let lacking = self.lacking_of(package);
        let why_lacking =
            |name: &str| lacking.iter().find(|one| one.name() == name).and_then(|one| self.compiling.told(one));
        let accepted = self.models.accepted(&package.digest);
        let mut is_behind = false;
        let status = |candidate: Candidate| {
            let Candidate { name, engine } = candidate;
            let is_chosen = engine.as_ref().is_ok_and(|engine| Some(engine) == chosen);
            is_behind |= is_chosen;
            let why_not = |engine: &EngineKind| {
                if let Some(reason) = self.models.miss(&package.digest, engine) {
                    return reason;
                }
                // It would have been chosen, or was made here since.
                if let Some(accepted) = &accepted
                    && (engine.kept() > 0 || (chosen.is_some() && !is_behind))
                {
                    return accepted.to_string();
                }
                match chosen {
                    Some(chosen) => format!("would serve if {chosen} did not"),
                    None => "is not tried while the model is off".to_owned(),
                }
            };
            let reason = match &engine {
                Err(reason) => why_lacking(&name).unwrap_or_else(|| reason.clone()),
                Ok(_) if is_chosen && state == "active" => "serves: its golden cases hold on it".to_owned(),
                Ok(_) if is_chosen => "its golden cases are to run on it".to_owned(),
                Ok(engine) => why_not(engine),
            };
            EngineStatus { name, serves: is_chosen && state == "active", reason }
        };
        self.engines().candidates(package).into_iter().map(status).collect()
    }

    fn destination_status(set: &ServingSet, deliveries: &[Arc<Delivery>]) -> Vec<DestinationStatus> {
        let status = |destination: &Destination| {
            let of = |test: fn(&DeliveryState) -> bool| {
                deliveries.iter().filter(|d| d.destination == destination.name && test(&d.state)).count() as u64
            };
            let trouble =
                deliveries.iter().filter(|d| d.destination == destination.name).find_map(|d| match &d.state {
                    DeliveryState::Waiting { trouble, .. } => trouble.clone(),
                    DeliveryState::Dead { reason, .. } => Some(format!("given up: {reason}")),
                    DeliveryState::Held { reason, .. } => Some(format!("held: {reason}")),
                    _ => None,
                });
            DestinationStatus {
                name: destination.name.clone(),
                ae_title: destination.peer.called_ae.clone(),
                address: destination.peer.address.clone(),
                waiting: of(|state| matches!(state, DeliveryState::Waiting { .. })),
                delivered: of(|state| matches!(state, DeliveryState::Delivered { .. })),
                dead: of(|state| matches!(state, DeliveryState::Dead { .. })),
                held: of(|state| matches!(state, DeliveryState::Held { .. })),
                trouble,
            }
        };
        set.destinations.iter().map(status).collect()
    }

    fn study_status(&self, jobs: &[Arc<Job>], deliveries: &[Arc<Delivery>]) -> Vec<StudyStatus> {
        let mut records = self.seen.studies.all(&self.spool);
        records.sort_by_key(|record| std::cmp::Reverse(record.considered));
        records.truncate(MAX_STUDIES_SHOWN);
        let mut by_study: HashMap<&str, (Vec<&Job>, Vec<&Delivery>)> =
            records.iter().map(|record| (record.study.as_str(), Default::default())).collect();
        for job in jobs {
            if let Some((jobs, _)) = by_study.get_mut(job.study.as_str()) {
                jobs.push(job);
            }
        }
        for delivery in deliveries {
            if let Some((_, deliveries)) = by_study.get_mut(delivery.study.as_str()) {
                deliveries.push(delivery);
            }
        }
        let of = |record: &StudyRecord| by_study.get(record.study.as_str()).cloned().unwrap_or_default();
        records
            .iter()
            .map(|record| {
                let (jobs, deliveries) = of(record);
                self.one_study(record, &jobs, &deliveries)
            })
            .collect()
    }

    /// A study with its own jobs and deliveries.
    fn one_study(&self, record: &StudyRecord, jobs: &[&Job], deliveries: &[&Delivery]) -> StudyStatus {
        let identity = self.identity(&record.study).unwrap_or_default();
        let results: Vec<ResultRecord> = jobs
            .iter()
            .filter(|job| !job.is_open())
            .filter_map(|job| {
                ["SC", "OUTCOME", "SR"]
                    .iter()
                    .find_map(|kind| self.spool.get(Table::Results, &result_key(job.id, kind)).ok().flatten())
            })
            .collect();
        let shown = results.iter().enumerate().map(|(n, result)| ResultStatus {
            model: result.model.clone(),
            kind: result.kind.clone(),
            outcome: result.outcome,
            summary: result.summary.clone(),
            preview: (result.kind == "SC").then(|| crate::console::preview_path(&record.id, n)),
            delivery: delivered(deliveries.iter().filter(|delivery| delivery.job == result.job)),
        });
        StudyStatus {
            patient: identity.value(tags::PATIENT_NAME),
            patient_id: identity.value(tags::PATIENT_ID),
            accession: identity.value(tags::ACCESSION_NUMBER),
            description: identity.value(tags::STUDY_DESCRIPTION),
            modalities: record.modalities.clone(),
            instances: record.instances.len() as u64,
            state: state_of(record, jobs, deliveries).to_owned(),
            results: shown.collect(),
            id: record.id.clone(),
            timeline: record.timeline.clone(),
        }
    }
}

fn state_of(record: &StudyRecord, own: &[&Job], deliveries: &[&Delivery]) -> &'static str {
    let failed = |job: &&Job| matches!(job.state, JobState::Ended { outcome: crate::outcome::Outcome::Failed, .. });
    let is_meant = |d: &&&Delivery| !matches!(d.state, DeliveryState::Superseded { .. });
    let mut sent = deliveries.iter().filter(is_meant).peekable();
    if record.refused.is_some() {
        "refused"
    } else if own.iter().any(|job| job.is_open()) {
        "running"
    } else if own.iter().any(failed) || deliveries.iter().any(|d| matches!(d.state, DeliveryState::Dead { .. })) {
        "failed"
    } else if deliveries.iter().any(|d| matches!(d.state, DeliveryState::Held { .. })) {
        "held"
    } else if sent.peek().is_some() && sent.all(|d| matches!(d.state, DeliveryState::Delivered { .. })) {
        "delivered"
    } else {
        "done"
    }
}

/// How the results of a job stand at each destination: as the one that is worst off.
fn delivered<'a>(deliveries: impl Iterator<Item = &'a &'a Delivery>) -> Vec<(String, String)> {
    let mut worst: BTreeMap<&str, &Delivery> = BTreeMap::new();
    let concern = |delivery: &Delivery| match delivery.state {
        _ if delivery.recall.is_some() => 6,
        DeliveryState::Dead { .. } => 5,
        DeliveryState::Held { .. } => 4,
        DeliveryState::Waiting { .. } => 3,
        DeliveryState::Delivered { .. } => 2,
        DeliveryState::Kept => 1,
        DeliveryState::Superseded { .. } => 0,
    };
    for delivery in deliveries {
        let so_far = worst.entry(&delivery.destination).or_insert(delivery);
        if concern(delivery) > concern(so_far) {
            *so_far = delivery;
        }
    }
    worst.into_iter().map(|(destination, delivery)| (destination.to_owned(), state_text(delivery).to_owned())).collect()
}

pub(super) fn state_text(delivery: &Delivery) -> &'static str {
    match delivery.state {
        _ if matches!(delivery.recall, Some(InRecall::Recalled { .. })) => "recalled",
        DeliveryState::Waiting { .. } => "waiting",
        DeliveryState::Delivered { .. } => "delivered",
        DeliveryState::Superseded { .. } => "superseded",
        DeliveryState::Kept => "kept",
        DeliveryState::Held { .. } => "held",
        DeliveryState::Dead { .. } => "dead",
    }
}
