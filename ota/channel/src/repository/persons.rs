//! Persons are counted, as a box counts them: what it would refuse is not published.
use super::roles::{ROOT, TARGETS};
use std::collections::BTreeSet;
use sund_ota::documents::{APPROVERS, Approvers};
use sund_ota::hex::hex;
use tough::schema::decoded::{Decoded, Hex};
use tough::schema::{RoleType, Root, Targets};

/// Holds the roles of `roots` and all that `targets` delegates to what `people` says of their keys; the refusal names the role.
pub fn check(roots: &[&Root], targets: &Targets, people: Option<&Approvers>) -> Result<(), (String, String)> {
    for root in roots {
        for (role, kind) in [(ROOT, RoleType::Root), (TARGETS, RoleType::Targets)] {
            let Some(seat) = root.roles.get(&kind).filter(|seat| seat.threshold.get() > 1) else { continue };
            // A box knows a root before it knows whose its keys are, and asks only of those that are named.
            seated(&seat.keyids, people, false).map_err(|why| (role.to_owned(), why))?;
        }
    }
    for role in targets.delegations.iter().flat_map(|all| &all.roles).filter(|role| role.threshold.get() > 1) {
        seated(&role.keyids, people, true).map_err(|why| (role.name.clone(), why))?;
    }
    Ok(())
}

fn seated(keys: &[Decoded<Hex>], people: Option<&Approvers>, must_be_named: bool) -> Result<(), String> {
    let Some(people) = people else {
        let why = format!("it needs more than one person, and no {APPROVERS} is listed that says whose its keys are");
        return if must_be_named { Err(why) } else { Ok(()) };
    };
    let mut persons = BTreeSet::new();
    for key in keys.iter().map(|key| hex(key.as_ref())) {
        match people.person(&key) {
            None if must_be_named => return Err(format!("{APPROVERS} gives its key {key} to nobody")),
            Some(person) if !persons.insert(person) => return Err(format!("{person} has two keys in it")),
            _ => {}
        }
    }
    Ok(())
}
