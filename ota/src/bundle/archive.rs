//! The tar of a bundle: POSIX ustar, plain files alone, read where they lie and never unpacked.
//!
//! Anybody may have written the stick. Names, sizes and counts are bounded before anything is believed, and a link, a device, a
//! directory or an extension of the format is refused: the writer below makes none of them.
use super::FILE_NAME;
use crate::fault::{Blame, Fault};
use crate::limits::MAX_DESCRIPTOR;
use crate::limits::bundle::{MAX_FILES, MAX_NAME};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use url::Url;

/// Scheme of the addresses inside a bundle.
const SCHEME: &str = "bundle";
const BLOCK: u64 = 512;

/// Where each file lies in a tar.
#[derive(Debug)]
pub struct Archive {
    path: PathBuf,
    /// By the path of its address: where it begins, and its length.
    files: BTreeMap<String, (u64, u64)>,
}

impl Archive {
    /// Reads the headers.
    pub async fn open(path: &Path) -> Result<Self, Fault> {
        let path = path.to_owned();
        let opened = tokio::task::spawn_blocking(move || read_headers(&path).map(|files| Self { path, files })).await;
        opened.map_err(|error| invalid(&error.to_string()))?
    }

    /// The address of a directory in it.
    pub(super) fn base(directory: &str) -> Result<Url, Fault> {
        Url::parse(&format!("{SCHEME}:/{directory}/")).map_err(|error| invalid(&error.to_string()))
    }

    /// The file on the stick.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where what has this address lies: first byte and length.
    pub(crate) fn place(&self, url: &Url) -> Option<(u64, u64)> {
        (url.scheme() == SCHEME).then(|| self.files.get(url.path()).copied()).flatten()
    }

    /// The bytes of `bundle.json`.
    pub(super) async fn pointer(&self) -> Result<Vec<u8>, Fault> {
        let place = self.files.get(&format!("/{FILE_NAME}")).copied();
        let (start, length) = place.ok_or_else(|| invalid(&format!("it has no {FILE_NAME}")))?;
        if length > MAX_DESCRIPTOR {
            return Err(invalid(&format!("{FILE_NAME} has more than {MAX_DESCRIPTOR} bytes")));
        }
        let path = self.path.clone();
        let read = tokio::task::spawn_blocking(move || -> io::Result<Vec<u8>> {
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(start))?;
            let mut bytes = Vec::new();
            file.take(length).read_to_end(&mut bytes)?;
            Ok(bytes)
        });
        read.await.map_err(io::Error::from).flatten().map_err(|error| invalid(&error.to_string()))
    }
}

fn read_headers(path: &Path) -> Result<BTreeMap<String, (u64, u64)>, Fault> {
    let unreadable = |error: io::Error| {
        Fault::new("bundle-unreadable", Blame::Box, format!("{} cannot be read: {error}", path.display()))
    };
    let about = std::fs::metadata(path).map_err(unreadable)?;
    if !about.is_file() {
        return Err(invalid("it is no file"));
    }
    let mut file = File::open(path).map_err(unreadable)?;
    let mut files = BTreeMap::new();
    let mut at = 0;
    loop {
        let mut header = [0; BLOCK as usize];
        file.seek(SeekFrom::Start(at)).map_err(unreadable)?;
        match file.read_exact(&mut header) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(invalid("it ends too early")),
            Err(error) => return Err(unreadable(error)),
        }
        // POSIX ustar: the archive ends with blocks of zeros.
        if header.iter().all(|byte| *byte == 0) {
            return Ok(files);
        }
        let (name, length) = entry(&header)?;
        let begins = at + BLOCK;
        let ends = begins.checked_add(length).filter(|ends| *ends <= about.len());
        let ends = ends.ok_or_else(|| invalid(&format!("{name} goes on behind its end")))?;
        if files.len() == MAX_FILES {
            return Err(invalid(&format!("it has more than {MAX_FILES} files")));
        }
        let place = place_of(&name).ok_or_else(|| invalid(&format!("`{name}` has no place in a bundle")))?;
        if files.insert(place, (begins, length)).is_some() {
            return Err(invalid(&format!("`{name}` is in it twice")));
        }
        at = ends.next_multiple_of(BLOCK);
    }
}

/// The path of the address that a name in the tar stands for.
fn place_of(name: &str) -> Option<String> {
    if name == FILE_NAME {
        return Some(format!("/{FILE_NAME}"));
    }
    let is_plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\\', '\0']);
    if !name.split('/').all(is_plain) {
        return None;
    }
    let (directory, rest) = name.split_once('/')?;
    let mut url = Url::parse(&format!("{SCHEME}:/{directory}/")).ok()?;
    let mut segments = url.path_segments_mut().ok()?;
    segments.pop_if_empty();
    match directory {
        // The slash in a role's name stands escaped in its address.
        "metadata" => segments.push(rest),
        "targets" => segments.extend(rest.split('/')),
        _ => return None,
    };
    drop(segments);
    Some(url.path().to_owned())
}

