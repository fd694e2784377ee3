//! Opens a packed package: its list and the places of its members. What a member holds is read when it is asked for, and
//! compared with the list each time.
use super::header::{BLOCK, length, padding};
use super::{ENVELOPE, LIST, List, Listed};
use crate::fault::{Blame, Fault};
use crate::limits::model::{MAX_ENVELOPE, MAX_LIST, MAX_PACKED};
use ring::digest::{Context, SHA256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;

/// So much is read at once.
const CHUNK: u64 = 1 << 20;

/// A packed package, open.
#[derive(Debug)]
pub struct Archive {
    file: File,
    list: List,
    places: BTreeMap<String, Place>,
    /// Where what is signed ends.
    end: u64,
    envelope: Option<Vec<u8>>,
}

/// Where a member lies.
#[derive(Clone, Copy, Debug)]
struct Place {
    offset: u64,
    length: u64,
    sha256: Listed,
}

impl Archive {
    /// Opens a file. Only headers, the list and the envelope are read, and no header but the one that the list asks for.
    pub fn open(file: File) -> Result<Self, Fault> {
        let meta = file.metadata().map_err(|error| invalid(format!("it cannot be read: {error}")))?;
        if !meta.is_file() {
            return Err(invalid("it is neither a folder nor a file".to_owned()));
        }
        let total = meta.len();
        if total > MAX_PACKED {
            return Err(invalid(format!("it has {total} bytes, at most {MAX_PACKED} are taken")));
        }
        let mut walk = Walk { file: &file, at: 0, total };
        let listed = walk.member(LIST)?.ok_or_else(|| invalid(format!("it does not begin with {LIST}")))?;
        if listed.length > MAX_LIST as u64 {
            return Err(invalid(format!("{LIST} has {} bytes, at most {MAX_LIST} are taken", listed.length)));
        }
        let list = List::read(&read_at(&file, listed)?).map_err(invalid)?;
        let mut places = BTreeMap::new();
        for (name, sha256) in list.members() {
            let place = walk.member(name)?.ok_or_else(|| invalid(format!("{name} is not where {LIST} has it")))?;
            places.insert(name.to_owned(), Place { sha256: *sha256, ..place });
        }
        let end = walk.at;
        let envelope = match walk.member(ENVELOPE)? {
            Some(place) if place.length > MAX_ENVELOPE => {
                return Err(invalid(format!(
                    "{ENVELOPE} has {} bytes, at most {MAX_ENVELOPE} are taken",
                    place.length
                )));
            }
            Some(place) => Some(read_at(&file, place)?),
            None => None,
        };
        walk.end()?;
        Ok(Self { file, list, places, end, envelope })
    }

    /// What it lists.
    pub fn list(&self) -> &List {
        &self.list
    }

    /// The envelope with its signatures.
    pub fn envelope(&self) -> Option<&[u8]> {
        self.envelope.as_deref()
    }

    /// A member's length in bytes.
    pub fn length(&self, name: &str) -> Option<u64> {
        self.places.get(name).map(|place| place.length)
    }

    /// A member of at most so many bytes, once it has the digest that the list gives it.
    pub fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>, String> {
        let place = self.places.get(name).ok_or_else(|| format!("{name} is not in the package"))?;
        if place.length > limit {
            return Err(format!("{name} has {} bytes, at most {limit} are taken", place.length));
        }
        let bytes = read_at(&self.file, *place).map_err(|fault| fault.reason)?;
        let found = ring::digest::digest(&SHA256, &bytes);
        if found.as_ref() == place.sha256 { Ok(bytes) } else { Err(altered(name)) }
    }

    /// A member, to be read from its beginning, and the digest that the list gives it.
    pub fn member(&self, name: &str) -> Result<(Member<'_>, Listed), String> {
        let place = self.places.get(name).ok_or_else(|| format!("{name} is not in the package"))?;
        Ok((Member { file: &self.file, at: place.offset, left: place.length }, place.sha256))
    }

    /// Compares every member with the list, piece by piece; `on_bytes` is told of each.
    pub fn verify(&self, on_bytes: &mut dyn FnMut(u64)) -> Result<(), Fault> {
        self.verify_others(&[], on_bytes)
    }

    /// The same but for members that were compared already, such as networks when a package is opened.
    pub fn verify_others(&self, compared: &[&str], on_bytes: &mut dyn FnMut(u64)) -> Result<(), Fault> {
        let mut buffer = vec![0; CHUNK as usize];
        for (name, place) in &self.places {
            if compared.contains(&name.as_str()) {
                on_bytes(place.length);
                continue;
            }
            let mut sum = Context::new(&SHA256);
            let mut done = 0;
            while done < place.length {
                let piece = &mut buffer[..CHUNK.min(place.length - done) as usize];
                read_exactly(&self.file, piece, place.offset + done)?;
                sum.update(piece);
                done += piece.len() as u64;
                on_bytes(piece.len() as u64);
            }
            if sum.finish().as_ref() != place.sha256 {
                return Err(Fault::new("package-altered", Blame::Package, altered(name)));
            }
        }
        Ok(())
    }

    /// Its descriptor: who has it needs no right on the path.
    pub fn descriptor(&self) -> &File {
        &self.file
    }

    /// Where the envelope begins, or would begin.
    pub(super) fn end(&self) -> u64 {
        self.end
    }
}

/// A member while it is read.
#[derive(Debug)]
pub struct Member<'a> {
    file: &'a File,
    at: u64,
    left: u64,
}

