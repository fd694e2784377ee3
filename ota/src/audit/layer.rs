//! Hears what is said; which events it gets, its filter says.
use super::Audit;
use super::event::Said;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::Context;

/// A layer of `tracing` that keeps audit events.
pub struct Layer(Audit);

impl Layer {
    pub(super) fn new(audit: Audit) -> Self {
        Self(audit)
    }
}

impl<S: Subscriber> tracing_subscriber::Layer<S> for Layer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut said = Said { warns: *event.metadata().level() <= Level::WARN, ..Said::default() };
        event.record(&mut said);
        self.0.keep(said);
    }
}
