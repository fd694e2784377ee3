//! Erasure: on demand, and of what was kept for as long as it should be.
use super::Pipeline;
use crate::audit;
use crate::deliver::queue::{Delivery, DeliveryState};
use crate::fault::{Blame, Fault};
use crate::job::Job;
use crate::spool::Table;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::watch;

/// Between two looks at what is due.
const INTERVAL: Duration = Duration::from_mins(10);

/// Erases studies whose last instance came longer ago than `retention`, until `stop` turns true.
pub async fn retain(pipeline: Arc<Pipeline>, retention: Duration, mut stop: watch::Receiver<bool>) {
    loop {
        let due = Arc::clone(&pipeline);
        let erased = tokio::task::spawn_blocking(move || due.erase_due(retention, SystemTime::now())).await;
        if let Ok(Err(fault)) = erased {
            tracing::error!(code = %fault.code, reason = %fault.reason, "studies could not be erased");
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

impl Pipeline {
    /// Erases a study: destroys its key, so that nothing of it can be read again, on this disk or on a copy. `reason`
    /// goes to the audit trail. Refused while a job or a delivery of it is open.
    pub fn erase(&self, study: &str, reason: &str) -> Result<u64, Fault> {
        let _one_at_a_time = self.studies.lock().unwrap_or_else(PoisonError::into_inner);
        if self.spool.instances_of(study).is_empty() && self.study_record(study)?.is_none() {
            return Err(Fault::new("study-unknown", Blame::Peer, "there is no such study on this node"));
        }
        if self.is_under_way(study)? {
            let reason = "a job or a delivery of the study is open; erase it when they have ended";
            return Err(Fault::new("study-under-way", Blame::Peer, reason));
        }
        let record = self.spool.erase_study(study)?;
        self.recorder.audit(audit::Event::StudyErased { study: self.audit_study(study), reason: reason.to_owned() });
        self.recorder.changed();
        Ok(record.instances)
    }

    fn erase_due(&self, retention: Duration, now: SystemTime) -> Result<(), Fault> {
        for study in self.spool.studies() {
            let newest = self.spool.instances_of(&study).into_iter().map(|instance| instance.arrival.at).max();
            let is_due = newest.is_some_and(|at| now.duration_since(at).is_ok_and(|age| age > retention));
            if is_due && !self.is_under_way(&study)? {
                self.erase(&study, "kept for the time that the configuration sets")?;
            }
        }
        Ok(())
    }

    fn is_under_way(&self, study: &str) -> Result<bool, Fault> {
        let jobs: Vec<Job> = self.spool.scan(Table::Jobs, "")?;
        let deliveries: Vec<Delivery> = self.spool.scan(Table::Deliveries, "")?;
        Ok(jobs.iter().any(|job| job.study == study && job.is_open())
            || deliveries.iter().any(|d| d.study == study && matches!(d.state, DeliveryState::Waiting { .. })))
    }
}
