//! Files that the updater keeps. Each is replaced whole: after a power cut there is the old one or the new one, never half of one.
//!
//! Nothing else in this crate gives a kept file its name.
#[cfg(test)]
pub(crate) mod cut;

use crate::fault::{Blame, Fault};
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What is asked of a disk. In the tests another one stands here, which loses at a power cut whatever was not synchronized.
pub(crate) trait Disk {
    /// Writes a file from its beginning.
    fn write(&mut self, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()>;
    /// Brings what was written of a file to stable storage.
    fn sync(&mut self, path: &Path) -> io::Result<()>;
    /// Gives a file another name, in place of the one that had it.
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()>;
    /// Brings the names in a directory to stable storage.
    fn sync_directory(&mut self, directory: &Path) -> io::Result<()>;
}

/// The disk of this box.
pub(crate) struct Own;

impl Disk for Own {
    fn write(&mut self, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
        OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?.write_all(bytes)
    }

    fn sync(&mut self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn sync_directory(&mut self, directory: &Path) -> io::Result<()> {
        File::open(directory)?.sync_all()
    }
}

/// Makes a directory, durably: a file in one that a power cut takes away is away too.
pub fn directory(path: &Path, mode: u32) -> Result<(), Fault> {
    let made = || {
        std::fs::DirBuilder::new().recursive(true).mode(mode).create(path)?;
        Own.sync_directory(path.parent().unwrap_or(Path::new("/")))
    };
    made().map_err(|error| failed(path, &error))
}

/// Replaces a file.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Fault> {
    replace_on(&mut Own, path, bytes, mode).map_err(|error| failed(path, &error))
}

/// Gives a file that was written aside its name.
pub fn put(aside: &Path, path: &Path) -> Result<(), Fault> {
    put_on(&mut Own, aside, path).map_err(|error| failed(path, &error))
}

/// Removes a file, durably: one that came back after a power cut would count once more. One that is not there is gone already.
pub fn remove(path: &Path) -> Result<(), Fault> {
    let removed = match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => Own.sync_directory(path.parent().unwrap_or(Path::new("/"))),
    };
    removed.map_err(|error| failed(path, &error))
}

/// A variable outlives a restart, and the system may write it (UEFI 2.10, 8.2: non-volatile, boot service and runtime access).
pub const VARIABLE_ATTRIBUTES: u32 = 0x7;

/// Writes a variable of the firmware, as the kernel's efivarfs has it: in one write and under its own name, since nothing there can be
/// renamed. The firmware keeps the one before or this one.
pub fn variable(path: &Path, bytes: &[u8]) -> io::Result<()> {
    release(path)?;
    OpenOptions::new().write(true).create(true).truncate(true).open(path)?.write_all(bytes)
}

