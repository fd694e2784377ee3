//! All I/O of the spool goes through these two traits, so that a test can cut the power at each operation.
use rustix::io::Errno;
use std::io::{Error, Result};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// True for what a disk or a file system says of a place that it cannot give back any more.
pub(super) fn is_unreadable(error: &Error) -> bool {
    let said = error.raw_os_error().map(Errno::from_raw_os_error);
    said.is_some_and(|errno| [Errno::IO, Errno::BADMSG, Errno::UCLEAN, Errno::NODATA].contains(&errno))
}

/// The files of one directory, by name. Names that were made, changed or removed are durable after `sync_directory`.
pub trait SpoolIo: Send + Sync {
    /// Takes the directory for this process until the value is dropped; `WouldBlock` where another holds it,
    /// with a text that says who.
    fn lock(&self) -> Result<()>;
    /// Names of all files.
    fn list(&self) -> Result<Vec<String>>;
    /// Makes a file of `length` bytes, readable by its owner alone. With `written` its blocks are written once, so
    /// that later writes change no metadata and a durable one costs a single flush.
    fn create(&self, name: &str, length: u64, written: bool) -> Result<Arc<dyn SpoolFile>>;
    /// Opens a file.
    fn open(&self, name: &str) -> Result<Arc<dyn SpoolFile>>;
    /// Renames a file, replacing what has the new name.
    fn rename(&self, from: &str, to: &str) -> Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> Result<()>;
    /// Makes names durable.
    fn sync_directory(&self) -> Result<()>;
    /// Bytes that the file system has left.
    fn free_bytes(&self) -> Result<u64>;
}

/// One file.
pub trait SpoolFile: Send + Sync {
    /// Length in bytes.
    fn length(&self) -> Result<u64>;
    /// Fills the buffer from `offset`; `UnexpectedEof` past the end.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()>;
    /// Writes the parts one behind the other.
    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> Result<()>;
    /// The same, durable on return. Says nothing of earlier writes: the device may write through this one alone (FUA).
    fn write_durably_at(&self, offset: u64, parts: &[&[u8]]) -> Result<()>;
    /// Makes all earlier writes to the file durable.
    fn sync(&self) -> Result<()>;
    /// A descriptor for reading in another process.
    fn descriptor(&self) -> Result<OwnedFd>;
}
