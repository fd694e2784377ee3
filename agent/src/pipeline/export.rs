//! What ended, for those who run the pipeline on files.
use super::Pipeline;
use super::complete::{candidates, views};
use super::conclude::result_key;
use crate::dataset::part10;
use crate::deliver::record::ResultRecord;
use crate::fault::Fault;
use crate::job::{Job, JobState};
use crate::outcome::Outcome;
use crate::route::plan;
use crate::spool::{SpoolError, Table};
use crate::study::open::{OpenedInstance, open};
use crate::trial::{SeriesSeen, TrialAnswer};
use dicom_dictionary_std::tags;
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

    /// What the jobs of a study, the `number`-th, ended with, and why the model did not run on its other series.
    pub fn trial_answers(&self, number: usize, study: &str) -> Result<Vec<TrialAnswer>, Fault> {
        let Some(record) = self.study_record(study)? else { return Ok(Vec::new()) };
        if let Some(fault) = record.refused {
            return Ok(vec![TrialAnswer { fault: Some(fault), ..without_answer(number, "refused") }]);
        }
        let opened = open(&self.spool, &record)?;
        let seen = seen(&opened);
        let series = |uid: &str| seen.iter().find(|(known, _)| *known == uid).map(|(_, series)| series.clone());
        let mut answers = Vec::new();
        for job in self.jobs_of(study)? {
            let JobState::Ended { outcome, fault, summary, times, .. } = &job.state else { continue };
            // A study of one series needs no line for the study beside that of its series.
            let only = (seen.len() == 1).then(|| seen[0].1.clone());
            let summary =
                if job.series.is_none() && only.is_none() { "not meant for any series of the study" } else { summary };
            answers.push(TrialAnswer {
                series: job.series.as_deref().map_or(only, series),
                model: job.package.name.clone(),
                outcome: Some(*outcome),
                fault: fault.clone(),
                took: times.iter().map(|time| time.took).sum(),
                objects: self.objects(&job)?,
                ..without_answer(number, summary)
            });
        }
        let set = self.serving_set();
        let (candidates, views) = (candidates(&set.packages), views(&opened));
        for decision in plan(&set.routes, &candidates, &views).decisions {
            let series = series(decision.series);
            let model = decision.model.to_owned();
            if decision.unfit.is_empty()
                || answers.iter().any(|answer| answer.series == series && answer.model == model)
            {
                continue;
            }
            let reasons: Vec<String> = decision.unfit.iter().map(ToString::to_string).collect();
            let outcome = Some(Outcome::NotApplicable);
            answers.push(TrialAnswer { series, model, outcome, ..without_answer(number, &reasons.join("; ")) });
        }
        answers.sort_by_key(|answer| answer.series.as_ref().map_or(0, |series| series.number));
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

fn without_answer(study: usize, summary: &str) -> TrialAnswer {
    TrialAnswer {
        study,
        series: None,
        model: String::new(),
        outcome: None,
        summary: summary.to_owned(),
        fault: None,
        took: Duration::ZERO,
        objects: Vec::new(),
    }
}

/// The series of a study, in the order of arrival.
fn seen(opened: &[OpenedInstance]) -> Vec<(&str, SeriesSeen)> {
    let mut seen: Vec<(&str, SeriesSeen)> = Vec::new();
    for instance in opened {
        let uid = instance.stored.arrival.series.as_str();
        match seen.iter_mut().find(|(known, _)| *known == uid) {
            Some((_, series)) => series.images += 1,
            None => {
                let modality = instance.header.text(tags::MODALITY).unwrap_or_else(|| "?".to_owned());
                seen.push((uid, SeriesSeen { number: seen.len() + 1, modality, images: 1 }));
            }
        }
    }
    seen
}
