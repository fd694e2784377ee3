//! Whose a key is. A threshold of TUF counts keys; the region's counts persons, so one person has one key in a role.
//!
//! `trust/approvers.json`, a target that the role `targets` signs, says whose each key is.
use crate::documents::{APPROVERS, Approvers};
use crate::fault::{Blame, Fault};
use crate::hex::hex;
use std::collections::{BTreeMap, HashMap};
use tough::schema::decoded::{Decoded, Hex};
use tough::schema::key::Key;
use tough::schema::{Delegations, RoleType, Root};

/// Reads `trust/approvers.json`.
pub(super) fn parse(bytes: &[u8]) -> Result<Approvers, Fault> {
    Approvers::parse(bytes).map_err(|fault| Fault::new("approvers-invalid", Blame::Region, fault.reason))
}

fn of<'a>(approvers: &'a Approvers, keyid: &Decoded<Hex>) -> Option<&'a str> {
    approvers.person(&hex(keyid))
}

/// Refuses a root in which one key stands under two names for the same role: its holder would count twice.
pub(super) fn check_root(root: &Root) -> Result<(), Fault> {
    for (role, keys) in &root.roles {
        check_keys(&role.to_string(), &keys.keyids, &root.keys)?;
    }
    Ok(())
}

/// Refuses a root in which one person has two keys for `root` or `targets`, as far as these keys are known by name.
pub(super) fn check_root_persons(root: &Root, approvers: &Approvers) -> Result<(), Fault> {
    for role in [RoleType::Root, RoleType::Targets] {
        let Some(keys) = root.roles.get(&role) else { continue };
        if keys.threshold.get() > 1 {
            check_persons(&role.to_string(), &keys.keyids, approvers)?;
        }
    }
    Ok(())
}

/// Refuses the delegation of `role` where one person could reach its threshold alone, or it counts on a key of nobody.
pub(super) fn check_delegation(
    delegation: &Delegations,
    role: &str,
    approvers: Option<&Approvers>,
) -> Result<(), Fault> {
    let Some(delegated) = delegation.roles.iter().find(|delegated| delegated.name == role) else { return Ok(()) };
    check_keys(role, &delegated.keyids, &delegation.keys)?;
    if delegated.threshold.get() == 1 {
        return Ok(());
    }
    let approvers = approvers.ok_or_else(|| {
        let reason = format!(
            "`{role}` needs {} persons, and the region lists no {APPROVERS} that says whose the keys are",
            delegated.threshold
        );
        Fault::new("approvers-missing", Blame::Region, reason)
    })?;
    if let Some(nobody) = delegated.keyids.iter().find(|keyid| of(approvers, keyid).is_none()) {
        let reason = format!("`{role}` is delegated to the key {}, which {APPROVERS} gives to nobody", hex(nobody));
        return Err(Fault::new("key-of-nobody", Blame::Region, reason));
    }
    check_persons(role, &delegated.keyids, approvers)
}

fn check_persons(role: &str, keyids: &[Decoded<Hex>], approvers: &Approvers) -> Result<(), Fault> {
    let mut known: BTreeMap<&str, &Decoded<Hex>> = BTreeMap::new();
    for keyid in keyids {
        let Some(person) = of(approvers, keyid) else { continue };
        if known.insert(person, keyid).is_some_and(|earlier| earlier != keyid) {
            return Err(two_keys(role, &format!("{person} has two keys")));
        }
    }
    Ok(())
}

/// TUF 4.3: for any key ID only one unique key has it; the reverse is not asked there. A key with another field beside it, or
/// with its digits in capitals, has another ID and would be counted once more.
fn check_keys<'a>(
    role: &str,
    keyids: impl IntoIterator<Item = &'a Decoded<Hex>>,
    keys: &HashMap<Decoded<Hex>, Key>,
) -> Result<(), Fault> {
    let mut known: BTreeMap<&[u8], &Decoded<Hex>> = BTreeMap::new();
    for keyid in keyids {
        let Some(key) = keys.get(keyid) else { continue };
        if known.insert(public(key), keyid).is_some_and(|earlier| earlier != keyid) {
            return Err(two_keys(role, "one key stands under two names"));
        }
    }
    Ok(())
}

fn two_keys(role: &str, what: &str) -> Fault {
    let reason = format!("{what} for `{role}`, which counts persons: take one of them out");
    Fault::new("two-keys-of-one-person", Blame::Region, reason)
}

fn public(key: &Key) -> &[u8] {
    match key {
        Key::Rsa { keyval, .. } => &keyval.public,
        Key::Ed25519 { keyval, .. } => &keyval.public,
        Key::Ecdsa { keyval, .. } | Key::EcdsaOld { keyval, .. } => &keyval.public,
    }
}
