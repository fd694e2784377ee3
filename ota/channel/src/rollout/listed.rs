//! Which desired states the repository lists now: those, and no others, may be rolled out.
//!
//! The server reads its own files here and proves nothing: devices do that, by the region's signatures.
use crate::limits::rollout::MAX_METADATA;
use crate::repository::bundle::TERMS;
use crate::repository::store::place;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;
use sund_ota::descriptor::Descriptor;
use sund_ota::documents::{STOP, SUSPENSIONS};
use sund_ota::fault::{Blame, Fault};
use sund_ota::hex::hex;
use sund_ota::limits::MAX_STATE;
use sund_ota::state::DesiredState;
use tough::schema::{Role, Signed, Snapshot, Targets, Timestamp};

/// The states that the role `state` lists, by target, each as the descriptor that names it. Its switches and the terms of bundles are
/// none.
pub fn states(home: &Path) -> Result<BTreeMap<String, Descriptor>, Fault> {
    let metadata = home.join("repository/metadata");
    let timestamp: Signed<Timestamp> = read(&metadata.join("timestamp.json"))?;
    let version = |meta: Option<&tough::schema::Metafile>, of: &str| {
        meta.map(|meta| meta.version).ok_or_else(|| unreadable(&metadata, &format!("{of} is not listed")))
    };
    let snapshot = version(timestamp.signed.meta.get("snapshot.json"), "snapshot.json")?;
    let snapshot: Signed<Snapshot> = read(&metadata.join(format!("{snapshot}.snapshot.json")))?;
    let state = version(snapshot.signed.meta.get("state.json"), "state.json")?;
    let targets: Signed<Targets> = read(&metadata.join(format!("{state}.state.json")))?;
    let describe = |(name, target): (&tough::TargetName, &tough::schema::Target)| {
        let sha256 = hex(target.hashes.sha256.as_ref());
        let descriptor = Descriptor { format: 1, target: name.raw().to_owned(), sha256, length: target.length };
        (name.raw().to_owned(), descriptor)
    };
    let is_state = |name: &str| name != STOP && name != SUSPENSIONS && !name.starts_with(TERMS);
    Ok(targets.signed.targets.iter().filter(|(name, _)| is_state(name.raw())).map(describe).collect())
}

/// The descriptor of a state by its name (`north-1`) or target (`state/north-1.json`).
pub fn state(home: &Path, name: &str) -> Result<Descriptor, Fault> {
    let target = if name.starts_with("state/") { name.to_owned() } else { format!("state/{name}.json") };
    states(home)?.remove(&target).ok_or_else(|| {
        let reason = format!("The repository lists no {target}: publish it and have it approved first.");
        Fault::new("state-not-listed", Blame::Region, reason)
    })
}

/// Which boxes a listed state is for, by their names; absent: it is for all, or its document is not here, and the boxes see to it.
pub fn boxes(home: &Path, state: &Descriptor) -> Result<Option<Vec<String>>, Fault> {
    let path = home.join("repository/targets").join(place(&state.target, &state.sha256));
    let file = match File::open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(|error| unreadable(&path, &error))?,
    };
    let mut bytes = Vec::new();
    file.take(MAX_STATE + 1).read_to_end(&mut bytes).map_err(|error| unreadable(&path, &error))?;
    Ok(DesiredState::parse(&state.target, &bytes)?.boxes)
}

fn read<T: Role + DeserializeOwned>(path: &Path) -> Result<Signed<T>, Fault> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    file.take(MAX_METADATA + 1).read_to_end(&mut bytes).map_err(|error| unreadable(path, &error))?;
    if bytes.len() as u64 > MAX_METADATA {
        return Err(unreadable(path, &format!("it has more than {MAX_METADATA} bytes")));
    }
    serde_json::from_slice(&bytes).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, why: &dyn std::fmt::Display) -> Fault {
    let reason = format!("The repository's {} cannot be read: {why}.", path.display());
    Fault::new("repository-unreadable", Blame::Channel, reason)
}
