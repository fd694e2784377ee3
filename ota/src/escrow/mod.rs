//! The recovery key of the box's disk, which its region keeps: sealed to the region's own key, so that neither the channel nor whoever has
//! stolen it can read it.
//!
//! The system makes the key at its first start and leaves it in a file that root alone reads. It is sealed, sent until the channel has
//! acknowledged the digest of what it keeps, and only then is the file removed; another one beside it (`kept`) tells the system that none is
//! to be made at the next start. After a power cut at any point the key is there, or the region has it.
mod recipient;
mod record;

pub use recipient::Recipient;

use crate::config::{Config, Escrow};
use crate::durable;
use crate::fault::{Blame, Fault};
use crate::hex::hex;
use crate::http::{self, Http};
use record::{Record, Sealed};
use reqwest::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;

/// Where the system leaves the recovery key of the disk.
pub const RECOVERY: &str = "/var/lib/sund-recovery/key";
/// Beside it: the region has the key, and the system makes no other.
const KEPT: &str = "kept";
/// A recovery key in bytes, as systemd-cryptenroll writes it, with room for a line's end.
const MAX_KEY: u64 = 128;
/// Its groups, and the letters of each (systemd.io, "modhex": they lie at the same place on every keyboard).
const GROUPS: usize = 8;
const LETTERS: &str = "cbdefghijklnrtuv";
/// What was left is no recovery key.
const INVALID: &str = "escrow-recovery-invalid";
/// The region's public key, in bytes.
const MAX_PEM: u64 = 64 * 1024;
/// An acknowledgment, in bytes.
const MAX_ANSWER: u64 = 4096;
/// Time between two tries after one that failed.
const RETRY: Duration = Duration::from_mins(10);

/// What one run of the updater knows of it.
#[derive(Debug, Default)]
pub struct Offers {
    /// Not before.
    not_before: Option<Instant>,
    /// What is kept was offered by this run: a channel that was restored from an older copy has it again.
    is_offered: bool,
}

/// How the recovery key stands with the region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EscrowStatus {
    /// Whether the region has it.
    pub standing: Standing,
    /// Since when, in seconds since 1970.
    pub since: Option<i64>,
    /// SHA-256 of the public key that it is sealed to.
    pub recipient: Option<String>,
    /// Why the region has it not.
    pub fault: Option<Fault>,
}

/// Whether the region has the recovery key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It has.
    Kept,
    /// It is to get it.
    Waits,
    /// None was made here since the region's key came.
    None,
}

impl EscrowStatus {
    /// What is known; nothing where the configuration names no key of the region.
    pub fn read(config: &Config) -> Option<Self> {
        let escrow = config.escrow.as_ref()?;
        let record = Record::read(&file(config));
        let standing = match (&record.sealed, record.kept_since) {
            _ if escrow.recovery.exists() => Standing::Waits,
            (Some(_), Some(_)) => Standing::Kept,
            (Some(_), None) => Standing::Waits,
            (None, _) => Standing::None,
        };
        let recipient = record.sealed.map(|sealed| sealed.recipient);
        Some(Self { standing, since: record.kept_since, recipient, fault: record.trouble })
    }

    /// For people; `time` says a moment.
    pub fn in_words(&self, time: impl Fn(i64) -> String) -> String {
        let why = self.fault.as_ref().map_or_else(String::new, |fault| format!(": {fault}"));
        match (self.standing, self.since) {
            (Standing::Kept, Some(since)) => format!("kept by the region since {}{why}", time(since)),
            (Standing::None, _) => format!("no recovery key was made here yet{why}"),
            (Standing::Kept | Standing::Waits, _) => format!("waits to be kept by the region{why}"),
        }
    }
}

impl Offers {
    /// Brings the recovery key to the region, where there is one to bring.
    pub async fn keep(&mut self, config: &Config, http: &Http) {
        let Some(escrow) = &config.escrow else { return };
        if self.not_before.is_some_and(|at| Instant::now() < at) {
            return;
        }
        let path = file(config);
        let mut record = Record::read(&path);
        let before = record.clone();
        let done = self.bring(config, escrow, http, &mut record).await;
        self.not_before = done.is_err().then(|| Instant::now() + RETRY);
        let trouble = before.trouble.as_ref().map(|fault| &fault.code);
        // What lasts is said once, also across starts of the updater.
        if let Err(fault) = &done
            && trouble != Some(&fault.code)
        {
            tracing::warn!(target: "audit", code = %fault.code, reason = fault.reason, "the region does not have the recovery key of the disk");
        }
        record.trouble = done.err();
        if record != before
            && let Err(fault) = record.write(&path)
        {
            tracing::warn!(target: "audit", code = %fault.code, reason = fault.reason, "what is known of the escrow is not kept");
        }
    }

    async fn bring(&mut self, config: &Config, escrow: &Escrow, http: &Http, record: &mut Record) -> Result<(), Fault> {
        if let Some(key) = RecoveryKey::take(&escrow.recovery)? {
            let recipient = recipient(&escrow.key)?;
            if !record.is_of(&key, &recipient) {
                *record = Record::of(&key, &recipient)?;
                // Before it is sent: after a power cut the same bytes are sent, and kept once.
                record.write(&file(config))?;
            }
        }
        let Some(sealed) = record.sealed.clone() else { return Ok(()) };
        if record.kept_since.is_none() || !self.is_offered {
            offer(config, http, &sealed).await?;
            self.is_offered = true;
        }
        if record.kept_since.is_none() {
            record.kept_since = Some(jiff::Timestamp::now().as_second());
            record.trouble = None;
            // Before the key goes.
            record.write(&file(config))?;
            let (recipient, sha256) = (&sealed.recipient, sealed.sha256());
            tracing::info!(target: "audit", recipient, sha256, "the region keeps the recovery key of the disk");
        }
        match RecoveryKey::read(&escrow.recovery)? {
            Some(key) if sealed.is_of(&key) => {
                durable::replace(&escrow.recovery.with_file_name(KEPT), sealed.sha256().as_bytes(), 0o600)?;
                durable::remove(&escrow.recovery)
            }
            // Another one was made meanwhile: its turn is next.
            Some(_) => Ok(()),
            None => ask_for_another(escrow, &sealed),
        }
    }
}

