//! Who may sign: the root's persons, the approvers of each role, the keys at the server. Each change is a proposal that the
//! persons concerned sign; CEREMONY.md says how, step by step.
use super::document::{Document, FIRST, PERSONS_DAYS, SPECIFICATION, in_days};
use super::draft::Draft;
use super::files;
use super::home::Home;
use super::keys::{PublicKey, key_id};
use super::limits::{MAX_KEY, MAX_PERSONS, MAX_VENDOR_KEYS};
use super::online;
use super::package::vendor_key;
use super::proposal::Proposal;
use super::roles::{CONFIG, OS, ROOT, SNAPSHOT, STATE, TARGETS, TIMESTAMP, check_delegated, paths};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use sund_ota::documents::{APPROVERS, Approvers, VENDORS, Vendor, Vendors};
use sund_ota::fault::{Blame, Fault};
use sund_ota::hex::hex;
use tough::schema::decoded::{Decoded, Hex};
use tough::schema::key::Key;
use tough::schema::{DelegatedRole, Delegations, RoleKeys, RoleType, Root};

type KeyId = Decoded<Hex>;

/// The first root.
#[derive(Clone, Debug)]
pub struct First {
    /// Keys of the persons who hold the root.
    pub root: Vec<PublicKey>,
    /// So many of them sign.
    pub threshold: u64,
    /// Keys of the approvers of os, config and state.
    pub approvers: Vec<PublicKey>,
    /// So many of them sign.
    pub approver_threshold: u64,
}

/// What becomes of the keys at the server when the root is rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnlineKeys {
    /// They stay.
    Keep,
    /// New ones are made: the server, or a copy of it, has been in other hands.
    Renew,
}

/// Who signs a role that `targets` delegates to.
#[derive(Clone, Debug)]
pub struct Delegation {
    /// The role: os, config, state or models/VENDOR.
    pub role: String,
    /// Keys of its approvers, instead of those it has.
    pub keys: Vec<PublicKey>,
    /// So many of them sign.
    pub threshold: u64,
    /// For models/VENDOR: the vendor's name in its manifests, and the files of its packages' keys (PEM).
    pub vendor: Option<(String, Vec<PathBuf>)>,
}

/// Proposes the first root, with everything that it delegates.
pub fn first(home: &Home, first: &First) -> Result<Proposal, Fault> {
    let mut draft = Draft::begin(home, None)?;
    if draft.published.is_some() {
        let reason = "there is a root already: change it with `sund-channel root add-key|remove-key|threshold|rotate`";
        return Err(Fault::new("root-there-already", Blame::Configuration, reason));
    }
    let mut root = Root {
        spec_version: SPECIFICATION.to_owned(),
        consistent_snapshot: true,
        version: FIRST,
        expires: in_days(PERSONS_DAYS)?,
        keys: HashMap::new(),
        roles: HashMap::new(),
        _extra: HashMap::new(),
    };
    let mut ids = Vec::new();
    for key in &first.root {
        ids.push(key_id(&key.key)?);
        root.keys.insert(key_id(&key.key)?, key.key.clone());
    }
    for role in [RoleType::Root, RoleType::Targets] {
        root.roles.insert(role, role_keys(ids.clone(), threshold_of(first.threshold)?));
    }
    for (role, name) in [(RoleType::Timestamp, TIMESTAMP), (RoleType::Snapshot, SNAPSHOT)] {
        seat_online_key(&mut root, role, &online::first(home, name)?)?;
    }
    draft.documents.insert(ROOT.to_owned(), Document::Root(Box::new(root)));
    draft.found(TARGETS)?;
    draft.list_document(VENDORS, &Vendors { format: 1, ..Vendors::default() })?;
    let everybody: Vec<PublicKey> = first.root.iter().chain(&first.approvers).cloned().collect();
    for role in [OS, CONFIG, STATE] {
        seat(&mut draft, role, &first.approvers, first.approver_threshold)?;
    }
    settle(&mut draft, &everybody)?;
    draft.finish("the first root of the channel")
}

