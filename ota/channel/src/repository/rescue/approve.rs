//! Counts who has signed a recovery bundle, and shows it to boxes when they are enough.
use super::{MAX_DESCRIPTOR, Offer, PAYLOAD_TYPE, PLACE, Payload, RescueSignature, rescue_key_id};
use crate::repository::approve::Approval;
use crate::repository::files;
use crate::repository::home::Home;
use crate::repository::keys::{fingerprint, holds};
use crate::repository::limits::{MAX_ENTRIES, MAX_SIGNATURE_FILE};
use crate::repository::proposal::Standing;
use crate::repository::published::Published;
use crate::repository::roles::OS;
use crate::repository::store;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use sund_ota::fault::{Blame, Fault};
use sund_ota::hex::hex;
use tough::schema::key::Key;

/// DSSE v1.0.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<Claim>,
}

#[derive(Serialize, Deserialize)]
struct Claim {
    keyid: String,
    sig: String,
}

/// Takes in signature files and shows the bundle to boxes when enough persons of the role `os` have signed it.
pub fn approve(home: &Home, id: &str, signatures: &[PathBuf]) -> Result<Approval, Fault> {
    let _lock = home.lock()?;
    let offer = Offer::open(home, id)?;
    let published = Published::must(home)?;
    let role = Role::of(home, &published)?;
    for path in signatures {
        let signature = role.read(&offer, path)?;
        files::write(&offer.place(&signature), &serde_json::to_vec_pretty(&signature).unwrap_or_default(), 0o644)?;
    }
    let mut signed = BTreeMap::new();
    for path in waiting(&offer.directory.join("signatures"))? {
        let signature = role.read(&offer, &path)?;
        let (person, _) = &role.persons[&signature.keyid];
        signed.insert(person.clone(), signature);
    }
    let all: BTreeSet<String> = role.persons.values().map(|(person, _)| person.clone()).collect();
    let standing = Standing {
        role: "rescue".to_owned(),
        version: offer.payload.version,
        said_by: format!("{OS} in targets {}", published.targets().version),
        open: all.into_iter().filter(|person| !signed.contains_key(person)).collect(),
        signed: signed.keys().cloned().collect(),
        threshold: role.threshold,
    };
    let is_published = standing.holds();
    if is_published {
        still_holds(&published, &offer)?;
        show(home, &offer, signed.into_values())?;
    }
    Ok(Approval { proposal: id.to_owned(), standing: vec![standing], is_published })
}

/// The persons of the role `os` whose keys `sund-rescue` can verify, by the key's name there.
struct Role {
    persons: BTreeMap<String, (String, Key)>,
    threshold: u64,
}

impl Role {
    fn of(home: &Home, published: &Published) -> Result<Self, Fault> {
        let people = published.approvers(home)?;
        let delegations = published.targets().delegations.iter();
        let mut found = delegations.flat_map(|all| all.roles.iter().map(move |role| (role, all)));
        let Some((delegated, all)) = found.find(|(role, _)| role.name == OS) else {
            let reason = format!("nobody may sign {OS}: delegate it first");
            return Err(Fault::new("role-not-delegated", Blame::Region, reason));
        };
        let mut persons = BTreeMap::new();
        for id in &delegated.keyids {
            let (Some(key), Some(person)) = (all.keys.get(id), people.person(&hex(id.as_ref()))) else { continue };
            if let Some(name) = rescue_key_id(key) {
                persons.insert(name, (person.to_owned(), key.clone()));
            }
        }
        Ok(Self { persons, threshold: delegated.threshold.get() })
    }

    /// Reads a signature of an offer that holds and is by somebody of the role.
    fn read(&self, offer: &Offer, path: &Path) -> Result<RescueSignature, Fault> {
        let refused =
            |code: &'static str, why: &str| Err(Fault::new(code, Blame::Region, format!("{}: {why}", path.display())));
        let bytes = files::read(path, MAX_SIGNATURE_FILE)?;
        let signature: RescueSignature = match serde_json::from_slice(&bytes) {
            Ok(signature) => signature,
            Err(error) => return refused("signature-file-invalid", &error.to_string()),
        };
        if signature.proposal != offer.id() {
            return refused("signature-of-another-proposal", &format!("it is of {}", signature.proposal));
        }
        let Some((_, key)) = self.persons.get(&signature.keyid) else {
            let why = format!("the key {} may not sign {OS}, or is no Ed25519 key", fingerprint(&signature.keyid));
            return refused("key-of-another-role", &why);
        };
        let raw = STANDARD.decode(&signature.sig).unwrap_or_default();
        if !holds(key, &offer.message(), &raw) {
            return refused("signature-invalid", "it does not hold: the proposal or the signature was altered");
        }
        Ok(signature)
    }
}

