//! The small documents that the region signs beside desired states: whose key is whose, which vendors there are, what is
//! stopped, what is suspended. All of them are format 1 and are read strictly.
use crate::fault::{Blame, Fault};
use crate::limits::MAX_STATE;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Whose key is whose; a target of the role `targets`.
pub const APPROVERS: &str = "trust/approvers.json";
/// The vendors and the keys of their packages; a target of the role `targets`.
pub const VENDORS: &str = "trust/vendors.json";
/// While it is listed, no box takes a new deployment; a target of the role `state`.
pub const STOP: &str = "state/stop.json";
/// Models that are switched off whatever a state says; a target of the role `state`.
pub const SUSPENSIONS: &str = "state/suspensions.json";

/// Whose key is whose. A threshold counts persons: two keys of one person are one voice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approvers {
    /// 1.
    pub format: u32,
    /// Name of a person: the identifiers (TUF `KEYID`) of that person's keys, in all roles.
    pub persons: BTreeMap<String, Vec<String>>,
}

/// The vendors of models. A vendor signs its packages itself; the centre checks that before it lists one, and the agent at each load.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vendors {
    /// 1.
    pub format: u32,
    /// Short name, as in `models/NAME/`.
    pub vendors: BTreeMap<String, Vendor>,
}

/// Public keys (SubjectPublicKeyInfo, PEM) by what their vendor calls itself in the manifests of its packages.
pub type VendorKeys = BTreeMap<String, Vec<String>>;

/// A vendor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vendor {
    /// Name, as in the manifests of its packages.
    pub vendor: String,
    /// Public keys (SubjectPublicKeyInfo, PEM) that sign its packages.
    pub keys: Vec<String>,
}

/// All rollouts are stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// 1.
    pub format: u32,
    /// Why, for people.
    pub reason: String,
    /// Since when, RFC 3339.
    pub since: String,
}

/// What is suspended clinically. Each box applies it at its next poll, whichever state it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suspensions {
    /// 1.
    pub format: u32,
    /// What is off. A package that is no longer here may serve again.
    pub suspensions: Vec<Suspension>,
}

/// A suspended package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suspension {
    /// Name of the package, as in its manifest.
    pub package: String,
    /// This version alone; absent: every version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Why, for people.
    pub reason: String,
    /// Since when, RFC 3339.
    pub since: String,
}

impl Approvers {
    /// Reads the target [`APPROVERS`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let approvers: Self = read(APPROVERS, bytes, |document: &Self| document.format)?;
        let mut seen = BTreeSet::new();
        match approvers.persons.values().flatten().find(|key| !seen.insert(key.as_str())) {
            Some(key) => Err(invalid(APPROVERS, format!("the key {key} stands twice"))),
            None => Ok(approvers),
        }
    }

    /// Whose key that is.
    pub fn person(&self, key_id: &str) -> Option<&str> {
        self.persons.iter().find(|(_, keys)| keys.iter().any(|key| key == key_id)).map(|(name, _)| name.as_str())
    }
}

impl Vendors {
    /// Reads the target [`VENDORS`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        read(VENDORS, bytes, |document: &Self| document.format)
    }

    /// The keys of those vendors that answer for one of these targets, `models/NAME/...`: no other vendor's are of account for them.
    pub fn keys_for<'a>(&self, targets: impl Iterator<Item = &'a str>) -> VendorKeys {
        let name = |target: &'a str| target.strip_prefix("models/")?.split_once('/').map(|(name, _)| name);
        let names: BTreeSet<&str> = targets.filter_map(name).collect();
        let mut keys = VendorKeys::new();
        for vendor in names.into_iter().filter_map(|name| self.vendors.get(name)) {
            keys.entry(vendor.vendor.clone()).or_default().extend(vendor.keys.iter().cloned());
        }
        keys
    }
}

impl Stop {
    /// Reads the target [`STOP`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        read(STOP, bytes, |document: &Self| document.format)
    }
}

impl Suspensions {
    /// Reads the target [`SUSPENSIONS`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        read(SUSPENSIONS, bytes, |document: &Self| document.format)
    }

    /// Why a package of that name and version is off; nothing where it is not.
    pub fn of(&self, package: &str, version: &str) -> Option<&Suspension> {
        self.suspensions.iter().find(|suspension| {
            suspension.package == package && suspension.version.as_ref().is_none_or(|only| only == version)
        })
    }
}

fn read<T: DeserializeOwned>(target: &str, bytes: &[u8], format: impl Fn(&T) -> u32) -> Result<T, Fault> {
    if bytes.len() as u64 > MAX_STATE {
        return Err(invalid(target, format!("has more than {MAX_STATE} bytes")));
    }
    let document: T = serde_json::from_slice(bytes).map_err(|error| invalid(target, error.to_string()))?;
    match format(&document) {
        1 => Ok(document),
        other => Err(invalid(target, format!("has format {other}; this version reads 1: update it first"))),
    }
}

fn invalid(target: &str, reason: String) -> Fault {
    Fault::new("document-invalid", Blame::Region, format!("{target}: {reason}"))
}
