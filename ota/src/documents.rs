//! The small documents that the region signs beside desired states: whose key is whose, which vendors there are, who is the channel, what
//! is stopped, what is suspended. All of them are format 1 and are read strictly.
use crate::fault::{Blame, Fault};
use crate::hex::hex;
use crate::limits::MAX_STATE;
use aws_lc_rs::digest::SHA256;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Whose key is whose; a target of the role `targets`.
pub const APPROVERS: &str = "trust/approvers.json";
/// The vendors and the keys of their packages; a target of the role `targets`.
pub const VENDORS: &str = "trust/vendors.json";
/// The channel's own authorities; a target of the role `targets`. Where it is not listed, there is the one that boxes were provisioned with.
pub const AUTHORITIES: &str = "trust/authorities.json";
/// While it is listed, no box takes a new deployment; a target of the role `state`.
pub const STOP: &str = "state/stop.json";
/// Models that are switched off whatever a state says; a target of the role `state`.
pub const SUSPENSIONS: &str = "state/suspensions.json";

/// Authorities at one time. The firmware of a box keeps them for a rescue, and has little room.
pub const MAX_AUTHORITIES: usize = 8;
/// Authorities that were dropped in the life of a region.
const MAX_DROPPED: usize = 64;

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

/// The channel's own authorities: whoever has a certificate by one of them for its address is the channel to a box.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authorities {
    /// 1.
    pub format: u32,
    /// Those that count (a certificate each, PEM), the oldest first. The last one issues, to boxes that know it.
    pub authorities: Vec<String>,
    /// SHA-256 of the certificates (DER) of those that count no more, also where a box was provisioned with them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<String>,
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

impl Authorities {
    /// Reads the target [`AUTHORITIES`]. One that leaves a box with nobody to believe is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let document: Self = read(AUTHORITIES, bytes, |document: &Self| document.format)?;
        document.check().map_err(|reason| invalid(AUTHORITIES, reason)).map(|()| document)
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        if !(1..=MAX_AUTHORITIES).contains(&self.authorities.len()) || self.dropped.len() > MAX_DROPPED {
            return Err(format!("lists 1 to {MAX_AUTHORITIES} authorities, and drops {MAX_DROPPED} at most"));
        }
        let mut seen = BTreeSet::new();
        for certificate in self.certificates()? {
            let digest = digest(&certificate);
            if self.dropped.contains(&digest) {
                return Err(format!("both lists and drops the authority {digest}"));
            }
            if !seen.insert(digest) {
                return Err("lists an authority twice".to_owned());
            }
        }
        Ok(())
    }

    /// The certificates of those that count, the oldest first.
    pub fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, String> {
        let mut roots = RootCertStore::empty();
        let read = |pem: &String| {
            let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| error.to_string())?;
            roots.add(certificate.clone()).map_err(|error| error.to_string())?;
            Ok(certificate)
        };
        self.authorities.iter().map(read).collect()
    }
}

/// SHA-256 of a certificate, in digits.
pub fn digest(certificate: &CertificateDer<'_>) -> String {
    hex(aws_lc_rs::digest::digest(&SHA256, certificate).as_ref())
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
