//! bracket → results: what a job ended with, made durable before anything is sent.
use super::Pipeline;
use super::runner::model;
use crate::audit;
use crate::deliver::queue::{Delivery, DeliveryState};
use crate::deliver::record::{LedgerEntry, LedgerEvent, ResultRecord};
use crate::fault::{Blame, Fault};
use crate::inference::Inference;
use crate::instance::{Arrival, Origin, StoredInstance};
use crate::job::{Job, JobState};
use crate::outcome::Outcome;
use crate::privacy::Private;
use crate::results::{Mode, Predecessor, ResultContext, ResultObject, SourceHeader, make, outcome_report};
use crate::spool::{Batch, Table};
use std::sync::PoisonError;
use std::time::SystemTime;

impl Pipeline {
    /// Ends a job: its results are made and stored, then one batch ends the job, queues the deliveries and writes the ledger.
    /// A cut before that batch leaves the job open; run again, it makes results with the same UIDs.
    pub(super) fn conclude(&self, job: Job, outcome: Outcome, answer: Result<Inference, Fault>) -> Result<(), Fault> {
        let id = self.study_record(&job.study)?.map(|record| record.id).unwrap_or_default();
        let made = self.recorder.stage("results", &id, || self.make_results(&job, outcome, &answer));
        let (outcome, objects, fault, times) = match (made, answer) {
            (Ok(objects), Ok(inference)) => (outcome, objects, None, inference.times),
            (Ok(objects), Err(fault)) => (outcome, objects, Some(fault), Vec::new()),
            (Err(fault), _) => (Outcome::Failed, Vec::new(), Some(fault), Vec::new()),
        };
        let summary = objects.first().map_or_else(|| outcome.sentence().to_owned(), |object| object.summary.clone());
        let mut batch = Batch::new();
        let study = Some(job.study.as_str());
        for object in &objects {
            let stored = self.store(&job, object)?;
            self.queue(&mut batch, &job, outcome, object, &stored)?;
        }
        let ended = LedgerEvent::Ended { outcome, results: objects.iter().map(|o| o.sop_instance.clone()).collect() };
        Self::ledger(&mut batch, &job.package.digest, &job.study, job.id, ended)?;
        let mut done = job.clone();
        done.state =
            JobState::Ended { outcome, at: SystemTime::now(), fault: fault.clone(), summary: summary.clone(), times };
        batch.put(Table::Jobs, &Job::key(job.id), &done, study)?;
        self.spool.write_blocking(batch)?;

        crate::metrics::outcome(&job.package.name, outcome);
        let step = if outcome == Outcome::Failed { "failed" } else { "done" };
        let text = match &fault {
            Some(fault) => format!("{}: {}: {}", job.package.title, outcome.sentence(), fault.reason),
            None => format!("{}: {summary}", job.package.title),
        };
        self.note(&job.study, step, &text, fault.as_ref().map(|fault| fault.code.as_ref()))?;
        for object in &objects {
            self.recorder.audit(audit::Event::ResultMade {
                study: self.audit_study(&job.study),
                model: model(&job),
                kind: object.kind.to_owned(),
                instance: Private::new(object.sop_instance.clone()),
            });
        }
        self.recorder.audit(audit::Event::JobEnded {
            study: self.audit_study(&job.study),
            job: job.id,
            model: model(&job),
            outcome,
            fault,
        });
        self.deliveries.notify_waiters();
        Ok(())
    }

