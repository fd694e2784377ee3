//! Leave to read one instance, for this process or for a worker's.
use super::SpoolError;
use super::frame::{BODY, Part};
use super::io::SpoolIo;
use super::log::segment_name;
use super::seal::{OVERHEAD, open_with};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use zeroize::Zeroize;

/// Where an instance lies in files that travel beside this, and the key that opens it.
#[derive(Clone, Serialize, Deserialize)]
pub struct GrantExtents {
    length: u64,
    key: [u8; 32],
    /// Index of the file, and the sealed part in it.
    parts: Vec<(usize, Part)>,
}

impl std::fmt::Debug for GrantExtents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GrantExtents({} bytes in {} parts)", self.length, self.parts.len())
    }
}

impl Drop for GrantExtents {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

/// Extents with their open files.
#[derive(Debug)]
pub struct ReadGrant {
    extents: GrantExtents,
    /// Segment number and file.
    files: Vec<(u32, OwnedFd)>,
}

impl ReadGrant {
    pub(super) fn new(io: &dyn SpoolIo, parts: &[Part], length: u64, key: [u8; 32]) -> Result<Self, SpoolError> {
        let mut files: Vec<(u32, OwnedFd)> = Vec::new();
        let mut placed = Vec::with_capacity(parts.len());
        for part in parts {
            let index = match files.iter().position(|(segment, _)| *segment == part.segment) {
                Some(index) => index,
                None => {
                    files.push((part.segment, io.descriptor(&segment_name(part.segment))?));
                    files.len() - 1
                }
            };
            placed.push((index, *part));
        }
        Ok(Self { extents: GrantExtents { length, key, parts: placed }, files })
    }

    /// The bytes of the instance.
    pub fn read_all(&self) -> Result<Vec<u8>, SpoolError> {
        let files: Vec<BorrowedFd<'_>> = self.files.iter().map(|(_, file)| file.as_fd()).collect();
        self.extents.read(&files)
    }

    /// Takes the grant apart: the extents, with their files counted from those already in `files`.
    pub fn into_parts(self, files: &mut Vec<(u32, OwnedFd)>) -> GrantExtents {
        let mut extents = self.extents;
        let moved: Vec<usize> = self
            .files
            .into_iter()
            .map(|(segment, file)| {
                files.iter().position(|(known, _)| *known == segment).unwrap_or_else(|| {
                    files.push((segment, file));
                    files.len() - 1
                })
            })
            .collect();
        for (index, _) in &mut extents.parts {
            *index = moved[*index];
        }
        extents
    }
}

impl GrantExtents {
    /// Reads the instance from the files, in the order of `ReadGrant::into_parts`.
    pub fn read(&self, files: &[BorrowedFd<'_>]) -> Result<Vec<u8>, SpoolError> {
        let mut bytes = Vec::new();
        for (index, part) in &self.parts {
            let file = files.get(*index).ok_or(SpoolError::Corrupt)?;
            let file = File::from(file.try_clone_to_owned()?);
            if part.length > self.length.saturating_add(OVERHEAD as u64) {
                return Err(SpoolError::Corrupt);
            }
            let mut sealed = vec![0; part.length as usize];
            file.read_exact_at(&mut sealed, part.offset)?;
            bytes.extend_from_slice(&open_with(&self.key, sealed, BODY).ok_or(SpoolError::Corrupt)?);
        }
        if bytes.len() as u64 == self.length { Ok(bytes) } else { Err(SpoolError::Corrupt) }
    }
}
