//! What a proposal would change, in words: what a person reads before signing. It is told from the documents that are to be
//! signed and from nothing else in the proposal.
mod configuration;
mod contents;
mod desired;

use super::document::Document;
use super::keys::fingerprint;
use super::proposal::{Proposal, delegated};
use super::release::AFTER;
use super::roles::{ROOT, TARGETS};
use super::store::sha256_of;
use std::collections::{BTreeMap, BTreeSet};
use sund_ota::documents::{APPROVERS, AUTHORITIES, Approvers, STOP, SUSPENSIONS, VENDORS};
use sund_ota::fault::{Blame, Fault};
use sund_ota::hex::hex;
use tough::TargetName;
use tough::schema::decoded::{Decoded, Hex};
use tough::schema::{RoleType, Target, Targets};

/// The difference to what is published, role by role.
pub fn describe(proposal: &Proposal) -> Result<Vec<String>, Fault> {
    let people = proposal.people()?;
    let mut lines = Vec::new();
    let top = [ROOT, TARGETS].into_iter().filter_map(|role| proposal.documents.get_key_value(role));
    let below = proposal.documents.iter().filter(|(role, _)| *role != ROOT && *role != TARGETS);
    for (role, document) in top.chain(below) {
        let before = proposal.before.get(role);
        let from = before.map_or("new".to_owned(), |before| format!("from version {}", before.version()));
        lines.push(format!("{role}, version {} ({from}), valid until {}", document.version(), document.expires()));
        let at = lines.len();
        match document {
            Document::Root(_) => roots(proposal, &people, &mut lines),
            Document::Targets(targets) => {
                if role == TARGETS {
                    delegations(proposal, &people, &mut lines);
                }
                let before = match before {
                    Some(Document::Targets(before)) => Some(&**before),
                    _ => None,
                };
                listed(proposal, before, targets, &mut lines)?;
                if lines.len() == at {
                    lines.push("  lists what it listed before".to_owned());
                }
            }
        }
        if lines.len() == at {
            lines.push("  the same keys and thresholds as before".to_owned());
        }
    }
    Ok(lines.iter().map(|line| plain(line)).collect())
}

/// Text that may come from a thief, without what would move or hide other text on a person's screen.
pub fn plain(text: &str) -> String {
    let is_plain = |letter: &char| {
        !letter.is_control()
            && !matches!(letter, '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
    };
    text.chars().map(|letter| if is_plain(&letter) { letter } else { '\u{fffd}' }).collect()
}

fn roots(proposal: &Proposal, people: &Approvers, lines: &mut Vec<String>) {
    let seat = |documents: &BTreeMap<String, Document>, kind| match documents.get(ROOT) {
        Some(Document::Root(root)) => root.roles.get(&kind).map(|keys| (keys.keyids.clone(), keys.threshold.get())),
        _ => None,
    };
    for kind in [RoleType::Root, RoleType::Targets, RoleType::Snapshot, RoleType::Timestamp] {
        let (before, after) = (seat(&proposal.before, kind), seat(&proposal.documents, kind));
        seats(&kind.to_string(), before, after, people, lines);
    }
}

fn delegations(proposal: &Proposal, people: &Approvers, lines: &mut Vec<String>) {
    let names = |documents: &BTreeMap<String, Document>| -> Vec<String> {
        let Some(Document::Targets(targets)) = documents.get(TARGETS) else { return Vec::new() };
        targets.delegations.iter().flat_map(|all| &all.roles).map(|role| role.name.clone()).collect()
    };
    let all: BTreeSet<String> = [&proposal.before, &proposal.documents].into_iter().flat_map(names).collect();
    for role in all {
        let seat = |documents| delegated(documents, &role).map(|it| (it.keyids.clone(), it.threshold.get()));
        seats(&role, seat(&proposal.before), seat(&proposal.documents), people, lines);
    }
}

type Keys = Option<(Vec<Decoded<Hex>>, u64)>;

/// How the keys and the threshold of a role change.
fn seats(role: &str, before: Keys, after: Keys, people: &Approvers, lines: &mut Vec<String>) {
    let name = |id: &Decoded<Hex>| {
        let id = hex(id.as_ref());
        format!("{} (key {})", people.person(&id).unwrap_or("the server"), fingerprint(&id))
    };
    let Some((keys, threshold)) = after else {
        lines.push(format!("  {role} is delegated to nobody any more"));
        return;
    };
    let (known, old) = before.unwrap_or_default();
    for id in keys.iter().filter(|id| !known.contains(id)) {
        lines.push(format!("  + {} may sign {role}", name(id)));
    }
    for id in known.iter().filter(|id| !keys.contains(id)) {
        lines.push(format!("  - {} may no longer sign {role}", name(id)));
    }
    if old != threshold {
        let was = if old == 0 { String::new() } else { format!(", before it was {old}") };
        lines.push(format!("  {role} needs {threshold} of {}{was}", keys.len()));
    }
}

/// Whether people are told what stands in a target: the region's own small documents, and configurations.
pub(super) fn is_told(target: &str) -> bool {
    ["trust/", "state/", "config/"].iter().any(|start| target.starts_with(start))
}

/// Whether people are told what stood in a target that is listed no more: what it held back, or vouched for.
pub(super) fn is_told_when_it_goes(target: &str) -> bool {
    target.starts_with("trust/") || matches!(target, STOP | SUSPENSIONS)
}

/// The configuration of the same name that one takes the place of, as it says itself, where that is among these.
pub(super) fn follows<'a>(
    target: &Target,
    mut listed: impl Iterator<Item = (&'a TargetName, &'a Target)>,
) -> Option<(&'a TargetName, &'a Target)> {
    let after = target.custom.get(AFTER)?.as_str()?;
    listed.find(|(name, earlier)| name.raw() == after && earlier.custom.get("name") == target.custom.get("name"))
}

