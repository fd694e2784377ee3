//! What the store keeps and nobody needs any more: payloads of proposals that were discarded, of releases that were withdrawn, and what a
//! killed command has left.
//!
//! A box may need whatever a snapshot lists that still holds: the newest, by which it also goes back, and any that it has read before.
use super::document::Document;
use super::files;
use super::home::Home;
use super::proposal::Proposal;
use super::published::{Published, role_file};
use super::rescue::{self, Offer, PLACE};
use super::roles::{SNAPSHOT, file_names};
use super::status::waiting;
use super::store;
use jiff::Timestamp as Time;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use sund_ota::fault::{Blame, Fault};
use sund_ota::limits::metadata;
use tough::schema::{Signed, Snapshot, Targets};

/// Directories below each other in which targets lie (`models/VENDOR/FILE`).
const MAX_DEPTH: usize = 3;

/// What was removed, or would be.
#[derive(Clone, Debug, Serialize)]
pub struct Swept {
    /// The files.
    pub removed: Vec<Stray>,
    /// How long they are together.
    pub bytes: u64,
    /// Whether they are only named.
    pub dry_run: bool,
}

/// A file that nothing names.
#[derive(Clone, Debug, Serialize)]
pub struct Stray {
    /// Where it lies below the base of the targets.
    pub place: String,
    /// Its length.
    pub bytes: u64,
}

/// Removes from the store what neither a snapshot that holds nor a proposal that waits lists; `dry_run` names it alone.
pub fn sweep(home: &Home, dry_run: bool) -> Result<Swept, Fault> {
    let _turn = home.lock()?;
    let mut kept = BTreeSet::from([PLACE.to_owned()]);
    kept.extend(rescue::offered(home)?.map(|offered| offered.bundle.path));
    listed(home, &mut kept)?;
    proposed(home, &mut kept)?;
    let base = home.targets();
    let failed = |error: io::Error| files::disk("cleared", &base, &error);
    let removed = strays(&base, &kept).map_err(failed)?;
    if !dry_run {
        removed.iter().try_for_each(|stray| fs::remove_file(base.join(&stray.place))).map_err(failed)?;
    }
    let bytes = removed.iter().map(|stray| stray.bytes).sum();
    Ok(Swept { removed, bytes, dry_run })
}

/// The files below the base of the targets that are not kept, nor are what was fetched of one that is.
pub(super) fn strays(base: &Path, kept: &BTreeSet<String>) -> io::Result<Vec<Stray>> {
    let mut strays = Vec::new();
    gather(base, "", kept, &mut strays)?;
    Ok(strays)
}

fn gather(directory: &Path, below: &str, kept: &BTreeSet<String>, strays: &mut Vec<Stray>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        // What has no such name was put there by nobody here.
        let Ok(name) = entry.file_name().into_string() else { continue };
        let place = format!("{below}{name}");
        if entry.file_type()?.is_dir() {
            if place.split('/').count() < MAX_DEPTH {
                gather(&entry.path(), &format!("{place}/"), kept, strays)?;
            }
        } else if !kept.contains(place.strip_suffix(".part").unwrap_or(&place)) {
            strays.push(Stray { bytes: entry.metadata()?.len(), place });
        }
    }
    Ok(())
}

/// The places of what is listed by the newest snapshot, and by those before it that have not ended.
fn listed(home: &Home, kept: &mut BTreeSet<String>) -> Result<(), Fault> {
    let published = Published::must(home)?;
    let newest = published.snapshot.signed.version.get();
    let mut seen = BTreeSet::new();
    for version in (1..=newest).rev() {
        let path = home.metadata().join(&file_names(SNAPSHOT, version)[0]);
        let Some(bytes) = files::read_if_there(&path, metadata::MAX_SNAPSHOT)? else { break };
        let snapshot: Signed<Snapshot> = parse(SNAPSHOT, &bytes)?;
        if version < newest && snapshot.signed.expires <= Time::now() {
            break;
        }
        for (name, meta) in &snapshot.signed.meta {
            let (role, version) = (name.strip_suffix(".json").unwrap_or(name), meta.version.get());
            if seen.insert((role.to_owned(), version)) {
                keep(&parse::<Signed<Targets>>(role, &role_file(home, role, version)?)?.signed, kept);
            }
        }
    }
    Ok(())
}

/// The places of what the proposals would list. One that can't be read may list anything: it is a refusal.
fn proposed(home: &Home, kept: &mut BTreeSet<String>) -> Result<(), Fault> {
    for id in waiting(home)? {
        let directory = home.proposals().join(id);
        if Offer::is_at(&directory) {
            kept.insert(Offer::read(&directory)?.payload.bundle.path);
        } else {
            let documents = Proposal::read(&directory)?.documents;
            for document in documents.values() {
                if let Document::Targets(targets) = document {
                    keep(targets, kept);
                }
            }
        }
    }
    Ok(())
}

fn keep(targets: &Targets, kept: &mut BTreeSet<String>) {
    let listed = targets.targets.iter();
    kept.extend(listed.map(|(name, target)| store::place(name.raw(), &store::sha256_of(target))));
}

fn parse<T: serde::de::DeserializeOwned>(role: &str, bytes: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(bytes).map_err(|error| {
        let reason = format!("the published {role} cannot be read: {error}: restore the repository from its copy");
        Fault::new("repository-damaged", Blame::Channel, reason)
    })
}