/// Name and length of a header, POSIX.1-1988 ustar.
fn entry(header: &[u8; BLOCK as usize]) -> Result<(String, u64), Fault> {
    if &header[257..263] != b"ustar\0" {
        return Err(invalid("it is no ustar archive"));
    }
    if octal(&header[148..156]) != Some(checksum(header)) {
        return Err(invalid("a header is damaged"));
    }
    let text = |field: &[u8]| -> Option<String> {
        let field = field.split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8(field.to_vec()).ok()
    };
    let (name, prefix) = (text(&header[..100]), text(&header[345..500]));
    let (Some(name), Some(prefix)) = (name, prefix) else { return Err(invalid("a name is not UTF-8")) };
    let name = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
    if !matches!(header[156], b'0' | 0) {
        return Err(invalid(&format!("`{name}` is no plain file")));
    }
    let length = octal(&header[124..136]).ok_or_else(|| invalid(&format!("the length of `{name}` is no number")))?;
    Ok((name, length))
}

fn octal(field: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(field).ok()?.trim_matches(['\0', ' ']);
    let is_octal = !digits.is_empty() && digits.bytes().all(|digit| matches!(digit, b'0'..=b'7'));
    is_octal.then(|| u64::from_str_radix(digits, 8).ok()).flatten()
}

/// The sum of a header's bytes, its own field counted as blanks.
fn checksum(header: &[u8; BLOCK as usize]) -> u64 {
    let byte = |(at, byte): (usize, &u8)| if (148..156).contains(&at) { u64::from(b' ') } else { u64::from(*byte) };
    header.iter().enumerate().map(byte).sum()
}

fn invalid(what: &str) -> Fault {
    Fault::new("bundle-invalid", Blame::Channel, format!("this is no bundle of the channel: {what}"))
}

/// Writes what [`Archive`] reads.
pub struct Writer<W: Write>(W);

impl<W: Write> Writer<W> {
    /// An archive that is written to `into`.
    pub fn new(into: W) -> Self {
        Self(into)
    }

    /// Adds a file: `bundle.json`, `metadata/VERSION.ROLE.json` or `targets/PATH`, with `length` bytes of `from`.
    pub fn add(&mut self, name: &str, length: u64, from: impl Read) -> io::Result<()> {
        self.0.write_all(&header(name, length)?)?;
        let copied = io::copy(&mut from.take(length), &mut self.0)?;
        if copied != length {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("{name} ends after {copied} bytes")));
        }
        let padding = (length.next_multiple_of(BLOCK) - length) as usize;
        self.0.write_all(&[0; BLOCK as usize][..padding])
    }

    /// Ends the archive.
    pub fn finish(mut self) -> io::Result<W> {
        self.0.write_all(&[0; 2 * BLOCK as usize])?;
        self.0.flush()?;
        Ok(self.0)
    }
}

fn header(name: &str, length: u64) -> io::Result<[u8; BLOCK as usize]> {
    let refused = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, format!("{name} {what}"));
    if place_of(name).is_none() || name.len() > MAX_NAME {
        return Err(refused("has no place in a bundle"));
    }
    let splits = name.match_indices('/').map(|(at, _)| (&name[..at], &name[at + 1..]));
    let (prefix, file) = std::iter::once(("", name))
        .chain(splits)
        .find(|(prefix, file)| prefix.len() <= 155 && file.len() <= 100)
        .ok_or_else(|| refused("is too long for a ustar archive: at most 100 bytes behind a slash, 155 before it"))?;
    if length >= 1 << 33 {
        return Err(refused("is too large for a ustar archive: less than 8 GiB"));
    }
    let mut header = [0; BLOCK as usize];
    header[..file.len()].copy_from_slice(file.as_bytes());
    header[345..345 + prefix.len()].copy_from_slice(prefix.as_bytes());
    header[100..108].copy_from_slice(b"0000644\0");
    header[108..116].copy_from_slice(b"0000000\0");
    header[116..124].copy_from_slice(b"0000000\0");
    header[124..136].copy_from_slice(format!("{length:011o}\0").as_bytes());
    header[136..148].copy_from_slice(b"00000000000\0");
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    let sum = checksum(&header);
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn opened(bytes: &[u8]) -> Result<BTreeMap<String, (u64, u64)>, Fault> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        read_headers(file.path())
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            files in proptest::collection::btree_map("targets/[a-z]{1,8}/[a-z0-9.%-]{1,90}x", ".{0,600}", 0..8)
        ) {
            let mut writer = Writer::new(Vec::new());
            for (name, text) in &files {
                writer.add(name, text.len() as u64, text.as_bytes()).unwrap();
            }
            let bytes = writer.finish().unwrap();
            let places = opened(&bytes).unwrap();
            prop_assert_eq!(places.len(), files.len());
            for (name, text) in &files {
                let (start, length) = places[&place_of(name).unwrap()];
                prop_assert_eq!(&bytes[start as usize..(start + length) as usize], text.as_bytes());
            }
        }

        #[test]
        fn an_altered_archive_is_refused_or_lies_within_itself(at in 0..2048_usize, bit in 0..8_u32) {
            let mut writer = Writer::new(Vec::new());
            writer.add(FILE_NAME, 3, b"abc".as_slice()).unwrap();
            let mut bytes = writer.finish().unwrap();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            if let Ok(places) = opened(&bytes) {
                prop_assert!(places.values().all(|(start, length)| start + length <= bytes.len() as u64));
            }
        }
    }
}
