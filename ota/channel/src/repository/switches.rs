//! Taking back: withdraw a release, stop all rollouts, suspend a model. Each is signed like a release.
use super::bundle::TERMS;
use super::document::now;
use super::draft::Draft;
use super::home::Home;
use super::known::Known;
use super::proposal::Proposal;
use super::roles::{STATE, of_target};
use std::collections::{BTreeMap, BTreeSet};
use sund_ota::bundle::Terms;
use sund_ota::documents::{STOP, SUSPENSIONS, Stop, Suspension, Suspensions};
use sund_ota::fault::{Blame, Fault};
use sund_ota::state::DesiredState;

/// A package to suspend, or to let serve again.
#[derive(Clone, Debug)]
pub struct Suspended<'a> {
    /// Name of the package.
    pub package: &'a str,
    /// This version alone.
    pub version: Option<&'a str>,
}

/// What a withdrawal takes off the lists.
#[derive(Clone, Debug, Default)]
pub struct Withdrawn {
    /// The target, and the states and the terms of bundles that name it.
    pub gone: BTreeSet<String>,
    /// What could not be read, each with the reason: it stays listed. A state that names what is gone no box begins, and one that runs it
    /// leaves it.
    pub unread: BTreeMap<String, String>,
}

/// Proposes to take a target off the lists, and with it every state that names it. What is lost or damaged at the centre holds none of it up.
pub fn withdraw(home: &Home, with: Option<&str>, target: &str, reason: &str) -> Result<(Proposal, Withdrawn), Fault> {
    of_target(target)?;
    if let Some(command) = changed_by(target) {
        let reason = format!("{target} is no release and is not withdrawn: {command} changes what it says");
        return Err(Fault::new("not-a-release", Blame::Configuration, reason));
    }
    let mut draft = Draft::begin(home, with)?;
    let Withdrawn { mut gone, mut unread } = Withdrawn::default();
    let read = |draft: &Draft, name: &str| draft.read(name).map(Option::unwrap_or_default);
    for (state, _) in draft.targets_of(STATE) {
        if state == STOP || state == SUSPENSIONS || state.starts_with(TERMS) {
            continue;
        }
        match read(&draft, &state).and_then(|bytes| DesiredState::parse(&state, &bytes)) {
            Ok(desired) if desired.pins().any(|pin| pin.target == target) => drop(gone.insert(state)),
            Ok(_) => {}
            Err(fault) => drop(unread.insert(state, fault.reason)),
        }
    }
    if draft.find(target).is_some() {
        gone.insert(target.to_owned());
    }
    if gone.is_empty() {
        let lost = if unread.is_empty() { "" } else { " that can be read" };
        let reason =
            format!("{target} is not listed, and no state{lost} names it: `sund-channel status` lists what there is");
        return Err(Fault::new("target-not-listed", Blame::Configuration, reason));
    }
    // A bundle carries a state: its terms go with it.
    for (terms, _) in draft.targets_of(STATE).into_iter().filter(|(name, _)| name.starts_with(TERMS)) {
        match read(&draft, &terms).and_then(|bytes| Terms::parse(&terms, &bytes)) {
            Ok(carried) if gone.contains(&carried.state.target) => drop(gone.insert(terms)),
            Ok(_) => {}
            Err(fault) => drop(unread.insert(terms, fault.reason)),
        }
    }
    unread.retain(|name, _| !gone.contains(name));
    for target in &gone {
        draft.unlist(target)?;
    }
    let proposal = draft.finish(&format!("{target} is withdrawn: {reason}"))?;
    Ok((proposal, Withdrawn { gone, unread }))
}

/// What changes a document that stands for itself: without it everything that it holds back would be let go.
fn changed_by(target: &str) -> Option<&'static str> {
    match target {
        STOP => Some("`go-on`"),
        SUSPENSIONS => Some("`resume PACKAGE`"),
        _ if target.starts_with("trust/") => Some("`delegate` or `root`"),
        _ => None,
    }
}

