//! Hears what is said; which events it gets, its filter says.
use super::event::Said;
use super::{Audit, TARGET};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing::callsite::Identifier;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::Context;

/// A warning that is no audit event is not kept again for so long while it stays the same: a channel may be away for days.
const LASTS: Duration = Duration::from_hours(1);

/// A layer of `tracing` that keeps audit events and warnings.
pub(super) struct Layer {
    audit: Audit,
    /// What each place in the source warned of last, and when that was kept.
    warned: Mutex<HashMap<Identifier, (Said, Instant)>>,
}

impl Layer {
    pub(super) fn new(audit: Audit) -> Self {
        Self { audit, warned: Mutex::default() }
    }

    fn lasts(&self, place: Identifier, said: &Said) -> bool {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        let lasts = warned.get(&place).is_some_and(|(before, at)| before == said && at.elapsed() < LASTS);
        if !lasts {
            warned.insert(place, (said.clone(), Instant::now()));
        }
        lasts
    }
}

impl<S: Subscriber> tracing_subscriber::Layer<S> for Layer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let mut said = Said { warns: *metadata.level() <= Level::WARN, ..Said::default() };
        event.record(&mut said);
        if metadata.target() == TARGET || !self.lasts(metadata.callsite(), &said) {
            self.audit.keep(said);
        }
    }
}
