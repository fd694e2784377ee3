//! association → study: instances that a study lacks because they were refused, until its timeline says so.
use super::Pipeline;
use crate::counted::counted;
use crate::fault::Fault;
use crate::limits::study::{MAX_LACKING, MAX_LACKING_INSTANCES};
use crate::spool::{Batch, Table};
use crate::study::record::StudyRecord;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

/// What was refused of studies whose timelines do not say so yet. In memory alone: the audit trail has it for good.
#[derive(Default)]
pub(super) struct Refused(Mutex<HashMap<String, Lacking>>);

/// What was refused of one study.
#[derive(Default)]
struct Lacking {
    reasons: BTreeMap<String, Reason>,
    /// SOP Instance UIDs.
    instances: BTreeSet<String>,
}

/// Instances that were refused for one reason.
struct Reason {
    instances: u64,
    reason: String,
}

impl Refused {
    /// One more instance of a study was refused. Of too many studies at a time, those that come last go without: a sender
    /// that is refused altogether makes no list here.
    pub(super) fn add(&self, study: &str, sop_instance: &str, fault: &Fault) {
        let mut studies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if studies.len() >= MAX_LACKING && !studies.contains_key(study) {
            return;
        }
        let lacking = studies.entry(study.to_owned()).or_default();
        let reason = || Reason { instances: 0, reason: fault.reason.clone() };
        lacking.reasons.entry(fault.code.to_string()).or_insert_with(reason).instances += 1;
        if lacking.instances.len() < MAX_LACKING_INSTANCES {
            lacking.instances.insert(sop_instance.to_owned());
        }
    }

    /// Puts what was refused of a study into its record: on the timeline, and by name, until it comes after all.
    pub(super) fn note(&self, record: &mut StudyRecord) {
        let lacking = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&record.study).unwrap_or_default();
        record.lacking.extend(lacking.instances);
        while record.lacking.len() > MAX_LACKING_INSTANCES {
            record.lacking.pop_last();
        }
        for (code, Reason { instances, reason }) in lacking.reasons {
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
