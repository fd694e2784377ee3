//! What was ever listed. A name that has once meant some bytes never means others, also after it was withdrawn: a
//! state, a report of a box or a ledger that names it would else mean something that it never saw.
use super::home::Home;
use super::published::{Published, role_file};
use super::store::sha256_of;
use sund_ota::fault::{Blame, Fault};
use tough::TargetName;
use tough::schema::{Signed, Target, Targets};

/// Refuses other bytes under a name that some published version of its role has listed. Every version of a role stays
/// in the repository (TUF 6.2), so the list needs no keeping.
pub fn check(home: &Home, published: &Published, role: &str, name: &TargetName, new: &Target) -> Result<(), Fault> {
    let newest = published.roles.get(role).map_or(0, |signed| signed.signed.version.get());
    for version in (1..=newest).rev() {
        let damaged = |why: String| {
            let reason = format!(
                "version {version} of {role} cannot be read, and with it whether {} was published before ({why}): restore the \
                 repository from its copy",
                name.raw()
            );
            Fault::new("repository-damaged", Blame::Channel, reason)
        };
        let bytes = role_file(home, role, version).map_err(|fault| damaged(fault.reason))?;
        let read: Signed<Targets> = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        let Some(listed) = read.signed.targets.get(name) else { continue };
        if sha256_of(listed) != sha256_of(new) {
            let reason = format!(
                "{} was published before with other bytes (version {version} of {role}, sha256 {}): a name is never used \
                 again, also where it was withdrawn; give the new one a version or a name of its own",
                name.raw(),
                sha256_of(listed)
            );
            return Err(Fault::new("version-there-already", Blame::Configuration, reason));
        }
    }
    Ok(())
}
