//! What the updater says of itself, for the page: the status file that it writes. The two share no code, so that file is read as one
//! that anybody may have written: it can be absent, damaged, oversized or old, and the page says which.
use super::server::Server;
use crate::limits::console::{MAX_UPDATER_STATUS, UPDATER_LATE};
use crate::release::Variant;
use axum::extract::State;
use axum::response::Json;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// What the page is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "standing", rename_all = "kebab-case")]
pub enum Seen {
    /// The configuration names no updater.
    None,
    /// What it says.
    Known {
        /// That.
        status: Box<UpdaterStatus>,
    },
    /// What it said last; it should have said more since.
    Old {
        /// Since when nothing came, in seconds since 1970.
        since: i64,
        /// That.
        status: Box<UpdaterStatus>,
    },
    /// It says nothing.
    Absent {
        /// Why that may be, and what to do.
        why: String,
    },
    /// What lies there is no status.
    Damaged {
        /// What is wrong with it.
        why: String,
    },
}

/// The updater's status, format 1, as far as the page shows it; a newer updater says more. Times are seconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpdaterStatus {
    /// 1.
    pub format: u32,
    /// Version of the updater.
    pub version: String,
    /// Name of this box at the server.
    pub id: String,
    /// The channel server.
    pub server: String,
    /// The tenant there.
    pub tenant: String,
    /// Until when the box's certificate is good.
    pub certificate_until: Option<i64>,
    /// How the recovery key of the disk stands with the region; absent: no key of the region is configured.
    pub escrow: Option<UpdaterEscrow>,
    /// Whether the box could be rescued, were neither slot to start; absent: its starts know of no counter for that.
    pub recovery: Option<UpdaterRecovery>,
    /// `on` or `off`: whether Secure Boot was on when the box started; absent: its firmware does not say.
    pub secure_boot: Option<String>,
    /// Until when the metadata that it has seen is good, by role.
    pub metadata_until: BTreeMap<String, i64>,
    /// The newest word of the region that reached the box; absent: none has.
    pub heard: Option<UpdaterHeard>,
    /// The operating system that runs.
    pub os: Option<String>,
    /// Which variant of it, where it is not the one for patients.
    pub variant: Option<Variant>,
    /// The state that the box last found good.
    pub state: Option<String>,
    /// Since when.
    pub since: Option<i64>,
    /// States that it could go back to.
    pub kept: Vec<String>,
    /// Models that the updater has switched off.
    pub suspended: Vec<String>,
    /// Why the region has stopped all rollouts, where it has.
    pub stopped: Option<String>,
    /// Models that the region has suspended, with the reason.
    pub suspended_by_region: BTreeMap<String, String>,
    /// The action in hand.
    pub action: Option<UpdaterAction>,
    /// The last one that ended.
    pub last: Option<UpdaterAction>,
    /// What it does now.
    pub now: UpdaterNow,
}

/// The escrow of the disk's recovery key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpdaterEscrow {
    /// `kept`, `waits` or `none`.
    pub standing: String,
    /// Since when the region keeps it.
    pub since: Option<i64>,
    /// SHA-256 of the key that it is sealed to.
    pub recipient: Option<String>,
    /// Why the region has it not.
    pub fault: Option<UpdaterFault>,
}

/// How it stands with a rescue of the box.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpdaterRecovery {
    /// The least version of a recovery bundle that is taken.
    pub least: Option<u64>,
    /// The version that the region offers, as far as it was asked.
    pub offered: Option<u64>,
    /// Why nothing would be taken, where that is known.
    pub fault: Option<UpdaterFault>,
}

/// Which word of the region has reached the box.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpdaterHeard {
    /// Version of the repository.
    pub version: u64,
    /// When it was heard last.
    pub at: Option<i64>,
}

