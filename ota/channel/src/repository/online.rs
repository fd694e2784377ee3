//! The keys at the server, those of `timestamp` and `snapshot`.
use super::document::Document;
use super::files;
use super::home::Home;
use super::keys::{FileSigner, Scheme, Signer, key_id};
use super::limits::{MAX_DOCUMENT, MAX_ENTRIES};
use super::published::role_file;
use super::roles::ROOT;
use super::status::waiting;
use std::collections::BTreeSet;
use std::fs;
use sund_ota::fault::Fault;
use sund_ota::hex::hex;
use tough::schema::decoded::{Decoded, Hex};
use tough::schema::key::Key;
use tough::schema::{RoleType, Root};

type KeyId = Decoded<Hex>;

/// The first key of a role, made where it is not there yet.
pub fn first(home: &Home, role: &str) -> Result<Key, Fault> {
    let path = home.keys().join(format!("{role}.pem"));
    let signer = if path.exists() { FileSigner::open(&path) } else { FileSigner::create(&path, Scheme::Ed25519) };
    signer.map(|signer| signer.key())
}

/// Another key of a role, in a file of its own: one that is there already may be in other hands as well.
pub fn another(home: &Home, role: &str, version: u64) -> Result<Key, Fault> {
    let (signer, pem) = FileSigner::generate(Scheme::Ed25519)?;
    let id = hex(key_id(&signer.key())?.as_ref());
    let path = home.keys().join(format!("{role}-{version}-{}.pem", &id[..16]));
    files::write(&path, pem.as_bytes(), 0o600)?;
    Ok(signer.key())
}

/// The keys at the server that a root names.
pub fn named_by(root: &Root) -> BTreeSet<KeyId> {
    let seats = [RoleType::Timestamp, RoleType::Snapshot].into_iter().filter_map(|role| root.roles.get(&role));
    seats.flat_map(|seat| seat.keyids.iter().cloned()).collect()
}

/// Removes those of these keys that no root names, neither one that is published nor one that waits. Where a root cannot be read
/// they all stay: no key is ever used for being there.
pub fn forget(home: &Home, given_up: &BTreeSet<KeyId>) -> Result<(), Fault> {
    let Ok(named) = named(home) else { return Ok(()) };
    let keys = home.keys();
    for entry in fs::read_dir(&keys).map_err(|error| files::disk("read", &keys, &error))? {
        let path = entry.map_err(|error| files::disk("read", &keys, &error))?.path();
        let Ok(signer) = FileSigner::open(&path) else { continue };
        let id = key_id(&signer.key())?;
        if given_up.contains(&id) && !named.contains(&id) {
            let removed = fs::remove_file(&path).and_then(|()| files::sync_directory(&path));
            removed.map_err(|error| files::disk("removed", &path, &error))?;
        }
    }
    Ok(())
}

fn named(home: &Home) -> Result<BTreeSet<KeyId>, Fault> {
    let mut roots = Vec::new();
    for version in 1..=MAX_ENTRIES as u64 {
        match role_file(home, ROOT, version) {
            Ok(root) => roots.push(root),
            Err(fault) if fault.code == "file-not-found" => break,
            Err(fault) => return Err(fault),
        }
    }
    for id in waiting(home)? {
        roots.extend(files::read_if_there(&home.proposals().join(id).join("documents/root.json"), MAX_DOCUMENT)?);
    }
    let mut named = BTreeSet::new();
    for root in roots {
        if let (Document::Root(root), _) = Document::parse(ROOT, &root)? {
            named.extend(named_by(&root));
        }
    }
    Ok(named)
}
