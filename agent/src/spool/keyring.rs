//! One key for each study, in slots of one file. Overwriting the slot erases the study: nothing else can open what was
//! sealed with its key, in this spool or in any copy of its segments.
use super::SpoolError;
use super::io::{SpoolFile, SpoolIo, is_unreadable};
use super::key::{Key, KeyBytes, MasterKey, NONCE, TAG, random};
use super::shared::{exclusive, read, write};
use crate::limits::spool::MAX_STUDY_UID;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use zeroize::Zeroizing;

/// Name of the file.
pub(super) const KEYS: &str = "keys";
const MAGIC: [u8; 8] = *b"SUNDKEYS";
const VERSION: u32 = 1;
/// One sector, the unit that a disk writes whole: a torn write never reaches into a neighbour.
const SLOT: usize = 512;
/// How a slot begins whose key is being destroyed; noise follows, and zeroes in place of all once that is on the disk.
const GONE: [u8; 8] = *b"SUNDGONE";
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

/// All keys that are not destroyed. Whoever looks one up never waits for the disk.
pub(super) struct Keyring {
    file: Arc<dyn SpoolFile>,
    wrapping: Key,
    /// Free slots; held by whoever changes the file.
    free: Mutex<Vec<u64>>,
    known: RwLock<Known>,
    /// Slots of the file.
    slots: AtomicU64,
    /// Slots that hold what is no key any more, and that nobody destroyed.
    damaged: u64,
}

#[derive(Default)]
struct Known {
    by_id: HashMap<KeyId, Arc<StudyKey>>,
    by_study: HashMap<String, Arc<StudyKey>>,
}

