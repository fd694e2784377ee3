//! What a stage boundary leaves behind: an audit event, a metric, a log line, and a nudge to whoever watches.
use crate::audit;
use crate::fault::Fault;
use crate::metrics;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::watch;
use tracing::Span;

/// Writes what happens at each boundary.
pub struct Recorder {
    audit: Option<Arc<audit::Log>>,
    changes: watch::Sender<u64>,
    /// Why the audit log no longer takes events.
    unaudited: watch::Sender<Option<Fault>>,
    /// The spans of studies that something is being done for, by the names that the console gives them.
    spans: Mutex<HashMap<String, Span>>,
}

impl Recorder {
    /// A recorder; without an audit log only where no patient's data pass, as in `sund model run`.
    pub fn new(audit: Option<Arc<audit::Log>>) -> Self {
        Self { audit, changes: watch::channel(0).0, unaudited: watch::channel(None).0, spans: Mutex::default() }
    }

    /// The span of a study, one from its first stage to its last delivery, whoever works on it. `id` is the name that the
    /// console gives it (`StudyRecord::id`): nothing of the patient's.
    pub fn span(&self, id: &str) -> Span {
        let mut spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        spans.entry(id.to_owned()).or_insert_with(|| tracing::info_span!("study", id)).clone()
    }

    /// Nothing more is being done for a study: its span ends.
    pub fn at_rest(&self, id: &str) {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    /// Runs one stage on behalf of a study: its span, its time, its failure.
    pub fn stage<T>(
        &self,
        stage: &'static str,
        study: &str,
        run: impl FnOnce() -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let _study = self.span(study).entered();
        let _stage = tracing::info_span!("stage", stage).entered();
        let begun = Instant::now();
        let done = run();
        metrics::stage(stage, begun.elapsed());
        if let Err(fault) = &done {
            tracing::warn!(code = %fault.code, reason = %fault.reason, "stage refused");
        }
        done
    }

    /// Writes an audit event; where the disk does not take it, the agent ends, see [`Self::unaudited`].
    pub fn audit(&self, event: audit::Event) {
        // The agent is told, and ends.
        let _ = self.audit_first(event);
    }

    /// Writes an audit event before what it announces; on an error that must not happen, and the agent ends.
    pub fn audit_first(&self, event: audit::Event) -> Result<(), Fault> {
        self.audit_of(event, SystemTime::now())
    }

    /// The same of an event that was told later than it happened.
    pub fn audit_of(&self, event: audit::Event, at: SystemTime) -> Result<(), Fault> {
        let Some(log) = &self.audit else { return Ok(()) };
        blocking(|| log.append_of(event, at)).map(|_| ()).inspect_err(|fault| {
            tracing::error!(code = %fault.code, reason = %fault.reason, "an audit event could not be written");
            self.unaudited.send_replace(Some(fault.clone()));
        })
    }

    /// Waits until an audit event could not be written: the agent must not go on without.
    pub async fn unaudited(&self) -> Fault {
        let mut unaudited = self.unaudited.subscribe();
        loop {
            if let Some(fault) = unaudited.borrow_and_update().clone() {
                return fault;
            }
            if unaudited.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Tells whoever watches that something changed.
    pub fn changed(&self) {
        self.changes.send_modify(|n| *n += 1);
    }

    /// For watching.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

/// Waits for the disk without holding up the other tasks, where the runtime can.
pub(super) fn blocking<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current() {
        Ok(handle) if handle.runtime_flavor() == RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
        _ => work(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_study_has_one_span_until_nothing_more_is_done_for_it() {
        tracing::subscriber::with_default(tracing_subscriber::registry(), || {
            let recorder = Recorder::new(None);
            let first = recorder.span("one").id();
            assert!(first.is_some());
            assert_eq!(recorder.span("one").id(), first);
            assert_ne!(recorder.span("another").id(), first);
            recorder.at_rest("one");
            assert_ne!(recorder.span("one").id(), first);
        });
    }
}
