//! The inbox: where a bundle from a stick waits for the updater, which alone has the rights and the record.
//!
//! The directory is its owner's alone. A bundle is copied into it whole and gets its name last, so that a stick that is pulled out
//! leaves nothing, and none is needed any more once the copy is there. Nothing in it is believed: the updater verifies it as it
//! verifies the channel.
use super::Archive;
use crate::fault::{Blame, Fault};
use crate::limits::bundle::MAX_BUNDLE;
use crate::limits::transfer::DISK_RESERVE;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Ends the name of a bundle that is whole.
const ENDING: &str = "bundle";
/// Begins it; behind it stands when it was brought, in milliseconds since 1970.
const BEGINNING: &str = "stick-";
/// A copy that is not whole.
const PART: &str = "copy.part";
/// Bytes at a time.
const STRETCH: usize = 1024 * 1024;

/// When the bundle of that id was brought, in milliseconds since 1970.
pub(super) fn brought(id: &str) -> Option<i64> {
    id.strip_prefix(BEGINNING)?.parse().ok()
}

/// The inbox of an updater.
#[derive(Clone, Debug)]
pub struct Inbox {
    directory: PathBuf,
}

/// A bundle that waits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Waiting {
    /// Names the action that it becomes.
    pub id: String,
    /// Where it is.
    pub path: PathBuf,
}

/// A bundle that was placed; nobody places another one meanwhile.
#[derive(Debug)]
pub struct Placed {
    /// What was placed.
    pub waiting: Waiting,
    _lock: File,
}

impl Inbox {
    /// The inbox in that directory.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Makes the directory, which nobody but its owner may enter.
    pub fn make(&self) -> Result<(), Fault> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory).map_err(|error| self.failed(&error))
    }

    /// The bundle that waits, the newest.
    pub fn waiting(&self) -> Option<Waiting> {
        self.all().into_iter().max()
    }

    /// Removes a bundle that is over.
    pub fn remove(&self, id: &str) -> Result<(), Fault> {
        match fs::remove_file(self.path(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.failed(&error)),
            _ => Ok(()),
        }
    }

    /// Where a bundle is.
    pub fn path(&self, id: &str) -> PathBuf {
        self.directory.join(format!("{id}.{ENDING}"))
    }

    /// Copies a bundle into the inbox, in place of any that waits. One that waits there already, to the byte, is gone on with; `refusal`
    /// is why no other one may be placed now.
    pub async fn place(&self, stick: &Path, refusal: Option<Fault>) -> Result<Placed, Fault> {
        // What is no bundle at all is known before it is copied.
        Archive::open(stick).await?;
        let (inbox, stick) = (self.clone(), stick.to_owned());
        let placed = tokio::task::spawn_blocking(move || inbox.place_blocking(&stick, refusal)).await;
        placed.map_err(|error| Fault::new("disk-failed", Blame::Box, error.to_string()))?
    }

    fn place_blocking(&self, stick: &Path, refusal: Option<Fault>) -> Result<Placed, Fault> {
        self.make()?;
        let lock = self.lock()?;
        let part = self.directory.join(PART);
        // A copy that was cut off takes the room of this one.
        let _ = fs::remove_file(&part);
        let unreadable = |error: &io::Error| {
            let reason = format!("{} cannot be read to its end: {error}; nothing of it was taken", stick.display());
            Fault::new("bundle-unreadable", Blame::Box, reason)
        };
        let mut source = File::open(stick).map_err(|error| unreadable(&error))?;
        let length = source.metadata().map_err(|error| unreadable(&error))?.len();
        let before = self.waiting();
        if let Some(waiting) = before.as_ref().filter(|waiting| is_same(stick, &waiting.path)) {
            return Ok(Placed { waiting: waiting.clone(), _lock: lock });
        }
        if let Some(fault) = refusal {
            return Err(fault);
        }
        self.check_space(length)?;
        let copied = copy(&mut source, length, &part).map_err(|failure| match failure {
            Failure::Read(error) => unreadable(&error),
            Failure::Write(error) => self.failed(&error),
        });
        if let Err(fault) = copied {
            let _ = fs::remove_file(&part);
            return Err(fault);
        }
        let id = format!("{BEGINNING}{}", jiff::Timestamp::now().as_millisecond());
        let waiting = Waiting { path: self.path(&id), id };
        let named = fs::rename(&part, &waiting.path).and_then(|()| File::open(&self.directory)?.sync_all());
        named.map_err(|error| self.failed(&error))?;
        for older in self.all().into_iter().filter(|other| *other != waiting) {
            self.remove(&older.id)?;
        }
        Ok(Placed { waiting, _lock: lock })
    }

    fn all(&self) -> Vec<Waiting> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let bundle = |path: PathBuf| {
            let id = path.file_name()?.to_str()?.strip_suffix(ENDING)?.strip_suffix('.')?.to_owned();
            id.starts_with(BEGINNING).then_some(Waiting { id, path })
        };
        entries.filter_map(|entry| bundle(entry.path())).collect()
    }

    fn lock(&self) -> Result<File, Fault> {
        let lock = File::create(self.directory.join("lock")).map_err(|error| self.failed(&error))?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            let reason = "another `sund-updater install` is at work on this box: wait until it ends";
            Fault::new("inbox-taken", Blame::Box, reason)
        })?;
        Ok(lock)
    }

    fn check_space(&self, length: u64) -> Result<(), Fault> {
        if length > MAX_BUNDLE {
            let reason = format!("the bundle has {length} bytes, and at most {MAX_BUNDLE} are taken");
            return Err(Fault::new("bundle-invalid", Blame::Channel, reason));
        }
        let stat = rustix::fs::statvfs(&self.directory).map_err(|error| self.failed(&error.into()))?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        if length.saturating_add(DISK_RESERVE) <= free {
            return Ok(());
        }
        let reason = format!(
            "the bundle has {length} bytes, {free} are free at {} and {DISK_RESERVE} stay free: make room",
            self.directory.display()
        );
        Err(Fault::new("disk-full", Blame::Box, reason))
    }

    fn failed(&self, error: &io::Error) -> Fault {
        let hint =
            if error.kind() == io::ErrorKind::PermissionDenied { " (run it as the updater's own user)" } else { "" };
        Fault::new("disk-failed", Blame::Box, format!("{}: {error}{hint}", self.directory.display()))
    }
}

