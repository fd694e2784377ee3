//! The updater's part of the audit trail: what was refused and why, applied, taken back, suspended, enrolled, escrowed, reset.
//!
//! All of it is said by `tracing`, under the target [`TARGET`], in whichever of the updater's programs; what else they warn of is taken for such an
//! event as well, so that all that went wrong on a box is collected. The journal, where it goes, forgets. So each
//! event is kept in the updater's directory as well, on stable storage before the program goes on, until the agent has it in its audit
//! log, which is collected. Nothing of it names a patient.
mod event;
mod hand_over;
mod layer;
mod trail;

pub use event::Event;
pub use trail::{Batch, Trail};

use event::Said;
use layer::Layer;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use tokio::sync::Notify;
use tracing::Subscriber;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::registry::LookupSpan;

/// What is said under it is an audit event.
pub const TARGET: &str = "audit";

/// Where the audit events of a program are kept.
#[derive(Clone, Debug, Default)]
pub struct Audit(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    kept: OnceLock<(Trail, &'static str)>,
    news: Notify,
}

impl Audit {
    /// What hears the events, and what the updater warns of; what it says of the trail itself would come back here.
    pub fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> impl tracing_subscriber::Layer<S> {
        let warns = [("sund_ota", LevelFilter::WARN), ("sund_updater", LevelFilter::WARN)];
        let heard = [(TARGET, LevelFilter::TRACE), (module_path!(), LevelFilter::OFF)];
        Layer::new(self.clone()).with_filter(Targets::new().with_targets(warns).with_targets(heard))
    }

    /// Keeps them from now on, in the updater's directory; `by` names the program. What is said before is in the journal alone.
    pub fn keep_in(&self, directory: &Path, by: &'static str) {
        // A program has one directory.
        let _ = self.0.kept.set((Trail::new(directory), by));
    }

    /// No update waits for the trail: where the disk does not take an event, it is counted.
    fn keep(&self, said: Said) {
        let Some((trail, by)) = self.0.kept.get() else { return };
        if let Err(fault) = trail.append(said, by) {
            tracing::error!(%fault, "an audit event is in the journal alone");
        }
        self.0.news.notify_one();
    }
}
