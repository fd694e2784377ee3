//! The payloads on this box: `store/<sha256>` with an ending that says what it is. A file is believed after it was hashed in this very
//! process, never because it lies there.
use super::record::Record;
use crate::agent::StateId;
use crate::descriptor::Descriptor;
use crate::fault::{Blame, Fault};
use crate::limits::transfer::DISK_RESERVE;
use crate::state::{DesiredState, Pin};
use crate::trust::{self, Trusted, Verified};
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A payload that is here, with the hash that the region signed.
#[derive(Clone, Debug)]
pub struct Held {
    pin: Pin,
    path: Verified<PathBuf>,
}

impl Held {
    /// What it is.
    pub fn pin(&self) -> &Pin {
        &self.pin
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.path.get()
    }

    /// The same, with the proof.
    pub fn file(&self) -> &Verified<PathBuf> {
        &self.path
    }
}

/// Payloads of a state that lie in the store, with their endings. The operating system is none of them: RAUC streams it.
pub fn payloads(state: &DesiredState) -> impl Iterator<Item = (&Pin, &'static str)> {
    let configuration = state.configuration.iter().map(|pin| (pin, "toml"));
    configuration.chain(state.models.iter().map(|model| (&model.package, "sund")))
}

/// The document of a state itself: kept beside its payloads, it says what they are while the region can't be asked.
pub fn document(descriptor: &Descriptor) -> (Pin, &'static str) {
    let Descriptor { target, sha256, length, .. } = descriptor.clone();
    (Pin { target, sha256, length }, "json")
}

fn place(store: &Path, pin: &Pin, ending: &str) -> PathBuf {
    store.join(format!("{}.{ending}", pin.sha256))
}

/// Bytes of payloads that have yet to come, by the lengths of what lies there.
pub fn missing<'a>(store: &Path, payloads: impl Iterator<Item = (&'a Pin, &'static str)>) -> u64 {
    let length = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let left = payloads.map(|(pin, ending)| {
        let path = place(store, pin, ending);
        let here = length(&path).max(length(&path.with_extension("part")));
        pin.length.saturating_sub(here)
    });
    left.fold(0, u64::saturating_add)
}

/// Fetches a payload that the region lists, as far as it is not here.
pub async fn fetch(trusted: &Trusted, store: &Path, pin: &Pin, ending: &str) -> Result<Held, Fault> {
    let path = trusted.fetch(pin, &place(store, pin, ending)).await?;
    // The agent reads it by its group.
    let readable = std::fs::set_permissions(path.get(), std::fs::Permissions::from_mode(0o640));
    readable.map_err(|error| Fault::new("disk-failed", Blame::Box, format!("{}: {error}", path.get().display())))?;
    Ok(Held { pin: pin.clone(), path })
}

/// The state that a descriptor names, as it was verified and kept before.
pub fn state_before(store: &Path, descriptor: &Descriptor) -> Result<Verified<DesiredState>, Fault> {
    let (pin, ending) = document(descriptor);
    trust::before::state(descriptor, &place(store, &pin, ending))
}

/// A payload that was fetched before.
pub async fn before(store: &Path, pin: &Pin, ending: &str) -> Result<Held, Fault> {
    let path = trust::before::file(pin, &place(store, pin, ending)).await?;
    Ok(Held { pin: pin.clone(), path })
}

/// Whether all that is missing fits beside what is there: before the first byte of it.
pub fn check_space(store: &Path, missing: u64) -> Result<(), Fault> {
    let stat = rustix::fs::statvfs(store)
        .map_err(|error| Fault::new("disk-failed", Blame::Box, format!("{}: {error}", store.display())))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if fits(missing, free) {
        return Ok(());
    }
    let reason = format!(
        "{missing} bytes are to come, {free} are free at {} and {DISK_RESERVE} stay free: make room, or send less",
        store.display()
    );
    Err(Fault::new("disk-full", Blame::Box, reason))
}

/// What is all there needs no room: a disk that ran full ends no trial and no watch.
fn fits(missing: u64, free: u64) -> bool {
    missing == 0 || missing.checked_add(DISK_RESERVE).is_some_and(|needed| needed <= free)
}

/// Whether the files of what the agent serves are known here. Where the record was begun anew they are not, and the agent has them all
/// the same.
pub fn knows(record: &Record, serves: Option<&StateId>) -> bool {
    let named = |descriptor: &Descriptor| serves.is_some_and(|serves| serves.may_be(&StateId::from(descriptor)));
    let in_hand = record.action.iter().filter(|action| !action.files.is_empty());
    let in_hand = in_hand.filter_map(|action| action.descriptor.as_ref());
    serves.is_none() || in_hand.chain(record.good.iter().map(|good| &good.descriptor)).any(named)
}

/// Removes what no state that held, none that serves and none in hand needs. Only where the agent serves nothing else: see [`knows`].
pub fn clean(store: &Path, record: &Record, in_hand: &DesiredState, system: Option<(&Pin, &'static str)>) {
    let in_hand = payloads(in_hand).chain(system);
    let mut needed: BTreeSet<&str> = in_hand.map(|(pin, _)| pin.sha256.as_str()).collect();
    needed.extend(record.action.iter().filter_map(|action| Some(action.descriptor.as_ref()?.sha256.as_str())));
    needed.extend(record.unproven.iter().map(String::as_str));
    needed.extend(record.good.iter().flat_map(|good| good.files.iter().map(String::as_str)));
    for entry in std::fs::read_dir(store).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let digest = name.to_str().and_then(|name| name.split('.').next()).unwrap_or_default();
        if !needed.contains(digest) {
            // One that can't be removed is in nobody's way but the disk's, and that is checked next.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_ran_full_refuses_nothing_that_is_there_already() {
        assert!(fits(0, 0) && fits(1, DISK_RESERVE + 1));
        assert!(!fits(1, DISK_RESERVE) && !fits(u64::MAX, u64::MAX));
    }
}
