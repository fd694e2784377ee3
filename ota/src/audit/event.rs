//! An audit event of the updater, as it is kept and as the agent gets it.
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Debug;
use tracing::field::{Field, Visit};

/// Characters of a text. What a server or the agent said is in there.
const MAX_TEXT: usize = 1024;
/// Details of an event: with texts of that length it is still a line of the agent's audit log.
const MAX_DETAILS: usize = 8;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// Its number in the trail.
    pub seq: u64,
    /// When it happened, by the clock of this box.
    pub at: Timestamp,
    /// The program of the updater: `run`, `enrol`.
    pub by: String,
    /// Something was refused, or did not succeed.
    pub warns: bool,
    /// In words.
    pub text: String,
    /// What it was about, `code` and `reason` of a refusal among it.
    pub details: BTreeMap<String, String>,
}

/// What a program says, before it has a number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    pub warns: bool,
    pub text: String,
    pub details: BTreeMap<String, String>,
}

impl Said {
    pub fn numbered(self, seq: u64, by: &str) -> Event {
        let now = Timestamp::now();
        // To the millisecond, as the agent's audit log has it.
        let at = Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now);
        let Self { warns, text, details } = self;
        Event { seq, at, by: by.to_owned(), warns, text, details }
    }

    fn add(&mut self, field: &Field, text: String) {
        let text = text.chars().take(MAX_TEXT).collect();
        if field.name() == "message" {
            self.text = text;
        } else if self.details.len() < MAX_DETAILS {
            self.details.insert(field.name().to_owned(), text);
        }
    }
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add(field, format!("{value:?}"));
    }
}
