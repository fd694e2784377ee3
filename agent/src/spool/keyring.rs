//! One key for each study, in slots of one file. Overwriting the slot erases the study: nothing else can open what was
//! sealed with its key, in this spool or in any copy of its segments.
use super::SpoolError;
use super::io::{SpoolFile, SpoolIo};
use super::key::{Key, KeyBytes, MasterKey, NONCE, TAG, random};
use crate::limits::spool::MAX_STUDY_UID;
use std::collections::HashMap;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Name of the file.
pub(super) const KEYS: &str = "keys";
const MAGIC: [u8; 8] = *b"SUNDKEYS";
const VERSION: u32 = 1;
/// One sector, the unit that a disk writes whole: a torn write never reaches into a neighbour.
const SLOT: usize = 512;
/// Slots that are added at a time.
const GROWTH: u64 = 64;

/// Random name of a key, never used again; all zero means "no study".
pub(super) type KeyId = [u8; 16];
/// The name of no key.
pub(super) const NO_KEY: KeyId = [0; 16];

/// The key of a study.
pub(super) struct StudyKey {
    pub(super) id: KeyId,
    pub(super) study: String,
    pub(super) key: Key,
    pub(super) bytes: KeyBytes,
    slot: u64,
}

/// All keys that are not destroyed.
pub(super) struct Keyring {
    file: Arc<dyn SpoolFile>,
    wrapping: Key,
    by_id: HashMap<KeyId, Arc<StudyKey>>,
    by_study: HashMap<String, Arc<StudyKey>>,
    free: Vec<u64>,
    slots: u64,
}

impl Keyring {
    /// Reads the format version alone; `None` where there is no file yet.
    pub(super) fn check(io: &dyn SpoolIo, names: &[String]) -> Result<Option<Arc<dyn SpoolFile>>, SpoolError> {
        let read = SpoolError::disk("read the keys");
        if !names.iter().any(|name| name == KEYS) {
            return Ok(None);
        }
        let file = io.open(KEYS).map_err(&read)?;
        let mut head = [0; 12];
        let unknown = |found| SpoolError::UnknownFormat { file: KEYS.to_owned(), found, known: VERSION };
        if file.length().map_err(&read)? < SLOT as u64 {
            return Err(unknown(0));
        }
        file.read_at(0, &mut head).map_err(&read)?;
        let version = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
        match head[..8] == MAGIC {
            true if version == VERSION => Ok(Some(file)),
            true => Err(unknown(version)),
            false => Err(unknown(0)),
        }
    }

    /// Loads the keys, or makes the file.
    pub(super) fn open(
        io: &dyn SpoolIo,
        file: Option<Arc<dyn SpoolFile>>,
        master: &MasterKey,
    ) -> Result<Self, SpoolError> {
        let file = match file {
            Some(file) => file,
            None => create(io)?,
        };
        let read = SpoolError::disk("read the keys");
        let mut content = Zeroizing::new(vec![0; file.length().map_err(&read)? as usize]);
        file.read_at(0, &mut content).map_err(&read)?;
        let wrapping = master.derive(b"", b"sund spool study keys")?;
        let mut ring = Self {
            file,
            wrapping,
            by_id: HashMap::new(),
            by_study: HashMap::new(),
            free: Vec::new(),
            slots: (content.len() / SLOT) as u64 - 1,
        };
        for (slot, bytes) in content.chunks_exact(SLOT).skip(1).enumerate() {
            // A slot that does not open was erased, never used, or torn before anything was acknowledged under it.
            match ring.unwrap(slot as u64, bytes) {
                Some(key) => ring.insert(key),
                None => ring.free.push(slot as u64),
            }
        }
        ring.free.reverse();
        Ok(ring)
    }

    fn unwrap(&self, slot: u64, bytes: &[u8]) -> Option<StudyKey> {
        let sealed = bytes.get(..NONCE + PLAIN + TAG)?;
        let plain = self.wrapping.open_short(&slot.to_le_bytes(), sealed)?;
        let (id, rest) = plain.split_first_chunk::<16>()?;
        let (key, rest) = rest.split_first_chunk::<32>()?;
        let (length, study) = rest.split_first()?;
        let study = String::from_utf8(study.get(..usize::from(*length))?.to_vec()).ok()?;
        Some(StudyKey { id: *id, study, key: Key::new(key).ok()?, bytes: Zeroizing::new(*key), slot })
    }

