//! The recovery bundle: what `sund-rescue` fetches from the initramfs when neither slot of a box starts.
//!
//! It is no release of its own. `rescue.json` names an operating system that the role `os` lists, where it lies in the
//! store already, and the persons of that role sign it: what a box is rescued with is what the region has approved. No
//! key at the server signs it, and `sund-rescue` looks at nothing but these signatures. README.md has the format.
mod approve;

pub use approve::{approve, forget_unlisted, offered, payload_of};

use super::document::in_days;
use super::files;
use super::home::Home;
use super::keys::{ED25519_SPKI, Signer, fingerprint};
use super::published::Published;
use super::roles::{OS, check_name};
use super::store;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;
use sund_ota::fault::{Blame, Fault};
use sund_ota::hex::hex;
use tough::schema::key::Key;

/// Where the signed descriptor lies below the base of the targets.
pub const PLACE: &str = "rescue/rescue.json";
/// The longest one that `sund-rescue` reads, in bytes.
pub const MAX_DESCRIPTOR: u64 = 16 * 1024;
/// What a signature covers besides the payload (DSSE).
const PAYLOAD_TYPE: &str = "application/vnd.sund.rescue+json";
/// What is to be signed, in a proposal.
const FILE: &str = "payload.json";

/// What is signed, format 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Payload {
    /// 1.
    pub format: u32,
    /// Counts up with each other bundle; a box takes none below its minimum.
    pub version: u64,
    /// The bundle.
    pub bundle: Bundle,
    /// When the bundle came into the store.
    pub created: Timestamp,
    /// When this was proposed: it is later than that for whoever reads the signatures.
    pub time: Timestamp,
    /// From then on it counts no more.
    pub expires: Timestamp,
}

/// The bundle that is named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// Where it lies below the base of the targets.
    pub path: String,
    /// Length in bytes.
    pub length: u64,
    /// SHA-256.
    pub sha256: String,
}

/// A recovery bundle that waits for signatures.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Where the proposal lies.
    pub directory: PathBuf,
    /// What is signed.
    pub payload: Payload,
    bytes: Vec<u8>,
}

/// One person's signature of it: a file that travels back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RescueSignature {
    /// 1.
    pub format: u32,
    /// The proposal.
    pub proposal: String,
    /// SHA-256 of the key as SubjectPublicKeyInfo.
    pub keyid: String,
    /// The signature, base64.
    pub sig: String,
}

/// Proposes the recovery bundle: an operating system that is listed. Without `version` it is the one after the last, or
/// the same where the same bundle is only signed for longer.
pub fn propose(home: &Home, os: &str, version: Option<u64>, lifetime_days: i64) -> Result<Offer, Fault> {
    let _lock = home.lock()?;
    check_name("version", os)?;
    let published = Published::must(home)?;
    let target = format!("{OS}/sund-{os}.raucb");
    let (_, listed) = published.find(&target).ok_or_else(|| {
        let reason = format!("{target} is not listed: publish it first, or name one that `sund-channel status` lists");
        Fault::new("target-not-listed", Blame::Configuration, reason)
    })?;
    let sha256 = store::sha256_of(listed);
    let bundle = Bundle { path: store::place(&target, &sha256), length: listed.length, sha256 };
    let version = next_version(offered(home)?.as_ref(), highest(home)?, &bundle, version)?;
    let time = in_days(0)?;
    let path = store::path(home, &target, listed);
    let came = std::fs::metadata(&path).and_then(|about| about.modified());
    let came = came.map_err(|error| files::disk("read", &path, &error))?;
    let came = came.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let created = i64::try_from(came).ok().and_then(|came| Timestamp::from_second(came).ok()).unwrap_or(time).min(time);
    let payload = Payload { format: 1, version, bundle, created, time, expires: in_days(lifetime_days.max(1))? };
    let directory = home.proposals().join(name_of(&payload));
    if directory.exists() {
        let id = name_of(&payload);
        let reason = format!("the proposal {id} waits already: approve it, or `sund-channel discard {id}`");
        return Err(Fault::new("proposal-waits", Blame::Configuration, reason));
    }
    let mut bytes = serde_json::to_vec_pretty(&payload)
        .map_err(|error| Fault::new("metadata-unwritable", Blame::Updater, error.to_string()))?;
    bytes.push(b'\n');
    files::write(&directory.join(FILE), &bytes, 0o644)?;
    Ok(Offer { directory, payload, bytes })
}

/// The highest version that was ever out, also of one that was withdrawn: who has its old envelope must not be believed again.
fn highest(home: &Home) -> Result<u64, Fault> {
    let published = home.published();
    let entries = match std::fs::read_dir(&published) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(files::disk("read", &published, &error)),
    };
    let mut highest = 0;
    for entry in entries {
        let name = entry.map_err(|error| files::disk("read", &published, &error))?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("rescue-")?.split('.').next()?.parse().ok());
        highest = highest.max(number.unwrap_or(0));
    }
    Ok(highest)
}

fn next_version(last: Option<&Payload>, highest: u64, bundle: &Bundle, wanted: Option<u64>) -> Result<u64, Fault> {
    let highest = highest.max(last.map_or(0, |last| last.version));
    let is_same = last.is_some_and(|last| last.bundle == *bundle && last.version == highest);
    let version = wanted.unwrap_or(if is_same { highest } else { highest.saturating_add(1) });
    if version > highest || is_same && version == highest {
        return Ok(version);
    }
    let reason = format!("recovery version {highest} was out already: another bundle has a higher one");
    Err(Fault::new("version-there-already", Blame::Configuration, reason))
}

