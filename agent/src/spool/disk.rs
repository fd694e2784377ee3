//! The real disk: `O_DIRECT` with `RWF_DSYNC` into blocks that were written once before.
use super::buffer::{BLOCK, Buffer};
use super::io::{SpoolFile, SpoolIo};
use crate::limits::agent::LEFT_LOCK;
use crate::lock;
use rustix::fs::{FallocateFlags, OFlags, fallocate, fdatasync, fstatvfs};
use rustix::io::{Errno, ReadWriteFlags, pwritev2};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, IoSlice, Result};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Most parts of one system call (`IOV_MAX` is 1024 on Linux).
const MAX_PARTS: usize = 1024;

/// A directory on disk.
#[derive(Debug)]
pub struct DiskIo {
    path: PathBuf,
    directory: File,
    lock: File,
}

impl DiskIo {
    /// Opens a directory, which is made (0700) where it is absent.
    pub fn new(path: &Path) -> Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join("lock"))?;
        Ok(Self { path: path.to_owned(), directory: File::open(path)?, lock })
    }

    fn open_file(&self, name: &str, create: bool) -> Result<DiskFile> {
        let path = self.path.join(name);
        let buffered =
            OpenOptions::new().read(true).write(true).create(create).truncate(create).mode(0o600).open(&path)?;
        // Where the file system has no direct I/O, the page cache serves.
        let direct = OpenOptions::new().write(true).custom_flags(OFlags::DIRECT.bits() as i32).open(&path);
        let direct = match direct {
            Ok(file) => Some(file),
            Err(error) if error.kind() == ErrorKind::InvalidInput => None,
            Err(error) => return Err(error),
        };
        Ok(DiskFile { path, buffered, direct })
    }
}

impl SpoolIo for DiskIo {
    fn lock(&self) -> Result<()> {
        let holder = || std::fs::read_to_string(self.path.join("lock")).unwrap_or_default();
        match lock::take(&self.lock, LEFT_LOCK, || lock::is_gone(&holder())) {
            Ok(()) => {
                // Who holds it is told to a second agent alone: the lock is what counts.
                self.lock.set_len(0)?;
                self.lock.write_all_at(std::process::id().to_string().as_bytes(), 0)
            }
            Err(Errno::WOULDBLOCK) => Err(std::io::Error::new(ErrorKind::WouldBlock, format!("process {}", holder()))),
            Err(error) => Err(error.into()),
        }
    }

    fn list(&self) -> Result<Vec<String>> {
        std::fs::read_dir(&self.path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn create(&self, name: &str, length: u64, written: bool) -> Result<Arc<dyn SpoolFile>> {
        let file = self.open_file(name, true)?;
        if length > 0 {
            match fallocate(&file.buffered, FallocateFlags::empty(), 0, length) {
                // The file system cannot; where there is no room, a write says so.
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => file.buffered.set_len(length)?,
                allocated => allocated?,
            }
        }
        if written {
            let mut zeroes = Buffer::new(1 << 20);
            let mut at = 0;
            while at < length {
                let part = (length - at).min(1 << 20) as usize;
                file.write_at(at, &[zeroes.bytes_mut(part)])?;
                at += part as u64;
            }
        }
        file.buffered.sync_all()?;
        Ok(Arc::new(file))
    }

    fn open(&self, name: &str) -> Result<Arc<dyn SpoolFile>> {
        Ok(Arc::new(self.open_file(name, false)?))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        std::fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> Result<()> {
        std::fs::remove_file(self.path.join(name))
    }

    fn sync_directory(&self) -> Result<()> {
        self.directory.sync_all()
    }

    fn free_bytes(&self) -> Result<u64> {
        let stat = fstatvfs(&self.directory)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

struct DiskFile {
    path: PathBuf,
    buffered: File,
    direct: Option<File>,
}

impl DiskFile {
    fn write(&self, mut offset: u64, parts: &[&[u8]], flags: ReadWriteFlags) -> Result<()> {
        // Direct I/O wants whole blocks, in memory as on disk; the key file's slots are smaller.
        let aligned = offset.is_multiple_of(BLOCK as u64)
            && parts.iter().all(|part| part.len().is_multiple_of(BLOCK) && part.as_ptr().addr().is_multiple_of(BLOCK));
        let file = self.direct.as_ref().filter(|_| aligned).unwrap_or(&self.buffered);
        let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut left = slices.as_mut_slice();
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            let count = left.len().min(MAX_PARTS);
            match pwritev2(file, &left[..count], offset, flags) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    offset += written as u64;
                    IoSlice::advance_slices(&mut left, written);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl SpoolFile for DiskFile {
    fn length(&self) -> Result<u64> {
        Ok(self.buffered.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.buffered.read_exact_at(buffer, offset)
    }

    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> Result<()> {
        self.write(offset, parts, ReadWriteFlags::empty())
    }

    fn write_durably_at(&self, offset: u64, parts: &[&[u8]]) -> Result<()> {
        self.write(offset, parts, ReadWriteFlags::DSYNC)
    }

    fn sync(&self) -> Result<()> {
        Ok(fdatasync(&self.buffered)?)
    }

    fn descriptor(&self) -> Result<OwnedFd> {
        Ok(File::open(&self.path)?.into())
    }
}
