//! Identity apart from pixels: a patient or a study is corrected, and results follow without being inferred anew.
//!
//! The newest results of each job are made again under the new identity, with new UIDs, and queued. What has not gone out of
//! the earlier ones never will; what has gone out, or may have, is what the new report names as its predecessor. What was
//! recalled is not made again.
use super::Pipeline;
use crate::deliver::record::{LedgerEvent, ResultRecord};
use crate::fault::Fault;
use crate::job::{Job, JobState};
use crate::outcome::Outcome;
use crate::results::{Identity, ResultObject, corrected};
use crate::spool::{Batch, SpoolError, Table};
use crate::study::record::StudyRecord;

impl Pipeline {
    /// Puts into `batch` what a new version of the identity asks for, and says what was made: of the jobs that still
    /// `stand`. The caller holds the studies.
    pub(super) fn correct(
        &self,
        batch: &mut Batch,
        record: &mut StudyRecord,
        identity: &Identity,
        stands: impl Fn(&Job) -> bool,
    ) -> Result<Vec<(Job, ResultObject)>, Fault> {
        // Whatever comes of it: nothing goes out under the old identity.
        self.withdraw(batch, &record.study, |_| true)?;
        let mut made = Vec::new();
        for (job, outcome) in self.answers(&record.study)?.into_iter().filter(|(job, _)| stands(job)) {
            if self.is_recalled(job.id) {
                continue;
            }
            let id = record.id.clone();
            let again = self.recorder.stage("results", &id, || {
                let sent = self.sent_report(&job)?;
                corrected(self.results_of(&job)?, identity, sent.as_ref(), &self.site.uid_key)
            });
            match again {
                Ok(objects) => {
                    // The batch is not on the disk yet: what is withdrawn above is seen here as it was.
                    let places = self.places_before(&job)?;
                    for object in objects {
                        let stored = self.store(&job.study, &object)?;
                        Self::queue(&places, batch, &job, outcome, &object, &stored)?;
                        made.push((job.clone(), object));
                    }
                }
                Err(fault) => {
                    let text =
                        format!("the results of {} could not be corrected, and are kept back", job.package.title);
                    record.note("failed", text, Some(&fault.code));
                }
            }
            let results = made.iter().filter(|(of, _)| of.id == job.id).map(|(_, object)| object.sop_instance.clone());
            let event = LedgerEvent::Corrected { identity: record.identity_version, results: results.collect() };
            Self::ledger(batch, &job.package.digest, &job.study, job.id, event)?;
        }
        Ok(made)
    }

    /// Ended jobs of a study, without those that a later answer supersedes.
    fn answers(&self, study: &str) -> Result<Vec<(Job, Outcome)>, Fault> {
        let jobs = self.jobs_of(study)?;
        let outcome = |job: &Job| match job.state {
            JobState::Ended { outcome, .. } => Some(outcome),
            JobState::Waiting { .. } => None,
        };
        // A later answer supersedes every job that asked the same, whether or not it followed that one directly; so does
        // a decision that the model was not meant for the study.
        let is_answer = |job: &Job| {
            job.not_applicable.is_some() || matches!(outcome(job), Some(Outcome::Finding | Outcome::NoFinding))
        };
        let is_superseded =
            |job: &Job| jobs.iter().any(|later| later.id > job.id && is_answer(later) && later.asks_again(job));
        let stands = |job: &&Job| !is_superseded(job);
        Ok(jobs.iter().filter(stands).filter_map(|job| outcome(job).map(|outcome| (job.clone(), outcome))).collect())
    }

    /// The newest results of a job, as they lie in the spool.
    fn results_of(&self, job: &Job) -> Result<Vec<ResultObject>, Fault> {
        let records: Vec<ResultRecord> = self.spool.scan(Table::Results, &format!("{}/", Job::key(job.id)))?;
        let object = |record: ResultRecord| {
            let stored = self.spool.instance(record.instance).ok_or(SpoolError::Erased)?;
            Ok(ResultObject {
                kind: RESULT_KINDS.into_iter().find(|kind| *kind == record.kind).unwrap_or("OUTCOME"),
                dataset: self.spool.read(&stored)?.to_vec(),
                sop_class: stored.arrival.sop_class,
                sop_instance: stored.arrival.sop_instance,
                series: stored.arrival.series,
                transfer_syntax: stored.arrival.transfer_syntax,
                summary: record.summary,
            })
        };
        records.into_iter().map(object).collect()
    }
}

const RESULT_KINDS: [&str; 4] = ["SEG", "SR", "SC", "OUTCOME"];
