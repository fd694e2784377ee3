//! A disk in memory whose power can be cut at any operation: what was not synced by then is dropped, torn and reordered.
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Error, ErrorKind, Result, Write};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use sund_agent::spool::{SpoolFile, SpoolIo};

const SECTOR: usize = 512;

/// The machine: its disk outlives every mount.
#[derive(Clone)]
pub struct Machine(Arc<Mutex<Disk>>, Arc<Gate>);

/// Holds durable writes up while it is closed.
#[derive(Default)]
struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    closed: bool,
    waiting: usize,
}

impl Gate {
    fn pass(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.waiting += 1;
        self.changed.notify_all();
        while state.closed {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting -= 1;
    }
}

struct Disk {
    files: Vec<Content>,
    /// What the running system sees, and what is in the journal.
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    renames: Vec<NameChange>,
    operations: u64,
    cut_at: u64,
    /// Only the process ends there; what it wrote stays in the cache.
    kills: bool,
    powered: bool,
    mount: u64,
    locked: bool,
    capacity: u64,
    random: u64,
}

#[derive(Default)]
struct Content {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// Writes since the last sync.
    unsynced: Vec<(usize, Vec<u8>)>,
    /// What the disk cannot give back.
    lost: Vec<Range<usize>>,
}

enum NameChange {
    Create(String, usize),
    Rename(String, String),
    Remove(String),
}

impl Machine {
    pub fn new() -> Self {
        Self(
            Arc::new(Mutex::new(Disk {
                files: Vec::new(),
                names: BTreeMap::new(),
                durable_names: BTreeMap::new(),
                renames: Vec::new(),
                operations: 0,
                cut_at: u64::MAX,
                kills: false,
                powered: true,
                mount: 0,
                locked: false,
                capacity: u64::MAX,
                random: 1,
            })),
            Arc::default(),
        )
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Mounts the disk; earlier mounts see errors from now on.
    pub fn mount(&self) -> Arc<FaultyIo> {
        let mut disk = self.disk();
        disk.mount += 1;
        disk.locked = false;
        disk.powered = true;
        Arc::new(FaultyIo { machine: self.clone(), mount: disk.mount })
    }

    /// Cuts the power at the operation with that number, counted from now, 1 for the next.
    pub fn cut_at(&self, operation: u64, seed: u64) {
        let mut disk = self.disk();
        disk.random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        disk.operations = 0;
        disk.cut_at = operation;
        disk.kills = false;
    }

    /// Kills the process at the operation with that number: the cache survives, synced or not.
    pub fn kill_at(&self, operation: u64) {
        self.cut_at(operation, 1);
        self.disk().kills = true;
    }

    /// Cuts it now.
    pub fn cut(&self) {
        let mut disk = self.disk();
        if disk.powered {
            disk.fail();
        }
        disk.cut_at = u64::MAX;
    }

    /// Holds up durable writes from now on.
    pub fn hold_writes(&self) {
        self.1.state.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
    }

    /// Returns when a write is held up.
    pub fn wait_for_a_held_write(&self) {
        let mut state = self.1.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.waiting == 0 {
            state = self.1.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub fn release_writes(&self) {
        self.1.state.lock().unwrap_or_else(PoisonError::into_inner).closed = false;
        self.1.changed.notify_all();
    }

    /// Operations since the start, or since the last cut was set.
    pub fn operations(&self) -> u64 {
        self.disk().operations
    }

    pub fn is_on(&self) -> bool {
        self.disk().powered
    }

    /// Bytes that all files together may have.
    pub fn set_capacity(&self, bytes: u64) {
        self.disk().capacity = bytes;
    }

    /// All files as the system sees them.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let disk = self.disk();
        disk.names.iter().map(|(name, file)| (name.clone(), disk.files[*file].live.clone())).collect()
    }

    /// Puts a file's content in place, durably.
    pub fn overwrite(&self, name: &str, content: &[u8]) {
        let mut disk = self.disk();
        let file = disk.names[name];
        disk.files[file] = Content { live: content.to_vec(), durable: content.to_vec(), ..Content::default() };
    }

    /// From now on the disk does not give back these bytes of a file.
    pub fn lose(&self, name: &str, bytes: Range<usize>) {
        let mut disk = self.disk();
        let file = disk.names[name];
        disk.files[file].lost.push(bytes);
    }

    /// A machine with a copy of the files.
    pub fn copy(&self) -> Self {
        let copy = Self::new();
        {
            let mut disk = copy.disk();
            for (name, content) in self.files() {
                let number = disk.files.len();
                disk.files.push(Content { live: content.clone(), durable: content, ..Content::default() });
                disk.names.insert(name.clone(), number);
                disk.durable_names.insert(name, number);
            }
        }
        copy
    }
}

impl Disk {
    fn next(&mut self) -> u64 {
        // xorshift64: any sequence will do, as long as the seed repeats it.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    /// The power goes: each sector of each write since the last sync lands or not, in any order; the journal keeps some
    /// of the newest name changes.
    fn fail(&mut self) {
        let keep_all = self.next().is_multiple_of(4);
        for number in 0..self.files.len() {
            let mut writes = std::mem::take(&mut self.files[number].unsynced);
            for left in (1..writes.len()).rev() {
                let other = self.next() as usize % (left + 1);
                writes.swap(left, other);
            }
            // Some cuts drop nearly all, some nearly nothing.
            let odds = self.next() % 101;
            for (offset, bytes) in writes {
                let mut at = offset;
                while at < offset + bytes.len() {
                    let end = ((at / SECTOR + 1) * SECTOR).min(offset + bytes.len());
                    if keep_all || self.next() % 101 < odds {
                        let durable = &mut self.files[number].durable;
                        if durable.len() < end {
                            durable.resize(end, 0);
                        }
                        durable[at..end].copy_from_slice(&bytes[at - offset..end - offset]);
                    }
                    at = end;
                }
            }
            let content = &mut self.files[number];
            content.live.clone_from(&content.durable);
        }
        let changes = std::mem::take(&mut self.renames);
        let kept = self.next() as usize % (changes.len() + 1);
        for change in changes.into_iter().take(kept) {
            apply(&mut self.durable_names, change);
        }
        self.names = self.durable_names.clone();
        self.powered = false;
        self.cut_at = u64::MAX;
    }

    /// Counts an operation that has reached the disk's cache; here the power may go.
    fn step(&mut self) -> Result<()> {
        self.operations += 1;
        if self.operations == self.cut_at {
            if self.kills {
                (self.powered, self.cut_at) = (false, u64::MAX);
            } else {
                self.fail();
            }
            return Err(Error::other("the power is off"));
        }
        Ok(())
    }

    fn used(&self) -> u64 {
        self.names.values().map(|file| self.files[*file].live.len() as u64).sum()
    }

    fn write(&mut self, file: usize, offset: u64, parts: &[&[u8]]) -> Result<()> {
        let bytes = parts.concat();
        let end = offset as usize + bytes.len();
        let growth = end.saturating_sub(self.files[file].live.len()) as u64;
        if self.used() + growth > self.capacity {
            return Err(ErrorKind::StorageFull.into());
        }
        let content = &mut self.files[file];
        if content.live.len() < end {
            content.live.resize(end, 0);
        }
        content.live[offset as usize..end].copy_from_slice(&bytes);
        content.unsynced.push((offset as usize, bytes));
        Ok(())
    }
}

fn apply(names: &mut BTreeMap<String, usize>, change: NameChange) {
    match change {
        NameChange::Create(name, file) => {
            names.insert(name, file);
        }
        NameChange::Rename(from, to) => {
            if let Some(file) = names.remove(&from) {
                names.insert(to, file);
            }
        }
        NameChange::Remove(name) => {
            names.remove(&name);
        }
    }
}

/// One mount of the machine's disk.
pub struct FaultyIo {
    machine: Machine,
    mount: u64,
}

impl FaultyIo {
    fn disk(&self) -> Result<MutexGuard<'_, Disk>> {
        let disk = self.machine.disk();
        if !disk.powered || disk.mount != self.mount {
            return Err(Error::other("the power is off"));
        }
        Ok(disk)
    }

    fn file(&self, number: usize) -> Arc<dyn SpoolFile> {
        let io = FaultyIo { machine: self.machine.clone(), mount: 0 };
        Arc::new(FaultyFile { io: FaultyIo { mount: self.mount, ..io }, number })
    }
}

impl SpoolIo for FaultyIo {
    fn lock(&self) -> Result<()> {
        let mut disk = self.disk()?;
        if disk.locked {
            return Err(ErrorKind::WouldBlock.into());
        }
        disk.locked = true;
        Ok(())
    }

    fn list(&self) -> Result<Vec<String>> {
        Ok(self.disk()?.names.keys().cloned().collect())
    }

    fn create(&self, name: &str, length: u64, _written: bool) -> Result<Arc<dyn SpoolFile>> {
        let mut disk = self.disk()?;
        if disk.used() + length > disk.capacity {
            return Err(ErrorKind::StorageFull.into());
        }
        let zeroes = vec![0; length as usize];
        let number = disk.files.len();
        disk.files.push(Content { live: zeroes.clone(), durable: zeroes, ..Content::default() });
        disk.names.insert(name.to_owned(), number);
        disk.renames.push(NameChange::Create(name.to_owned(), number));
        disk.step()?;
        Ok(self.file(number))
    }

    fn open(&self, name: &str) -> Result<Arc<dyn SpoolFile>> {
        let number = *self.disk()?.names.get(name).ok_or(ErrorKind::NotFound)?;
        Ok(self.file(number))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let mut disk = self.disk()?;
        let file = disk.names.remove(from).ok_or(ErrorKind::NotFound)?;
        disk.names.insert(to.to_owned(), file);
        disk.renames.push(NameChange::Rename(from.to_owned(), to.to_owned()));
        disk.step()
    }

    fn remove(&self, name: &str) -> Result<()> {
        let mut disk = self.disk()?;
        disk.names.remove(name).ok_or(ErrorKind::NotFound)?;
        disk.renames.push(NameChange::Remove(name.to_owned()));
        disk.step()
    }

    fn sync_directory(&self) -> Result<()> {
        let mut disk = self.disk()?;
        disk.step()?;
        disk.durable_names = disk.names.clone();
        disk.renames.clear();
        Ok(())
    }

    fn free_bytes(&self) -> Result<u64> {
        let disk = self.disk()?;
        Ok(disk.capacity.saturating_sub(disk.used()))
    }
}

struct FaultyFile {
    io: FaultyIo,
    number: usize,
}

impl SpoolFile for FaultyFile {
    fn length(&self) -> Result<u64> {
        Ok(self.io.disk()?.files[self.number].live.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let disk = self.io.disk()?;
        let at = offset as usize;
        let is_lost = |lost: &Range<usize>| lost.start < at + buffer.len() && at < lost.end;
        if disk.files[self.number].lost.iter().any(is_lost) {
            return Err(rustix::io::Errno::IO.into());
        }
        let content = disk.files[self.number].live.get(at..at + buffer.len());
        buffer.copy_from_slice(content.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> Result<()> {
        let mut disk = self.io.disk()?;
        disk.write(self.number, offset, parts)?;
        disk.step()
    }

    fn write_durably_at(&self, offset: u64, parts: &[&[u8]]) -> Result<()> {
        self.io.machine.1.pass();
        let mut disk = self.io.disk()?;
        disk.write(self.number, offset, parts)?;
        disk.step()?;
        // Written through by itself; earlier writes stay in the cache.
        let content = &mut disk.files[self.number];
        let (at, bytes) = content.unsynced.pop().unwrap_or_default();
        if content.durable.len() < at + bytes.len() {
            content.durable.resize(at + bytes.len(), 0);
        }
        content.durable[at..at + bytes.len()].copy_from_slice(&bytes);
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        let mut disk = self.io.disk()?;
        disk.step()?;
        let content = &mut disk.files[self.number];
        content.durable.clone_from(&content.live);
        content.unsynced.clear();
        Ok(())
    }

    fn descriptor(&self) -> Result<OwnedFd> {
        let mut file: File = tempfile::tempfile()?;
        file.write_all(&self.io.disk()?.files[self.number].live)?;
        Ok(file.into())
    }
}
