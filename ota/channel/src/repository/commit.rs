//! Makes approved metadata visible: new files first, the timestamp last, each synced. A reader sees the old repository or
//! the new one; after a power cut the same command ends what was begun.
use super::document::{Document, FIRST, SPECIFICATION, after, canonical, file, in_days};
use super::files;
use super::home::Home;
use super::keys::{FileSigner, Signer, key_id};
use super::persons;
use super::proposal::Proposal;
use super::published::{Published, role_file};
use super::renew::{SNAPSHOT_DAYS, TIMESTAMP_DAYS};
use super::rescue;
use super::roles::{ROOT, SNAPSHOT, TARGETS, TIMESTAMP, file_names};
use super::store;
use jiff::Timestamp as Time;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::num::NonZeroU64;
use sund_ota::documents::{APPROVERS, Approvers};
use sund_ota::fault::{Blame, Fault};
use sund_ota::limits::metadata;
use tough::schema::{Hashes, Metafile, Role, RoleType, Root, Signature, Signed, Snapshot, Targets, Timestamp};

/// Publishes a proposal whose roles are all signed by enough persons.
pub(super) fn commit(home: &Home, proposal: &Proposal) -> Result<(), Fault> {
    let published = Published::read(home)?;
    let next = Next::of(home, published.as_ref(), proposal)?;
    next.check(home, proposal)?;
    for (role, (version, bytes)) in &next.files {
        if role != ROOT {
            put(home, role, *version, bytes)?;
        }
    }
    reissue(home, published.as_ref(), &next.roots, &next.metafiles())?;
    // The new root at the very end: whoever has not seen it yet finds nothing that the old one does not hold for, since
    // `targets`, snapshot and timestamp are signed for both.
    if let Some((version, bytes)) = next.files.get(ROOT) {
        put(home, ROOT, *version, bytes)?;
    }
    // Before the proposal goes: as long as it waits, the command can be given again.
    rescue::forget_unlisted(home)?;
    let kept = home.published().join(&proposal.cover.id);
    if kept.exists() {
        fs::remove_dir_all(&kept).map_err(|error| files::disk("removed", &kept, &error))?;
    }
    let moved = fs::rename(&proposal.directory, &kept).and_then(|()| files::sync_directory(&kept));
    moved.map_err(|error| files::disk("moved", &proposal.directory, &error))
}

/// Signs a new snapshot of `metafiles` and a timestamp over it, for each of `roots`.
pub(super) fn reissue(
    home: &Home,
    published: Option<&Published>,
    roots: &[&Root],
    metafiles: &HashMap<String, Metafile>,
) -> Result<(), Fault> {
    let version = published.map_or(Ok(FIRST), |published| after(published.snapshot.signed.version))?;
    let mut snapshot = Snapshot::new(SPECIFICATION.to_owned(), version, in_days(SNAPSHOT_DAYS)?);
    snapshot.meta.clone_from(metafiles);
    let bytes = file(&snapshot, online_signatures(home, roots, RoleType::Snapshot, &snapshot)?)?;
    limit(SNAPSHOT, bytes.len(), metadata::MAX_SNAPSHOT)?;
    put(home, SNAPSHOT, version.get(), &bytes)?;
    stamp(home, published, roots, metafile(version, &bytes))
}

/// Signs a new timestamp over a snapshot, for each of `roots`.
pub(super) fn stamp(
    home: &Home,
    published: Option<&Published>,
    roots: &[&Root],
    snapshot: Metafile,
) -> Result<(), Fault> {
    let version = published.map_or(Ok(FIRST), |published| after(published.timestamp.signed.version))?;
    let mut timestamp = Timestamp::new(SPECIFICATION.to_owned(), version, in_days(TIMESTAMP_DAYS)?);
    timestamp.meta.insert("snapshot.json".to_owned(), snapshot);
    let bytes = file(&timestamp, online_signatures(home, roots, RoleType::Timestamp, &timestamp)?)?;
    limit(TIMESTAMP, bytes.len(), metadata::MAX_TIMESTAMP)?;
    put(home, TIMESTAMP, version.get(), &bytes)
}

