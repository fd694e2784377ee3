//! What is kept, where, for how long, and under which keys.
use super::files::{directory, key_file};
use super::reader::Section;
use super::value::{Size, Time};
use crate::limits::audit::MAX_FILE;
use crate::limits::spool::{DEFAULT_QUOTA, DEFAULT_RESERVE, DEFAULT_SEGMENT};
use crate::limits::study::MAX_OPEN;
use crate::results::UidKey;
use crate::spool::SpoolOptions;
use crate::study::assembly::AssemblyRules;
use std::path::Path;
use std::time::Duration;

/// How long a study is kept after its last instance; `None`: until a person erases it.
pub type Retention = Option<Duration>;

/// Quiet time, unless the configuration says otherwise.
pub(super) const DEFAULT_QUIET: Duration = Duration::from_secs(30);
/// Shortest and longest segment: short ones are many files, long ones hold what is erased for long.
const SEGMENTS: std::ops::RangeInclusive<u64> = (1 << 20)..=(1 << 30);

/// Reads `[spool]`.
pub(super) fn spool(root: &Section<'_, '_>) -> Option<(SpoolOptions, Retention)> {
    let section = required(root, "spool")?;
    let directory = directory(&section, "directory");
    let size = |key, default| section.value_or(key, Size(default)).0;
    let (segment_bytes, quota_bytes, reserve_bytes) =
        (size("segment", DEFAULT_SEGMENT), size("quota", DEFAULT_QUOTA), size("reserve", DEFAULT_RESERVE));
    if !SEGMENTS.contains(&segment_bytes) {
        section.complain("segment", "must lie between 1MiB and 1GiB", "64MiB suits most disks");
    }
    if quota_bytes < reserve_bytes.saturating_add(segment_bytes.saturating_mul(2)) {
        let help = "the quota must hold the reserve and two segments, better many studies";
        section.complain("quota", "leaves no room for instances", help);
    }
    // The default is no promise of this disk's.
    let disk = directory.as_deref().filter(|_| section.entry("quota").is_some()).and_then(disk_bytes);
    if let Some(disk) = disk.filter(|disk| quota_bytes > *disk) {
        let message = format!("is more than the disk holds, {} GiB", disk >> 30);
        section.complain("quota", &message, "is the spool's disk mounted there?");
    }
    let retention = section.value::<Time>("retention").map(|time| time.0);
    if retention.is_some_and(|time| time < Duration::from_hours(1)) {
        section.complain("retention", "is under an hour", "results may still be on their way; write e.g. \"30d\"");
    }
    let named = section.entry("master_key_file").is_some();
    let key_file = section.path("master_key_file").filter(|_| key_file(&section, "master_key_file").is_some());
    if named && key_file.is_none() {
        return None;
    }
    let options =
        SpoolOptions { segment_bytes, quota_bytes, reserve_bytes, key_file, ..SpoolOptions::in_directory(directory?) };
    Some((options, retention))
}

/// Bytes of the file system of a directory.
fn disk_bytes(directory: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(directory).ok()?;
    Some(stat.f_blocks.saturating_mul(stat.f_frsize))
}

/// Reads `[study]`.
pub(super) fn study(root: &Section<'_, '_>) -> AssemblyRules {
    let section = root.section("study", "study");
    let section = section.as_ref();
    let quiet = section.and_then(|s| s.value::<Time>("quiet")).map_or(DEFAULT_QUIET, |time| time.0);
    if let Some(section) = section.filter(|_| quiet > MAX_OPEN) {
        let message = format!("is above {} min, after which a study is taken as it is", MAX_OPEN.as_secs() / 60);
        section.complain("quiet", &message, "");
    }
    let complete_on_association_end =
        section.and_then(|s| s.value::<bool>("complete_on_association_end")).unwrap_or(false);
    AssemblyRules { quiet, complete_on_association_end }
}

/// Reads `[identity]`.
pub(super) fn uid_key(root: &Section<'_, '_>) -> Option<UidKey> {
    key_file(&required(root, "identity")?, "uid_key_file").map(|bytes| UidKey::new(&bytes))
}

/// Reads `[audit]`.
pub(super) fn audit(root: &Section<'_, '_>, source: &str) -> Option<crate::audit::Options> {
    let section = required(root, "audit")?;
    let dir = directory(&section, "directory");
    let key = key_file(&section, "key_file");
    let key = crate::audit::Key::new(*key?);
    Some(crate::audit::Options { dir: dir?, key, source: source.to_owned(), max_file: MAX_FILE })
}

/// Reads `[audit] keep`: nothing is removed that nobody has collected.
pub(super) fn audit_keep(root: &Section<'_, '_>) -> Retention {
    let section = root.section_quietly("audit", "audit")?;
    let keep = section.value::<Time>("keep").map(|time| time.0)?;
    if root.entry("forward").is_none() {
        section.complain("keep", "has no use while nobody collects the log", "see [forward] in sund.example.toml");
    }
    Some(keep)
}

fn required<'d, 'i>(root: &Section<'d, 'i>, name: &'static str) -> Option<Section<'d, 'i>> {
    if root.entry(name).is_none() {
        root.complain(name, "is missing", &format!("see [{name}] in sund.example.toml"));
    }
    root.section(name, name)
}