fn name_of(payload: &Payload) -> String {
    format!("rescue-{}", payload.version)
}

impl Offer {
    /// Whether a directory holds one.
    pub fn is_at(directory: &Path) -> bool {
        directory.join(FILE).is_file()
    }

    /// Opens one that waits in a channel's home.
    pub fn open(home: &Home, id: &str) -> Result<Self, Fault> {
        let directory = home.proposals().join(id);
        if id.contains('/') || id.starts_with('.') || !Self::is_at(&directory) {
            let reason = format!("no proposal `{id}` waits here: `sund-channel proposals` lists those that do");
            return Err(Fault::new("proposal-not-found", Blame::Configuration, reason));
        }
        Self::read(&directory)
    }

    /// Reads one, wherever it was copied to.
    pub fn read(directory: &Path) -> Result<Self, Fault> {
        let bytes = files::read(&directory.join(FILE), MAX_DESCRIPTOR)?;
        let invalid = |why: String| {
            let reason = format!("{} is no proposal of a recovery bundle: {why}", directory.display());
            Fault::new("proposal-invalid", Blame::Region, reason)
        };
        let payload: Payload = serde_json::from_slice(&bytes).map_err(|error| invalid(error.to_string()))?;
        if payload.format != 1 {
            return Err(invalid(format!("it has format {}; this program reads 1", payload.format)));
        }
        Ok(Self { directory: directory.to_owned(), payload, bytes })
    }

    /// Its name.
    pub fn id(&self) -> String {
        name_of(&self.payload)
    }

    /// What it does, in words: from what is signed and from nothing else.
    pub fn words(&self) -> Vec<String> {
        let Payload { version, bundle, created, time, expires, .. } = &self.payload;
        let digest = fingerprint(&bundle.sha256);
        [
            format!("recovery bundle, version {version}: boxes of which no slot starts are made anew with it"),
            format!("  {}, {} bytes, sha256 {digest} ...", bundle.path, bundle.length),
            format!("  in the store since {created}; boxes that read it know that it is later than {time}"),
            format!("  valid until {expires}"),
        ]
        .iter()
        .map(|line| super::words::plain(line))
        .collect()
    }

    /// A digest of what is signed, for people to read to each other.
    pub fn fingerprint(&self) -> String {
        fingerprint(&hex(&files::sha256(&self.bytes)))
    }

    /// DSSE's pre-authentication encoding: what a key signs.
    fn message(&self) -> Vec<u8> {
        let head = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), self.bytes.len());
        [head.as_bytes(), &self.bytes].concat()
    }

    /// Signs it.
    pub fn sign(&self, signer: &dyn Signer) -> Result<RescueSignature, Fault> {
        let keyid = rescue_key_id(&signer.key()).ok_or_else(|| {
            let reason = "recovery bundles are signed with Ed25519 alone: take a key of that kind";
            Fault::new("key-of-another-role", Blame::Region, reason)
        })?;
        let sig = STANDARD.encode(signer.sign(&self.message())?);
        Ok(RescueSignature { format: 1, proposal: self.id(), keyid, sig })
    }

    /// Where a signature lies in it.
    pub fn place(&self, signature: &RescueSignature) -> PathBuf {
        self.directory.join("signatures").join(format!("{}.json", signature.keyid))
    }
}

/// A key as `sund-rescue` names it: SHA-256 over its SubjectPublicKeyInfo. None where it is no Ed25519 key.
pub fn rescue_key_id(key: &Key) -> Option<String> {
    spki(key).map(|spki| hex(&files::sha256(&spki)))
}

/// SubjectPublicKeyInfo of an Ed25519 key (RFC 8410, 4).
pub fn spki(key: &Key) -> Option<Vec<u8>> {
    match key {
        Key::Ed25519 { keyval, .. } => Some([&ED25519_SPKI[..], keyval.public.as_ref()].concat()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_was_ever_out_is_never_given_to_another_bundle() {
        let bundle = |sha256: &str| Bundle { path: "os/1.raucb".into(), length: 1, sha256: sha256.into() };
        let out = |version| Payload {
            format: 1,
            version,
            bundle: bundle("a"),
            created: Timestamp::UNIX_EPOCH,
            time: Timestamp::UNIX_EPOCH,
            expires: Timestamp::UNIX_EPOCH,
        };
        let next = |last: Option<Payload>, highest, sha256, wanted| {
            next_version(last.as_ref(), highest, &bundle(sha256), wanted).map_err(|fault| fault.code.to_string())
        };
        assert_eq!(next(None, 0, "a", None), Ok(1));
        // The same one is signed for longer.
        assert_eq!(next(Some(out(5)), 5, "a", None), Ok(5));
        assert_eq!(next(Some(out(5)), 5, "b", None), Ok(6));
        // What was withdrawn is out all the same.
        assert_eq!(next(None, 5, "a", None), Ok(6));
        assert_eq!(next(None, 5, "a", Some(5)), Err("version-there-already".to_owned()));
    }
}
