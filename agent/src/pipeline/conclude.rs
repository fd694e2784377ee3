//! bracket → results: what a job ended with, made durable before anything is sent.
use super::Pipeline;
use super::runner::model;
use super::serving::ServingSet;
use crate::audit;
use crate::deliver::queue::{Delivery, DeliveryState};
use crate::deliver::record::{LedgerEntry, LedgerEvent, ResultRecord};
use crate::fault::{Blame, Fault};
use crate::inference::{Inference, StepTime};
use crate::instance::{Arrival, Origin, StoredInstance};
use crate::job::{Job, JobState};
use crate::outcome::Outcome;
use crate::privacy::Private;
use crate::results::{Mode, Predecessor, ResultContext, ResultObject, SourceHeader, is_report, make, outcome_report};
use crate::spool::{Batch, Table};
use std::sync::PoisonError;
use std::time::{Instant, SystemTime};

/// What the spool keeps of a job's end.
pub(super) struct Ended {
    pub(super) outcome: Outcome,
    pub(super) fault: Option<Fault>,
    pub(super) summary: String,
    pub(super) times: Vec<StepTime>,
    /// SOP Instance UIDs.
    pub(super) results: Vec<String>,
}

/// How a job ends: what is kept and sent of it.
struct Ending {
    outcome: Outcome,
    objects: Vec<ResultObject>,
    fault: Option<Fault>,
    times: Vec<StepTime>,
}

/// Where a result goes.
pub(super) struct Place {
    /// Name of the destination.
    destination: String,
    /// It is meant for it and stays here: shadow.
    is_kept: bool,
}

impl Pipeline {
    /// Ends a job: its results are made and stored, then one batch ends the job, queues the deliveries, takes back what
    /// waits of the answers that this one supersedes, and writes the ledger. A cut before that batch leaves the job open;
    /// run again, it makes results with the same UIDs. `set` is the one that the job began with. Where its model was suspended by
    /// now, its answer is not one.
    pub(super) fn conclude(
        &self,
        set: &ServingSet,
        job: &Job,
        outcome: Outcome,
        answer: Result<Inference, Fault>,
    ) -> Result<(), Fault> {
        let (ending, one_at_a_time) = loop {
            let suspended = if answer.is_ok() { self.suspension_of(job) } else { None };
            let basis = (self.identity_version(&job.study)?, self.sent_report(job)?, suspended);
            let ending = match &basis.2 {
                None => self.ending(set, job, outcome, &answer, basis.1.as_ref())?,
                Some(fault) => self.ending(set, job, Outcome::Failed, &Err(fault.clone()), basis.1.as_ref())?,
            };
            let one_at_a_time = self.studies.lock().unwrap_or_else(PoisonError::into_inner);
            // Results take the newest identity and name the newest report that went, also what came and went while they
            // were made; and a suspension is obeyed at once.
            let suspended = if answer.is_ok() { self.suspension_of(job) } else { None };
            if (self.identity_version(&job.study)?, self.sent_report(job)?, suspended) == basis {
                break (ending, one_at_a_time);
            }
        };
        let Ending { outcome, objects, fault, times } = ending;
        if !self.spool.get::<Job>(Table::Jobs, &Job::key(job.id))?.is_some_and(|job| job.is_open()) {
            // Superseded, or erased, while it ran.
            return Ok(());
        }
        let report = objects.iter().find(|object| object.kind == "SR");
        let summary = report.map_or_else(|| outcome.sentence().to_owned(), |report| report.summary.clone());
        let mut batch = Batch::new();
        let begun = Instant::now();
        let stored = objects.iter().map(|object| self.store(&job.study, object)).collect::<Result<Vec<_>, Fault>>()?;
        crate::metrics::stage("store", begun.elapsed());
        let places = Self::places(set, job);
        for (object, stored) in objects.iter().zip(&stored) {
            Self::queue(&places, &mut batch, job, outcome, object, stored)?;
        }
        if matches!(outcome, Outcome::Finding | Outcome::NoFinding) {
            let earlier = self.earlier(job)?;
            self.withdraw(&mut batch, &job.study, |delivery| earlier.iter().any(|job| job.id == delivery.job))?;
        }
        let text = match &fault {
            Some(fault) => format!("{}: {}: {}", job.package.title, outcome.sentence(), fault.reason),
            None => format!("{}: {summary}", job.package.title),
        };
        let step = if outcome == Outcome::Failed { "failed" } else { "done" };
        self.noted(&mut batch, &job.study, step, &text, fault.as_ref().map(|fault| fault.code.as_ref()))?;
        let results = objects.iter().map(|object| object.sop_instance.clone()).collect();
        Self::end(&mut batch, job, Ended { outcome, fault: fault.clone(), summary, times, results })?;
        self.spool.write_blocking(batch)?;
        drop(one_at_a_time);

        crate::metrics::outcome(&job.package.name, outcome);
        let code = fault.as_ref().map(|fault| fault.code.as_ref());
        tracing::info!(job = job.id, outcome = outcome.sentence(), code, results = objects.len(), "a job ended");
        for object in &objects {
            self.say_made(job, object);
        }
        self.recorder.audit(audit::Event::JobEnded {
            study: self.audit_study(&job.study),
            job: job.id,
            model: model(job),
            outcome,
            fault,
        });
        self.end_span_at_rest(&job.study);
        self.recorder.changed();
        self.deliveries.notify_waiters();
        Ok(())
    }

