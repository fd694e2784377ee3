//! The frame, the one durable record: what it says is in its head, an instance's bytes follow in whole blocks.
//!
//! ```text
//! block 0   magic "SFRM" | sequence u64 | group u64 | head length u32
//!           | payload length u32 | chain [16] | nonce [12] | sealed head … | zeroes
//! block n   payload: chunks of 64 KiB, each followed by its tag | zeroes
//! ```
//! The head is sealed with the segment's key; its associated data are the plain fields, the segment's number and the
//! offset, so that a frame is valid in its own place alone. `chain` is the tag of the frame before: a frame left over
//! from a torn write, or from the segment's earlier life, continues no chain. `group` is the sequence number of the
//! first frame of the same write: everything before it was durable when this one was written.
use super::buffer::blocks;
use super::key::{Key, NONCE, TAG, random};
use super::keyring::{KeyId, Keyring, NO_KEY, StudyKey};
use super::{SpoolError, Table};
use crate::instance::Arrival;
use bytes::Bytes;
use std::sync::Arc;

const MAGIC: [u8; 4] = *b"SFRM";
/// Bytes before the sealed head.
pub(super) const PLAIN: usize = 4 + 8 + 8 + 4 + 4 + TAG + NONCE;
/// Plain bytes of a chunk, the unit that is sealed while the next bytes arrive.
pub(super) const CHUNK: usize = 64 * 1024;
/// A chunk with its tag.
pub(super) const SEALED_CHUNK: usize = CHUNK + TAG;

/// Bytes of an instance somewhere in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) segment: u64,
    pub(super) offset: u64,
    /// Sealed length.
    pub(super) length: u32,
    /// Number of its first chunk within the instance.
    pub(super) first_chunk: u32,
}

/// Plain length of so many sealed bytes.
pub(super) fn plain_length(sealed: u32) -> u64 {
    u64::from(sealed) - (TAG * (sealed as usize).div_ceil(SEALED_CHUNK)) as u64
}

/// Nonce of a chunk: a random stream for each instance, then the number, so that no two under one key are equal.
pub(super) fn chunk_nonce(stream: [u8; 8], number: u32) -> [u8; NONCE] {
    let mut nonce = [0; NONCE];
    nonce[..8].copy_from_slice(&stream);
    nonce[8..].copy_from_slice(&number.to_le_bytes());
    nonce
}

/// One statement of a frame.
#[derive(Clone)]
pub(super) enum Entry {
    /// An instance; its last bytes are the frame's payload.
    Instance { key: Arc<StudyKey>, stream: [u8; 8], parts: Vec<Extent>, first_chunk: u32, arrival: Arrival },
    /// Part of an instance that a later frame completes.
    Part { key: Arc<StudyKey>, stream: [u8; 8], first_chunk: u32 },
    /// A value, sealed with a study's key where it has one. `name` is what is left of the key's name once that is gone.
    Put { table: Table, key: String, value: Bytes, study: Option<Arc<StudyKey>>, name: [u8; 16] },
    /// A value is no more. On disk by the name alone: the key may name a study that is erased one day.
    Delete { table: Table, key: String, name: [u8; 16] },
    /// The segment ends here.
    Footer,
    /// An instance or part whose study was erased.
    DeadInstance,
    /// As read: a value was removed, or its study was erased.
    Removed { table: Table, name: [u8; 16] },
}

const INSTANCE: u8 = 1;
const PART: u8 = 2;
const PUT: u8 = 3;
const DELETE: u8 = 4;
const FOOTER: u8 = 5;

impl Entry {
    /// The key that must be alive when the entry is written.
    pub(super) fn study(&self) -> Option<&Arc<StudyKey>> {
        match self {
            Entry::Instance { key, .. } | Entry::Part { key, .. } => Some(key),
            Entry::Put { study, .. } => study.as_ref(),
            _ => None,
        }
    }

