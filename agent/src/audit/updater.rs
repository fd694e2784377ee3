//! Events of this box's updater, each once: it offers one again of which it got no answer.
use super::beside;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// Which event a line is of, in the message.
pub(super) const NUMBER: &str = "updater-event";
const FILE: &str = "updater.json";
/// What is read here.
const FORMAT: u32 = 1;

/// What the updater did, or refused, in its own words.
#[derive(Clone, Debug)]
pub struct UpdaterEvent {
    /// The trail that its number is of.
    pub trail: String,
    /// Its number there.
    pub seq: u64,
    /// Which of the updater's programs says so.
    pub by: String,
    /// Something was refused, or did not succeed.
    pub warns: bool,
    /// In words.
    pub text: String,
    /// What it was about; at most `limits::audit::MAX_DETAILS` are written.
    pub details: BTreeMap<String, String>,
}

impl UpdaterEvent {
    /// As it stands in the message.
    pub(super) fn number(&self) -> Value {
        json!(Taken::of(self))
    }
}

/// The last event that the log has. It stands in the log itself; of a log whose last file has none, in a file beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Taken {
    trail: String,
    seq: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    format: u32,
    taken: Taken,
}

impl Taken {
    pub fn of(event: &UpdaterEvent) -> Self {
        Self { trail: event.trail.clone(), seq: event.seq }
    }

    /// That of a line, where it is one of the updater's.
    pub fn in_message(message: &Value) -> Option<Self> {
        let objects = message["ParticipantObjectIdentification"].as_array()?;
        let number = objects.iter().find(|object| object["ParticipantObjectID"] == NUMBER)?;
        serde_json::from_value(number["ParticipantObjectDetail"].clone()).ok()
    }

    /// Whether an event is in the log.
    pub fn has(&self, event: &UpdaterEvent) -> bool {
        self.trail == event.trail && event.seq <= self.seq
    }

    /// That of the files before the last one.
    pub fn read(dir: &Path) -> io::Result<Option<Self>> {
        let kept = beside::read::<Kept>(dir, FILE, |kept| kept.format == FORMAT)?;
        Ok(kept.map(|kept| kept.taken))
    }

    /// Before another file is begun; durable on return.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        beside::write(dir, FILE, &Kept { format: FORMAT, taken: self.clone() })
    }
}
