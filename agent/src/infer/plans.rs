//! Where the compiled networks of a package are.
use crate::fault::{Blame, Fault};
use serde::{Deserialize, Serialize};
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

/// Where compiled networks are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Plans {
    /// In the package: [`crate::model::Package::plan`] gives them.
    Packaged,
    /// In files of this box.
    Kept(Vec<KeptPlan>),
}

/// A compiled network in a file of this box: this very file. A later one of the same name is another engine, which has golden cases
/// of its own to hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptPlan {
    /// The network.
    pub network: String,
    path: PathBuf,
    stamp: Stamp,
}

/// Device and inode, length, and when what is in it was changed last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl Stamp {
    fn of(file: &Metadata) -> Self {
        let (device, inode, length) = (file.dev(), file.ino(), file.len());
        Self { device, inode, length, seconds: file.mtime(), nanoseconds: file.mtime_nsec() }
    }
}

impl KeptPlan {
    /// The file that is there now, where one is.
    pub(super) fn found(network: &str, path: PathBuf) -> Option<Self> {
        let file = std::fs::metadata(&path).ok().filter(Metadata::is_file)?;
        Some(Self { network: network.to_owned(), path, stamp: Stamp::of(&file) })
    }

    /// The file, opened. Refused where it is gone, or is another one by now.
    pub(super) fn open(&self) -> Result<File, Fault> {
        let file = File::open(&self.path).map_err(|error| self.unreadable(&error))?;
        let found = file.metadata().map_err(|error| self.unreadable(&error))?;
        if Stamp::of(&found) == self.stamp {
            return Ok(file);
        }
        Err(self.unavailable("is another file than was chosen, and is checked at the next start"))
    }

    pub(super) fn unreadable(&self, error: &std::io::Error) -> Fault {
        self.unavailable(&format!("cannot be read: {error}"))
    }

    fn unavailable(&self, why: &str) -> Fault {
        Fault::new("engine-unavailable", Blame::Box, format!("{} {why}", self.path.display()))
    }
}