    /// Appends the entry's bytes.
    pub(super) fn encode(&self, out: &mut Vec<u8>) -> Result<(), SpoolError> {
        match self {
            Entry::Instance { key, stream, parts, first_chunk, arrival } => {
                out.push(INSTANCE);
                out.extend_from_slice(&key.id);
                out.extend_from_slice(stream);
                out.extend_from_slice(&first_chunk.to_le_bytes());
                out.extend_from_slice(&(parts.len() as u32).to_le_bytes());
                for part in parts {
                    out.extend_from_slice(&part.segment.to_le_bytes());
                    out.extend_from_slice(&part.offset.to_le_bytes());
                    out.extend_from_slice(&part.length.to_le_bytes());
                    out.extend_from_slice(&part.first_chunk.to_le_bytes());
                }
                let arrival = serde_json::to_vec(arrival).map_err(|_| SpoolError::Crypto)?;
                text(out, &key.key.seal_short(b"arrival", &arrival)?);
            }
            Entry::Part { key, stream, first_chunk } => {
                out.push(PART);
                out.extend_from_slice(&key.id);
                out.extend_from_slice(stream);
                out.extend_from_slice(&first_chunk.to_le_bytes());
            }
            Entry::Put { table, key, value, study, name } => {
                out.extend_from_slice(&[PUT, *table as u8]);
                out.extend_from_slice(name);
                out.extend_from_slice(study.as_ref().map_or(&NO_KEY, |study| &study.id));
                let mut pair = Vec::with_capacity(8 + key.len() + value.len());
                text(&mut pair, key.as_bytes());
                pair.extend_from_slice(value);
                match study {
                    Some(study) => text(out, &study.key.seal_short(b"value", &pair)?),
                    None => text(out, &pair),
                }
            }
            Entry::Delete { table, name, .. } => {
                out.extend_from_slice(&[DELETE, *table as u8]);
                out.extend_from_slice(name);
            }
            Entry::Footer => out.push(FOOTER),
            Entry::DeadInstance | Entry::Removed { .. } => {}
        }
        Ok(())
    }

    /// Reads one entry; `None` where the bytes are none of ours.
    fn decode(reader: &mut Reader<'_>, keys: &Keyring) -> Option<Self> {
        match reader.take::<1>()?[0] {
            INSTANCE => {
                let (id, stream): (KeyId, [u8; 8]) = (reader.take()?, reader.take()?);
                let first_chunk = reader.u32()?;
                let count = reader.u32()?;
                let mut parts = Vec::new();
                for _ in 0..count {
                    parts.push(Extent {
                        segment: reader.u64()?,
                        offset: reader.u64()?,
                        length: reader.u32()?,
                        first_chunk: reader.u32()?,
                    });
                }
                let sealed = reader.text()?;
                let Some(key) = keys.by_id(&id) else { return Some(Entry::DeadInstance) };
                let arrival = serde_json::from_slice(&key.key.open_short(b"arrival", sealed)?).ok()?;
                Some(Entry::Instance { key, stream, parts, first_chunk, arrival })
            }
            PART => {
                let (id, stream): (KeyId, [u8; 8]) = (reader.take()?, reader.take()?);
                let first_chunk = reader.u32()?;
                Some(match keys.by_id(&id) {
                    Some(key) => Entry::Part { key, stream, first_chunk },
                    None => Entry::DeadInstance,
                })
            }
            PUT => {
                let table = Table::from_u8(reader.take::<1>()?[0])?;
                let (name, id): ([u8; 16], KeyId) = (reader.take()?, reader.take()?);
                let content = reader.text()?;
                let (study, pair) = if id == NO_KEY {
                    (None, Bytes::copy_from_slice(content))
                } else {
                    let Some(study) = keys.by_id(&id) else { return Some(Entry::Removed { table, name }) };
                    let pair = Bytes::copy_from_slice(&study.key.open_short(b"value", content)?);
                    (Some(study), pair)
                };
                let mut inner = Reader(&pair);
                let key = String::from_utf8(inner.text()?.to_vec()).ok()?;
                let value = pair.slice(pair.len() - inner.0.len()..);
                Some(Entry::Put { table, key, value, study, name })
            }
            DELETE => {
                let table = Table::from_u8(reader.take::<1>()?[0])?;
                Some(Entry::Removed { table, name: reader.take()? })
            }
            FOOTER => Some(Entry::Footer),
            _ => None,
        }
    }
}

fn text(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()? as usize;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(text)
    }
}

/// Where a frame stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) segment: u64,
    pub(super) offset: u64,
    pub(super) sequence: u64,
    pub(super) group: u64,
    pub(super) chain: [u8; TAG],
}