/// What a slot holds.
enum Slot {
    Free,
    Key(Box<StudyKey>),
    /// Its key was being destroyed when the agent ended.
    HalfErased,
    Damaged,
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
        let unknown = |found| SpoolError::UnknownFormat { file: KEYS.to_owned(), found, known: VERSION, by: None };
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
        let slots = (file.length().map_err(&read)? / SLOT as u64).saturating_sub(1);
        let wrapping = master.derive(b"", b"sund spool study keys")?;
        let mut ring = Self {
            file,
            wrapping,
            free: Mutex::default(),
            known: RwLock::default(),
            slots: AtomicU64::new(slots),
            damaged: 0,
        };
        let mut free = Vec::new();
        for slot in (0..slots).rev() {
            match ring.slot(slot).map_err(&read)? {
                Slot::Free => free.push(slot),
                Slot::Key(key) => drop(ring.insert(*key)),
                Slot::HalfErased => {
                    ring.fill(slot, &[0; SLOT])?;
                    free.push(slot);
                }
                Slot::Damaged => ring.damaged += 1,
            }
        }
        ring.free = Mutex::new(free);
        Ok(ring)
    }

    /// Reads a slot. A sector is written whole or not at all: one that is neither zero nor a key is damaged.
    fn slot(&self, slot: u64) -> std::io::Result<Slot> {
        let mut bytes = Zeroizing::new([0; SLOT]);
        match self.file.read_at((slot + 1) * SLOT as u64, &mut *bytes) {
            Ok(()) => {}
            Err(error) if is_unreadable(&error) => return Ok(Slot::Damaged),
            Err(error) => return Err(error),
        }
        Ok(match self.unwrap(slot, &*bytes) {
            Some(key) => Slot::Key(Box::new(key)),
            None if bytes.iter().all(|byte| *byte == 0) => Slot::Free,
            None if bytes.starts_with(&GONE) => Slot::HalfErased,
            None => Slot::Damaged,
        })
    }

    /// Fills a slot, durably.
    fn fill(&self, slot: u64, content: &[u8; SLOT]) -> Result<(), SpoolError> {
        let position = (slot + 1) * SLOT as u64;
        self.file.write_durably_at(position, &[content]).map_err(SpoolError::disk("erase a study's key"))
    }

    /// Slots whose keys are lost.
    pub(super) fn damaged(&self) -> u64 {
        self.damaged
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

    fn insert(&self, key: StudyKey) -> Arc<StudyKey> {
        let key = Arc::new(key);
        let mut known = write(&self.known);
        known.by_id.insert(key.id, Arc::clone(&key));
        known.by_study.insert(key.study.clone(), Arc::clone(&key));
        key
    }

    /// The key of that name, while its study is not erased.
    pub(super) fn by_id(&self, id: &KeyId) -> Option<Arc<StudyKey>> {
        read(&self.known).by_id.get(id).cloned()
    }

    /// The key of a study.
    pub(super) fn of(&self, study: &str) -> Option<Arc<StudyKey>> {
        read(&self.known).by_study.get(study).cloned()
    }

    /// The key of a study; a new one, durable on return, where it has none.
    pub(super) fn of_or_new(&self, study: &str) -> Result<Arc<StudyKey>, SpoolError> {
        if let Some(key) = self.of(study) {
            return Ok(key);
        }
        if study.is_empty() || study.len() > MAX_STUDY_UID {
            let (length, limit) = (study.len() as u64, MAX_STUDY_UID as u64);
            return Err(SpoolError::TooLarge { what: "a Study Instance UID", length, limit });
        }
        let mut free = exclusive(&self.free);
        // Another association may have made it meanwhile.
        if let Some(key) = self.of(study) {
            return Ok(key);
        }
        if free.is_empty() {
            self.grow(&mut free)?;
        }
        let Some(slot) = free.last().copied() else { return Err(SpoolError::Full) };
        let (id, bytes): (KeyId, KeyBytes) = (random()?, Zeroizing::new(random()?));
        let mut plain = Zeroizing::new(Vec::with_capacity(PLAIN));
        plain.extend_from_slice(&id);
        plain.extend_from_slice(&*bytes);
        plain.push(study.len() as u8);
        plain.extend_from_slice(study.as_bytes());
        plain.resize(PLAIN, 0);
        let mut sealed = self.wrapping.seal_short(&slot.to_le_bytes(), &plain)?;
        sealed.resize(SLOT, 0);
        let position = (slot + 1) * SLOT as u64;
        self.file.write_durably_at(position, &[&sealed]).map_err(SpoolError::disk("write a study's key"))?;
        free.pop();
        Ok(self.insert(StudyKey { id, study: study.to_owned(), key: Key::new(&bytes)?, bytes, slot }))
    }

    fn grow(&self, free: &mut Vec<u64>) -> Result<(), SpoolError> {
        let write = SpoolError::disk("write a study's key");
        let slots = self.slots.load(Ordering::Acquire);
        let zeroes = vec![0; SLOT * GROWTH as usize];
        self.file.write_at((slots + 1) * SLOT as u64, &[&zeroes]).map_err(&write)?;
        self.file.sync().map_err(&write)?;
        free.extend((slots..slots + GROWTH).rev());
        self.slots.store(slots + GROWTH, Ordering::Release);
        Ok(())
    }

    /// Destroys the key of a study, durably: noise first, then zeroes, each forced to the disk.
    pub(super) fn destroy(&self, study: &str) -> Result<Option<Arc<StudyKey>>, SpoolError> {
        let mut free = exclusive(&self.free);
        let Some(key) = self.of(study) else { return Ok(None) };
        let mut noise = random::<SLOT>()?;
        noise[..GONE.len()].copy_from_slice(&GONE);
        self.fill(key.slot, &noise)?;
        {
            let mut known = write(&self.known);
            known.by_study.remove(study);
            known.by_id.remove(&key.id);
        }
        self.fill(key.slot, &[0; SLOT])?;
        free.push(key.slot);
        Ok(Some(key))
    }

    /// Bytes of the file.
    pub(super) fn length(&self) -> u64 {
        (self.slots.load(Ordering::Acquire) + 1) * SLOT as u64
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
