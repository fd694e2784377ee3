//! Where the bundle is written: a file or a block device. Its first bytes are zeros until the whole has been verified, and are
//! written last: whatever happens in between, a power cut too, nothing there looks like a bundle.
use crate::fault::{Blame, Fault};
use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, FileTypeExt as _};
use std::path::{Path, PathBuf};

/// Bytes that are held back: the headers of all the formats that a bundle can have lie within them.
const HEAD: usize = 4096;

/// A destination that is being written to.
pub struct Writing {
    file: File,
    path: PathBuf,
    is_device: bool,
    head: Vec<u8>,
    written: u64,
}

impl Writing {
    /// Opens a destination for `length` bytes and makes invalid what lies there.
    pub fn begin(path: &Path, length: u64) -> Result<Self, Fault> {
        let failed = |error: io::Error| unwritable(path, &error);
        let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(path).map_err(failed)?;
        let is_device = file.metadata().map_err(failed)?.file_type().is_block_device();
        if is_device {
            let room = file.seek(SeekFrom::End(0)).map_err(failed)?;
            if room < length {
                let reason =
                    format!("{} has {room} bytes, and the bundle {length}: name a larger device", path.display());
                return Err(Fault::new("destination-too-small", Blame::Box, reason));
            }
            file.rewind().map_err(failed)?;
        } else {
            file.set_len(0).map_err(failed)?;
        }
        let mut writing = Self { file, path: path.to_owned(), is_device, head: Vec::new(), written: 0 };
        writing.restart()?;
        Ok(writing)
    }

    /// Begins anew, from the first byte on.
    pub fn restart(&mut self) -> Result<(), Fault> {
        self.head.clear();
        self.written = 0;
        let zeroed = self
            .file
            .write_all_at(&[0; HEAD], 0)
            .and_then(|()| self.file.sync_all())
            .and_then(|()| self.file.seek(SeekFrom::Start(HEAD as u64)));
        zeroed.map(drop).map_err(|error| unwritable(&self.path, &error))
    }

    /// Takes the next bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let (head, rest) = bytes.split_at(bytes.len().min(HEAD - self.head.len()));
        self.head.extend(head);
        self.file.write_all(rest).map_err(|error| unwritable(&self.path, &error))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Bytes taken so far.
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// Makes it valid: the rest is on the disk before the head is written, and the head before this returns.
    pub fn finish(self) -> Result<(), Fault> {
        let cut = if self.is_device { Ok(()) } else { self.file.set_len(self.written) };
        cut.and_then(|()| self.file.sync_all())
            .and_then(|()| self.file.write_all_at(&self.head, 0))
            .and_then(|()| self.file.sync_all())
            .map_err(|error| unwritable(&self.path, &error))
    }

    /// Gives it up: a file is removed; on a device the zeros stay where the head would be.
    pub fn give_up(self) -> Result<(), Fault> {
        if self.is_device {
            return Ok(());
        }
        std::fs::remove_file(&self.path).map_err(|error| unwritable(&self.path, &error))
    }
}

fn unwritable(path: &Path, error: &io::Error) -> Fault {
    let reason = format!("{}: {error}: look at the disk, or name another destination", path.display());
    Fault::new("destination-unwritable", Blame::Box, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_looks_like_a_bundle_before_the_whole_is_verified() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("bundle");
        std::fs::write(&path, b"hsqs an older bundle").expect("it is written");
        let bundle: Vec<u8> = (0..10_000_u32).map(|at| (at % 251) as u8 + 1).collect();
        let mut writing = Writing::begin(&path, bundle.len() as u64).expect("it begins");
        for piece in bundle.chunks(999) {
            writing.write(piece).expect("it is written");
        }
        let before = std::fs::read(&path).expect("it is there");
        assert!(before[..HEAD].iter().all(|byte| *byte == 0), "the head shows before the end");
        assert_eq!(before[HEAD..], bundle[HEAD..]);
        writing.finish().expect("it ends");
        assert_eq!(std::fs::read(&path).expect("it is there"), bundle);
    }

    #[test]
    fn a_bundle_shorter_than_the_head_is_written_as_it_is() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("bundle");
        let mut writing = Writing::begin(&path, 5).expect("it begins");
        writing.write(b"wrong").expect("it is written");
        writing.restart().expect("it begins anew");
        writing.write(b"hello").expect("it is written");
        writing.finish().expect("it ends");
        assert_eq!(std::fs::read(&path).expect("it is there"), b"hello");
    }

    /// A device keeps its length and what lies on it; a file stands for one here.
    #[test]
    fn on_a_device_what_lay_there_is_invalid_from_the_beginning_and_stays_so() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("device");
        std::fs::write(&path, vec![9; 20_000]).expect("it is written");
        let file = OpenOptions::new().write(true).open(&path).expect("it opens");
        let mut writing = Writing { file, path: path.clone(), is_device: true, head: Vec::new(), written: 0 };
        writing.restart().expect("it begins");
        writing.write(&[7; 5000]).expect("it is written");
        writing.give_up().expect("it is given up");
        let left = std::fs::read(&path).expect("it is there");
        assert_eq!(left.len(), 20_000);
        assert!(left[..HEAD].iter().all(|byte| *byte == 0), "what lay there still looks like a bundle");
    }
}