/// Proposes one more person for the root.
pub fn add_key(home: &Home, with: Option<&str>, key: &PublicKey) -> Result<Proposal, Fault> {
    let mut draft = Draft::begin(home, with)?;
    let id = key_id(&key.key)?;
    let root = draft.root()?;
    root.keys.insert(id.clone(), key.key.clone());
    for role in [RoleType::Root, RoleType::Targets] {
        if let Some(keys) = root.roles.get_mut(&role).filter(|keys| !keys.keyids.contains(&id)) {
            keys.keyids.push(id.clone());
        }
    }
    draft.role(TARGETS)?;
    settle(&mut draft, std::slice::from_ref(key))?;
    draft.finish(&format!("{} joins the root", key.person))
}

/// Proposes that a person leaves every role: a key that was stolen may sign nowhere any more. Each of those roles is signed anew, since a
/// signature of that person may be among those by which it holds.
pub fn remove_key(home: &Home, with: Option<&str>, person: &str) -> Result<Proposal, Fault> {
    let mut draft = Draft::begin(home, with)?;
    let people = draft.approvers()?;
    let is_theirs = |id: &KeyId| people.person(&hex(id.as_ref())) == Some(person);
    let mut left = Vec::new();
    let is_in_root = |root: &Root| {
        let seats = [RoleType::Root, RoleType::Targets].into_iter().filter_map(|role| root.roles.get(&role));
        seats.flat_map(|seat| &seat.keyids).any(is_theirs)
    };
    if current_root(&draft).is_some_and(is_in_root) {
        for role in [RoleType::Root, RoleType::Targets] {
            if let Some(seat) = draft.root()?.roles.get_mut(&role) {
                seat.keyids.retain(|id| !is_theirs(id));
            }
        }
        left.push(ROOT.to_owned());
    }
    for role in draft.role(TARGETS)?.delegations.iter_mut().flat_map(|all| &mut all.roles) {
        let before = role.keyids.len();
        role.keyids.retain(|id| !is_theirs(id));
        if role.keyids.len() < before {
            left.push(role.name.clone());
        }
    }
    if left.is_empty() {
        let reason = format!("{person} has no key in any role: `sund-channel status` names those who have");
        return Err(Fault::new("person-unknown", Blame::Configuration, reason));
    }
    for role in left.iter().filter(|role| *role != ROOT) {
        draft.found(role)?;
    }
    settle(&mut draft, &[])?;
    draft.finish(&format!("{person} leaves {}", left.join(", ")))
}

/// Proposes another threshold for the root.
pub fn threshold(home: &Home, with: Option<&str>, threshold: u64) -> Result<Proposal, Fault> {
    let mut draft = Draft::begin(home, with)?;
    let root = draft.root()?;
    for role in [RoleType::Root, RoleType::Targets] {
        if let Some(keys) = root.roles.get_mut(&role) {
            keys.threshold = threshold_of(threshold)?;
        }
    }
    draft.role(TARGETS)?;
    settle(&mut draft, &[])?;
    draft.finish(&format!("{threshold} persons sign for the root"))
}

/// Proposes a root of the same persons, for another year.
pub fn rotate(home: &Home, with: Option<&str>, keys: OnlineKeys) -> Result<Proposal, Fault> {
    let mut draft = Draft::begin(home, with)?;
    let before = online::named_by(draft.root()?);
    let version = draft.root()?.version.get();
    if keys == OnlineKeys::Renew {
        for (role, name) in [(RoleType::Timestamp, TIMESTAMP), (RoleType::Snapshot, SNAPSHOT)] {
            seat_online_key(draft.root()?, role, &online::another(home, name, version)?)?;
        }
    }
    let after = online::named_by(draft.root()?);
    draft.role(TARGETS)?;
    let with_keys = if keys == OnlineKeys::Renew { "with new keys at the server" } else { "with the same keys" };
    let proposed = settle(&mut draft, &[]).and_then(|()| draft.finish(&format!("the root is renewed {with_keys}")));
    let forgotten = online::forget(home, if proposed.is_ok() { &before } else { &after });
    proposed.and_then(|proposal| forgotten.map(|()| proposal))
}

