//! The roles, the paths that each may list, and the names of their files.
use super::bundle::TERMS;
use sund_ota::documents::{STOP, SUSPENSIONS};
use sund_ota::fault::{Blame, Fault};
use tough::schema::{PathPattern, PathSet};

/// Persons, offline: who may sign what.
pub const ROOT: &str = "root";
/// The same persons: vendors, approvers, delegations.
pub const TARGETS: &str = "targets";
/// At the server: which versions belong together.
pub const SNAPSHOT: &str = "snapshot";
/// At the server: what is newest.
pub const TIMESTAMP: &str = "timestamp";
/// The region's approvers: desired states and the switches.
pub const STATE: &str = "state";
/// The region's approvers: operating systems.
pub const OS: &str = "os";
/// The region's approvers: configurations.
pub const CONFIG: &str = "config";
/// Before the name of a vendor.
const MODELS: &str = "models/";

/// The role of a vendor's models.
pub fn models_of(vendor: &str) -> Result<String, Fault> {
    check_name("vendor", vendor)?;
    Ok(format!("{MODELS}{vendor}"))
}

/// Whether a role is that of a vendor's models.
pub fn is_models(role: &str) -> bool {
    role.starts_with(MODELS)
}

/// A role that `targets` may delegate to.
pub fn check_delegated(role: &str) -> Result<(), Fault> {
    match role.strip_prefix(MODELS) {
        Some(vendor) => check_name("vendor", vendor),
        None if [STATE, OS, CONFIG].contains(&role) => Ok(()),
        None => {
            let reason = format!("`{role}` is no role of the channel: name os, config, state or models/VENDOR");
            Err(Fault::new("role-unknown", Blame::Configuration, reason))
        }
    }
}

/// The role whose path a target lies in.
pub fn of_target(target: &str) -> Result<String, Fault> {
    let parts: Vec<&str> = target.split('/').collect();
    match parts.as_slice() {
        ["trust", _] => Ok(TARGETS.to_owned()),
        [role @ (STATE | OS | CONFIG), _] => Ok((*role).to_owned()),
        [STATE, "bundles", _] => Ok(STATE.to_owned()),
        ["models", vendor, _] => models_of(vendor),
        _ => {
            let reason =
                format!("`{target}` lies in no role's path: os/NAME, config/NAME, models/VENDOR/NAME, state/NAME");
            Err(Fault::new("path-of-no-role", Blame::Configuration, reason))
        }
    }
}

/// Whether a target of the role `state` is a desired state: the switches and the terms of bundles are none.
pub fn is_state(target: &str) -> bool {
    target.starts_with("state/") && target != STOP && target != SUSPENSIONS && !target.starts_with(TERMS)
}

/// What a delegated role may list.
pub fn paths(role: &str) -> Result<PathSet, Fault> {
    // A `*` of TUF ends at a slash for some clients and not for others: the deeper path is named by itself.
    let patterns: &[String] = &match role {
        STATE => vec!["state/*".to_owned(), "state/bundles/*".to_owned()],
        _ => vec![format!("{role}/*")],
    };
    let patterns: Result<Vec<PathPattern>, _> = patterns.iter().map(PathPattern::new).collect();
    patterns.map(PathSet::Paths).map_err(|error| Fault::new("role-unknown", Blame::Updater, error.to_string()))
}

/// A name that stands in paths: lower-case letters, digits, `.`, `_`, `-`, at most 100.
pub fn check_name(what: &str, name: &str) -> Result<(), Fault> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let fits = (1..=100).contains(&name.len())
        && name.bytes().all(|byte| is_plain(byte) || b"._-".contains(&byte))
        && name.bytes().next().is_some_and(is_plain)
        && name.bytes().last().is_some_and(is_plain);
    if fits {
        return Ok(());
    }
    let reason = format!(
        "`{name}` cannot be the name of a {what}: use at most 100 lower-case letters, digits, `.`, `_` and `-`, \
         with a letter or digit at both ends"
    );
    Err(Fault::new("name-invalid", Blame::Configuration, reason))
}

/// The names under which role metadata lies in the store, TUF 3.1.1 (consistent snapshots). A client asks for the first;
/// a web server that decodes `%2F` looks for the second, where the role's name has a slash.
pub fn file_names(role: &str, version: u64) -> Vec<String> {
    if role == TIMESTAMP {
        return vec!["timestamp.json".to_owned()];
    }
    let mut names = vec![format!("{version}.{}.json", role.replace('/', "%2F"))];
    if role.contains('/') {
        names.push(format!("{version}.{role}.json"));
    }
    names
}

/// The name of a role's file in a proposal.
pub fn plain_name(role: &str) -> String {
    role.replace('/', ".")
}
