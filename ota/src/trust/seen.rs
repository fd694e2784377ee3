//! What this box has seen of the repository: the newest root, timestamp and snapshot that held, and the latest time at which
//! they did. One file, replaced as a whole, so that a power cut leaves the old or the new one: rollback is refused over restarts.
use crate::durable;
use crate::fault::{Blame, Fault};
use crate::limits::metadata;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

const FILE: &str = "seen.json";
/// Each document may grow by its escapes.
const MAX_FILE: u64 = 3 * (metadata::MAX_ROOT + metadata::MAX_TIMESTAMP + metadata::MAX_SNAPSHOT);
/// No clock is right that stands before this version was made.
const EARLIEST: &str = "2026-11-01T00:00:00Z";

/// What was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Seen {
    /// The latest time at which metadata held. A clock that is ahead by more than that still had to live finds it expired and leaves
    /// no trace here. One that is ahead by less does, by some days: updates wait until the true time has passed it.
    pub(super) latest: Option<Timestamp>,
    /// What the box was provisioned with when it saw `root`, by its hash: SHA-256, hexadecimal.
    pub(super) anchor: Option<String>,
    /// root.json, as it was signed.
    pub(super) root: Option<String>,
    /// timestamp.json, as it was signed.
    pub(super) timestamp: Option<String>,
    /// snapshot.json, as it was signed.
    pub(super) snapshot: Option<String>,
}

impl Seen {
    /// Reads what was seen; a box that has seen nothing yet has no file.
    pub(super) fn open(directory: &Path) -> Result<Self, Fault> {
        let path = directory.join(FILE);
        let damaged = |error: std::io::Error| damaged(&error.to_string());
        match std::fs::metadata(&path) {
            Ok(about) if about.len() > MAX_FILE => return Err(self::damaged(&format!("more than {MAX_FILE} bytes"))),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(damaged(error)),
        }
        let bytes = std::fs::read(&path).map_err(damaged)?;
        serde_json::from_slice(&bytes).map_err(|error| self::damaged(&error.to_string()))
    }

    /// Keeps it, durably.
    pub(super) fn keep(&self, directory: &Path) -> Result<(), Fault> {
        let failed = |error: std::io::Error| {
            let reason = format!("{} cannot be written: {error}", directory.join(FILE).display());
            Fault::new("disk-failed", Blame::Box, reason)
        };
        durable::directory(directory, 0o750)?;
        let bytes = serde_json::to_vec(self).map_err(|error| failed(error.into()))?;
        durable::replace(&directory.join(FILE), &bytes, 0o640)
    }

    /// The time now, which no clock may have gone back behind.
    pub(super) fn now(&self) -> Result<Timestamp, Fault> {
        let now = Timestamp::now();
        if let Some(latest) = self.latest.filter(|latest| now < *latest) {
            let reason = format!("the clock stands before {latest}, which it was already: set it right");
            return Err(Fault::new("clock-set-back", Blame::Box, reason));
        }
        check_build(now)?;
        Ok(now)
    }
}

/// What a box has seen, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// Until when the metadata is good, by role, in seconds since 1970: it is renewed in time.
    pub until: BTreeMap<String, i64>,
    /// The newest word of the region that reached the box, where one has.
    pub heard: Option<Heard>,
}

/// The newest word of the region that reached a box. What it has suspended or withdrawn since, the box does not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// Version of the timestamp.
    pub version: u64,
    /// When the repository held last, in seconds since 1970; absent: never, and its age could not be told.
    pub at: Option<i64>,
}

/// What a box has seen; nothing where that can't be read.
pub fn shown(directory: &Path) -> Shown {
    let Ok(Seen { latest, root, timestamp, snapshot, .. }) = Seen::open(directory) else { return Shown::default() };
    let mut shown = Shown::default();
    for (role, text) in [("root", root), ("snapshot", snapshot), ("timestamp", timestamp)] {
        let Some(Ok(metadata)) = text.map(|text| serde_json::from_str::<serde_json::Value>(&text)) else { continue };
        let signed = &metadata["signed"];
        if let Some(Ok(until)) = signed["expires"].as_str().map(str::parse::<Timestamp>) {
            shown.until.insert(role.to_owned(), until.as_second());
        }
        if let ("timestamp", Some(version)) = (role, signed["version"].as_u64()) {
            shown.heard = Some(Heard { version, at: latest.map(Timestamp::as_second) });
        }
    }
    shown
}

/// What was kept is not what was kept: without it old metadata would not be known as old.
pub(super) fn damaged(why: &str) -> Fault {
    let reason = format!(
        "what this box has seen of the repository ({FILE} in its datastore) cannot be read ({why}): restore it, or provision \
         the box again"
    );
    Fault::new("seen-damaged", Blame::Box, reason)
}

fn check_build(now: Timestamp) -> Result<(), Fault> {
    if EARLIEST.parse::<Timestamp>().is_ok_and(|earliest| now < earliest) {
        let reason = format!("the clock stands before {EARLIEST}, when this updater was made: set it right");
        return Err(Fault::new("clock-before-build", Blame::Box, reason));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_before_the_build_is_refused() {
        let code = check_build("1970-01-01T00:00:09Z".parse().unwrap()).map_err(|fault| fault.code);
        assert_eq!(code, Err("clock-before-build".into()));
        assert_eq!(check_build(EARLIEST.parse().unwrap()), Ok(()));
    }
}
