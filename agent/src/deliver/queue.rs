//! One result on its way to one destination: what is kept of it, and when it is tried again.
use crate::limits::deliver::{FIRST_PAUSE, LONGEST_PAUSE, MAX_ATTEMPTS};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant, SystemTime};

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
    /// Attempts that began and of which no answer is known: the destination may hold the result all the same.
    #[serde(default)]
    pub unanswered: u32,
    /// Where it stands.
    pub state: DeliveryState,
    /// What a recall has to do with it. Beside the state, so that a version without recalls sends nothing that was cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recall: Option<InRecall>,
}

/// What a recall has to do with a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InRecall {
    /// Its result was recalled.
    Recalled {
        /// SOP Instance UID of the note that tells the destination to reject it.
        note: Option<String>,
    },
    /// It is such a note itself, of no job.
    Note {
        /// The package that was recalled.
        package: String,
    },
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
    /// Given up; a person can queue it again (`sund requeue`).
    Dead {
        /// When.
        at: SystemTime,
        /// Why.
        reason: String,
    },
    /// Never sent, because a newer result took its place: of all instances, or under the corrected identity. Or it was recalled.
    Superseded {
        /// When.
        at: SystemTime,
    },
    /// Kept here by policy: a shadow run.
    Kept,
    /// Held: the destination has the study under another patient. A person can have it asked again (`sund requeue`).
    Held {
        /// When.
        at: SystemTime,
        /// Why.
        reason: String,
    },
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// Stored by the destination.
    Confirmed,
    /// The destination is away: nothing can be sent to it.
    Away(String),
    /// Not now: the destination answered that it is out of resources.
    Later(String),
    /// No answer came: the destination broke off over this object.
    BrokeOff(String),
    /// Never: the destination will not take this object.
    Refused(String),
    /// Not sent: the destination does not say yet whose the study is.
    NotChecked(String),
    /// Not sent: the destination has the study under another patient.
    OtherPatient(String),
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

    /// Its place in the line. What is put off for its own sake goes behind what waits for the destination.
    pub fn place(&self) -> (SystemTime, u64) {
        match self.state {
            DeliveryState::Waiting { not_before, .. } => (not_before, self.instance),
            _ => (self.queued, self.instance),
        }
    }

    /// True where it is a rejection note, and no result.
    pub fn is_note(&self) -> bool {
        matches!(self.recall, Some(InRecall::Note { .. }))
    }

    /// The delivery of a result that is recalled: what has not arrived never goes. `note` rejects it where it did.
    #[must_use]
    pub fn recalled(mut self, note: Option<String>, now: SystemTime) -> Self {
        if self.may_still_go() {
            self.state = DeliveryState::Superseded { at: now };
        }
        let earlier = match self.recall.take() {
            Some(InRecall::Recalled { note }) => note,
            _ => None,
        };
        self.recall = Some(InRecall::Recalled { note: earlier.or(note) });
        self
    }

    /// True where it waits, or a person could have it wait again.
    pub fn may_still_go(&self) -> bool {
        use DeliveryState::{Dead, Held, Waiting};
        matches!(self.state, Waiting { .. } | Dead { .. } | Held { .. })
    }

    /// The delivery as its bytes are about to go: from now on the destination may hold them, until it answers otherwise.
    #[must_use]
    pub fn taken_up(mut self) -> Self {
        self.unanswered += 1;
        self
    }

    /// True where the destination holds the result, or may hold it.
    pub fn may_have_arrived(&self) -> bool {
        matches!(self.state, DeliveryState::Delivered { .. }) || self.unanswered > 0
    }

    /// The delivery as a person has it tried again, as often as a new one.
    #[must_use]
    pub fn queued_again(self, now: SystemTime) -> Self {
        Self { attempts: 0, state: DeliveryState::Waiting { not_before: now, trouble: None }, ..self }
    }

    /// The delivery after an attempt.
    #[must_use]
    pub fn after(mut self, attempt: Attempt, now: SystemTime) -> Self {
        if let Attempt::Confirmed | Attempt::Refused(_) | Attempt::Later(_) = attempt {
            self.unanswered = self.unanswered.saturating_sub(1);
        }
        self.state = match (attempt, self.state) {
            (Attempt::Confirmed, _) => DeliveryState::Delivered { at: now },
            (Attempt::Refused(reason), _) => DeliveryState::Dead { at: now, reason },
            (Attempt::OtherPatient(reason), _) => DeliveryState::Held { at: now, reason },
            (
                Attempt::Away(reason)
                | Attempt::Later(reason)
                | Attempt::BrokeOff(reason)
                | Attempt::NotChecked(reason),
                _,
            ) if self.attempts + 1 >= MAX_ATTEMPTS => {
                self.attempts += 1;
                let reason = format!("given up after {} attempts; the last one: {reason}", self.attempts);
                DeliveryState::Dead { at: now, reason }
            }
            // It keeps its place: the line as a whole waits.
            (Attempt::Away(reason), DeliveryState::Waiting { not_before, .. }) => {
                self.attempts += 1;
                DeliveryState::Waiting { not_before, trouble: Some(reason) }
            }
            (
                Attempt::Away(reason)
                | Attempt::Later(reason)
                | Attempt::BrokeOff(reason)
                | Attempt::NotChecked(reason),
                _,
            ) => {
                self.attempts += 1;
                DeliveryState::Waiting { not_before: now + pause(self.attempts), trouble: Some(reason) }
            }
        };
        self
    }
}

