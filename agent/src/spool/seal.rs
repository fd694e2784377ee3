//! Keys: one for each study, wrapped by the master key, in slots that are overwritten to erase a study.
use super::SpoolError;
use super::io::SpoolIo;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use std::collections::HashMap;
use std::sync::Arc;
use zeroize::{Zeroize, Zeroizing};

/// Name of the file of slots.
pub(super) const KEYS: &str = "keys";
const MASTER: &str = "master.key";
const MAGIC: &[u8; 8] = b"SUNDKEY1";
const SLOT: u64 = 128;
/// Bytes that sealing adds: the nonce before, the tag behind.
pub(super) const OVERHEAD: usize = NONCE_LEN + 16;
/// Slot of what belongs to no study.
pub(super) const NO_STUDY: u32 = u32::MAX;

/// A data key.
pub(super) struct DataKey {
    bytes: Zeroizing<[u8; 32]>,
    key: LessSafeKey,
}

impl DataKey {
    fn new(bytes: [u8; 32]) -> Result<Self, SpoolError> {
        let key = UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| SpoolError::Crypto)?;
        Ok(Self { bytes: Zeroizing::new(bytes), key: LessSafeKey::new(key) })
    }

    /// The key itself, for a worker's grant.
    pub(super) fn reveal(&self) -> [u8; 32] {
        *self.bytes
    }

    /// Encrypts `buffer[NONCE_LEN..]` in place, puts the nonce before and the tag behind it.
    pub(super) fn seal(&self, buffer: &mut Vec<u8>, label: &[u8]) -> Result<(), SpoolError> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| SpoolError::Crypto)?;
        buffer[..NONCE_LEN].copy_from_slice(&nonce);
        let tag = self
            .key
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(label), &mut buffer[NONCE_LEN..])
            .map_err(|_| SpoolError::Crypto)?;
        buffer.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// Decrypts what `seal` made.
    pub(super) fn open(&self, sealed: &mut [u8], label: &[u8]) -> Option<usize> {
        let (nonce, text) = sealed.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        self.key.open_in_place(nonce, Aad::from(label), text).ok().map(|plain| plain.len())
    }
}

/// Decrypts a sealed part with a key from a grant: the plain bytes.
pub(super) fn open_with(key: &[u8; 32], mut sealed: Vec<u8>, label: &[u8]) -> Option<Vec<u8>> {
    let length = DataKey::new(*key).ok()?.open(&mut sealed, label)?;
    sealed.drain(..NONCE_LEN);
    sealed.truncate(length);
    Some(sealed)
}

/// The keys of all studies that are not erased.
pub(super) struct Keys {
    master: Arc<DataKey>,
    slots: HashMap<u32, Arc<DataKey>>,
    by_study: HashMap<[u8; 32], u32>,
    next: u32,
}

impl Keys {
    /// Reads the keys; makes the master key and the file of slots where the spool is new.
    pub(super) fn open(io: &dyn SpoolIo) -> Result<Self, SpoolError> {
        let names = io.list()?;
        if !names.iter().any(|name| name == MASTER) {
            if names.iter().any(|name| name == KEYS) {
                return Err(SpoolError::NoMasterKey);
            }
            let mut bytes = random()?;
            io.create(MASTER, 0)?;
            io.write_at(MASTER, 0, &[&bytes])?;
            bytes.zeroize();
            io.sync(MASTER)?;
        }
        let mut bytes = [0; 32];
        // A cut between making and filling the file leaves a short one; nothing can have been sealed with it yet.
        if io.length(MASTER)? < 32 && !names.iter().any(|name| name == KEYS) {
            io.write_at(MASTER, 0, &[&random()?])?;
            io.sync(MASTER)?;
        }
        io.read_at(MASTER, 0, &mut bytes)?;
        let master = Arc::new(DataKey::new(bytes)?);
        if !names.iter().any(|name| name == KEYS) || io.length(KEYS)? < SLOT {
            io.create(KEYS, 0)?;
            let mut head = vec![0; SLOT as usize];
            head[..8].copy_from_slice(MAGIC);
            io.write_at(KEYS, 0, &[&head])?;
            io.sync(KEYS)?;
            io.sync_directory()?;
        }
        let mut keys = Self { master, slots: HashMap::new(), by_study: HashMap::new(), next: 0 };
        keys.load(io)?;
        Ok(keys)
    }

    fn load(&mut self, io: &dyn SpoolIo) -> Result<(), SpoolError> {
        let mut file = vec![0; io.length(KEYS)? as usize];
        io.read_at(KEYS, 0, &mut file)?;
        if file.get(..8) != Some(MAGIC.as_slice()) {
            return Err(SpoolError::UnknownFormat { file: KEYS.into() });
        }
        let slots = file[SLOT as usize..].chunks(SLOT as usize);
        self.next = slots.len() as u32;
        for (number, slot) in slots.enumerate() {
            let (Some(study), Some(sealed)) = (slot.first_chunk::<32>(), slot.get(32..32 + OVERHEAD + 32)) else {
                continue;
            };
            let mut sealed = sealed.to_vec();
            // A slot that does not open was erased, or torn before anything was acknowledged under it.
            if let Some(32) = self.master.open(&mut sealed, study)
                && let Some(key) = sealed[NONCE_LEN..].first_chunk::<32>()
            {
                self.slots.insert(number as u32, Arc::new(DataKey::new(*key)?));
                self.by_study.insert(*study, number as u32);
            }
            sealed.zeroize();
        }
        Ok(())
    }

    /// The slot of a study; a new key, durable on return, where it has none.
    pub(super) fn slot(&mut self, io: &dyn SpoolIo, study: &str) -> Result<u32, SpoolError> {
        let name = study_hash(study);
        if let Some(slot) = self.by_study.get(&name) {
            return Ok(*slot);
        }
        let number = self.next;
        let key = random()?;
        let mut sealed = vec![0; NONCE_LEN];
        sealed.extend_from_slice(&key);
        self.master.seal(&mut sealed, &name)?;
        let mut slot = name.to_vec();
        slot.extend_from_slice(&sealed);
        slot.resize(SLOT as usize, 0);
        io.write_at(KEYS, SLOT * (u64::from(number) + 1), &[&slot])?;
        io.sync(KEYS)?;
        self.next += 1;
        self.slots.insert(number, Arc::new(DataKey::new(key)?));
        self.by_study.insert(name, number);
        Ok(number)
    }

    /// The key in a slot; `None` once the study is erased.
    pub(super) fn key(&self, slot: u32) -> Option<Arc<DataKey>> {
        if slot == NO_STUDY { Some(Arc::clone(&self.master)) } else { self.slots.get(&slot).cloned() }
    }

    /// Destroys the key of a study: what was sealed with it can never be read again. Durable on return.
    pub(super) fn destroy(&mut self, io: &dyn SpoolIo, study: &str) -> Result<bool, SpoolError> {
        let name = study_hash(study);
        let Some(slot) = self.by_study.get(&name).copied() else {
            return Ok(false);
        };
        let mut noise = vec![0; SLOT as usize];
        SystemRandom::new().fill(&mut noise).map_err(|_| SpoolError::Crypto)?;
        for content in [noise, vec![0; SLOT as usize]] {
            io.write_at(KEYS, SLOT * (u64::from(slot) + 1), &[&content])?;
            io.sync(KEYS)?;
        }
        self.by_study.remove(&name);
        self.slots.remove(&slot);
        Ok(true)
    }
}

fn study_hash(study: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, study.as_bytes()).as_ref());
    hash
}

fn random() -> Result<[u8; 32], SpoolError> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| SpoolError::Crypto)?;
    Ok(bytes)
}
