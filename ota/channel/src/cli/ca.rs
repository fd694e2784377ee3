//! `sund-channel ca …`: who is the channel to the boxes.
use super::root::With;
use super::{Answer as Told, proposed, request, unexpected};
use crate::enrol::authorities::{Set, free_name};
use crate::enrol::authority::{Authority, files};
use crate::enrol::dropping::cut_off;
use crate::enrol::standing::{self, Counts};
use crate::repository::{Draft, Home, add_authority, drafted_authorities, drop_authority};
use crate::server::control::{Answer, Request};
use clap::Subcommand;
use jiff::Timestamp;
use serde_json::json;
use std::path::Path;
use sund_ota::documents::MAX_AUTHORITIES;
use sund_ota::fault::{Blame, Fault};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Shows the authorities, and how many boxes have a certificate of each or don't know it.
    Show,
    /// Makes another one, and proposes that it issues from now on.
    New {
        #[command(flatten)]
        with: With,
    },
    /// Proposes that one counts no more. Refused while that would cut a box off.
    Drop {
        /// Its name, as `show` says it.
        name: String,
        /// Cuts off every box that holds a certificate of it or doesn't know the one that stays, until a person brings it a stick with
        /// another provisioning file and a new code: for an authority that was stolen.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        with: With,
    },
}

pub(super) fn run(directory: &Path, command: Command) -> Result<Told, Fault> {
    match command {
        Command::Show => show(directory),
        Command::New { with } => new(directory, with.proposal.as_deref()),
        Command::Drop { name, force, with } => drop(directory, &name, force, with.proposal.as_deref()),
    }
}

fn show(home: &Path) -> Result<Told, Fault> {
    let Answer::Authorities(all) = request(home, &Request::Authorities)? else { return Err(unexpected()) };
    Ok(Told::new(all.iter().map(line).collect(), all))
}

/// An authority in a line.
fn line(it: &standing::Authority) -> String {
    let counts = match it.counts {
        Counts::Issues => "issues",
        Counts::Good => "counts, and issues to boxes alone that know no newer one",
        Counts::Waits => "waits for the region's signatures",
        Counts::Dropped => "DROPPED",
    };
    let serves = if it.serves { ", the server is known by it" } else { "" };
    let waits = |id: &String| format!("; {id} waits for signatures to drop it");
    let leaves = it.leaves_with.as_ref().map(waits).unwrap_or_default();
    let until = Timestamp::from_millisecond(it.until).map(|until| until.to_string()).unwrap_or_default();
    format!(
        "{}  {counts}{serves}; {} hold a certificate of it, {} have not said that they know it{leaves}; until {until}, sha256 {}",
        it.name, it.held_by, it.unknown_to, it.sha256
    )
}

fn new(directory: &Path, with: Option<&str>) -> Result<Told, Fault> {
    let draft = Draft::begin(&Home::open(directory)?, with)?;
    let known = drafted_authorities(&draft, Set::of(directory)?.oldest().pem())?;
    if known.authorities.len() >= MAX_AUTHORITIES {
        let reason = format!("there are {MAX_AUTHORITIES} authorities: drop one first (`sund-channel ca drop`)");
        return Err(Fault::new("too-many-authorities", Blame::Configuration, reason));
    }
    let made = Authority::make(directory, &free_name(directory, known.authorities.len() + known.dropped.len()))?;
    let proposal = add_authority(draft, known, made.name(), made.pem()).inspect_err(|_| {
        let (certificate, key) = files(directory, made.name());
        // It counts for nobody: what stays of it is a file that nobody needs.
        let _ = std::fs::remove_file(key).and_then(|()| std::fs::remove_file(certificate));
    })?;
    let about = json!({ "name": made.name(), "sha256": made.digest(), "until": made.until() });
    proposed(&proposal, json!({ "authority": about }))
}

fn drop(directory: &Path, name: &str, is_forced: bool, with: Option<&str>) -> Result<Told, Fault> {
    let set = Set::of(directory)?;
    let Some(going) = set.all().iter().find(|it| it.name() == name) else {
        let reason = format!("no authority `{name}` counts: `sund-channel ca show` lists what there is");
        return Err(Fault::new("authority-unknown", Blame::Configuration, reason));
    };
    let Some(stays) = set.issuing().find(|it| it.name() != name) else {
        let reason = format!(
            "no other authority counts and has its key here than {name}: make another one first (`sund-channel ca new`)"
        );
        return Err(Fault::new("authority-alone", Blame::Configuration, reason));
    };
    let lost = cut_off(directory, &[name], stays.digest())?;
    if lost.boxes > 0 && !is_forced {
        let reason = format!(
            "that would cut off {}: wait until they were heard, shut out what is gone (`enrol block`), or see --force",
            lost.told()
        );
        return Err(Fault::new("authority-held", Blame::Box, reason));
    }
    let draft = Draft::begin(&Home::open(directory)?, with)?;
    let known = drafted_authorities(&draft, set.oldest().pem())?;
    let proposal = drop_authority(draft, known, name, going.digest())?;
    let mut told = proposed(&proposal, json!({ "authority": name, "lost": lost }))?;
    if lost.boxes > 0 {
        told.lines.push(format!("CUT OFF, until a stick comes to each: {}", lost.told()));
        told.lines.push(format!("`approve` counts again, and goes on with `--cut-off {}`", lost.boxes));
    }
    Ok(told)
}
