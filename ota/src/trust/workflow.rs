//! The client workflow of TUF 1.0.33, section 5, from the trusted root to the delegated roles. It reads as the specification;
//! schema and signatures are `tough`'s.
//!
//! `tough`'s own loader is not used: it begins each time at the provisioned root (a thief of a revoked timestamp key need only
//! withhold the newer ones), keeps its datastore by files that a power cut tears and then takes for absent, lets one role that
//! is missing hide all others, believes a length of any size that the snapshot's key has signed, and asks for targets under
//! `HASH.os/name` where the specification has `os/HASH.name`.
use super::persons;
use super::seen::{self, Seen};
use super::store::Store;
use super::{Delegated, Freshness, signatures};
use crate::documents::{APPROVERS, Approvers};
use crate::fault::{Blame, Fault};
use crate::hex::hex;
use crate::limits::metadata;
use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp as Time;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use tough::TargetName;
use tough::schema::{Delegations, Metafile, Role, RoleType, Root, Signed, Snapshot, Targets, Timestamp};

/// What held.
pub(super) struct Metadata {
    pub(super) targets: Targets,
    /// Each delegated role, or why it did not hold: one vendor's role stops no other vendor's models.
    pub(super) delegated: BTreeMap<String, Result<Delegated, Fault>>,
    /// Whichever of the top-level roles expires first, and when.
    pub(super) expires: (Time, &'static str),
    /// The hashes by which other metadata lists it.
    pub(super) listed: BTreeSet<String>,
}

/// One update of the metadata. What it accepts on its way stands in `seen` afterwards, also where it ends in a refusal.
pub(super) async fn update(
    store: &Store,
    provisioned: &[u8],
    freshness: Freshness,
    started: Option<Time>, // TUF 5.1: the fixed update start time; without one the age of nothing is judged
    seen: &mut Seen,
) -> Result<Metadata, Fault> {
    let root = newest_root(store, trusted_root(provisioned, seen)?, started, seen).await?;
    let timestamp = timestamp(store, &root, freshness, started, seen).await?;
    let snapshot = snapshot(store, &root, &timestamp, freshness, started, seen).await?;
    let targets = targets(store, &root, &snapshot, started).await?;
    let approvers = approvers(store, &root, &targets).await?;
    let delegated = delegated(store, &snapshot, &targets, approvers.as_ref(), started).await?;
    let mut expires = vec![(root.expires, "root"), (targets.expires, "targets")];
    if freshness == Freshness::Online {
        expires.extend([(timestamp.expires, "timestamp"), (snapshot.expires, "snapshot")]);
    }
    let first = expires.into_iter().min_by_key(|(expires, _)| *expires).unwrap_or((root.expires, "root"));
    let listed = timestamp.meta.values().chain(snapshot.meta.values());
    let listed = listed.filter_map(|file| Some(hex(file.hashes.as_ref()?.sha256.as_ref()))).collect();
    Ok(Metadata { targets, delegated, expires: first, listed })
}

/// Where the chain of roots begins.
struct Anchor {
    /// The trusted root, and its text.
    root: Root,
    text: String,
    /// The newest root that this box has seen, by whichever way it came to it.
    seen: Option<Root>,
    /// What the box was provisioned with, by its hash.
    provisioned: String,
}

/// TUF 5.2: the trusted root metadata. What the box has seen goes on from what it was provisioned with; a box that was
/// provisioned anew begins there again, so that another region's root is not passed over.
fn trusted_root(provisioned: &[u8], seen: &Seen) -> Result<Anchor, Fault> {
    let read = |bytes: &[u8]| -> Result<(Root, String), Fault> {
        let root: Signed<Root> = parse(bytes, "root")?;
        signatures::by_root(&root.signed, &root, "root")?;
        persons::check_root(&root.signed)?;
        Ok((root.signed, text(bytes.to_vec(), "root")?))
    };
    let digest = hex(digest(&SHA256, provisioned).as_ref());
    let provisioned = read(provisioned).map_err(|fault| {
        let reason = format!("the root metadata that this box was provisioned with does not hold: {fault}");
        Fault::new("root-invalid", Blame::Configuration, reason)
    })?;
    let kept = seen.root.as_ref().map(|root| read(root.as_bytes()));
    let kept = kept.transpose().map_err(|fault| seen::damaged(&fault.reason))?;
    let newest = kept.as_ref().map(|(root, _)| root.clone());
    let goes_on = seen.anchor.as_ref() == Some(&digest);
    let (root, text) = kept.filter(|_| goes_on).unwrap_or(provisioned);
    Ok(Anchor { root, text, seen: newest, provisioned: digest })
}

/// TUF 5.3: update the root role.
async fn newest_root(store: &Store, anchor: Anchor, started: Option<Time>, seen: &mut Seen) -> Result<Root, Fault> {
    let Anchor { mut root, mut text, seen: newest, provisioned } = anchor;
    let online_keys = |root: &Root| (role_keys(root, RoleType::Timestamp), role_keys(root, RoleType::Snapshot));
    let before = online_keys(newest.as_ref().unwrap_or(&root));
    let newest = newest.map_or(0, |newest| newest.version.get());
    // 5.3.3: no more than a bounded number of them.
    let last = root.version.get().saturating_add(metadata::MAX_ROOT_UPDATES);
    loop {
        // 5.3.8: keep it; not before the chain has come to where this box was already.
        if root.version.get() >= newest {
            seen.root = Some(text);
            seen.anchor = Some(provisioned.clone());
        }
        // 5.3.2: let N denote the version of the trusted root; 5.3.3: try N+1, up to a number of bytes.
        let next = format!("{}.root.json", root.version.get().saturating_add(1));
        let Some(bytes) = store.optional_metadata(&next, metadata::MAX_ROOT).await? else { break };
        if root.version.get() == last {
            let reason = format!(
                "the store has more than {} roots one after the other: provision this box with a newer one",
                metadata::MAX_ROOT_UPDATES
            );
            return Err(Fault::new("root-chain-too-long", Blame::Channel, reason));
        }
        let next: Signed<Root> = parse(&bytes, "root")?;
        // 5.3.4: signed by a threshold of the trusted root's keys, and by one of its own.
        signatures::by_root(&root, &next, "root")?;
        signatures::by_root(&next.signed, &next, "root")?;
        persons::check_root(&next.signed)?;
        // 5.3.5: exactly N+1.
        if next.signed.version.get() != root.version.get() + 1 {
            return Err(rolled_back("root", next.signed.version.get(), root.version.get() + 1));
        }
        // 5.3.7: this is the trusted root now. 5.3.6: its expiry does not matter yet. 5.3.9: repeat.
        root = next.signed;
        text = self::text(bytes, "root")?;
    }
    // A root that this box has seen is not withheld from it because it was provisioned anew.
    if root.version.get() < newest {
        return Err(rolled_back("root", root.version.get(), newest));
    }
    // 5.3.10: freeze attack.
    check_expiry("root", root.expires, started)?;
    // 5.3.11: where the keys of timestamp or snapshot were rotated, what they signed is forgotten, so that the region recovers
    // from versions that a thief has driven up.
    if before != online_keys(&root) {
        seen.timestamp = None;
        seen.snapshot = None;
    }
    // 5.3.12: this channel publishes consistent snapshots and nothing else.
    if !root.consistent_snapshot {
        return Err(malformed("root", "it does not use consistent snapshots"));
    }
    Ok(root)
}

fn role_keys(root: &Root, role: RoleType) -> Vec<Vec<u8>> {
    let keys = root.roles.get(&role).map(|keys| keys.keyids.iter().map(|keyid| keyid.to_vec()).collect());
    let mut keys: Vec<Vec<u8>> = keys.unwrap_or_default();
    keys.sort();
    keys
}

/// TUF 5.4: update the timestamp role.
async fn timestamp(
    store: &Store,
    root: &Root,
    freshness: Freshness,
    started: Option<Time>,
    seen: &mut Seen,
) -> Result<Timestamp, Fault> {
    // 5.4.1: up to a number of bytes, as no length is known.
    let bytes = store.metadata("timestamp.json", metadata::MAX_TIMESTAMP).await?;
    let new: Signed<Timestamp> = parse(&bytes, "timestamp")?;
    // 5.4.2: arbitrary software attack.
    signatures::by_root(root, &new, "timestamp")?;
    let offered = listed_snapshot(&new.signed)?;
    let kept = kept::<Timestamp>(seen.timestamp.as_deref(), root)?;
    let (timestamp, new) = match kept {
        // 5.4.3.1: rollback attack.
        Some(kept) if kept.version > new.signed.version => {
            return Err(rolled_back("timestamp", new.signed.version.get(), kept.version.get()));
        }
        // 5.4.3.1: the same version is nothing new; the trusted one stays.
        Some(kept) if kept.version == new.signed.version => (kept, None),
        // 5.4.3.2: rollback attack on the snapshot.
        Some(kept) if listed_snapshot(&kept)?.version > offered.version => {
            return Err(rolled_back("snapshot", offered.version.get(), listed_snapshot(&kept)?.version.get()));
        }
        _ => (new.signed, Some(bytes)),
    };
    // 5.4.4: freeze attack. A bundle has terms of its own in place of this.
    if freshness == Freshness::Online {
        check_expiry("timestamp", timestamp.expires, started)?;
    }
    // 5.4.5: keep it.
    if let Some(bytes) = new {
        seen.timestamp = Some(text(bytes, "timestamp")?);
    }
    Ok(timestamp)
}

fn listed_snapshot(timestamp: &Timestamp) -> Result<&Metafile, Fault> {
    timestamp.meta.get("snapshot.json").ok_or_else(|| malformed("timestamp", "it lists no snapshot"))
}

/// What was kept of a role. What only an older root's keys have signed binds nobody under this one (5.3.11).
fn kept<T: Role + Serialize + DeserializeOwned>(kept: Option<&str>, root: &Root) -> Result<Option<T>, Fault> {
    let Some(kept) = kept else { return Ok(None) };
    let kept: Signed<T> = serde_json::from_str(kept).map_err(|error| seen::damaged(&error.to_string()))?;
    Ok(root.verify_role(&kept).is_ok().then_some(kept.signed))
}

/// TUF 5.5: update the snapshot role.
async fn snapshot(
    store: &Store,
    root: &Root,
    timestamp: &Timestamp,
    freshness: Freshness,
    started: Option<Time>,
    seen: &mut Seen,
) -> Result<Snapshot, Fault> {
    let listed = listed_snapshot(timestamp)?;
    // 5.5.1 and 5.5.2: up to the listed length, and of the listed hash.
    let path = format!("{}.snapshot.json", listed.version);
    let bytes = store.listed_metadata(&path, "snapshot", listed, metadata::MAX_SNAPSHOT).await?;
    let new: Signed<Snapshot> = parse(&bytes, "snapshot")?;
    // 5.5.3: arbitrary software attack.
    signatures::by_root(root, &new, "snapshot")?;
    // 5.5.4: of the listed version.
    check_version("snapshot", new.signed.version.get(), listed)?;
    // 5.5.5: rollback attack: every role that was listed still is, in no lower version.
    if let Some(kept) = kept::<Snapshot>(seen.snapshot.as_deref(), root)? {
        if kept.version > new.signed.version {
            return Err(rolled_back("snapshot", new.signed.version.get(), kept.version.get()));
        }
        for (file, before) in &kept.meta {
            let role = file.strip_suffix(".json").unwrap_or(file);
            match new.signed.meta.get(file) {
                Some(now) if now.version >= before.version => {}
                Some(now) => return Err(rolled_back(role, now.version.get(), before.version.get())),
                None => return Err(rolled_back(role, 0, before.version.get())),
            }
        }
    }
    // 5.5.6: freeze attack. A bundle has terms of its own in place of this.
    if freshness == Freshness::Online {
        check_expiry("snapshot", new.signed.expires, started)?;
    }
    // 5.5.7: keep it.
    seen.snapshot = Some(text(bytes, "snapshot")?);
    Ok(new.signed)
}

/// TUF 5.6: update the targets role.
async fn targets(store: &Store, root: &Root, snapshot: &Snapshot, started: Option<Time>) -> Result<Targets, Fault> {
    let listed = snapshot.meta.get("targets.json").ok_or_else(|| malformed("snapshot", "it lists no targets"))?;
    // 5.6.1 and 5.6.2: up to the listed length, and of the listed hash.
    let path = format!("{}.targets.json", listed.version);
    let bytes = store.listed_metadata(&path, "targets", listed, metadata::MAX_TARGETS).await?;
    let new: Signed<Targets> = parse(&bytes, "targets")?;
    // 5.6.3: arbitrary software attack.
    signatures::by_root(root, &new, "targets")?;
    // 5.6.4: of the listed version. What was listed before is kept with the snapshot, so nothing is left for 5.6.6.
    check_version("targets", new.signed.version.get(), listed)?;
    // 5.6.5: freeze attack.
    check_expiry("targets", new.signed.expires, started)?;
    Ok(new.signed)
}

/// Whose the keys are, where the region says so.
async fn approvers(store: &Store, root: &Root, targets: &Targets) -> Result<Option<Approvers>, Fault> {
    let name = TargetName::new(APPROVERS).map_err(|error| malformed("targets", &error.to_string()))?;
    let Some(target) = targets.targets.get(&name) else { return Ok(None) };
    let bytes = store.target(APPROVERS, target, metadata::MAX_APPROVERS).await?;
    let approvers = persons::parse(&bytes)?;
    persons::check_root_persons(root, &approvers)?;
    Ok(Some(approvers))
}

/// TUF 5.6.7, for a tree of which the depth is one: every role that this updater knows of, each for itself.
async fn delegated(
    store: &Store,
    snapshot: &Snapshot,
    targets: &Targets,
    approvers: Option<&Approvers>,
    started: Option<Time>,
) -> Result<BTreeMap<String, Result<Delegated, Fault>>, Fault> {
    let mut roles = BTreeMap::new();
    let Some(delegations) = &targets.delegations else { return Ok(roles) };
    if delegations.roles.len() > metadata::MAX_DELEGATIONS {
        let reason = format!("it delegates to more than {} roles", metadata::MAX_DELEGATIONS);
        return Err(malformed("targets", &reason));
    }
    for role in delegations.roles.iter().filter(|role| super::paths::is_role(&role.name)) {
        let scope = Delegations { keys: delegations.keys.clone(), roles: vec![role.clone()] };
        // 5.6.7: pre-order, so that the first delegation of a name is the one that counts.
        if !roles.contains_key(&role.name) {
            let held = delegated_role(store, snapshot, scope, &role.name, approvers, started).await;
            roles.insert(role.name.clone(), held);
        }
    }
    Ok(roles)
}

async fn delegated_role(
    store: &Store,
    snapshot: &Snapshot,
    scope: Delegations,
    role: &str,
    approvers: Option<&Approvers>,
    started: Option<Time>,
) -> Result<Delegated, Fault> {
    persons::check_delegation(&scope, role, approvers)?;
    let listed = snapshot.meta.get(&format!("{role}.json")).ok_or_else(|| {
        let reason = format!("the role `{role}` is delegated, and the snapshot lists no metadata of it");
        Fault::new("role-not-published", Blame::Channel, reason)
    })?;
    // 5.6.7.1: each delegated role by 5.6.1 to 5.6.6.
    let path = super::paths::role_file(role, listed.version.get());
    let bytes = store.listed_metadata(&path, role, listed, metadata::MAX_TARGETS).await?;
    let new: Signed<Targets> = parse(&bytes, role)?;
    signatures::by_delegation(&scope, &new, role)?;
    check_version(role, new.signed.version.get(), listed)?;
    check_expiry(role, new.signed.expires, started)?;
    Ok(Delegated { scope, targets: new.signed })
}

fn parse<T: DeserializeOwned>(bytes: &[u8], role: &str) -> Result<T, Fault> {
    serde_json::from_slice(bytes).map_err(|error| malformed(role, &error.to_string()))
}

fn text(bytes: Vec<u8>, role: &str) -> Result<String, Fault> {
    String::from_utf8(bytes).map_err(|error| malformed(role, &error.to_string()))
}

fn malformed(role: &str, what: &str) -> Fault {
    Fault::new("metadata-malformed", Blame::Channel, format!("the metadata of `{role}` cannot be read: {what}"))
}

fn check_version(role: &str, version: u64, listed: &Metafile) -> Result<(), Fault> {
    if version == listed.version.get() {
        return Ok(());
    }
    let reason = format!("the metadata of `{role}` has version {version} where {} is listed", listed.version);
    Err(Fault::new("metadata-mixed", Blame::Channel, reason))
}

fn rolled_back(role: &str, offered: u64, before: u64) -> Fault {
    let reason = match offered {
        0 => format!("the metadata of `{role}` is no longer listed, and this box has seen version {before} of it"),
        offered => format!("the metadata of `{role}` is offered in version {offered}, where {before} was due already"),
    };
    match role {
        "root" => Fault::new("root-rolled-back", Blame::Channel, reason),
        "timestamp" => Fault::new("timestamp-rolled-back", Blame::Channel, reason),
        "snapshot" => Fault::new("snapshot-rolled-back", Blame::Channel, reason),
        "targets" => Fault::new("targets-rolled-back", Blame::Channel, reason),
        _ => Fault::new("role-rolled-back", Blame::Channel, reason),
    }
}

fn check_expiry(role: &str, expires: Time, now: Option<Time>) -> Result<(), Fault> {
    if now.is_none_or(|now| now < expires) { Ok(()) } else { Err(expired(role, expires)) }
}

/// Frozen metadata. Updates stop; nothing that runs does.
pub(super) fn expired(role: &str, since: Time) -> Fault {
    let reason = format!(
        "the metadata of `{role}` expired at {since}: updates are stopped until the channel shows newer metadata; what runs \
         goes on"
    );
    let fault = match role {
        "root" => Fault::new("root-expired", Blame::Channel, reason),
        "timestamp" => Fault::new("timestamp-expired", Blame::Channel, reason),
        "snapshot" => Fault::new("snapshot-expired", Blame::Channel, reason),
        "targets" => Fault::new("targets-expired", Blame::Channel, reason),
        _ => Fault::new("role-expired", Blame::Channel, reason),
    };
    fault.stopping_updates(since)
}
