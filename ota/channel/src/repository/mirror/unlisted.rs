//! What a mirror keeps no longer: payloads that neither the snapshot that it shows nor the one before it lists. A box that has read the one
//! before may still be fetching by it.
use super::parse;
use crate::repository::files;
use crate::repository::rescue::PLACE;
use crate::repository::roles::{SNAPSHOT, file_names};
use crate::repository::store;
use crate::repository::sweep::strays;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use sund_ota::fault::Fault;
use sund_ota::limits::metadata;
use tough::schema::{Signed, Snapshot, Target, Targets};

/// Removes what nobody needs any more, once the metadata that lists `targets` is in place. Says how many files that were.
pub(super) fn remove(directory: &Path, snapshot: u64, targets: &BTreeMap<String, Target>) -> Result<usize, Fault> {
    let mut kept = BTreeSet::from([PLACE.to_owned()]);
    kept.extend(targets.iter().map(|(target, listed)| store::place(target, &store::sha256_of(listed))));
    kept.extend(listed_before(&directory.join("metadata"), snapshot)?);
    let base = directory.join("targets");
    let removed = strays(&base, &kept).and_then(|strays| {
        strays.iter().try_for_each(|stray| fs::remove_file(base.join(&stray.place)))?;
        Ok(strays.len())
    });
    removed.map_err(|error| files::disk("cleared", &base, &error))
}

/// The places of what the newest snapshot before this one lists; nothing where it is the first.
fn listed_before(shown: &Path, snapshot: u64) -> Result<Vec<String>, Fault> {
    let names = fs::read_dir(shown).map_err(|error| files::disk("read", shown, &error))?;
    let names = names.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let versions = names.filter_map(|name| name.strip_suffix(".snapshot.json")?.parse::<u64>().ok());
    let Some(before) = versions.filter(|version| *version < snapshot).max() else { return Ok(Vec::new()) };
    let read = |role: &str, version: u64, max: u64| files::read(&shown.join(&file_names(role, version)[0]), max);
    let snapshot: Signed<Snapshot> = parse(SNAPSHOT, &read(SNAPSHOT, before, metadata::MAX_SNAPSHOT)?)?;
    let mut places = Vec::new();
    for (name, meta) in &snapshot.signed.meta {
        let role = name.strip_suffix(".json").unwrap_or(name);
        let listed: Signed<Targets> = parse(role, &read(role, meta.version.get(), metadata::MAX_TARGETS)?)?;
        let place = |(name, target): (&tough::TargetName, &Target)| store::place(name.raw(), &store::sha256_of(target));
        places.extend(listed.signed.targets.iter().map(place));
    }
    Ok(places)
}