/// What the repository is about to hold.
struct Next<'a> {
    /// The files to write: those of the proposal.
    files: BTreeMap<String, (u64, Vec<u8>)>,
    /// `targets` and all that it delegates to, old and new: version and bytes.
    roles: BTreeMap<String, (NonZeroU64, Vec<u8>)>,
    /// The root that is published and the one that comes.
    roots: Vec<&'a Root>,
}

impl<'a> Next<'a> {
    fn of(home: &Home, published: Option<&'a Published>, proposal: &'a Proposal) -> Result<Self, Fault> {
        let mut next = Self { files: BTreeMap::new(), roles: BTreeMap::new(), roots: Vec::new() };
        next.roots.extend(published.map(|published| &published.root.signed));
        for (role, signed) in published.iter().flat_map(|published| &published.roles) {
            let version = signed.signed.version;
            next.roles.insert(role.clone(), (version, role_file(home, role, version.get())?));
        }
        for (role, document) in &proposal.documents {
            let version = NonZeroU64::new(document.version()).unwrap_or(FIRST);
            let current = match (role.as_str(), published) {
                (ROOT, published) => published.map(|it| Document::Root(Box::new(it.root.signed.clone()))),
                (role, published) => published
                    .and_then(|it| it.roles.get(role))
                    .map(|signed| Document::Targets(Box::new(signed.signed.clone()))),
            };
            // Begun before and cut off: this role is there already, to the byte.
            let is_there = current.as_ref() == Some(document);
            let expected = current.as_ref().map_or(1, |current| current.version() + 1);
            if !is_there && version.get() != expected {
                return Err(proposal.overtaken(role, version.get(), expected - 1));
            }
            let signatures: Vec<Signature> = proposal.signatures(role)?.into_values().collect();
            let bytes = document.file(signatures)?;
            match document {
                Document::Root(root) => {
                    limit(role, bytes.len(), metadata::MAX_ROOT)?;
                    next.roots.retain(|known| *known != &**root);
                    next.roots.push(root);
                }
                Document::Targets(targets) => {
                    limit(role, bytes.len(), metadata::MAX_TARGETS)?;
                    // What is listed already and was lost holds up nothing that is taken back: `verify` names it.
                    let before = published.and_then(|it| it.roles.get(role)).map(|signed| &signed.signed.targets);
                    let is_new = |name, listed| before.and_then(|before| before.get(name)) != Some(listed);
                    for (name, listed) in targets.targets.iter().filter(|(name, listed)| is_new(*name, *listed)) {
                        let path = store::path(home, name.raw(), listed);
                        if fs::metadata(&path).map_or(0, |found| found.len()) != listed.length {
                            let reason = format!("{} is not in the store: publish it again", name.raw());
                            return Err(Fault::new("payload-missing", Blame::Channel, reason));
                        }
                    }
                    next.roles.insert(role.clone(), (version, bytes.clone()));
                }
            }
            next.files.insert(role.clone(), (version.get(), bytes));
        }
        Ok(next)
    }

    /// Holds what is about to be published to the rules by which clients will read it.
    fn check(&self, home: &Home, proposal: &Proposal) -> Result<(), Fault> {
        let refused = |role: &str, why: String| {
            let reason = format!("{role} would not be valid for the boxes: {why}");
            Err(Fault::new("would-not-be-valid", Blame::Region, reason))
        };
        let mut targets = BTreeMap::new();
        for (role, (_, bytes)) in &self.roles {
            let signed: Signed<Targets> = serde_json::from_slice(bytes)
                .map_err(|error| Fault::new("would-not-be-valid", Blame::Region, format!("{role}: {error}")))?;
            targets.insert(role.clone(), signed);
        }
        if let Some((_, bytes)) = self.files.get(ROOT) {
            let signed: Signed<Root> = serde_json::from_slice(bytes)
                .map_err(|error| Fault::new("would-not-be-valid", Blame::Region, format!("root: {error}")))?;
            for root in &self.roots {
                if let Err(error) = root.verify_role(&signed) {
                    return refused(ROOT, error.to_string());
                }
            }
        }
        let Some(top) = targets.get(TARGETS) else { return refused(TARGETS, "it is not there".to_owned()) };
        for root in &self.roots {
            if let Err(error) = root.verify_role(top) {
                return refused(TARGETS, error.to_string());
            }
        }
        if let Err((role, why)) = persons::check(&self.roots, &top.signed, approvers(home, &top.signed)?.as_ref()) {
            return refused(&role, why);
        }
        let delegations = top.signed.delegations.clone().unwrap_or_default();
        for delegated in &delegations.roles {
            // TUF 5.6.7: a role that cannot be found ends the search, for every role.
            let Some(role) = targets.get(&delegated.name) else {
                return refused(&delegated.name, "it has no metadata".to_owned());
            };
            if let Err(error) = delegations.verify_role(role, &delegated.name) {
                return refused(&delegated.name, error.to_string());
            }
        }
        let late = proposal.documents.iter().find(|(_, document)| document.expires() <= Time::now());
        late.map_or(Ok(()), |(role, _)| {
            refused(role, "it has expired: discard the proposal, propose it again".to_owned())
        })
    }