fn waiting(directory: &Path) -> Result<Vec<PathBuf>, Fault> {
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    let failed = |error: std::io::Error| files::disk("read", directory, &error);
    let entries = fs::read_dir(directory).map_err(failed)?.take(MAX_ENTRIES);
    let mut paths =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    Ok(paths)
}

/// What was listed when it was proposed may have been withdrawn meanwhile.
fn still_holds(published: &Published, offer: &Offer) -> Result<(), Fault> {
    let (id, payload) = (offer.id(), &offer.payload);
    if !is_listed(published, payload) {
        let reason =
            format!("{} is listed no more: `sund-channel discard {id}`, and propose another", payload.bundle.path);
        return Err(Fault::new("target-not-listed", Blame::Region, reason));
    }
    if payload.expires <= Timestamp::now() {
        let reason =
            format!("it has expired on {}: `sund-channel discard {id}`, and propose it again", payload.expires);
        return Err(Fault::new("would-not-be-valid", Blame::Region, reason));
    }
    Ok(())
}

fn is_listed(published: &Published, payload: &Payload) -> bool {
    let role = published.roles.get(OS).into_iter();
    let mut listed = role.flat_map(|role| &role.signed.targets);
    listed.any(|(name, target)| store::place(name.raw(), &store::sha256_of(target)) == payload.bundle.path)
}

fn show(home: &Home, offer: &Offer, signatures: impl Iterator<Item = RescueSignature>) -> Result<(), Fault> {
    let envelope = Envelope {
        payload: STANDARD.encode(&offer.bytes),
        payload_type: PAYLOAD_TYPE.to_owned(),
        signatures: signatures.map(|RescueSignature { keyid, sig, .. }| Claim { keyid, sig }).collect(),
    };
    let bytes = serde_json::to_vec(&envelope)
        .map_err(|error| Fault::new("metadata-unwritable", Blame::Updater, error.to_string()))?;
    if bytes.len() as u64 > MAX_DESCRIPTOR {
        let reason = format!("rescue.json would have {} bytes and boxes take {MAX_DESCRIPTOR}", bytes.len());
        return Err(Fault::new("metadata-too-large", Blame::Region, reason));
    }
    files::write(&home.targets().join(PLACE), &bytes, 0o644)?;
    // Signed again for longer: what was signed before stays beside it.
    let mut kept = home.published().join(offer.id());
    for again in 2.. {
        if !kept.exists() {
            break;
        }
        kept = home.published().join(format!("{}.{again}", offer.id()));
    }
    let moved = fs::rename(&offer.directory, &kept).and_then(|()| files::sync_directory(&kept));
    moved.map_err(|error| files::disk("moved", &offer.directory, &error))
}

/// What boxes are offered now. It is read unproved: boxes prove it.
pub fn offered(home: &Home) -> Result<Option<Payload>, Fault> {
    let Some(bytes) = files::read_if_there(&home.targets().join(PLACE), MAX_DESCRIPTOR)? else { return Ok(None) };
    let damaged = || {
        let reason = format!("{PLACE} in the store cannot be read: restore it from its copy, or propose it again");
        Fault::new("repository-damaged", Blame::Channel, reason)
    };
    payload_of(&bytes).map(Some).ok_or_else(damaged)
}

/// What a descriptor says, unproved; nothing where it can't be read.
pub fn payload_of(descriptor: &[u8]) -> Option<Payload> {
    let envelope: Envelope = serde_json::from_slice(descriptor).ok()?;
    serde_json::from_slice(&STANDARD.decode(&envelope.payload).ok()?).ok()
}

/// Takes back what boxes are offered where its operating system is listed no more: it was withdrawn. So it does with
/// what cannot be read, which no box would take. Gives whether it did.
pub fn forget_unlisted(home: &Home) -> Result<bool, Fault> {
    match offered(home) {
        Ok(None) => return Ok(false),
        Ok(Some(payload)) if is_listed(&Published::must(home)?, &payload) => return Ok(false),
        // A disk that fails for a moment takes no rescue back.
        Err(fault) if fault.code != "repository-damaged" => return Err(fault),
        _ => {}
    }
    let path = home.targets().join(PLACE);
    let removed = fs::remove_file(&path).and_then(|()| files::sync_directory(&path));
    removed.map(|()| true).map_err(|error| files::disk("removed", &path, &error))
}