/// Proposes who signs a role.
pub fn delegate(home: &Home, with: Option<&str>, delegation: &Delegation) -> Result<Proposal, Fault> {
    let mut draft = Draft::begin(home, with)?;
    let role = &delegation.role;
    draft.role(TARGETS)?;
    seat(&mut draft, role, &delegation.keys, delegation.threshold)?;
    if let (Some(vendor), Some((title, files))) = (role.strip_prefix("models/"), &delegation.vendor) {
        let keys: Result<Vec<String>, Fault> = files.iter().map(|file| package_key(file)).collect();
        let known = draft.read(VENDORS)?.map(|bytes| Vendors::parse(&bytes)).transpose()?;
        let mut vendors = known.unwrap_or_else(|| Vendors { format: 1, ..Vendors::default() });
        vendors.vendors.insert(vendor.to_owned(), Vendor { vendor: title.clone(), keys: keys? });
        let of_name = vendors.vendors.values().filter(|known| known.vendor == *title).map(|known| known.keys.len());
        let count = of_name.sum::<usize>();
        if count > MAX_VENDOR_KEYS {
            let reason =
                format!("`{title}` would have {count} package keys, and boxes take {MAX_VENDOR_KEYS}: name fewer");
            return Err(Fault::new("package-key-invalid", Blame::Configuration, reason));
        }
        draft.list_document(VENDORS, &vendors)?;
    }
    settle(&mut draft, &delegation.keys)?;
    draft.finish(&format!("{} of {} persons sign {role}", delegation.threshold, delegation.keys.len()))
}

/// The key of a vendor's packages, to the byte as its vendor gave it: people compare the file's digest. Nothing else may stand in
/// the file, since all of it is served.
fn package_key(file: &Path) -> Result<String, Fault> {
    let pem = String::from_utf8(files::read(file, MAX_KEY)?).ok();
    let is_alone = |pem: &String| {
        let inner = pem.trim().strip_prefix("-----BEGIN PUBLIC KEY-----");
        let inner = inner.and_then(|rest| rest.strip_suffix("-----END PUBLIC KEY-----"));
        inner.is_some_and(|inner| !inner.contains('-'))
    };
    pem.filter(|pem| is_alone(pem) && vendor_key(pem).is_some()).ok_or_else(|| {
        let reason = format!(
            "{} is not the public key (PEM, Ed25519) of a vendor's packages and nothing else: `openssl pkey -in KEY -pubout` writes it",
            file.display()
        );
        Fault::new("package-key-invalid", Blame::Configuration, reason)
    })
}

/// Seats approvers on a role. Its metadata is signed anew: the old signatures may be those of persons who have left.
fn seat(draft: &mut Draft, role: &str, keys: &[PublicKey], threshold: u64) -> Result<(), Fault> {
    check_delegated(role)?;
    let delegations = draft.role(TARGETS)?.delegations.get_or_insert_with(Delegations::new);
    let mut keyids = Vec::new();
    for key in keys {
        let id = key_id(&key.key)?;
        delegations.keys.insert(id.clone(), key.key.clone());
        keyids.push(id);
    }
    let threshold = threshold_of(threshold)?;
    let name = role.to_owned();
    let delegated = DelegatedRole { name, keyids, threshold, paths: paths(role)?, terminating: true, targets: None };
    match delegations.roles.iter_mut().find(|known| known.name == role) {
        Some(known) => *known = delegated,
        None => delegations.roles.push(delegated),
    }
    draft.found(role).map(|_| ())
}

