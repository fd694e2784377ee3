//! What ended, for those who run the pipeline on files.
use super::Pipeline;
use super::conclude::result_key;
use crate::dataset::part10;
use crate::deliver::record::ResultRecord;
use crate::fault::Fault;
use crate::job::{Job, JobState};
use crate::spool::{SpoolError, Table};
use crate::study::record::StudyRecord;
use crate::trial::TrialAnswer;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::watch;

/// Kinds of results, in the order in which a person looks at them.
const KINDS: [&str; 4] = ["SEG", "SR", "SC", "OUTCOME"];

impl Pipeline {
    /// A number that changes with the state.
    pub fn changes_of_state(&self) -> watch::Receiver<u64> {
        self.recorder.changes()
    }

    /// True once a study was complete, and each of its jobs has ended.
    pub fn is_settled(&self, study: &str) -> bool {
        let record = self.study_record(study).ok().flatten();
        let is_complete = record.is_some_and(|record| record.revision > 0 || record.refused.is_some());
        is_complete && self.jobs_of(study).is_ok_and(|jobs| jobs.iter().all(|job| !job.is_open()))
    }

    /// What the jobs of a study, the `number`-th, ended with.
    pub fn trial_answers(&self, number: usize, study: &str) -> Result<Vec<TrialAnswer>, Fault> {
        let record = self.study_record(study)?;
        if let Some(fault) = record.as_ref().and_then(|record| record.refused.clone()) {
            return Ok(vec![refused(number, fault)]);
        }
        let series: BTreeSet<String> = record
            .iter()
            .flat_map(|record: &StudyRecord| record.instances.values().map(|known| known.series.clone()))
            .collect();
        let mut answers = Vec::new();
        for job in self.jobs_of(study)? {
            let JobState::Ended { outcome, fault, summary, times, .. } = &job.state else { continue };
            answers.push(TrialAnswer {
                study: number,
                series: job.series.as_ref().and_then(|uid| series.iter().position(|known| known == uid)).map(|n| n + 1),
                outcome: Some(*outcome),
                summary: summary.clone(),
                fault: fault.clone(),
                took: times.iter().map(|time| time.took).sum(),
                objects: self.objects(&job)?,
            });
        }
        Ok(answers)
    }

    pub(super) fn jobs_of(&self, study: &str) -> Result<Vec<Job>, SpoolError> {
        let mut jobs: Vec<Job> = self.spool.scan(Table::Jobs, "")?;
        jobs.retain(|job| job.study == study);
        Ok(jobs)
    }

    fn objects(&self, job: &Job) -> Result<Vec<(String, Vec<u8>)>, Fault> {
        let mut objects = Vec::new();
        for kind in KINDS {
            let Some(record) = self.spool.get::<ResultRecord>(Table::Results, &result_key(job.id, kind))? else {
                continue;
            };
            let stored = self.spool.instance(record.instance).ok_or(SpoolError::Erased)?;
            let dataset = self.spool.read(&stored)?;
            let file = part10::write(&record.sop_class, &record.uid, &record.transfer_syntax, &dataset);
            objects.push((record.kind, file));
        }
        Ok(objects)
    }
}

fn refused(study: usize, fault: Fault) -> TrialAnswer {
    TrialAnswer {
        study,
        series: None,
        outcome: None,
        summary: "refused".to_owned(),
        fault: Some(fault),
        took: Duration::ZERO,
        objects: Vec::new(),
    }
}
