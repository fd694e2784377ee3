//! Segments: the files of the log, made whole before use.
use super::SpoolError;
use super::buffer::{BLOCK, Buffer};
use super::io::{SpoolFile, SpoolIo};
use super::key::{Key, MasterKey, NONCE, TAG, random};
use std::sync::Arc;

const MAGIC: [u8; 8] = *b"SUNDSEGM";
const VERSION: u32 = 1;
/// Magic, version, number, first sequence number, salt.
const FIELDS: usize = 8 + 4 + 8 + 8 + 16;

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
    /// Turns a file, under another name so far, into a segment. Durable on return.
    pub(super) fn begin(
        io: &dyn SpoolIo,
        from: &str,
        file: &dyn SpoolFile,
        number: u64,
        first: u64,
        master: &MasterKey,
    ) -> Result<Self, SpoolError> {
        let begin = SpoolError::disk("begin a segment");
        let salt = random()?;
        let key = master.derive(&salt, b"sund spool segment")?;
        let mut header = Buffer::new(BLOCK);
        let bytes = header.bytes_mut(BLOCK);
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..20].copy_from_slice(&number.to_le_bytes());
        bytes[20..28].copy_from_slice(&first.to_le_bytes());
        bytes[28..FIELDS].copy_from_slice(&salt);
        let seal = key.seal_short(&bytes[..FIELDS], b"")?;
        bytes[FIELDS..FIELDS + NONCE + TAG].copy_from_slice(&seal);
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
        let unknown = |found| SpoolError::UnknownFormat { file: name.to_owned(), found, known: VERSION };
        let mut head = [0; 12];
        file.read_at(0, &mut head).map_err(|_| unknown(0))?;
        match (head[..8] == MAGIC, u32::from_le_bytes([head[8], head[9], head[10], head[11]])) {
            (true, VERSION) => Ok(()),
            (true, found) => Err(unknown(found)),
            (false, _) => Err(unknown(0)),
        }
    }

    /// Opens a segment that passed [`Segment::check`].
    pub(super) fn open(name: &str, file: Arc<dyn SpoolFile>, master: &MasterKey) -> Result<Self, SpoolError> {
        let read = SpoolError::disk("read a segment's header");
        let mut header = [0; FIELDS + NONCE + TAG];
        file.read_at(0, &mut header).map_err(&read)?;
        let field = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&header[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        let mut salt = [0; TAG];
        salt.copy_from_slice(&header[28..FIELDS]);
        let key = master.derive(&salt, b"sund spool segment")?;
        key.open_short(&header[..FIELDS], &header[FIELDS..])
            .ok_or_else(|| SpoolError::WrongMasterKey(name.to_owned()))?;
        let size = file.length().map_err(&read)?;
        Ok(Self { number: field(12), first: field(20), salt, size, file, key: Arc::new(key) })
    }
}