/// Brings the lists of keys and of persons in line with the roles, and refuses a role in which they do not fit.
fn settle(draft: &mut Draft, newcomers: &[PublicKey]) -> Result<(), Fault> {
    let mut people = draft.approvers()?;
    for newcomer in newcomers {
        let id = newcomer.id()?;
        match people.person(&id) {
            None => people.persons.entry(newcomer.person.clone()).or_default().push(id),
            Some(owner) if *owner == newcomer.person => {}
            Some(owner) => {
                let reason = format!("the key of {} is {owner}'s already: each person makes a key", newcomer.person);
                return Err(Fault::new("key-of-two-persons", Blame::Configuration, reason));
            }
        }
    }
    let mut roles: BTreeMap<String, (Vec<KeyId>, u64)> = BTreeMap::new();
    if let Some(keys) = current_root(draft).and_then(|root| root.roles.get(&RoleType::Root)) {
        roles.insert(ROOT.to_owned(), (keys.keyids.clone(), keys.threshold.get()));
    }
    if let Some(delegations) = &draft.role(TARGETS)?.delegations {
        for role in &delegations.roles {
            roles.insert(role.name.clone(), (role.keyids.clone(), role.threshold.get()));
        }
    }
    for (role, (keys, threshold)) in &roles {
        check_seat(role, keys, *threshold, &people)?;
    }
    let used: BTreeSet<KeyId> = roles.values().flat_map(|(keys, _)| keys.iter().cloned()).collect();
    if let Some(delegations) = &mut draft.role(TARGETS)?.delegations {
        let kept: BTreeSet<KeyId> = delegations.roles.iter().flat_map(|role| role.keyids.iter().cloned()).collect();
        delegations.keys.retain(|id, _| kept.contains(id));
    }
    if let Some(Document::Root(root)) = draft.documents.get_mut(ROOT) {
        let kept: BTreeSet<KeyId> = root.roles.values().flat_map(|role| role.keyids.iter().cloned()).collect();
        root.keys.retain(|id, _| kept.contains(id));
    }
    for keys in people.persons.values_mut() {
        keys.retain(|id| used.iter().any(|used| hex(used.as_ref()) == *id));
    }
    people.persons.retain(|_, keys| !keys.is_empty());
    if draft.find(APPROVERS).is_none() || people != draft.approvers()? {
        people.format = 1;
        draft.list_document(APPROVERS, &people)?;
    }
    Ok(())
}

/// A threshold counts persons, and clients count keys: so one person has one key in a role.
fn check_seat(role: &str, keys: &[KeyId], threshold: u64, people: &Approvers) -> Result<(), Fault> {
    let mut persons = BTreeSet::new();
    for id in keys {
        let id = hex(id.as_ref());
        let person = people.person(&id).unwrap_or_default();
        if !persons.insert(person) {
            let reason = format!(
                "{person} would have two keys in {role}: one person is one voice, name one key for each person"
            );
            return Err(Fault::new("person-twice", Blame::Configuration, reason));
        }
    }
    if threshold > persons.len() as u64 || persons.len() > MAX_PERSONS {
        let reason = format!(
            "{threshold} persons are to sign {role} and it has {}: name at least as many, at most {MAX_PERSONS}",
            persons.len()
        );
        return Err(Fault::new("threshold-unreachable", Blame::Configuration, reason));
    }
    Ok(())
}

fn current_root(draft: &Draft) -> Option<&Root> {
    match draft.documents.get(ROOT) {
        Some(Document::Root(root)) => Some(root),
        _ => draft.published.as_ref().map(|published| &published.root.signed),
    }
}

fn threshold_of(threshold: u64) -> Result<NonZeroU64, Fault> {
    NonZeroU64::new(threshold).ok_or_else(|| {
        Fault::new("threshold-unreachable", Blame::Configuration, "a threshold is 1 or more; 2 is usual")
    })
}

fn role_keys(keyids: Vec<KeyId>, threshold: NonZeroU64) -> RoleKeys {
    RoleKeys { keyids, threshold, _extra: HashMap::new() }
}

fn seat_online_key(root: &mut Root, role: RoleType, key: &Key) -> Result<(), Fault> {
    root.keys.insert(key_id(key)?, key.clone());
    root.roles.insert(role, role_keys(vec![key_id(key)?], FIRST));
    Ok(())
}
