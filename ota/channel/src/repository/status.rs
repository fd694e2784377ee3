//! What the repository holds: roles, versions, ends, persons, targets, switches.
use super::files;
use super::home::Home;
use super::published::Published;
use super::renew::{Alarm, alarms};
use super::rescue::{self, Offer, Payload};
use super::roles::{ROOT, SNAPSHOT, STATE, TARGETS, TIMESTAMP, is_state};
use super::store::sha256_of;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs;
use sund_ota::documents::{STOP, SUSPENSIONS, Stop, Suspension, Suspensions};
use sund_ota::fault::Fault;
use sund_ota::hex::hex;
use tough::schema::RoleType;
use tough::schema::decoded::{Decoded, Hex};

/// The repository as it is published.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Every role.
    pub roles: Vec<RoleStatus>,
    /// Every target, by its path.
    pub targets: BTreeMap<String, Listed>,
    /// Why all rollouts are stopped; absent: they are not.
    pub stopped: Option<Stop>,
    /// What is suspended.
    pub suspensions: Vec<Suspension>,
    /// The recovery bundle that `sund-rescue` is offered.
    pub rescue: Option<Payload>,
    /// Proposals that wait for signatures.
    pub proposals: Vec<String>,
    /// Roles past half of their lives, and a recovery bundle that is.
    pub alarms: Vec<Alarm>,
}

/// A role.
#[derive(Clone, Debug, Serialize)]
pub struct RoleStatus {
    /// Its name.
    pub role: String,
    /// Its version.
    pub version: u64,
    /// When it ends.
    pub expires: String,
    /// So many persons sign it.
    pub threshold: u64,
    /// Who may sign it: name and key; the server signs `snapshot` and `timestamp`.
    pub signers: BTreeMap<String, String>,
}

/// A listed target.
#[derive(Clone, Debug, Serialize)]
pub struct Listed {
    /// The role that lists it.
    pub role: String,
    /// SHA-256.
    pub sha256: String,
    /// Length in bytes.
    pub length: u64,
}

/// Tells what is published.
pub fn status(home: &Home) -> Result<Status, Fault> {
    let published = Published::must(home)?;
    let people = published.approvers(home)?;
    let signers = |ids: &[Decoded<Hex>]| -> BTreeMap<String, String> {
        let ids = ids.iter().map(|id| hex(id.as_ref()));
        ids.map(|id| (people.person(&id).unwrap_or("the server").to_owned(), id)).collect()
    };
    let mut roles = Vec::new();
    let top = [
        (ROOT, RoleType::Root, published.root.signed.version, published.root.signed.expires),
        (TARGETS, RoleType::Targets, published.targets().version, published.targets().expires),
        (SNAPSHOT, RoleType::Snapshot, published.snapshot.signed.version, published.snapshot.signed.expires),
        (TIMESTAMP, RoleType::Timestamp, published.timestamp.signed.version, published.timestamp.signed.expires),
    ];
    for (role, kind, version, expires) in top {
        let Some(seat) = published.root.signed.roles.get(&kind) else { continue };
        let (version, threshold) = (version.get(), seat.threshold.get());
        let (role, expires) = (role.to_owned(), expires.to_string());
        roles.push(RoleStatus { role, version, expires, threshold, signers: signers(&seat.keyids) });
    }
    for delegated in published.targets().delegations.iter().flat_map(|all| &all.roles) {
        let Some(signed) = published.roles.get(&delegated.name) else { continue };
        roles.push(RoleStatus {
            role: delegated.name.clone(),
            version: signed.signed.version.get(),
            expires: signed.signed.expires.to_string(),
            threshold: delegated.threshold.get(),
            signers: signers(&delegated.keyids),
        });
    }
    let targets = published.listed().into_iter().map(|(name, (role, target))| {
        (name, Listed { role: role.to_owned(), sha256: sha256_of(target), length: target.length })
    });
    let rescue = rescue::offered(home)?;
    let alarms = alarms(&published, rescue.as_ref());
    let read = |target: &str| super::store::read_listed(home, &published, target);
    Ok(Status {
        roles,
        targets: targets.collect(),
        stopped: read(STOP)?.map(|bytes| Stop::parse(&bytes)).transpose()?,
        suspensions: suspensions(home, &published)?,
        rescue,
        proposals: waiting(home)?,
        alarms,
    })
}

/// What is suspended.
pub fn suspensions(home: &Home, published: &Published) -> Result<Vec<Suspension>, Fault> {
    let listed = super::store::read_listed(home, published, SUSPENSIONS)?;
    let read = listed.map(|bytes| Suspensions::parse(&bytes)).transpose()?;
    Ok(read.unwrap_or_default().suspensions)
}

impl Status {
    /// The states that may be rolled out.
    pub fn states(&self) -> impl Iterator<Item = &str> {
        let listed = self.targets.iter().filter(|(_, listed)| listed.role == STATE).map(|(name, _)| name.as_str());
        listed.filter(|name| is_state(name))
    }
}

/// The proposals that wait.
pub fn waiting(home: &Home) -> Result<Vec<String>, Fault> {
    let directory = home.proposals();
    let failed = |error: std::io::Error| files::disk("read", &directory, &error);
    let mut names = Vec::new();
    for entry in fs::read_dir(&directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let is_whole = entry.path().extension().is_none_or(|extension| extension != "part");
        if is_whole && (entry.path().join("proposal.json").is_file() || Offer::is_at(&entry.path())) {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}