    fn make_results(
        &self,
        job: &Job,
        outcome: Outcome,
        answer: &Result<Inference, Fault>,
    ) -> Result<Vec<ResultObject>, Fault> {
        let route = self.site.routes.iter().find(|route| route.name == job.route).ok_or_else(|| {
            Fault::new("route-gone", Blame::Configuration, format!("route {} is no longer configured", job.route))
        })?;
        let record = self.study_record(&job.study)?;
        let predecessor = self.predecessor(job)?;
        let context = ResultContext {
            identity: &self.identity(&job.study)?,
            identity_version: record.map_or(1, |record| record.identity_version),
            sources: &self.sources(job)?,
            input_digests: &job.input_digests,
            mode: route.mode,
            uid_key: &self.site.uid_key,
            at: job.created,
            device: &self.site.device,
            parameters: &job.route,
            predecessor: predecessor.as_ref(),
        };
        let mut objects = match answer {
            Ok(inference) => make(&context, inference)?,
            Err(_) => Vec::new(),
        };
        if route.outcome_reports.contains(&outcome) {
            let reason = answer.as_ref().err().map_or(String::new(), |fault| fault.reason.clone());
            objects.push(outcome_report(&context, outcome, &job.package, &reason)?);
        }
        Ok(objects)
    }

    fn sources(&self, job: &Job) -> Result<Vec<SourceHeader>, Fault> {
        let open = |id: &u64| -> Result<SourceHeader, Fault> {
            let stored = self.spool.instance(*id).ok_or(crate::spool::SpoolError::Erased)?;
            let dataset = self.spool.read(&stored)?;
            let header = crate::dataset::scan::scan(&dataset, &stored.arrival.transfer_syntax)?;
            Ok(SourceHeader { sop_class: stored.arrival.sop_class, sop_instance: stored.arrival.sop_instance, header })
        };
        job.inputs.iter().map(open).collect()
    }

    /// The report of the job that this one supersedes.
    fn predecessor(&self, job: &Job) -> Result<Option<Predecessor>, Fault> {
        let Some(earlier) = job.supersedes else { return Ok(None) };
        let record: Option<ResultRecord> = self.spool.get(Table::Results, &result_key(earlier, "SR"))?;
        let series = |record: &ResultRecord| self.spool.instance(record.instance).map(|stored| stored.arrival.series);
        Ok(record.and_then(|record| Some(Predecessor { series: series(&record)?, sop_instance: record.uid })))
    }

    /// The bytes that will be sent, each time the same, on stable storage.
    fn store(&self, job: &Job, object: &ResultObject) -> Result<StoredInstance, Fault> {
        let mut incoming = self.spool.begin(&job.study)?;
        incoming.write(&object.dataset)?;
        let arrival = Arrival {
            sop_class: object.sop_class.clone(),
            sop_instance: object.sop_instance.clone(),
            study: job.study.clone(),
            series: object.series.clone(),
            transfer_syntax: object.transfer_syntax.clone(),
            at: SystemTime::now(),
            origin: Origin::Produced,
        };
        Ok(incoming.commit_blocking(arrival, Batch::new())?)
    }

    fn queue(
        &self,
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
        let Some(route) = self.site.routes.iter().find(|route| route.name == job.route) else { return Ok(()) };
        for destination in &route.destinations {
            let state = if route.mode == Mode::Shadow {
                DeliveryState::Held { reason: "a shadow run: its results stay on the box".to_owned() }
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
                state,
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
        let name = match &event {
            LedgerEvent::Ended { .. } => "ended".to_owned(),
            LedgerEvent::Delivered { result, destination } => format!("delivered/{destination}/{result}"),
            LedgerEvent::Dead { result, destination, .. } => format!("dead/{destination}/{result}"),
        };
        let entry =
            LedgerEntry { at: SystemTime::now(), package: package.to_owned(), study: study.to_owned(), job, event };
        Ok(batch.put(Table::Ledger, &format!("{}/{name}", Job::key(job)), &entry, Some(study))?)
    }

    /// Adds a step to a study's timeline.
    pub(super) fn note(&self, study: &str, step: &str, text: &str, code: Option<&str>) -> Result<(), Fault> {
        let _one_at_a_time = self.studies.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut record) = self.study_record(study)? else { return Ok(()) };
        record.note(step, text, code);
        let mut batch = Batch::new();
        batch.put(Table::Studies, study, &record, Some(study))?;
        self.spool.write_blocking(batch)?;
        self.recorder.changed();
        Ok(())
    }
}

/// Key in the table of results.
pub(super) fn result_key(job: u64, kind: &str) -> String {
    format!("{}/{kind}", Job::key(job))
}