/// Which end of a copy failed.
#[derive(Debug)]
enum Failure {
    Read(io::Error),
    Write(io::Error),
}

/// Copies `length` bytes durably. A stick that was pulled out gives fewer, or an error.
fn copy(source: &mut impl Read, length: u64, into: &Path) -> Result<(), Failure> {
    let options = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(into);
    let mut file = options.map_err(Failure::Write)?;
    let mut bytes = vec![0; STRETCH];
    let mut copied = 0;
    loop {
        match source.read(&mut bytes).map_err(Failure::Read)? {
            0 if copied == length => return file.sync_all().map_err(Failure::Write),
            0 => {
                let reason = format!("it ends after {copied} of {length} bytes");
                return Err(Failure::Read(io::Error::new(io::ErrorKind::UnexpectedEof, reason)));
            }
            count => {
                copied += count as u64;
                if copied > length {
                    return Err(Failure::Read(io::Error::other("it grows while it is read")));
                }
                file.write_all(&bytes[..count]).map_err(Failure::Write)?;
            }
        }
    }
}

/// Whether two files have the same bytes. Where one can't be read they don't.
fn is_same(one: &Path, other: &Path) -> bool {
    let compared = || -> io::Result<bool> {
        let (mut one, mut other) = (File::open(one)?, File::open(other)?);
        let length = one.metadata()?.len();
        if length != other.metadata()?.len() {
            return Ok(false);
        }
        let (mut left, mut right) = (vec![0; STRETCH], vec![0; STRETCH]);
        let mut at = 0;
        while at < length {
            let count = usize::try_from(length - at).unwrap_or(STRETCH).min(STRETCH);
            one.read_exact(&mut left[..count])?;
            other.read_exact(&mut right[..count])?;
            if left[..count] != right[..count] {
                return Ok(false);
            }
            at += count as u64;
        }
        Ok(true)
    };
    compared().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stick that is pulled out after so many bytes.
    struct Pulled(u64);

    impl Read for Pulled {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            let count = self.0.min(bytes.len() as u64);
            self.0 -= count;
            if count == 0 { Err(io::Error::other("no such device")) } else { Ok(count as usize) }
        }
    }

    #[test]
    fn a_stick_that_is_pulled_out_or_cut_short_is_no_whole_copy() {
        let directory = tempfile::tempdir().unwrap();
        let into = directory.path().join(PART);
        assert!(matches!(copy(&mut Pulled(5_000_000), 6_000_000, &into), Err(Failure::Read(_))));
        assert!(matches!(copy(&mut io::repeat(1).take(5), 6, &into), Err(Failure::Read(_))));
        assert!(matches!(copy(&mut io::repeat(1).take(7), 6, &into), Err(Failure::Read(_))));
        copy(&mut io::repeat(1).take(6), 6, &into).unwrap();
        assert_eq!(fs::read(&into).unwrap(), [1; 6]);
    }

    #[test]
    fn only_its_owner_may_enter_the_inbox() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let inbox = Inbox::new(directory.path().join("inbox"));
        inbox.make().unwrap();
        assert_eq!(fs::metadata(&inbox.directory).unwrap().permissions().mode() & 0o777, 0o700);
        let _held = inbox.lock().unwrap();
        assert_eq!(inbox.lock().unwrap_err().code, "inbox-taken");
    }
}
