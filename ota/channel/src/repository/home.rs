//! The home of a channel: one directory, and who may change it at a time.
use super::files;
use crate::limits::renewal::LOCK_TRIED;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use sund_ota::fault::{Blame, Fault};

/// The directory of a channel.
#[derive(Clone, Debug)]
pub struct Home {
    directory: PathBuf,
}

/// Nobody else changes the repository while this lives.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Home {
    /// Makes the directories of a new channel; what is there stays.
    pub fn create(directory: &Path) -> Result<Self, Fault> {
        let home = Self { directory: directory.to_owned() };
        for path in [home.metadata(), home.targets(), home.keys(), home.proposals(), home.published()] {
            fs::create_dir_all(&path).map_err(|error| files::disk("made", &path, &error))?;
        }
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs::set_permissions(home.keys(), private).map_err(|error| files::disk("closed", &home.keys(), &error))?;
        Ok(home)
    }

    /// Opens a channel that `create` made.
    pub fn open(directory: &Path) -> Result<Self, Fault> {
        let home = Self { directory: directory.to_owned() };
        if home.metadata().is_dir() && home.proposals().is_dir() {
            return Ok(home);
        }
        let reason = format!(
            "{} is no home of a channel: name one with --home, or make one with `sund-channel init DIR`",
            directory.display()
        );
        Err(Fault::new("home-not-found", Blame::Configuration, reason))
    }

    /// The directory that a server serves, whatever of it is there.
    pub fn served(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// Waits for its turn to change the repository.
    pub fn lock(&self) -> Result<Lock, Fault> {
        let (path, file) = self.lock_file()?;
        flock(&file, FlockOperation::LockExclusive).map_err(|error| files::disk("locked", &path, &error.into()))?;
        Ok(Lock { _file: file })
    }

    /// The same, for so long and no longer: for a server that has more to do, and that may be told to stop meanwhile.
    pub fn lock_within(&self, patience: Duration) -> Result<Lock, Fault> {
        let (path, file) = self.lock_file()?;
        let until = Instant::now() + patience;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Lock { _file: file }),
                // The kernel knows no wait for this lock that has an end.
                Err(Errno::WOULDBLOCK) if Instant::now() < until => std::thread::sleep(LOCK_TRIED),
                Err(Errno::WOULDBLOCK) => {
                    let reason = format!(
                        "another command holds {} for more than {} s: if it is not one that you know, see who does (`fuser`) and \
                         end it",
                        path.display(),
                        patience.as_secs()
                    );
                    return Err(Fault::new("home-busy", Blame::Channel, reason));
                }
                Err(error) => return Err(files::disk("locked", &path, &error.into())),
            }
        }
    }

    fn lock_file(&self) -> Result<(PathBuf, File), Fault> {
        let path = self.directory.join("repository/.lock");
        let file = File::create(&path).map_err(|error| files::disk("locked", &path, &error))?;
        Ok((path, file))
    }

    /// Metadata that any web server may serve.
    pub fn metadata(&self) -> PathBuf {
        self.directory.join("repository/metadata")
    }

    /// Targets that any web server may serve.
    pub fn targets(&self) -> PathBuf {
        self.directory.join("repository/targets")
    }

    /// The keys of `timestamp` and `snapshot`.
    pub fn keys(&self) -> PathBuf {
        self.directory.join("keys")
    }

    /// What awaits signatures.
    pub fn proposals(&self) -> PathBuf {
        self.directory.join("proposals")
    }

    /// Proposals that were published, with their signatures: who answered for what.
    pub fn published(&self) -> PathBuf {
        self.directory.join("published")
    }
}
