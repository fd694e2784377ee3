//! What the region has signed, where this box can't tell how old that is: its clock was set back or stands before the build, or the
//! metadata has expired.
//!
//! Signatures, thresholds and versions are held to as ever, and what was seen is never taken in an older version: the repository says what
//! the region wanted at some time after that. So nothing comes out of it that could be begun or switched on, no payload and no proof. What
//! switches off can be heeded: who shows an old word can at worst keep a model off.
use super::{Freshness, Source, Transport, Trusted, audited, switches};
use crate::descriptor::Descriptor;
use crate::documents::{STOP, SUSPENSIONS, Suspension};
use crate::fault::Fault;
use crate::limits::MAX_STATE;

/// Faults of a clock that is doubted.
const CLOCK: [&str; 2] = ["clock-set-back", "clock-before-build"];

/// A repository that holds but for its age, which nobody knows.
#[derive(Debug)]
pub(crate) struct Doubted(Trusted);

impl Doubted {
    /// Whether a repository was refused for its age alone.
    pub(crate) fn is_due(fault: &Fault) -> bool {
        fault.updates_stopped_since.is_some() || CLOCK.contains(&fault.code.as_ref())
    }

    /// Loads and verifies the metadata, but for its expiry.
    pub(crate) async fn load(source: &Source, transport: impl Into<Transport>) -> Result<Self, Fault> {
        let loaded = Trusted::load_as(source, transport.into(), Freshness::Unjudged).await;
        audited("repository of doubted age", loaded).map(Self)
    }

    /// Why no rollout goes on, where one was stopped.
    pub(crate) async fn stopped(&self) -> Result<Option<String>, Fault> {
        Ok(switches::stop(self.0.lists(STOP)?, self.0.read_document(STOP, MAX_STATE).await))
    }

    /// What is suspended.
    pub(crate) async fn suspended(&self) -> Result<Vec<Suspension>, Fault> {
        switches::suspensions(self.0.read_document(SUSPENSIONS, MAX_STATE).await)
    }

    /// Why the state of a descriptor would not be taken by the box of that name.
    pub(crate) async fn refusal(&self, name: &str, descriptor: &Descriptor) -> Option<Fault> {
        self.0.read_state_for(name, descriptor).await.err()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Blame;

    #[test]
    fn age_alone_is_passed_over_and_no_other_refusal() {
        for code in CLOCK {
            assert!(Doubted::is_due(&Fault::new(code, Blame::Box, "")));
        }
        let expired = Fault::new("timestamp-expired", Blame::Channel, "").stopping_updates(jiff::Timestamp::UNIX_EPOCH);
        assert!(Doubted::is_due(&expired));
        for code in
            ["signatures-too-few", "timestamp-rolled-back", "metadata-mixed", "seen-damaged", "store-unreachable"]
        {
            assert!(!Doubted::is_due(&Fault::new(code, Blame::Channel, "")));
        }
    }
}