    fn metafiles(&self) -> HashMap<String, Metafile> {
        let roles = self.roles.iter();
        roles.map(|(role, (version, bytes))| (format!("{role}.json"), metafile(*version, bytes))).collect()
    }
}

/// Whose key is whose, as it is about to be listed.
fn approvers(home: &Home, targets: &Targets) -> Result<Option<Approvers>, Fault> {
    let listed = targets.targets.iter().find(|(name, _)| name.raw() == APPROVERS);
    let read = |(_, listed)| files::read(&store::path(home, APPROVERS, listed), metadata::MAX_APPROVERS);
    listed.map(read).transpose()?.map(|bytes| Approvers::parse(&bytes)).transpose()
}

/// TUF 4.4: version, length and hash, so that a client can bound what it fetches.
fn metafile(version: NonZeroU64, bytes: &[u8]) -> Metafile {
    let hashes = Hashes { sha256: files::sha256(bytes).into(), _extra: HashMap::new() };
    Metafile { length: Some(bytes.len() as u64), hashes: Some(hashes), version, _extra: HashMap::new() }
}

fn put(home: &Home, role: &str, version: u64, bytes: &[u8]) -> Result<(), Fault> {
    file_names(role, version).iter().try_for_each(|name| files::write(&home.metadata().join(name), bytes, 0o644))
}

/// Refuses metadata that boxes would not take.
pub(super) fn limit(role: &str, length: usize, max: u64) -> Result<(), Fault> {
    if length as u64 <= max {
        return Ok(());
    }
    let reason = format!("{role} would have {length} bytes and boxes take {max}: withdraw what is no longer used");
    Err(Fault::new("metadata-too-large", Blame::Region, reason))
}

/// Signs with each key at the server that one of the roots names for a role.
fn online_signatures<T: Role + Serialize>(
    home: &Home,
    roots: &[&Root],
    role: RoleType,
    document: &T,
) -> Result<Vec<Signature>, Fault> {
    let message = canonical(document)?;
    let mut signatures: Vec<Signature> = Vec::new();
    let keys = home.keys();
    let entries = match fs::read_dir(&keys) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        read => Some(read.map_err(|error| files::disk("read", &keys, &error))?),
    };
    for entry in entries.into_iter().flatten() {
        let path = entry.map_err(|error| files::disk("read", &keys, &error))?.path();
        if path.extension().is_none_or(|extension| extension != "pem") {
            continue;
        }
        let signer = FileSigner::open(&path)?;
        let keyid = key_id(&signer.key())?;
        let is_seated = roots.iter().any(|root| root.roles.get(&role).is_some_and(|seat| seat.keyids.contains(&keyid)));
        if is_seated && !signatures.iter().any(|signature| signature.keyid == keyid) {
            signatures.push(Signature { sig: signer.sign(&message)?.into(), keyid });
        }
    }
    // The newest root must hold; the key of an older one may be lost.
    let seat = roots.last().and_then(|root| root.roles.get(&role));
    let valid = signatures.iter().filter(|signature| seat.is_some_and(|seat| seat.keyids.contains(&signature.keyid)));
    if seat.is_none_or(|seat| (valid.count() as u64) < seat.threshold.get()) {
        let reason = format!(
            "{} has not the key of {role} that the root names: put it back, or rotate the root with new keys for the server",
            keys.display()
        );
        return Err(Fault::new("online-key-missing", Blame::Configuration, reason));
    }
    Ok(signatures)
}
