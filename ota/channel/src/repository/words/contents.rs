//! What stands in the targets that people are told of: the region's own small documents, and configurations.
use super::super::bundle::TERMS;
use super::super::document::Document;
use super::super::files;
use super::super::keys::fingerprint;
use super::super::known::Known;
use super::super::proposal::Proposal;
use super::super::roles::{TARGETS, is_models};
use super::{configuration, plain};
use jiff::Timestamp;
use std::collections::BTreeSet;
use sund_ota::bundle::Terms;
use sund_ota::documents::{APPROVERS, Approvers, STOP, SUSPENSIONS, Stop, Suspension, Suspensions, VENDORS, Vendors};
use sund_ota::fault::{Blame, Fault};
use sund_ota::hex::hex;
use sund_ota::state::{DesiredState, Mode, Pin};

/// A day, in seconds.
const DAY: i64 = 24 * 60 * 60;

/// What a target says, and what the one before said and it does not. What cannot be told is refused: nobody signs it unread.
pub(super) fn tell(
    proposal: &Proposal,
    name: &str,
    old: Option<&[u8]>,
    new: Option<&[u8]>,
    lines: &mut Vec<String>,
) -> Result<(), Fault> {
    let mut tell = |text: String| lines.push(format!("      {text}"));
    let told = match new {
        Some(new) if name.starts_with("config/") => configuration::tell(old, new, &mut tell),
        Some(new) => says(proposal, name, new, &mut tell),
        None => Ok(()),
    };
    told.and_then(|()| old.map_or(Ok(()), |old| no_longer(name, old, new, &mut tell))).map_err(|fault| {
        let reason = format!(
            "what {name} says cannot be told: {}; propose it again, or take a newer sund-channel where one has made it",
            fault.reason
        );
        Fault::new("proposal-invalid", Blame::Region, plain(&reason))
    })
}

/// What a small document says.
fn says(proposal: &Proposal, name: &str, bytes: &[u8], tell: &mut impl FnMut(String)) -> Result<(), Fault> {
    match name {
        APPROVERS => {
            for (person, keys) in Approvers::parse(bytes)?.persons {
                let keys: Vec<String> = keys.iter().map(|key| fingerprint(key)).collect();
                tell(format!("{person}: {}", keys.join("; ")));
            }
        }
        VENDORS => {
            for (name, vendor) in Vendors::parse(bytes)?.vendors {
                tell(format!("vendor {name}: `{}`, {} package key(s)", vendor.vendor, vendor.keys.len()));
                for key in &vendor.keys {
                    tell(format!("  key file with sha256 {} ...", key_file(key)));
                }
            }
        }
        STOP => tell(format!("STOPS ALL ROLLOUTS: {}", Stop::parse(bytes)?.reason)),
        SUSPENSIONS => {
            let known = packages(proposal)?;
            for it in Suspensions::parse(bytes)?.suspensions {
                tell(format!("SUSPENDED: {}, {}: {}", it.package, versions(&it), it.reason));
                if !known.holds(&it.package, it.version.as_deref()) {
                    tell(format!(
                        "  NO PACKAGE IS LISTED AS {}, {}: withdrawn, a box's own, or a slip",
                        it.package,
                        versions(&it)
                    ));
                }
            }
        }
        _ if name.starts_with(TERMS) => {
            let terms = Terms::parse(name, bytes)?;
            let Pin { target, sha256, length } = &terms.state;
            tell(format!("a stick may bring {target}, {length} bytes, sha256 {} ...", fingerprint(sha256)));
            // The day that has begun counts as a whole one.
            let seconds = terms.expires.as_second().saturating_sub(Timestamp::now().as_second());
            let days = seconds.div_euclid(DAY) + i64::from(seconds.rem_euclid(DAY) > 0);
            tell(format!("to boxes without a network, UNTIL {}, {} days from now", terms.expires, days));
        }
        _ => desired(&DesiredState::parse(name, bytes)?, tell),
    }
    Ok(())
}

/// The packages that are listed, as published and as proposed.
fn packages(proposal: &Proposal) -> Result<Known, Fault> {
    let sides = [&proposal.before, &proposal.documents];
    let mut vendors = BTreeSet::new();
    for documents in sides {
        let Some(Document::Targets(targets)) = documents.get(TARGETS) else { continue };
        let roles = targets.delegations.iter().flat_map(|all| &all.roles).map(|role| &role.name);
        vendors.extend(roles.filter(|role| is_models(role)));
    }
    let mut known = Known::default();
    for vendor in vendors {
        let listed: Vec<&Document> = sides.into_iter().filter_map(|documents| documents.get(vendor)).collect();
        if listed.is_empty() {
            let reason = format!("{vendor} is not enclosed, and with it whether there is such a package");
            return Err(Fault::new("proposal-invalid", Blame::Region, reason));
        }
        for document in listed {
            if let Document::Targets(targets) = document {
                known.add(targets.targets.values());
            }
        }
    }
    Ok(known)
}

/// What the region held back or vouched for by the document before, and does not any more.
fn no_longer(name: &str, old: &[u8], new: Option<&[u8]>, tell: &mut impl FnMut(String)) -> Result<(), Fault> {
    match name {
        SUSPENSIONS => {
            let new = new.map(Suspensions::parse).transpose()?.unwrap_or_default().suspensions;
            let is_off = |old: &Suspension, new: &Suspension| {
                new.package == old.package && (new.version.is_none() || new.version == old.version)
            };
            for it in Suspensions::parse(old)?.suspensions {
                if !new.iter().any(|new| is_off(&it, new)) {
                    let is_named = it.version.is_none() && new.iter().any(|new| new.package == it.package);
                    let rest = if is_named { " but those that are named" } else { "" };
                    tell(format!("SERVES AGAIN: {}, {}{rest}", it.package, versions(&it)));
                }
            }
        }
        VENDORS => {
            let new = new.map(Vendors::parse).transpose()?.unwrap_or_default().vendors;
            for (name, vendor) in Vendors::parse(old)?.vendors {
                let kept = new.get(&name);
                if kept.is_none() {
                    tell(format!("GONE: vendor {name}: `{}`", vendor.vendor));
                }
                for key in vendor.keys.iter().filter(|key| kept.is_none_or(|kept| !kept.keys.contains(key))) {
                    tell(format!("GONE: a package key of vendor {name}, key file with sha256 {} ...", key_file(key)));
                }
            }
        }
        _ => {}
    }
    Ok(())
}

fn versions(it: &Suspension) -> String {
    it.version.as_ref().map_or("every version".to_owned(), |version| format!("version {version}"))
}

fn key_file(key: &str) -> String {
    fingerprint(&hex(&files::sha256(key.as_bytes())))
}

fn desired(state: &DesiredState, tell: &mut impl FnMut(String)) {
    match &state.boxes {
        Some(boxes) if !boxes.iter().any(|it| it == "*") => tell(format!("for the boxes {}", boxes.join(", "))),
        _ => tell("for EVERY box".to_owned()),
    }
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
