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
        match erased {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => {
                tracing::error!(code = %fault.code, reason = %fault.reason, "studies could not be erased");
            }
            Err(error) => tracing::error!(%error, "studies could not be erased"),
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
        // Whose it was is known only until then, and a cut between the two must leave a trace.
        let (whose, reason) = (self.audit_study(study), reason.to_owned());
        let begun = audit::Event::ErasureBegun { study: whose.clone(), reason: reason.clone() };
        self.recorder.audit_first(begun)?;
        let record = self.spool.erase_study(study)?;
        let instances = record.instances;
        self.recorder.audit(audit::Event::StudyErased { study: whose, reason, instances });
        self.recorder.changed();
        Ok(instances)
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

    /// Nothing of a refused study runs, no result of it is sent, and nothing is sent to a destination that is no longer configured: what
    /// waits of it would wait for ever.
    fn is_under_way(&self, study: &str) -> Result<bool, Fault> {
        let is_refused = self.is_refused(study)?;
        let deliveries: Vec<Delivery> = self.spool.scan(Table::Deliveries, "")?;
        let is_known = |name: &str| self.site.destinations.iter().any(|destination| destination.name == name);
        let waits = |d: &Delivery| matches!(d.state, DeliveryState::Waiting { .. }) && is_known(&d.destination);
        let waits = |d: &Delivery| d.study == study && waits(d) && (d.is_note() || !is_refused);
        Ok(!is_refused && self.jobs_of(study)?.iter().any(Job::is_open) || deliveries.iter().any(waits))
    }
}
