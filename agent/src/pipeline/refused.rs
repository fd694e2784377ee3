//! association → study: instances that a study lacks because they were refused, until its timeline says so.
use super::Pipeline;
use crate::counted::counted;
use crate::fault::Fault;
use crate::limits::study::MAX_LACKING;
use crate::spool::{Batch, Table};
use crate::study::record::StudyRecord;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

/// What was refused of studies whose timelines do not say so yet. In memory alone: the audit trail has it for good.
#[derive(Default)]
pub(super) struct Refused(Mutex<HashMap<String, BTreeMap<String, Lacking>>>);

/// Instances that were refused for one reason.
struct Lacking {
    instances: u64,
    reason: String,
}

impl Refused {
    /// One more instance of a study was refused. Of too many studies at a time, those that come last go without: a sender
    /// that is refused altogether makes no list here.
    pub(super) fn add(&self, study: &str, fault: &Fault) {
        let mut studies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if studies.len() >= MAX_LACKING && !studies.contains_key(study) {
            return;
        }
        let lacking = || Lacking { instances: 0, reason: fault.reason.clone() };
        let reasons = studies.entry(study.to_owned()).or_default();
        reasons.entry(fault.code.to_string()).or_insert_with(lacking).instances += 1;
    }

    /// Puts what was refused of a study on its timeline.
    pub(super) fn note(&self, record: &mut StudyRecord) {
        let lacking = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&record.study);
        for (code, Lacking { instances, reason }) in lacking.unwrap_or_default() {
            let what = counted(instances, "instance was", "instances were");
            record.note("lacking", format!("{what} refused: {reason}"), Some(&code));
        }
    }

    fn forget(&self, study: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(study);
    }
}

impl Pipeline {
    /// An association has ended that brought a study nothing but instances that were refused: no completion follows.
    pub(super) fn note_refused(&self, study: &str) -> Result<(), Fault> {
        let _one_at_a_time = self.studies.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut record) = self.study_record(study)? else {
            self.refused.forget(study);
            return Ok(());
        };
        self.refused.note(&mut record);
        let mut batch = Batch::new();
        batch.put(Table::Studies, study, &record, Some(study))?;
        self.spool.write_blocking(batch)?;
        self.recorder.changed();
        Ok(())
    }
}
