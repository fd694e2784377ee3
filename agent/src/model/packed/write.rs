//! Packs a package, and puts signatures on one. What is written is written beside its place, and moved there once it is whole.
use super::header::{BLOCK, header, padding};
use super::{Archive, ENVELOPE, LIST, List};
use crate::fault::{Blame, Fault};
use crate::limits::model::MAX_PACKED;
use ring::digest::{Context, SHA256};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use tempfile::NamedTempFile;

/// Writes a package of these members: `open` opens one for reading. One that changes meanwhile is an error.
pub fn pack(to: &Path, list: &List, open: &dyn Fn(&str) -> io::Result<File>) -> Result<(), Fault> {
    let unwritable = |error: io::Error| unwritable(to, &error);
    let mut out = beside(to)?;
    let text = list.text();
    write_member(&mut out, LIST, text.len() as u64, &mut text.as_bytes()).map_err(unwritable)?;
    for (name, sha256) in list.members() {
        let file = open(name).map_err(|error| changed(name, &error))?;
        let length = file.metadata().map_err(|error| changed(name, &error))?.len();
        let mut summed = Summed { inner: file, sum: Context::new(&SHA256) };
        write_member(&mut out, name, length, &mut summed).map_err(unwritable)?;
        if summed.sum.finish().as_ref() != sha256 {
            return Err(changed(name, &"its digest is another"));
        }
    }
    finish(out, to)
}

/// Writes a package with another envelope than it has, or with one; its members stay.
pub fn with_envelope(to: &Path, archive: &Archive, envelope: &[u8]) -> Result<(), Fault> {
    let unwritable = |error: io::Error| unwritable(to, &error);
    let mut out = beside(to)?;
    let mut file = archive.descriptor();
    io::Seek::rewind(&mut file).map_err(unwritable)?;
    io::copy(&mut file.take(archive.end()), &mut out).map_err(unwritable)?;
    write_member(&mut out, ENVELOPE, envelope.len() as u64, &mut { envelope }).map_err(unwritable)?;
    finish(out, to)
}

fn beside(to: &Path) -> Result<NamedTempFile, Fault> {
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    tempfile::Builder::new().permissions(open).tempfile_in(folder).map_err(|error| unwritable(to, &error))
}

fn write_member(out: &mut impl Write, name: &str, length: u64, from: &mut dyn Read) -> io::Result<()> {
    let block = header(name, length).ok_or_else(|| io::Error::other(format!("{name} is too long for a package")))?;
    out.write_all(&block)?;
    let written = io::copy(&mut from.take(length), out)?;
    if written < length {
        return Err(io::Error::other(format!("{name} ended while it was read")));
    }
    out.write_all(&[0; BLOCK][..padding(length) as usize])
}

fn finish(mut out: NamedTempFile, to: &Path) -> Result<(), Fault> {
    let unwritable = |error: &io::Error| unwritable(to, error);
    out.write_all(&[0; 2 * BLOCK]).map_err(|error| unwritable(&error))?;
    let length = out.as_file().metadata().map_err(|error| unwritable(&error))?.len();
    if length > MAX_PACKED {
        let reason = format!("the package would have {length} bytes, at most {MAX_PACKED} are taken");
        return Err(Fault::new("package-invalid", Blame::Package, reason));
    }
    out.as_file().sync_all().map_err(|error| unwritable(&error))?;
    out.persist(to).map_err(|error| unwritable(&error.error))?;
    Ok(())
}

/// What is read, summed as it goes.
struct Summed {
    inner: File,
    sum: Context,
}

impl Read for Summed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(into)?;
        self.sum.update(&into[..length]);
        Ok(length)
    }
}

fn unwritable(to: &Path, error: &io::Error) -> Fault {
    Fault::new("package-unwritable", Blame::Box, format!("{} cannot be written: {error}", to.display()))
}

fn changed(name: &str, error: &dyn std::fmt::Display) -> Fault {
    let reason = format!("{name} changed while it was packed ({error}); pack again when nothing writes to the folder");
    Fault::new("package-altered", Blame::Package, reason)
}
