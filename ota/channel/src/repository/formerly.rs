//! What was ever listed. A name that has once meant some bytes never means others, also after it was withdrawn: a
//! state, a report of a box or a ledger that names it would else mean something that it never saw.
use super::home::Home;
use super::published::{Published, role_file};
use super::store::sha256_of;
use std::collections::BTreeSet;
use sund_ota::fault::{Blame, Fault};
use tough::TargetName;
use tough::schema::{Signed, Target, Targets};

/// Every published version of a role, the newest first. Each stays in the repository (TUF 6.2), so the list needs no keeping.
pub fn versions(home: &Home, published: &Published, role: &str) -> impl Iterator<Item = Result<Targets, Fault>> {
    let newest = published.roles.get(role).map_or(0, |signed| signed.signed.version.get());
    (1..=newest).rev().map(move |version| {
        let damaged = |why: String| {
            let reason = format!(
                "version {version} of {role} cannot be read, and with it what was published before ({why}): restore the repository \
                 from its copy"
            );
            Fault::new("repository-damaged", Blame::Channel, reason)
        };
        let bytes = role_file(home, role, version).map_err(|fault| damaged(fault.reason))?;
        let read: Signed<Targets> = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        Ok(read.signed)
    })
}

/// Refuses other bytes under a name that some published version of its role has listed.
pub fn check(home: &Home, published: &Published, role: &str, name: &TargetName, new: &Target) -> Result<(), Fault> {
    for targets in versions(home, published, role) {
        let targets = targets?;
        let Some(listed) = targets.targets.get(name) else { continue };
        if sha256_of(listed) != sha256_of(new) {
            let reason = format!(
                "{} was published before with other bytes (version {} of {role}, sha256 {}): a name is never used \
                 again, also where it was withdrawn; give the new one a version or a name of its own",
                name.raw(),
                targets.version,
                sha256_of(listed)
            );
            return Err(Fault::new("version-there-already", Blame::Configuration, reason));
        }
    }
    Ok(())
}

/// Of the targets of a role that are listed and meant, the one that came last.
pub fn newest(
    home: &Home,
    published: &Published,
    role: &str,
    is_meant: impl Fn(&Target) -> bool,
) -> Result<Option<TargetName>, Fault> {
    let mut candidates: Option<BTreeSet<TargetName>> = None;
    for targets in versions(home, published, role) {
        let meant = targets?.targets.into_iter().filter(|(_, target)| is_meant(target));
        let listed: BTreeSet<TargetName> = meant.map(|(name, _)| name).collect();
        let left = candidates.get_or_insert_with(|| listed.clone());
        // What this version does not list has come with the one after it.
        if let Some(name) = left.difference(&listed).next() {
            return Ok(Some(name.clone()));
        }
        if left.len() < 2 {
            break;
        }
    }
    Ok(candidates.and_then(|left| left.into_iter().next_back()))
}