    /// Why a job does not run, or has no answer.
    pub(super) fn suspension_of(&self, job: &Job) -> Option<Fault> {
        self.suspended.fault(&job.package.name, &job.package.version)
    }

    /// The results of a job. An answer that cannot be put into results is a failure, which is reported as one.
    fn ending(
        &self,
        set: &ServingSet,
        job: &Job,
        outcome: Outcome,
        answer: &Result<Inference, Fault>,
        predecessor: Option<&Predecessor>,
    ) -> Result<Ending, Fault> {
        let id = self.study_record(&job.study)?.map(|record| record.id).unwrap_or_default();
        let made = self.recorder.stage("results", &id, || self.make_results(set, job, outcome, answer, predecessor));
        Ok(match (made, answer) {
            (Ok(objects), Ok(inference)) => Ending { outcome, objects, fault: None, times: inference.times.clone() },
            (Ok(objects), Err(fault)) => Ending { outcome, objects, fault: Some(fault.clone()), times: Vec::new() },
            (Err(fault), _) => {
                let objects =
                    self.make_results(set, job, Outcome::Failed, &Err(fault.clone()), predecessor).unwrap_or_default();
                Ending { outcome: Outcome::Failed, objects, fault: Some(fault), times: Vec::new() }
            }
        })
    }

    fn identity_version(&self, study: &str) -> Result<u32, Fault> {
        Ok(self.study_record(study)?.map_or(0, |record| record.identity_version))
    }

    /// Puts the end of a job into a batch.
    pub(super) fn end(batch: &mut Batch, job: &Job, ended: Ended) -> Result<(), Fault> {
        let Ended { outcome, fault, summary, times, results } = ended;
        Self::ledger(batch, &job.package.digest, &job.study, job.id, LedgerEvent::Ended { outcome, results })?;
        let mut done = job.clone();
        done.state = JobState::Ended { outcome, at: SystemTime::now(), fault, summary, times };
        Ok(batch.put(Table::Jobs, &Job::key(job.id), &done, Some(&job.study))?)
    }

    /// The jobs that this one supersedes, the newest first.
    pub(super) fn earlier(&self, job: &Job) -> Result<Vec<Job>, Fault> {
        let mut earlier: Vec<Job> = Vec::new();
        let mut next = job.supersedes;
        while let Some(id) = next {
            let Some(job) = self.spool.get::<Job>(Table::Jobs, &Job::key(id))? else { break };
            // A job supersedes older ones only.
            next = job.supersedes.filter(|older| *older < id);
            earlier.push(job);
        }
        Ok(earlier)
    }

