//! The vendors' keys that the region pins, as the updater hands them over with a state. They come from what the root's persons sign
//! (`trust/vendors.json`). A state that has them is held to them alone: the box's own `[[vendors]]` are about its own packages, and whoever
//! writes a configuration adds no vendor to what the region pins.
use super::RoutePlan;
use super::routing::{Vendor, signed};
use crate::fault::{Blame, Fault};
use crate::limits::channel::{MAX_PACKAGES, MAX_VENDOR_KEYS};
use crate::limits::model::MAX_KEY;
use crate::model::Package;
use crate::model::signed::Verifier;
use crate::route::Mode;
use std::collections::BTreeMap;

/// Public keys (SubjectPublicKeyInfo, PEM) by what their vendor calls itself in its manifests.
pub type VendorKeys = BTreeMap<String, Vec<String>>;

/// The same, read.
#[derive(Clone)]
pub struct Pinned(Vec<Vendor>);

impl Pinned {
    /// Reads the keys. One that cannot be read counts for nothing, as at the centre: a slip in one vendor's key stops no other vendor.
    pub fn read(keys: &VendorKeys) -> Self {
        let usable = |pem: &String| (pem.len() as u64 <= MAX_KEY).then(|| Verifier::from_pem(pem.as_bytes()).ok())?;
        let of = |(name, keys): (&String, &Vec<String>)| {
            keys.iter().filter_map(usable).map(|key| Vendor { name: name.clone(), key }).collect::<Vec<_>>()
        };
        Self(keys.iter().flat_map(of).collect())
    }

    /// What is wrong with keys that are more than any state needs.
    pub fn excess(keys: &VendorKeys) -> Option<String> {
        let is_many = keys.len() > MAX_PACKAGES || keys.values().any(|keys| keys.len() > MAX_VENDOR_KEYS);
        is_many.then(|| {
            format!("it has the keys of more than {MAX_PACKAGES} vendors, or more than {MAX_VENDOR_KEYS} of one")
        })
    }

    /// A package of a state, with the key that has signed it. One that no pinned key has signed serves research alone.
    pub fn signed(&self, package: Package, routes: &BTreeMap<String, RoutePlan>) -> Result<Package, Fault> {
        let package = signed(package, &self.0)?;
        let name = &package.manifest.name;
        let is_of_account = |plan: &RoutePlan| plan.mode != Mode::Research && plan.models.contains(name);
        if package.signed_by.is_none() && routes.values().any(is_of_account) {
            let reason = format!(
                "`{name}` is not signed by a key that the region pins for its vendor, \"{}\": have it signed by one that is, or \
                 have the region pin the vendor's key (sund-channel delegate)",
                package.manifest.vendor
            );
            return Err(Fault::new("package-not-pinned", Blame::Package, reason));
        }
        Ok(package)
    }
}