/// Bytes of a frame whose entries take `entries` bytes: the head's blocks.
pub(super) fn head_blocks(entries: usize) -> usize {
    blocks(PLAIN + entries + TAG)
}

/// Writes a frame's head into `out`, whole blocks of it; the tag that the next frame continues.
pub(super) fn write_head(
    key: &Key,
    place: Place,
    entries: &[u8],
    payload: u32,
    out: &mut [u8],
) -> Result<[u8; TAG], SpoolError> {
    let nonce = random()?;
    let sealed = entries.len() + TAG;
    out[..4].copy_from_slice(&MAGIC);
    out[4..12].copy_from_slice(&place.sequence.to_le_bytes());
    out[12..20].copy_from_slice(&place.group.to_le_bytes());
    out[20..24].copy_from_slice(&(sealed as u32).to_le_bytes());
    out[24..28].copy_from_slice(&payload.to_le_bytes());
    out[28..44].copy_from_slice(&place.chain);
    out[44..PLAIN].copy_from_slice(&nonce);
    out[PLAIN..PLAIN + entries.len()].copy_from_slice(entries);
    let (plain, rest) = out.split_at_mut(PLAIN);
    let tag = key.seal(nonce, &associated(plain, place.segment, place.offset), &mut rest[..entries.len()])?;
    rest[entries.len()..sealed].copy_from_slice(&tag);
    rest[sealed..].fill(0);
    Ok(tag)
}

fn associated(plain: &[u8], segment: u64, offset: u64) -> [u8; 44 + 16] {
    let mut bytes = [0; 60];
    bytes[..44].copy_from_slice(&plain[..44]);
    bytes[44..52].copy_from_slice(&segment.to_le_bytes());
    bytes[52..].copy_from_slice(&offset.to_le_bytes());
    bytes
}

/// The plain fields of a frame as read, not yet believed.
pub(super) struct Claim {
    pub(super) sequence: u64,
    pub(super) group: u64,
    pub(super) chain: [u8; TAG],
    nonce: [u8; NONCE],
    sealed: u32,
    pub(super) payload: u32,
}

impl Claim {
    /// From the first block; `None` where it does not begin a frame.
    pub(super) fn read(block: &[u8]) -> Option<Self> {
        let mut reader = Reader(block);
        (reader.take()? == MAGIC).then_some(())?;
        let (sequence, group, sealed, payload) = (reader.u64()?, reader.u64()?, reader.u32()?, reader.u32()?);
        (sealed as usize >= TAG).then_some(())?;
        Some(Self { sequence, group, chain: reader.take()?, nonce: reader.take()?, sealed, payload })
    }

    /// Bytes of the head's blocks.
    pub(super) fn head(&self) -> u64 {
        (PLAIN as u64 + u64::from(self.sealed)).next_multiple_of(super::buffer::BLOCK as u64)
    }

    /// Bytes of the whole frame.
    pub(super) fn length(&self) -> u64 {
        self.head() + u64::from(self.payload).next_multiple_of(super::buffer::BLOCK as u64)
    }

    /// Opens the head: its tag and its entries; `None` where it is not what was sealed for this place.
    pub(super) fn open(
        &self,
        key: &Key,
        segment: u64,
        offset: u64,
        head: &mut [u8],
        keys: &Keyring,
    ) -> Option<([u8; TAG], Vec<Entry>)> {
        let (plain, rest) = head.split_at_mut_checked(PLAIN)?;
        let sealed = rest.get_mut(..self.sealed as usize)?;
        let tag = *sealed.last_chunk::<TAG>()?;
        let text = key.open(self.nonce, &associated(plain, segment, offset), sealed)?;
        let mut reader = Reader(text);
        let mut entries = Vec::new();
        while !reader.0.is_empty() {
            entries.push(Entry::decode(&mut reader, keys)?);
        }
        Some((tag, entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A removed value may have had a study's name for a key, and outlives that study in the log.
    #[test]
    fn a_removal_is_written_without_the_key_that_it_removes() {
        let mut bytes = Vec::new();
        let (key, name) = ("2.25.4711".to_owned(), [7; 16]);
        Entry::Delete { table: Table::Studies, key: key.clone(), name }.encode(&mut bytes).unwrap();
        assert!(!bytes.windows(key.len()).any(|part| part == key.as_bytes()));
        assert!(bytes.ends_with(&name));
    }
}