    /// Takes back the results of a study that have not gone out; what was given up is not queued again either. A note that
    /// rejects results goes all the same.
    pub(super) fn withdraw(
        &self,
        batch: &mut Batch,
        study: &str,
        is_meant: impl Fn(&Delivery) -> bool,
    ) -> Result<(), Fault> {
        for mut delivery in self.spool.scan::<Delivery>(Table::Deliveries, "")? {
            let is_over = matches!(delivery.state, DeliveryState::Delivered { .. } | DeliveryState::Superseded { .. });
            if delivery.study == study && !is_over && !delivery.is_note() && is_meant(&delivery) {
                delivery.state = DeliveryState::Superseded { at: SystemTime::now() };
                batch.put(Table::Deliveries, &delivery.key(), &delivery, Some(study))?;
            }
        }
        Ok(())
    }

    /// The audit of a result that is on stable storage.
    pub(super) fn say_made(&self, job: &Job, object: &ResultObject) {
        self.recorder.audit(audit::Event::ResultMade {
            study: self.audit_study(&job.study),
            model: model(job),
            kind: object.kind.to_owned(),
            instance: Private::new(object.sop_instance.clone()),
        });
    }

    fn make_results(
        &self,
        set: &ServingSet,
        job: &Job,
        outcome: Outcome,
        answer: &Result<Inference, Fault>,
        predecessor: Option<&Predecessor>,
    ) -> Result<Vec<ResultObject>, Fault> {
        let route = set.route(&job.route).ok_or_else(|| {
            Fault::new("route-gone", Blame::Configuration, format!("route {} is no longer configured", job.route))
        })?;
        let context = ResultContext {
            identity: &self.identity(&job.study)?,
            sources: &self.sources(job)?,
            input_digests: &job.input_digests,
            mode: route.mode,
            uid_key: &self.site.uid_key,
            at: job.created,
            device: &self.site.device,
            parameters: &job.route,
            predecessor,
            partial: job.partial.as_deref(),
        };
        let mut objects = match answer {
            Ok(inference) => make(&context, inference)?,
            Err(_) => Vec::new(),
        };
        if route.outcome_reports.contains(&outcome) {
            // With its code, by which REFUSALS.md tells what to do.
            let reason = answer.as_ref().err().map_or(String::new(), ToString::to_string);
            objects.push(outcome_report(&context, outcome, &job.package, &reason)?);
        }
        Ok(objects)
    }

    pub(super) fn sources(&self, job: &Job) -> Result<Vec<SourceHeader>, Fault> {
        let open = |id: &u64| -> Result<SourceHeader, Fault> {
            let stored = self.spool.instance(*id).ok_or(crate::spool::SpoolError::Erased)?;
            let dataset = self.spool.read(&stored)?;
            let header = crate::dataset::scan::scan(&dataset, &stored.arrival.transfer_syntax)?;
            let Arrival { sop_class, sop_instance, .. } = stored.arrival;
            Ok(SourceHeader { sop_class, sop_instance, header, length: stored.length })
        };
        job.inputs.iter().map(open).collect()
    }

    /// The newest report that answers the question of a job and that a destination holds, or may hold: its own, or one of
    /// a job that it supersedes. What was withdrawn before it went is nobody's predecessor.
    pub(super) fn sent_report(&self, job: &Job) -> Result<Option<Predecessor>, Fault> {
        if job.is_open() && job.supersedes.is_none() {
            return Ok(None);
        }
        let mut sent = self.seen.deliveries.all(&self.spool);
        sent.retain(|delivery| delivery.study == job.study && delivery.may_have_arrived());
        let answers = std::iter::once(job.id).chain(self.earlier(job)?.into_iter().map(|earlier| earlier.id));
        let newest_of = |job: u64| {
            let stored = sent.iter().filter(|d| d.job == job).filter_map(|d| self.spool.instance(d.instance));
            stored.filter(|stored| is_report(&stored.arrival.sop_class)).max_by_key(|stored| stored.id)
        };
        let newest = answers.into_iter().find_map(newest_of).map(|stored| stored.arrival);
        Ok(newest.map(|report| Predecessor { sop_instance: report.sop_instance, series: report.series }))
    }

