//! What a stage boundary leaves behind: an audit event, a metric, a log line, and a nudge to whoever watches.
use crate::audit;
use crate::fault::Fault;
use crate::metrics;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;

/// Writes what happens at each boundary.
pub struct Recorder {
    audit: Option<Arc<audit::Log>>,
    changes: watch::Sender<u64>,
}

impl Recorder {
    /// A recorder; without an audit log only where no patient's data pass, as in `sund model run`.
    pub fn new(audit: Option<Arc<audit::Log>>) -> Self {
        Self { audit, changes: watch::channel(0).0 }
    }

    /// Runs one stage on behalf of a study: its span, its time, its failure.
    pub fn stage<T>(
        &self,
        stage: &'static str,
        study: &str,
        run: impl FnOnce() -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let span = tracing::info_span!("stage", stage, study);
        let _entered = span.enter();
        let begun = Instant::now();
        let done = run();
        metrics::stage(stage, begun.elapsed());
        if let Err(fault) = &done {
            metrics::refusal(&fault.code);
            tracing::warn!(code = %fault.code, reason = %fault.reason, "stage refused");
        }
        done
    }

    /// Writes an audit event. Where the disk does not take it, the log says so: the event itself must not be lost silently.
    pub fn audit(&self, event: audit::Event) {
        if let Some(log) = &self.audit
            && let Err(fault) = log.append(event)
        {
            tracing::error!(code = %fault.code, reason = %fault.reason, "an audit event could not be written");
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
