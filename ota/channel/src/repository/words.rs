//! What a proposal would change, in words: what a person reads before signing. It is told from the documents that are to be
//! signed and from nothing else in the proposal.
use super::document::Document;
use super::files;
use super::keys::fingerprint;
use super::proposal::{Proposal, delegated};
use super::roles::{ROOT, TARGETS};
use super::store::sha256_of;
use std::collections::{BTreeMap, BTreeSet};
use sund_ota::documents::{APPROVERS, Approvers, STOP, SUSPENSIONS, Stop, Suspensions, VENDORS, Vendors};
use sund_ota::fault::Fault;
use sund_ota::hex::hex;
use sund_ota::state::{DesiredState, Mode};
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
                listed(proposal, before, targets, &mut lines);
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
            && !matches!(letter, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
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

/// Which targets come, go and change.
fn listed(proposal: &Proposal, before: Option<&Targets>, after: &Targets, lines: &mut Vec<String>) {
    let known = before.map(|before| &before.targets);
    let old = |name: &TargetName| known.and_then(|known| known.get(name));
    let sorted: BTreeMap<&TargetName, &Target> = after.targets.iter().collect();
    for (name, target) in sorted {
        let sign = match old(name) {
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
        if let Some(bytes) = proposal.enclosed(target) {
            contents(name.raw(), bytes, lines);
        }
    }
    let gone: BTreeSet<&TargetName> =
        known.into_iter().flatten().map(|(name, _)| name).filter(|name| !after.targets.contains_key(*name)).collect();
    for name in gone {
        let meaning = match name.raw() {
            STOP => ": ROLLOUTS GO ON",
            _ => ": no box takes it any more, and boxes that run it go back to a state that is still listed",
        };
        lines.push(format!("  - {}{meaning}", name.raw()));
    }
    let count = after.targets.len();
    lines.push(format!("  {count} target{} in all", if count == 1 { "" } else { "s" }));
}

/// What a small payload says.
fn contents(name: &str, bytes: &[u8], lines: &mut Vec<String>) {
    let mut tell = |text: String| lines.push(format!("      {text}"));
    match name {
        APPROVERS => {
            for (person, keys) in Approvers::parse(bytes).map(|it| it.persons).unwrap_or_default() {
                let keys: Vec<String> = keys.iter().map(|key| fingerprint(key)).collect();
                tell(format!("{person}: {}", keys.join("; ")));
            }
        }
        VENDORS => {
            for (name, vendor) in Vendors::parse(bytes).map(|it| it.vendors).unwrap_or_default() {
                tell(format!("vendor {name}: `{}`, {} package key(s)", vendor.vendor, vendor.keys.len()));
                for key in &vendor.keys {
                    tell(format!("  key file with sha256 {} ...", fingerprint(&hex(&files::sha256(key.as_bytes())))));
                }
            }
        }
        STOP => {
            if let Ok(stop) = Stop::parse(bytes) {
                tell(format!("STOPS ALL ROLLOUTS: {}", stop.reason));
            }
        }
        SUSPENSIONS => {
            for it in Suspensions::parse(bytes).map(|it| it.suspensions).unwrap_or_default() {
                let version = it.version.map_or("every version".to_owned(), |version| format!("version {version}"));
                tell(format!("SUSPENDED: {}, {version}: {}", it.package, it.reason));
            }
        }
        _ => match DesiredState::parse(name, bytes) {
            Ok(state) => desired(&state, &mut tell),
            Err(fault) => tell(format!("its contents cannot be told: {fault}")),
        },
    }
}

fn desired(state: &DesiredState, tell: &mut impl FnMut(String)) {
    match &state.os {
        Some(os) => tell(format!("operating system {} ({})", os.version, os.bundle.target)),
        None => tell("operating system: as it is".to_owned()),
    }
    match &state.configuration {
        Some(pin) => tell(format!("configuration {}", pin.target)),
        None => tell("configuration: the box's own".to_owned()),
    }
    for model in &state.models {
        tell(format!("model {} {} ({})", model.name, model.version, model.package.target));
    }
    for (route, plan) in &state.routes {
        let mode = match plan.mode {
            Mode::Shadow => "shadow",
            Mode::Research => "research",
            Mode::Clinical => "CLINICAL",
        };
        tell(format!("route {route}: {} in mode {mode}", plan.models.join(", ")));
    }
    tell(format!("each box watches itself for {} s", state.watch_seconds));
}