    /// The bytes that will be sent, each time the same, on stable storage. Where an earlier try at the job's end stored
    /// them and got no further, they are there.
    pub(super) fn store(&self, study: &str, object: &ResultObject) -> Result<StoredInstance, Fault> {
        let is_it = |stored: &StoredInstance| {
            stored.arrival.origin == Origin::Produced
                && stored.arrival.sop_instance == object.sop_instance
                && stored.length == object.dataset.len() as u64
        };
        for stored in self.spool.instances_of(study).into_iter().filter(is_it) {
            if self.spool.read(&stored).is_ok_and(|bytes| bytes == object.dataset) {
                return Ok(stored);
            }
        }
        let mut incoming = self.spool.begin_result(study)?;
        incoming.write(&object.dataset)?;
        let arrival = Arrival {
            sop_class: object.sop_class.clone(),
            sop_instance: object.sop_instance.clone(),
            study: study.to_owned(),
            series: object.series.clone(),
            transfer_syntax: object.transfer_syntax.clone(),
            at: SystemTime::now(),
            origin: Origin::Produced,
        };
        Ok(incoming.commit_blocking(arrival, Batch::new())?)
    }

    /// Where the results of a job go: as its route says.
    fn places(set: &ServingSet, job: &Job) -> Vec<Place> {
        let Some(route) = set.route(&job.route) else { return Vec::new() };
        let is_kept = route.mode == Mode::Shadow;
        route.destinations.iter().map(|destination| Place { destination: destination.clone(), is_kept }).collect()
    }

    /// Where the results of a job went, or were kept from: what is made of them again goes nowhere else, whatever its route says now.
    pub(super) fn places_before(&self, job: &Job) -> Result<Vec<Place>, Fault> {
        let mut places: Vec<Place> = Vec::new();
        for delivery in self.spool.scan::<Delivery>(Table::Deliveries, "")? {
            let is_past = matches!(delivery.state, DeliveryState::Superseded { .. });
            if delivery.job != job.id || delivery.is_note() || is_past {
                continue;
            }
            let is_kept = delivery.state == DeliveryState::Kept;
            match places.iter_mut().find(|place| place.destination == delivery.destination) {
                Some(place) => place.is_kept &= is_kept,
                None => places.push(Place { destination: delivery.destination, is_kept }),
            }
        }
        Ok(places)
    }

    /// Queues a result for the destinations that it has.
    pub(super) fn queue(
        places: &[Place],
        batch: &mut Batch,
        job: &Job,
        outcome: Outcome,
        object: &ResultObject,
        stored: &StoredInstance,
    ) -> Result<(), Fault> {
        let study = Some(job.study.as_str());
        let record = ResultRecord {
            uid: object.sop_instance.clone(),
            sop_class: object.sop_class.clone(),
            transfer_syntax: object.transfer_syntax.clone(),
            study: job.study.clone(),
            job: job.id,
            kind: object.kind.to_owned(),
            instance: stored.id,
            model: format!("{} {}", job.package.title, job.package.version),
            outcome,
            summary: object.summary.clone(),
        };
        batch.put(Table::Results, &result_key(job.id, object.kind), &record, study)?;
        for Place { destination, is_kept } in places {
            let state = if *is_kept {
                DeliveryState::Kept
            } else {
                DeliveryState::Waiting { not_before: SystemTime::now(), trouble: None }
            };
            let delivery = Delivery {
                destination: destination.clone(),
                result: object.sop_instance.clone(),
                study: job.study.clone(),
                instance: stored.id,
                job: job.id,
                queued: SystemTime::now(),
                attempts: 0,
                unanswered: 0,
                state,
                recall: None,
            };
            batch.put(Table::Deliveries, &delivery.key(), &delivery, study)?;
        }
        Ok(())
    }

    /// Adds a line to the ledger.
    pub(super) fn ledger(
        batch: &mut Batch,
        package: &str,
        study: &str,
        job: u64,
        event: LedgerEvent,
    ) -> Result<(), Fault> {
        let at = SystemTime::now();
        let name = match &event {
            LedgerEvent::Ended { .. } => "ended".to_owned(),
            LedgerEvent::Corrected { identity, .. } => format!("corrected/{identity:010}"),
            LedgerEvent::Delivered { result, destination } => format!("delivered/{destination}/{result}"),
            // A result that a person queued again may be given up, or held, once more.
            LedgerEvent::Dead { result, destination, .. } => {
                let at = humantime::format_rfc3339_nanos(at);
                format!("dead/{destination}/{result}/{at}")
            }
            LedgerEvent::Recalled { .. } => RECALLED.to_owned(),
            LedgerEvent::Cancelled { result, destination } => format!("cancelled/{destination}/{result}"),
            LedgerEvent::Rejected { result, destination, .. } => format!("rejected/{destination}/{result}"),
            LedgerEvent::Held { result, destination, .. } => {
                let at = humantime::format_rfc3339_nanos(at);
                format!("held/{destination}/{result}/{at}")
            }
        };
        let entry = LedgerEntry { at, package: package.to_owned(), study: study.to_owned(), job, event };
        Ok(batch.put(Table::Ledger, &format!("{}/{name}", Job::key(job)), &entry, Some(study))?)
    }

