//! All I/O of the spool goes through one trait, so that a test can cut the power at each of its operations.
use rustix::fs::{FlockOperation, fdatasync, flock, fsync};
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{IoSlice, Result};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Files in one directory, by name. What was written is durable after `sync` of the file, a new name after `sync_directory`.
pub trait SpoolIo: Send + Sync {
    /// Names of all files.
    fn list(&self) -> Result<Vec<String>>;
    /// Makes a file, or empties it, with `length` zero bytes that are written once.
    fn create(&self, name: &str, length: u64) -> Result<()>;
    /// Length of a file.
    fn length(&self, name: &str) -> Result<u64>;
    /// Writes the parts one behind the other.
    fn write_at(&self, name: &str, offset: u64, parts: &[&[u8]]) -> Result<()>;
    /// Fills the buffer.
    fn read_at(&self, name: &str, offset: u64, buffer: &mut [u8]) -> Result<()>;
    /// Cuts a file.
    fn truncate(&self, name: &str, length: u64) -> Result<()>;
    /// Makes the file's content durable.
    fn sync(&self, name: &str) -> Result<()>;
    /// Makes names durable.
    fn sync_directory(&self) -> Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> Result<()>;
    /// Free bytes for this directory.
    fn free_bytes(&self) -> Result<u64>;
    /// A descriptor of the file, for reading in another process.
    fn descriptor(&self, name: &str) -> Result<OwnedFd>;
}

/// The real disk.
#[derive(Debug)]
pub struct DiskIo {
    directory: PathBuf,
    /// Holds the lock on the directory.
    lock: File,
    files: Mutex<HashMap<String, Arc<File>>>,
}

impl DiskIo {
    /// Opens a directory, which is made where it is absent, and locks it.
    ///
    /// Fails with `WouldBlock` where another agent holds it.
    pub fn open(directory: &Path) -> Result<Self> {
        std::fs::create_dir_all(directory)?;
        let lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(directory.join("lock"))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Self { directory: directory.to_owned(), lock, files: Mutex::default() })
    }

    fn file(&self, name: &str) -> Result<Arc<File>> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = files.get(name) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(OpenOptions::new().read(true).write(true).open(self.directory.join(name))?);
        files.insert(name.to_owned(), Arc::clone(&file));
        Ok(file)
    }
}

impl SpoolIo for DiskIo {
    fn list(&self) -> Result<Vec<String>> {
        std::fs::read_dir(&self.directory)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn create(&self, name: &str, length: u64) -> Result<()> {
        const ZEROES: [u8; 1 << 20] = [0; 1 << 20];
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(self.directory.join(name))?;
        // Written, not only allocated: the first write into an unwritten extent costs a journal commit of its own.
        let mut at = 0;
        while at < length {
            let part = (length - at).min(ZEROES.len() as u64) as usize;
            file.write_all_at(&ZEROES[..part], at)?;
            at += part as u64;
        }
        fsync(&file)?;
        self.files.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), Arc::new(file));
        Ok(())
    }

    fn length(&self, name: &str) -> Result<u64> {
        Ok(self.file(name)?.metadata()?.len())
    }

    fn write_at(&self, name: &str, mut offset: u64, parts: &[&[u8]]) -> Result<()> {
        let file = self.file(name)?;
        let total: usize = parts.iter().map(|part| part.len()).sum();
        let slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut written = 0;
        if slices.len() <= 512 {
            written = rustix::io::pwritev(&file, &slices, offset)?;
        }
        if written == total {
            return Ok(());
        }
        for part in parts {
            let skip = written.min(part.len());
            file.write_all_at(&part[skip..], offset + skip as u64)?;
            written -= skip;
            offset += part.len() as u64;
        }
        Ok(())
    }

    fn read_at(&self, name: &str, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.file(name)?.read_exact_at(buffer, offset)
    }

    fn truncate(&self, name: &str, length: u64) -> Result<()> {
        let file = self.file(name)?;
        file.set_len(length)?;
        fsync(&file)?;
        Ok(())
    }

    fn sync(&self, name: &str) -> Result<()> {
        fdatasync(&self.file(name)?)?;
        Ok(())
    }

    fn sync_directory(&self) -> Result<()> {
        File::open(&self.directory)?.sync_all()
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        std::fs::remove_file(self.directory.join(name))
    }

    fn free_bytes(&self) -> Result<u64> {
        let stat = rustix::fs::fstatvfs(&self.lock)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn descriptor(&self, name: &str) -> Result<OwnedFd> {
        Ok(File::open(self.directory.join(name))?.into())
    }
}
