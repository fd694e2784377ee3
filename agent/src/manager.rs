//! What systemd is told of this process; nothing where it was started by somebody else.
use crate::limits::agent::{START_PULSE, START_SILENCE};
use sd_notify::{NotifyState, notify};
use std::time::Instant;

/// Tells it.
pub(crate) fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = notify(state) {
        tracing::warn!(%error, "systemd could not be told");
    }
}

/// A start that may take longer than its unit allows: more time is asked for while it gets on, and only then, so that one that hangs is
/// still ended.
#[derive(Debug, Default)]
pub(crate) struct Start {
    asked: Option<(Instant, &'static str)>,
}

impl Start {
    /// It gets on with this.
    pub(crate) fn gets_on(&mut self, with: &'static str) {
        if self.asked.is_none_or(|(asked, before)| before != with || asked.elapsed() >= START_PULSE) {
            self.asked = Some((Instant::now(), with));
            let microseconds = u32::try_from(START_SILENCE.as_micros()).unwrap_or(u32::MAX);
            tell(&[NotifyState::ExtendTimeoutUsec(microseconds), NotifyState::Status(with)]);
        }
    }
}
