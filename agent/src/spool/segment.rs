//! Segments: the files of the log, made whole before use.
use super::SpoolError;
use super::buffer::{BLOCK, Buffer};
use super::format::{READS, unknown};
use super::io::{SpoolFile, SpoolIo};
use super::key::{Key, MasterKey, NONCE, TAG, random};
use std::sync::Arc;

const MAGIC: [u8; 8] = *b"SUNDSEGM";
/// Magic, version, number, first sequence number, salt.
const FIELDS: usize = 8 + 4 + 8 + 8 + 16;
/// Behind them, from format 2 on, and at this place in every later one: which agent began the segment, filled up with zeros. An
/// agent that cannot read the segment can still say who can.
const BY: usize = 24;

/// Bytes of a header before its seal.
fn fields(format: u32) -> usize {
    if format < 2 { FIELDS } else { FIELDS + BY }
}

/// An open segment's constants.
#[derive(Clone)]
pub(super) struct Segment {
    pub(super) number: u64,
    /// Sequence number of its first frame.
    pub(super) first: u64,
    /// What the first frame's chain continues; also salt of the segment's key.
    pub(super) salt: [u8; TAG],
    pub(super) size: u64,
    pub(super) file: Arc<dyn SpoolFile>,
    pub(super) key: Arc<Key>,
}

/// File name of a segment.
pub(super) fn name(number: u64) -> String {
    format!("segment-{number:012}.log")
}

/// Number of the segment that a file name means.
pub(super) fn number(name: &str) -> Option<u64> {
    name.strip_prefix("segment-")?.strip_suffix(".log")?.parse().ok()
}

impl Segment {
    /// Turns a file, under another name so far, into a segment of a format. Durable on return.
    pub(super) fn begin(
        io: &dyn SpoolIo,
        from: &str,
        file: &dyn SpoolFile,
        number: u64,
        first: u64,
        format: u32,
        master: &MasterKey,
    ) -> Result<Self, SpoolError> {
        let begin = SpoolError::disk("begin a segment");
        let salt = random()?;
        let key = master.derive(&salt, b"sund spool segment")?;
        let mut header = Buffer::new(BLOCK);
        let bytes = header.bytes_mut(BLOCK);
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&format.to_le_bytes());
        bytes[12..20].copy_from_slice(&number.to_le_bytes());
        bytes[20..28].copy_from_slice(&first.to_le_bytes());
        bytes[28..FIELDS].copy_from_slice(&salt);
        let by = env!("CARGO_PKG_VERSION").as_bytes();
        let fields = fields(format);
        if fields > FIELDS {
            let length = by.len().min(BY);
            bytes[FIELDS..FIELDS + length].copy_from_slice(&by[..length]);
        }
        let seal = key.seal_short(&bytes[..fields], b"")?;
        bytes[fields..fields + NONCE + TAG].copy_from_slice(&seal);
        file.write_durably_at(0, &[header.bytes()]).map_err(&begin)?;
        io.rename(from, &name(number)).map_err(&begin)?;
        io.sync_directory().map_err(&begin)?;
        // Opened by its new name: the descriptor for a worker is made from the name.
        let file = io.open(&name(number)).map_err(&begin)?;
        let size = file.length().map_err(&begin)?;
        Ok(Self { number, first, salt, size, file, key: Arc::new(key) })
    }

    /// Reads the format version alone.
    pub(super) fn check(name: &str, file: &dyn SpoolFile) -> Result<(), SpoolError> {
        let mut head = [0; FIELDS + BY];
        file.read_at(0, &mut head).map_err(|_| unknown(name, 0, None))?;
        match (head[..8] == MAGIC, format_of(&head)) {
            (true, format) if READS.contains(&format) => Ok(()),
            (true, found) => Err(unknown(name, found, begun_by(&head[FIELDS..]))),
            (false, _) => Err(unknown(name, 0, None)),
        }
    }

    /// Opens a segment that passed [`Segment::check`].
    pub(super) fn open(name: &str, file: Arc<dyn SpoolFile>, master: &MasterKey) -> Result<Self, SpoolError> {
        let read = SpoolError::disk("read a segment's header");
        let mut header = [0; FIELDS + BY + NONCE + TAG];
        file.read_at(0, &mut header).map_err(&read)?;
        let field = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&header[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        let mut salt = [0; TAG];
        salt.copy_from_slice(&header[28..FIELDS]);
        let key = master.derive(&salt, b"sund spool segment")?;
        let (plain, seal) = header.split_at(fields(format_of(&header)));
        key.open_short(plain, &seal[..NONCE + TAG]).ok_or_else(|| SpoolError::WrongMasterKey(name.to_owned()))?;
        let size = file.length().map_err(&read)?;
        Ok(Self { number: field(12), first: field(20), salt, size, file, key: Arc::new(key) })
    }
}

fn format_of(header: &[u8]) -> u32 {
    header.get(8..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

/// The agent that an unread header names, where that is a version at all.
fn begun_by(bytes: &[u8]) -> Option<String> {
    let text: String = bytes.iter().take(BY).take_while(|byte| **byte != 0).map(|byte| char::from(*byte)).collect();
    let is_version =
        |text: &String| text.starts_with(|c: char| c.is_ascii_digit()) && text.bytes().all(|b| b.is_ascii_graphic());
    Some(text).filter(is_version)
}