/// The region has another key than the one that was sealed to, and what was sealed is gone from here: the system makes a new recovery key.
fn ask_for_another(escrow: &Escrow, sealed: &Sealed) -> Result<(), Fault> {
    let recipient = recipient(&escrow.key)?;
    if recipient.id() == sealed.recipient {
        return Ok(());
    }
    durable::remove(&escrow.recovery.with_file_name(KEPT))?;
    let reason = "the region has another key for what is escrowed: the box makes a new recovery key for it at its next start; until then the \
                  one before counts";
    Err(Fault::new("escrow-key-changed", Blame::Region, reason))
}

/// A recovery key. It has no `Debug`: nothing prints it.
struct RecoveryKey(String);

impl RecoveryKey {
    /// [`Self::read`]; what is no recovery key is removed, so that the system makes another one at its next start.
    fn take(path: &Path) -> Result<Option<Self>, Fault> {
        let read = Self::read(path);
        if read.as_ref().is_err_and(|fault| fault.code == INVALID) {
            durable::remove(path)?;
        }
        read
    }

    /// The key that the system has left; nothing where it has made none, or the region has it.
    fn read(path: &Path) -> Result<Option<Self>, Fault> {
        let unreadable = |error: std::io::Error| {
            let reason = format!("{}: {error}: the recovery key cannot be read; it is tried again", path.display());
            Fault::new("disk-failed", Blame::Box, reason)
        };
        let file = match std::fs::File::open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(unreadable)?,
        };
        let mut bytes = Vec::new();
        file.take(MAX_KEY).read_to_end(&mut bytes).map_err(unreadable)?;
        // Bytes that are no letters are none of a key.
        let text = String::from_utf8(bytes).unwrap_or_default();
        let key = text.trim_end();
        let is_group = |group: &str| group.len() == GROUPS && group.chars().all(|letter| LETTERS.contains(letter));
        // Half of a key opens nothing, and would be all that is left.
        if key.split('-').count() != GROUPS || !key.split('-').all(is_group) {
            let reason = format!(
                "{}: it is no recovery key of eight groups of eight letters: the system makes a new one at its next start",
                path.display()
            );
            return Err(Fault::new(INVALID, Blame::Box, reason));
        }
        Ok(Some(Self(key.to_owned())))
    }

    fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

fn recipient(path: &Path) -> Result<Recipient, Fault> {
    let unusable = |reason: String| {
        let reason = format!("{}: {reason}: the region's key for what is escrowed", path.display());
        Fault::new("escrow-key-unusable", Blame::Configuration, reason)
    };
    let mut pem = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_PEM).read_to_end(&mut pem))
        .map_err(|error| unusable(error.to_string()))?;
    Recipient::of_pem(&pem).map_err(unusable)
}

/// What is sent to `/escrow`.
#[derive(Serialize)]
struct Offer<'a> {
    format: u32,
    recipient: &'a str,
    sealed: &'a str,
}

/// What says that it is kept.
#[derive(Deserialize)]
struct Acknowledgment {
    sha256: String,
}

/// Sends it. It counts as kept by the digest of what the channel has put down, and by nothing else.
async fn offer(config: &Config, http: &Http, sealed: &Sealed) -> Result<(), Fault> {
    let invalid = |reason: String| {
        let reason = format!("the channel's answer to a sealed recovery key is none: {reason}");
        Fault::new("escrow-not-kept", Blame::Channel, reason)
    };
    let away =
        |reason: String| Fault::new("channel-away", Blame::Channel, format!("the channel does not answer: {reason}"));
    let url = config.server.join("escrow").map_err(|error| invalid(error.to_string()))?;
    let offer = Offer { format: 1, recipient: &sealed.recipient, sealed: &sealed.bytes };
    let response = http.request(Method::POST, url).json(&offer).send().await;
    let response = response.map_err(|error| http::own_fault(&error).unwrap_or_else(|| away(http::reason(&error))))?;
    match response.status() {
        status if status.is_success() => {}
        status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            return Err(away(format!("it answers {status}")));
        }
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
            let reason = "this channel keeps no recovery keys, as hawkBit does not: write the key down at the box, or let `sund-channel` \
                          serve the devices";
            return Err(Fault::new("escrow-not-offered", Blame::Channel, reason));
        }
        status => {
            let reason = format!("the channel does not keep the recovery key ({status}): its log says why");
            return Err(Fault::new("escrow-refused", Blame::Channel, reason));
        }
    }
    let body = http::body(response, MAX_ANSWER).await.map_err(|error| invalid(error.to_string()))?;
    let kept: Acknowledgment = serde_json::from_slice(&body).map_err(|error| invalid(error.to_string()))?;
    if kept.sha256 == sealed.sha256() { Ok(()) } else { Err(invalid("it names other bytes than were sent".to_owned())) }
}

fn file(config: &Config) -> PathBuf {
    config.directory.join("escrow.json")
}

fn digest(bytes: &[u8]) -> String {
    hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref())
}