    fn insert(&mut self, key: StudyKey) {
        let key = Arc::new(key);
        self.by_id.insert(key.id, Arc::clone(&key));
        self.by_study.insert(key.study.clone(), key);
    }

    /// The key of that name, while its study is not erased.
    pub(super) fn by_id(&self, id: &KeyId) -> Option<&Arc<StudyKey>> {
        self.by_id.get(id)
    }

    /// The key of a study.
    pub(super) fn of(&self, study: &str) -> Option<&Arc<StudyKey>> {
        self.by_study.get(study)
    }

    /// The key of a study; a new one, durable on return, where it has none.
    pub(super) fn of_or_new(&mut self, study: &str) -> Result<Arc<StudyKey>, SpoolError> {
        if let Some(key) = self.by_study.get(study) {
            return Ok(Arc::clone(key));
        }
        if study.is_empty() || study.len() > MAX_STUDY_UID {
            let (length, limit) = (study.len() as u64, MAX_STUDY_UID as u64);
            return Err(SpoolError::TooLarge { what: "a Study Instance UID", length, limit });
        }
        let write = SpoolError::disk("write a study's key");
        if self.free.is_empty() {
            let zeroes = vec![0; SLOT * GROWTH as usize];
            self.file.write_at((self.slots + 1) * SLOT as u64, &[&zeroes]).map_err(&write)?;
            self.file.sync().map_err(&write)?;
            self.free.extend((self.slots..self.slots + GROWTH).rev());
            self.slots += GROWTH;
        }
        let Some(slot) = self.free.last().copied() else { return Err(SpoolError::Full) };
        let (id, bytes): (KeyId, KeyBytes) = (random()?, Zeroizing::new(random()?));
        let mut plain = Zeroizing::new(Vec::with_capacity(PLAIN));
        plain.extend_from_slice(&id);
        plain.extend_from_slice(&*bytes);
        plain.push(study.len() as u8);
        plain.extend_from_slice(study.as_bytes());
        plain.resize(PLAIN, 0);
        let mut sealed = self.wrapping.seal_short(&slot.to_le_bytes(), &plain)?;
        sealed.resize(SLOT, 0);
        self.file.write_durably_at((slot + 1) * SLOT as u64, &[&sealed]).map_err(&write)?;
        self.free.pop();
        self.insert(StudyKey { id, study: study.to_owned(), key: Key::new(&bytes)?, bytes, slot });
        self.of(study).cloned().ok_or(SpoolError::Crypto)
    }

    /// Destroys the key of a study, durably: noise first, then zeroes, each forced to the disk.
    pub(super) fn destroy(&mut self, study: &str) -> Result<Option<Arc<StudyKey>>, SpoolError> {
        let Some(key) = self.by_study.get(study).cloned() else { return Ok(None) };
        let erase = SpoolError::disk("erase a study's key");
        for content in [random::<SLOT>()?, [0; SLOT]] {
            self.file.write_durably_at((key.slot + 1) * SLOT as u64, &[&content]).map_err(&erase)?;
        }
        self.by_study.remove(study);
        self.by_id.remove(&key.id);
        self.free.push(key.slot);
        Ok(Some(key))
    }

    /// Bytes of the file.
    pub(super) fn length(&self) -> u64 {
        (self.slots + 1) * SLOT as u64
    }
}

/// Plain content of a slot: name, key, length of the UID, UID.
const PLAIN: usize = 16 + 32 + 1 + MAX_STUDY_UID;

fn create(io: &dyn SpoolIo) -> Result<Arc<dyn SpoolFile>, SpoolError> {
    let create = SpoolError::disk("create the key file");
    let temporary = "keys.new";
    let file = io.create(temporary, SLOT as u64 * (1 + GROWTH), true).map_err(&create)?;
    let mut head = vec![0; SLOT];
    head[..8].copy_from_slice(&MAGIC);
    head[8..12].copy_from_slice(&VERSION.to_le_bytes());
    file.write_at(0, &[&head]).map_err(&create)?;
    file.sync().map_err(&create)?;
    io.rename(temporary, KEYS).map_err(&create)?;
    io.sync_directory().map_err(&create)?;
    io.open(KEYS).map_err(&create)
}