/// The way to a destination: while it is away, everything for it waits together, and goes in order once it is back.
#[derive(Debug, Default)]
pub struct Line {
    failures: u32,
    away_since: Option<Instant>,
    not_before: Option<Instant>,
}

impl Line {
    /// The destination could not be reached. True where that is news.
    pub fn failed(&mut self, now: Instant) -> bool {
        self.failures += 1;
        self.away_since.get_or_insert(now);
        self.not_before = Some(now + pause(self.failures));
        self.failures == 1
    }

    /// The destination answered; how long it had been away, where that is news.
    pub fn answered(&mut self, now: Instant) -> Option<Duration> {
        let away = self.away_since.map(|since| now.saturating_duration_since(since));
        *self = Self::default();
        away
    }

    /// How long the line waits; zero where it can be tried.
    pub fn wait(&self, now: Instant) -> Duration {
        self.not_before.map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
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
            unanswered: 0,
            state: DeliveryState::Waiting { not_before: SystemTime::UNIX_EPOCH, trouble: None },
            recall: None,
        }
    }

    #[test]
    fn a_destination_that_is_away_is_tried_less_and_less_often_and_then_given_up_with_the_reason() {
        let mut now = Instant::now();
        let (mut d, mut line) = (delivery(), Line::default());
        let mut pauses = Vec::new();
        while matches!(d.state, DeliveryState::Waiting { .. }) {
            assert!(line.wait(now).is_zero());
            d = d.after(Attempt::Away("connection refused".into()), SystemTime::now());
            line.failed(now);
            pauses.push(line.wait(now));
            now += line.wait(now);
        }
        assert_eq!(pauses[..4], [2, 4, 8, 16].map(Duration::from_secs));
        assert!(pauses.iter().all(|p| *p <= LONGEST_PAUSE));
        assert!(pauses.iter().sum::<Duration>() > Duration::from_hours(20), "a night without a PACS is survived");
        assert!(matches!(d.state, DeliveryState::Dead { ref reason, .. } if reason.contains("connection refused")));
    }

    #[test]
    fn what_is_put_off_for_its_own_sake_goes_behind_what_waits_for_the_destination() {
        let now = SystemTime::now();
        let away = delivery().after(Attempt::Away("connection refused".into()), now);
        let breaks = delivery().after(Attempt::BrokeOff("the connection was closed".into()), now);
        assert!(away.is_due(now) && !breaks.is_due(now));
        assert!(away.place() < breaks.place());
    }

    /// An answer takes back what its own attempt put in doubt, and not what an earlier one did.
    #[test]
    fn what_was_on_its_way_may_have_arrived_until_the_destination_answers_otherwise() {
        let now = SystemTime::now();
        let later = || Attempt::Later("out of resources".into());
        assert!(!delivery().may_have_arrived());
        assert!(!delivery().after(Attempt::Away("connection refused".into()), now).may_have_arrived());
        assert!(!delivery().taken_up().after(later(), now).may_have_arrived());
        let broke_off = delivery().taken_up().after(Attempt::BrokeOff("closed".into()), now);
        assert!(broke_off.may_have_arrived());
        assert!(broke_off.taken_up().after(later(), now).may_have_arrived());
        assert!(delivery().taken_up().after(Attempt::Confirmed, now).may_have_arrived());
        for unsent in [Attempt::NotChecked("no such study".into()), Attempt::OtherPatient("Patient ID".into())] {
            assert!(!delivery().after(unsent.clone(), now).may_have_arrived());
            let broke_off = delivery().taken_up().after(Attempt::BrokeOff("closed".into()), now);
            assert!(broke_off.after(unsent, now).may_have_arrived(), "that it was not sent now takes nothing back");
        }
    }

    /// What is said of it later: that it arrived after all, and nothing else.
    #[test]
    fn what_was_recalled_never_goes_and_counts_as_sent_once_it_arrives() {
        let now = SystemTime::now();
        let recalled = delivery().taken_up().recalled(Some("2.25.9".into()), now);
        assert!(!recalled.is_due(now) && !recalled.may_still_go() && recalled.may_have_arrived());
        let note = |d: &Delivery| d.recall.clone();
        let arrived = recalled.clone().after(Attempt::Confirmed, now);
        assert!(matches!(arrived.state, DeliveryState::Delivered { .. }));
        assert_eq!(note(&arrived), Some(InRecall::Recalled { note: Some("2.25.9".into()) }));
        assert_eq!(note(&arrived.recalled(Some("2.25.10".into()), now)), note(&recalled), "it is rejected once");
        let json = serde_json::to_value(delivery()).unwrap();
        assert!(json.get("recall").is_none(), "others are written as ever: {json}");
    }

    #[test]
    fn what_a_destination_refuses_for_good_is_not_tried_again() {
        let d = delivery().after(Attempt::Refused("SOP class not supported".into()), SystemTime::UNIX_EPOCH);
        assert!(!d.is_due(SystemTime::now()));
        assert!(matches!(d.state, DeliveryState::Dead { .. }));
    }
}