/// An action of the updater.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpdaterAction {
    /// Its number at the server, or the name of its bundle.
    pub id: String,
    /// `channel` or `stick`.
    pub origin: String,
    /// The desired state.
    pub state: Option<String>,
    /// How far it is.
    pub step: String,
    /// How it ended.
    pub end: Option<String>,
    /// When it was taken up.
    pub since: i64,
    /// When it ended.
    pub ended: Option<i64>,
    /// Why it did not end well, or is being taken back.
    pub fault: Option<UpdaterFault>,
    /// Figures and findings.
    pub details: Vec<String>,
}

/// Why something did not go well, or waits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpdaterFault {
    /// Stable code, as in ota/README.md.
    pub code: String,
    /// For people.
    pub reason: String,
}

/// What the updater does now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpdaterNow {
    /// In words.
    pub doing: String,
    /// The last poll.
    pub poll: Option<UpdaterPoll>,
    /// Kilobytes that have come of a download.
    pub progress: Option<UpdaterProgress>,
    /// Why the action in hand waits.
    pub waits: Option<UpdaterFault>,
    /// Why the region was not heard at the last look, where it was not.
    pub unheard: Option<UpdaterFault>,
    /// What else is the matter, and is tried again with each poll.
    pub troubles: Vec<UpdaterTrouble>,
}

/// Something that is not as it should be, for as long as it lasts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpdaterTrouble {
    /// In words.
    pub what: String,
    /// Why.
    pub fault: UpdaterFault,
}

/// A poll.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpdaterPoll {
    /// When it was.
    pub at: i64,
    /// When the next one is due.
    pub next: i64,
    /// Time between two.
    pub interval_seconds: u64,
    /// Why it found nothing.
    pub trouble: Option<String>,
}

/// A download.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpdaterProgress {
    /// So many kilobytes are here...
    pub cnt: u32,
    /// ... of so many.
    pub of: Option<u32>,
}

/// `GET /api/v1/updater`
pub(super) async fn updater(State(server): State<Arc<Server>>) -> Json<Seen> {
    let Some(path) = server.updater_status.clone() else { return Json(Seen::None) };
    let seen = tokio::task::spawn_blocking(move || look(&path, SystemTime::now())).await;
    Json(seen.unwrap_or_else(|error| Seen::Damaged { why: error.to_string() }))
}

/// What the file says at that time.
pub fn look(path: &Path, now: SystemTime) -> Seen {
    let damaged = |why: String| Seen::Damaged { why: format!("{} {why}", path.display()) };
    // A pipe in its place does not hold up the page.
    let opened = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let path = path.display();
            let why = format!("{path} is not there. Does the updater run? systemctl status sund-updater");
            return Seen::Absent { why };
        }
        Err(error) => return damaged(format!("cannot be read: {error}")),
    };
    let written = match file.metadata() {
        Ok(about) if !about.is_file() => return damaged("is no file".to_owned()),
        Ok(about) => about.modified().unwrap_or(now),
        Err(error) => return damaged(format!("cannot be read: {error}")),
    };
    let mut bytes = Vec::new();
    match file.take(MAX_UPDATER_STATUS + 1).read_to_end(&mut bytes) {
        Ok(length) if length as u64 > MAX_UPDATER_STATUS => {
            return damaged(format!("has more than {MAX_UPDATER_STATUS} bytes"));
        }
        Ok(_) => {}
        Err(error) => return damaged(format!("cannot be read: {error}")),
    }
    let status: Box<UpdaterStatus> = match serde_json::from_slice(&bytes) {
        Ok(status) => status,
        Err(error) => return damaged(format!("is no status: {error}")),
    };
    if status.format != 1 {
        return damaged(format!("has format {}, and this agent reads 1: update it", status.format));
    }
    let since = seconds(written);
    if seconds(now) > due(&status, since) { Seen::Old { since, status } } else { Seen::Known { status } }
}

/// When the updater has said something again at the latest: it writes with each poll.
fn due(status: &UpdaterStatus, written: i64) -> i64 {
    let Some(poll) = &status.now.poll else { return written.saturating_add(UPDATER_LATE) };
    let interval = i64::try_from(poll.interval_seconds).unwrap_or(i64::MAX);
    written.saturating_add(interval.saturating_mul(2)).max(poll.next).saturating_add(UPDATER_LATE)
}

fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