/// Proposes that no box takes a new deployment.
pub fn stop_all(home: &Home, with: Option<&str>, reason: &str) -> Result<Proposal, Fault> {
    let mut draft = Draft::begin(home, with)?;
    if draft.find(STOP).is_some() {
        return Err(Fault::new("nothing-to-do", Blame::Configuration, "all rollouts are stopped already"));
    }
    draft.list_document(STOP, &Stop { format: 1, reason: reason.to_owned(), since: now() })?;
    draft.finish(&format!("all rollouts stop: {reason}"))
}

/// Proposes that boxes take deployments again.
pub fn go_on(home: &Home, with: Option<&str>) -> Result<Proposal, Fault> {
    let mut draft = Draft::begin(home, with)?;
    if !draft.unlist(STOP)? {
        return Err(Fault::new("nothing-to-do", Blame::Configuration, "no rollout is stopped by the region"));
    }
    draft.finish("rollouts go on")
}

/// Proposes that every box switches a model off. What no vendor has published is refused as a slip, where it is not said to be a
/// package that a box has of its own (`is_unlisted`).
pub fn suspend(
    home: &Home,
    with: Option<&str>,
    what: &Suspended,
    reason: &str,
    is_unlisted: bool,
) -> Result<Proposal, Fault> {
    let mut draft = Draft::begin(home, with)?;
    if !is_unlisted {
        check_known(&draft, what)?;
    }
    let mut suspensions = suspensions(&draft)?;
    if suspensions.suspensions.iter().any(|known| is_of(known, what)) {
        let reason = format!("{} is suspended already", what.package);
        return Err(Fault::new("nothing-to-do", Blame::Configuration, reason));
    }
    suspensions.suspensions.push(Suspension {
        package: what.package.to_owned(),
        version: what.version.map(str::to_owned),
        reason: reason.to_owned(),
        since: now(),
    });
    draft.list_document(SUSPENSIONS, &suspensions)?;
    draft.finish(&format!("{} is suspended: {reason}", what.package))
}

/// Proposes that a suspended model may serve again.
pub fn resume(home: &Home, with: Option<&str>, what: &Suspended) -> Result<Proposal, Fault> {
    let mut draft = Draft::begin(home, with)?;
    let mut suspensions = suspensions(&draft)?;
    let before = suspensions.suspensions.len();
    suspensions.suspensions.retain(|known| !is_of(known, what));
    if suspensions.suspensions.len() == before {
        let reason = format!("{} is not suspended", what.package);
        return Err(Fault::new("nothing-to-do", Blame::Configuration, reason));
    }
    draft.list_document(SUSPENSIONS, &suspensions)?;
    draft.finish(&format!("{} may serve again", what.package))
}

fn check_known(draft: &Draft, what: &Suspended) -> Result<(), Fault> {
    // Only where it has to: what is listed is suspended also where older metadata cannot be read.
    if Known::listed(draft).holds(what.package, what.version) {
        return Ok(());
    }
    let known = Known::ever(draft)?;
    if known.holds(what.package, what.version) {
        return Ok(());
    }
    let version = what.version.map(|version| format!(" in version `{version}`")).unwrap_or_default();
    let near = known.near(what.package, what.version);
    let near =
        if near.is_empty() { "there is none yet".to_owned() } else { format!("nearest is `{}`", near.join("`, `")) };
    let reason = format!(
        "no vendor has published `{}`{version}, and boxes compare letter by letter ({near}): nothing would be switched off. A package \
         that a box has of its own, and not from the channel, is suspended with --unlisted",
        what.package
    );
    Err(Fault::new("package-unknown", Blame::Configuration, reason))
}

fn suspensions(draft: &Draft) -> Result<Suspensions, Fault> {
    let bytes = draft.read(SUSPENSIONS)?;
    bytes.map_or_else(|| Ok(Suspensions { format: 1, ..Suspensions::default() }), |bytes| Suspensions::parse(&bytes))
}

fn is_of(known: &Suspension, what: &Suspended) -> bool {
    known.package == what.package && known.version.as_deref() == what.version
}