    /// True where the results of a job were recalled.
    pub(super) fn is_recalled(&self, job: u64) -> bool {
        self.spool.get_bytes(Table::Ledger, &format!("{}/{RECALLED}", Job::key(job))).is_some()
    }

    /// Adds a step to a study's timeline.
    pub(super) fn note(&self, study: &str, step: &str, text: &str, code: Option<&str>) -> Result<(), Fault> {
        let _one_at_a_time = self.studies.lock().unwrap_or_else(PoisonError::into_inner);
        let mut batch = Batch::new();
        self.noted(&mut batch, study, step, text, code)?;
        self.spool.write_blocking(batch)?;
        self.recorder.changed();
        Ok(())
    }

    /// Puts a step of a study's timeline into a batch; the caller holds the studies.
    pub(super) fn noted(
        &self,
        batch: &mut Batch,
        study: &str,
        step: &str,
        text: &str,
        code: Option<&str>,
    ) -> Result<(), Fault> {
        let Some(mut record) = self.study_record(study)? else { return Ok(()) };
        record.note(step, text, code);
        Ok(batch.put(Table::Studies, study, &record, Some(study))?)
    }
}

/// The ledger's name for the recall of a job's results.
const RECALLED: &str = "recalled";

/// Key in the table of results.
pub(super) fn result_key(job: u64, kind: &str) -> String {
    format!("{}/{kind}", Job::key(job))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::infer::Engines;
    use crate::pipeline::{Activation, Recorder, Site};
    use crate::results::UidKey;
    use crate::spool::{Spool, SpoolOptions};
    use crate::worker::Bounds;
    use std::sync::Arc;
    use std::time::Duration;

    pub(in crate::pipeline) fn pipeline(folder: &std::path::Path) -> Arc<Pipeline> {
        let site = Site {
            ae_title: "SUND".into(),
            uid_key: UidKey::new(&[7; 32]),
            device: "test".into(),
            variant: None,
            engines: Engines::default(),
            bounds: Bounds { memory: 1 << 30, time: Duration::from_mins(1), wait: Duration::ZERO },
            activation: Activation::AtStart,
            has_channel: false,
        };
        let spool = Spool::open(SpoolOptions { segment_bytes: 1 << 20, ..SpoolOptions::in_directory(folder) });
        let set = ServingSet::own(Vec::new(), Vec::new());
        Pipeline::new(spool.unwrap(), site, set, Recorder::new(None)).unwrap()
    }

    /// A disk that is full when the end of a job is recorded: each later try made another set of results, until the reserve
    /// was used up.
    #[test]
    fn a_result_that_an_earlier_try_stored_is_not_stored_again() {
        let folder = tempfile::tempdir().unwrap();
        let pipeline = pipeline(folder.path());
        let mut object = ResultObject {
            kind: "SR",
            sop_class: "1.2.840.10008.5.1.4.1.1.88.34".into(),
            sop_instance: "2.25.1".into(),
            series: "2.25.2".into(),
            transfer_syntax: "1.2.840.10008.1.2.1".into(),
            dataset: b"a report".to_vec(),
            summary: String::new(),
        };
        let stored = pipeline.store("1.2.3", &object).unwrap();
        assert_eq!(pipeline.store("1.2.3", &object).unwrap().id, stored.id);
        object.dataset = b"A report".to_vec();
        assert_ne!(pipeline.store("1.2.3", &object).unwrap().id, stored.id, "other bytes are kept as well");
        assert_eq!(pipeline.spool.instances_of("1.2.3").len(), 2);
    }
}