/// Takes a variable of the firmware away. One that is not there is gone already.
pub fn remove_variable(path: &Path) -> io::Result<()> {
    match release(path).and_then(|()| std::fs::remove_file(path)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// The kernel holds on to each variable that it does not know, so that no careless `rm` makes a machine unbootable.
fn release(path: &Path) -> io::Result<()> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    // Another file system than the kernel's own may have no such flags.
    match ioctl_getflags(&file) {
        Ok(flags) if flags.contains(IFlags::IMMUTABLE) => Ok(ioctl_setflags(&file, flags - IFlags::IMMUTABLE)?),
        _ => Ok(()),
    }
}

/// [`replace`] on some disk.
pub(crate) fn replace_on(disk: &mut impl Disk, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let aside = aside(path);
    disk.write(&aside, bytes, mode)?;
    put_on(disk, &aside, path)
}

/// [`put`] on some disk: the file first, the name then, the directory last.
pub(crate) fn put_on(disk: &mut impl Disk, aside: &Path, path: &Path) -> io::Result<()> {
    disk.sync(aside)?;
    disk.rename(aside, path)?;
    disk.sync_directory(path.parent().unwrap_or(Path::new("/")))
}

/// Where the next version of a file is written. What lies there after a power cut counts for nothing.
fn aside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

fn failed(path: &Path, error: &io::Error) -> Fault {
    Fault::new("disk-failed", Blame::Box, format!("{} cannot be written: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_is_the_old_one_or_the_new_one_after_a_power_cut_at_any_instant() {
        let states = cut::after_each_cut(
            &[("state.json", b"the old one")],
            |disk| replace_on(disk, Path::new("state.json"), b"the new one, and longer", 0o640),
            |directory| {
                let found = std::fs::read(directory.join("state.json")).expect("it is there");
                assert!(found == b"the old one" || found == b"the new one, and longer", "{found:?}");
            },
        );
        assert!(states > 10, "{states}");
    }

    #[test]
    fn what_lies_aside_after_a_power_cut_is_not_gone_on_with() {
        cut::after_each_cut(
            &[("state.json", b"old"), ("state.json.new", b"torn by the power cut before")],
            |disk| replace_on(disk, Path::new("state.json"), b"new", 0o640),
            |directory| {
                let found = std::fs::read(directory.join("state.json")).expect("it is there");
                assert!(found == b"old" || found == b"new", "{found:?}");
            },
        );
    }

    #[test]
    fn the_record_of_a_step_is_the_one_before_or_this_one_after_a_power_cut() {
        use crate::machine::record::Record;
        let record = |told: &str| Record { told: Some(told.to_owned()), ..Record::default() };
        let bytes = |record: &Record| serde_json::to_vec_pretty(record).expect("JSON");
        let (before, after) = (record("before"), record(&"after".repeat(1000)));
        let mut seen = [0; 2];
        cut::after_each_cut(
            &[("updater/state.json", &bytes(&before))],
            |disk| replace_on(disk, Path::new("updater/state.json"), &bytes(&after), 0o640),
            |directory| {
                let found = Record::read(&directory.join("updater/state.json")).expect("it can be read");
                assert!(found == before || found == after);
                seen[usize::from(found == after)] += 1;
            },
        );
        assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
    }

    #[test]
    fn a_payload_lies_under_its_name_only_when_all_of_it_is_on_stable_storage() {
        let (part, name) = (Path::new("store/6e34.part"), Path::new("store/6e34.sund"));
        let mut whole = 0;
        cut::after_each_cut(
            &[],
            |disk| {
                disk.write(part, b"the first half, and the second", 0o640)?;
                put_on(disk, part, name)
            },
            |directory| {
                if let Ok(found) = std::fs::read(directory.join(name)) {
                    assert_eq!(found, b"the first half, and the second");
                    whole += 1;
                }
            },
        );
        assert!(whole > 0);
    }

    /// The disk of these tests tears what a careless writer leaves to it: else they would show nothing.
    #[test]
    fn a_writer_that_leaves_out_a_step_is_found_torn() {
        for leaves_out_the_file in [true, false] {
            let mut torn = false;
            cut::after_each_cut(
                &[("state.json", b"old")],
                |disk| {
                    let (aside, path) = (Path::new("state.json.new"), Path::new("state.json"));
                    disk.write(aside, b"new", 0o640)?;
                    if !leaves_out_the_file {
                        disk.sync(aside)?;
                    }
                    disk.rename(aside, path)?;
                    if leaves_out_the_file {
                        disk.sync_directory(Path::new(""))?;
                    }
                    // What comes after it relies on it.
                    disk.write(Path::new("elsewhere/relies"), b"", 0o640)?;
                    disk.sync(Path::new("elsewhere/relies"))?;
                    disk.sync_directory(Path::new("elsewhere"))
                },
                |directory| {
                    let found = std::fs::read(directory.join("state.json")).expect("it is there");
                    torn |= found != b"old" && found != b"new"
                        || found == b"old" && directory.join("elsewhere/relies").exists();
                },
            );
            assert!(torn, "without the file's synchronization: {leaves_out_the_file}");
        }
    }
}