impl Read for Member<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = self.left.min(into.len() as u64) as usize;
        let length = self.file.read_at(&mut into[..most], self.at)?;
        self.at += length as u64;
        self.left -= length as u64;
        Ok(length)
    }
}

/// The way through the file, from header to header.
struct Walk<'f> {
    file: &'f File,
    at: u64,
    total: u64,
}

impl Walk<'_> {
    /// The next member, where it is the one of this name.
    fn member(&mut self, name: &str) -> Result<Option<Place>, Fault> {
        let mut block = [0; BLOCK];
        if self.at + BLOCK as u64 > self.total {
            return Err(truncated());
        }
        read_exactly(self.file, &mut block, self.at)?;
        let Some(length) = length(&block, name) else { return Ok(None) };
        let offset = self.at + BLOCK as u64;
        let behind = offset + length + padding(length);
        if behind > self.total {
            return Err(truncated());
        }
        let mut zeros = vec![0; padding(length) as usize];
        read_exactly(self.file, &mut zeros, offset + length)?;
        if zeros.iter().any(|byte| *byte != 0) {
            return Err(invalid(format!("something stands behind {name} that is no member")));
        }
        self.at = behind;
        Ok(Some(Place { offset, length, sha256: [0; 32] }))
    }

    /// Two blocks of zero are left, and nothing else.
    fn end(&self) -> Result<(), Fault> {
        let left = self.total - self.at;
        if left < 2 * BLOCK as u64 {
            return Err(truncated());
        }
        let mut zeros = [0; 2 * BLOCK];
        read_exactly(self.file, &mut zeros, self.at)?;
        if left > zeros.len() as u64 || zeros.iter().any(|byte| *byte != 0) {
            return Err(invalid(format!("something stands behind the members that {LIST} names")));
        }
        Ok(())
    }
}

fn read_at(file: &File, place: Place) -> Result<Vec<u8>, Fault> {
    let mut bytes = vec![0; place.length as usize];
    read_exactly(file, &mut bytes, place.offset)?;
    Ok(bytes)
}

fn read_exactly(file: &File, into: &mut [u8], at: u64) -> Result<(), Fault> {
    file.read_exact_at(into, at).map_err(|error| invalid(format!("it cannot be read: {error}")))
}

/// What is told of a member that is another one than the list says.
pub(in crate::model) fn altered(name: &str) -> String {
    format!("{name} is not what {LIST} says: the file was changed after it was packed")
}

fn truncated() -> Fault {
    invalid("it ends too early: the file was not copied whole".to_owned())
}

fn invalid(reason: String) -> Fault {
    Fault::new("package-invalid", Blame::Package, format!("this is no packed package: {reason}"))
}
