//! What the repository says now.
use super::files;
use super::home::Home;
use super::limits::MAX_DOCUMENT;
use super::roles::{ROOT, SNAPSHOT, TARGETS, TIMESTAMP, file_names};
use super::store;
use std::collections::BTreeMap;
use sund_ota::documents::{APPROVERS, Approvers, VENDORS, Vendors};
use sund_ota::fault::{Blame, Fault};
use sund_ota::limits::metadata;
use tough::TargetName;
use tough::schema::{Root, Signed, Snapshot, Target, Targets, Timestamp};

/// The published metadata.
#[derive(Clone, Debug)]
pub struct Published {
    /// The newest root.
    pub root: Signed<Root>,
    /// The snapshot that the timestamp names.
    pub snapshot: Signed<Snapshot>,
    /// The timestamp.
    pub timestamp: Signed<Timestamp>,
    /// `targets` and all that it delegates to, by role.
    pub roles: BTreeMap<String, Signed<Targets>>,
}

impl Published {
    /// Reads it; nothing where nothing has been published yet.
    pub fn read(home: &Home) -> Result<Option<Self>, Fault> {
        let Some(bytes) = files::read_if_there(&home.metadata().join("timestamp.json"), metadata::MAX_TIMESTAMP)?
        else {
            return Ok(None);
        };
        let timestamp: Signed<Timestamp> = parse(TIMESTAMP, &bytes)?;
        let version = timestamp.signed.meta.get("snapshot.json").map(|meta| meta.version.get());
        let version = version.ok_or_else(|| torn("the timestamp names no snapshot"))?;
        let snapshot: Signed<Snapshot> = parse(SNAPSHOT, &role_file(home, SNAPSHOT, version)?)?;
        let mut roles = BTreeMap::new();
        for (name, meta) in &snapshot.signed.meta {
            let role = name.strip_suffix(".json").ok_or_else(|| torn("the snapshot names what is no metadata"))?;
            roles.insert(role.to_owned(), parse(role, &role_file(home, role, meta.version.get())?)?);
        }
        if !roles.contains_key(TARGETS) {
            return Err(torn("the snapshot names no targets"));
        }
        Ok(Some(Self { root: newest_root(home)?, snapshot, timestamp, roles }))
    }

    /// The same, where something must have been published.
    pub fn must(home: &Home) -> Result<Self, Fault> {
        Self::read(home)?.ok_or_else(|| {
            let reason = "nothing is published yet: begin with `sund-channel root new`";
            Fault::new("nothing-published", Blame::Configuration, reason)
        })
    }

    /// The top-level targets.
    pub fn targets(&self) -> &Targets {
        &self.roles[TARGETS].signed
    }

    /// Where a target is listed: its role and what is listed.
    pub fn find(&self, target: &str) -> Option<(&str, &Target)> {
        let name = TargetName::new(target).ok()?;
        self.roles.iter().find_map(|(role, signed)| Some((role.as_str(), signed.signed.targets.get(&name)?)))
    }

    /// Every target, by its path.
    pub fn listed(&self) -> BTreeMap<String, (&str, &Target)> {
        let all = self.roles.iter().flat_map(|(role, signed)| {
            signed.signed.targets.iter().map(|(name, target)| (name.raw().to_owned(), (role.as_str(), target)))
        });
        all.collect()
    }

    /// Whose key is whose.
    pub fn approvers(&self, home: &Home) -> Result<Approvers, Fault> {
        let bytes = store::read_listed(home, self, APPROVERS)?;
        bytes.map_or_else(|| Ok(Approvers::default()), |bytes| Approvers::parse(&bytes))
    }

    /// The vendors.
    pub fn vendors(&self, home: &Home) -> Result<Vendors, Fault> {
        let bytes = store::read_listed(home, self, VENDORS)?;
        bytes.map_or_else(|| Ok(Vendors { format: 1, ..Vendors::default() }), |bytes| Vendors::parse(&bytes))
    }
}

/// The published metadata of a role, as bytes.
pub fn role_file(home: &Home, role: &str, version: u64) -> Result<Vec<u8>, Fault> {
    files::read(&home.metadata().join(&file_names(role, version)[0]), MAX_DOCUMENT)
}

/// The newest root: each follows the one before, signed by both (TUF 5.3).
fn newest_root(home: &Home) -> Result<Signed<Root>, Fault> {
    let mut newest: Signed<Root> = parse(ROOT, &role_file(home, ROOT, 1)?)?;
    loop {
        let version = newest.signed.version.get() + 1;
        let path = home.metadata().join(&file_names(ROOT, version)[0]);
        let Some(bytes) = files::read_if_there(&path, metadata::MAX_ROOT)? else {
            return Ok(newest);
        };
        let next: Signed<Root> = parse(ROOT, &bytes)?;
        let follows = newest.signed.verify_role(&next).is_ok() && next.signed.verify_role(&next).is_ok();
        if !follows || next.signed.version.get() != version {
            let reason = format!("{} is not signed by the root before it: restore the repository", path.display());
            return Err(Fault::new("root-altered", Blame::Channel, reason));
        }
        newest = next;
    }
}

fn parse<T: serde::de::DeserializeOwned>(role: &str, bytes: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(bytes).map_err(|error| torn(&format!("the published {role} cannot be read: {error}")))
}

fn torn(what: &str) -> Fault {
    Fault::new("repository-damaged", Blame::Channel, format!("{what}: restore the repository from its copy"))
}