/// Whether what a target said before is told beside what it says now.
pub(super) fn is_compared(target: &str) -> bool {
    target.starts_with("config/") || is_told_when_it_goes(target)
}

/// What stands in a target that people are told of. It is refused where it is left out: they would sign what they have not read.
fn enclosed<'a>(proposal: &'a Proposal, name: &TargetName, target: &Target) -> Result<Option<&'a [u8]>, Fault> {
    let bytes = proposal.enclosed(target);
    if bytes.is_none() && is_told(name.raw()) {
        let reason = format!(
            "{} is not enclosed as it is listed: copy the whole proposal again, or propose it again where an older sund-channel has made it",
            name.raw()
        );
        return Err(Fault::new("proposal-invalid", Blame::Region, plain(&reason)));
    }
    Ok(bytes)
}

/// Which targets come, go and change.
fn listed(
    proposal: &Proposal,
    before: Option<&Targets>,
    after: &Targets,
    lines: &mut Vec<String>,
) -> Result<(), Fault> {
    let known: BTreeMap<&TargetName, &Target> = before.into_iter().flat_map(|before| &before.targets).collect();
    let sorted: BTreeMap<&TargetName, &Target> = after.targets.iter().collect();
    for (name, target) in &sorted {
        let old = known.get(name);
        let sign = match old {
            None => '+',
            Some(old) if old == target => continue,
            Some(_) => '~',
        };
        let digest = fingerprint(&sha256_of(target));
        lines.push(format!("  {sign} {}, {} bytes, sha256 {digest} ...", name.raw(), target.length));
        let custom: BTreeMap<_, _> = target.custom.iter().collect();
        for (key, value) in custom {
            lines.push(format!("      {key}: {}", value.as_str().map_or_else(|| value.to_string(), str::to_owned)));
        }
        if let Some(bytes) = enclosed(proposal, name, target)? {
            let earlier = known.get_key_value(name).map(|(name, old)| (*name, *old));
            let earlier = earlier.or_else(|| follows(target, known.iter().map(|(name, old)| (*name, *old))));
            let earlier = earlier.filter(|(name, _)| is_compared(name.raw()));
            let old = earlier.map(|(name, old)| enclosed(proposal, name, old)).transpose()?.flatten();
            contents::tell(proposal, name.raw(), old, Some(bytes), lines)?;
        }
    }
    for (name, target) in known.iter().filter(|(name, _)| !sorted.contains_key(*name)) {
        let meaning = match name.raw() {
            STOP => ": ROLLOUTS GO ON",
            SUSPENSIONS => ": the region suspends no model any more",
            APPROVERS => ": nobody is told any more whose key is whose",
            AUTHORITIES => ": boxes go on believing those that it named",
            VENDORS => ": no vendor is known any more",
            _ => ": no box takes it any more, and boxes that run it go back to a state that is still listed",
        };
        lines.push(format!("  - {}{meaning}", name.raw()));
        if is_told_when_it_goes(name.raw()) {
            contents::tell(proposal, name.raw(), enclosed(proposal, name, target)?, None, lines)?;
        }
    }
    let count = after.targets.len();
    lines.push(format!("  {count} target{} in all", if count == 1 { "" } else { "s" }));
    Ok(())
}
