//! One result on its way to one destination: what is kept of it, and when it is tried again.
use crate::limits::deliver::{FIRST_PAUSE, LONGEST_PAUSE, MAX_ATTEMPTS};
use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime};

/// A delivery, as the spool keeps it under `destination/result UID`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Name of the destination in the configuration.
    pub destination: String,
    /// SOP Instance UID of the result.
    pub result: String,
    /// Study of the result.
    pub study: String,
    /// Number of the result's instance in the spool: the bytes that are sent, each time the same.
    pub instance: u64,
    /// The job that made it.
    pub job: u64,
    /// When it was queued.
    pub queued: SystemTime,
    /// Attempts that failed so far.
    pub attempts: u32,
    /// Where it stands.
    pub state: DeliveryState,
}

/// Where a delivery stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeliveryState {
    /// To be sent at this time or later.
    Waiting {
        /// Not before.
        not_before: SystemTime,
        /// Why the last attempt failed.
        trouble: Option<String>,
    },
    /// The destination confirmed it.
    Delivered {
        /// When.
        at: SystemTime,
    },
    /// Given up; a person can queue it again.
    Dead {
        /// When.
        at: SystemTime,
        /// Why.
        reason: String,
    },
    /// Kept back: never sent, by policy (a shadow run) or until a person decides.
    Held {
        /// Why.
        reason: String,
    },
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// Stored by the destination.
    Confirmed,
    /// Not now: the destination is away or out of resources.
    Later(String),
    /// Never: the destination will not take this object.
    Refused(String),
}

impl Delivery {
    /// The key in the table of deliveries.
    pub fn key(&self) -> String {
        format!("{}/{}", self.destination, self.result)
    }

    /// True where it can be sent at `now`.
    pub fn is_due(&self, now: SystemTime) -> bool {
        matches!(self.state, DeliveryState::Waiting { not_before, .. } if not_before <= now)
    }

    /// The delivery after an attempt.
    #[must_use]
    pub fn after(mut self, attempt: Attempt, now: SystemTime) -> Self {
        self.state = match attempt {
            Attempt::Confirmed => DeliveryState::Delivered { at: now },
            Attempt::Refused(reason) => DeliveryState::Dead { at: now, reason },
            Attempt::Later(reason) => {
                self.attempts += 1;
                if self.attempts >= MAX_ATTEMPTS {
                    let reason = format!("given up after {} attempts; the last one: {reason}", self.attempts);
                    DeliveryState::Dead { at: now, reason }
                } else {
                    DeliveryState::Waiting { not_before: now + pause(self.attempts), trouble: Some(reason) }
                }
            }
        };
        self
    }
}

/// The pause before attempt `failed + 1`: doubled after each failure, up to a bound.
fn pause(failed: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << failed.saturating_sub(1).min(16)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery() -> Delivery {
        Delivery {
            destination: "pacs".into(),
            result: "2.25.1".into(),
            study: "1.2".into(),
            instance: 7,
            job: 1,
            queued: SystemTime::UNIX_EPOCH,
            attempts: 0,
            state: DeliveryState::Waiting { not_before: SystemTime::UNIX_EPOCH, trouble: None },
        }
    }

    #[test]
    fn a_destination_that_is_away_is_tried_less_and_less_often_and_then_given_up_with_the_reason() {
        let mut now;
        let mut d = delivery();
        let mut pauses = Vec::new();
        while let DeliveryState::Waiting { not_before, .. } = d.state {
            now = not_before;
            assert!(d.is_due(now));
            d = d.after(Attempt::Later("connection refused".into()), now);
            if let DeliveryState::Waiting { not_before, .. } = d.state {
                pauses.push(not_before.duration_since(now).unwrap());
            }
        }
        assert_eq!(pauses[..4], [2, 4, 8, 16].map(Duration::from_secs));
        assert!(pauses.iter().all(|p| *p <= LONGEST_PAUSE));
        assert!(pauses.iter().sum::<Duration>() > Duration::from_hours(20), "a night without a PACS is survived");
        assert!(matches!(d.state, DeliveryState::Dead { ref reason, .. } if reason.contains("connection refused")));
    }

    #[test]
    fn what_a_destination_refuses_for_good_is_not_tried_again() {
        let d = delivery().after(Attempt::Refused("SOP class not supported".into()), SystemTime::UNIX_EPOCH);
        assert!(!d.is_due(SystemTime::now()));
        assert!(matches!(d.state, DeliveryState::Dead { .. }));
    }
}
