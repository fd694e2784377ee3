//! A disk that loses power: every write since the last sync is dropped, torn or kept, in any combination.
use super::{arrival, options};
use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Result};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use sund_agent::spool::io::SpoolIo;
use sund_agent::spool::{Batch, Spool, Table};

#[derive(Clone, Default)]
struct File {
    durable: Vec<u8>,
    /// Writes and cuts since the last sync.
    pending: Vec<Pending>,
    /// The name itself is durable.
    named: bool,
}

#[derive(Clone)]
enum Pending {
    Write(u64, Vec<u8>),
    Truncate(u64),
}

impl File {
    fn apply(content: &mut Vec<u8>, pending: &Pending) {
        match pending {
            Pending::Write(offset, bytes) => {
                let end = *offset as usize + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*offset as usize..end].copy_from_slice(bytes);
            }
            Pending::Truncate(length) => content.resize(*length as usize, 0),
        }
    }

    fn now(&self) -> Vec<u8> {
        let mut content = self.durable.clone();
        self.pending.iter().for_each(|p| Self::apply(&mut content, p));
        content
    }
}

#[derive(Clone, Default)]
struct Disk {
    files: BTreeMap<String, File>,
    operations: u64,
    cut_at: Option<u64>,
}

/// A disk in memory whose power is cut at one operation.
#[derive(Clone, Default)]
struct FaultyIo(Arc<Mutex<Disk>>);

impl FaultyIo {
    fn cutting_at(&self, operation: Option<u64>) -> Self {
        let mut disk = self.0.lock().unwrap().clone();
        disk.operations = 0;
        disk.cut_at = operation;
        Self(Arc::new(Mutex::new(disk)))
    }

    fn step<T>(&self, act: impl FnOnce(&mut Disk) -> Result<T>) -> Result<T> {
        let mut disk = self.0.lock().unwrap();
        disk.operations += 1;
        if disk.cut_at.is_some_and(|at| disk.operations >= at) {
            return Err(Error::other("the power is cut"));
        }
        act(&mut disk)
    }

    fn file<T>(&self, name: &str, act: impl FnOnce(&mut File) -> Result<T>) -> Result<T> {
        self.step(|disk| act(disk.files.get_mut(name).ok_or(Error::from(ErrorKind::NotFound))?))
    }

    /// What is on the disk when power comes back: each unsynced write was lost, torn at a sector, or done.
    fn after_the_cut(&self, seed: u64) -> Self {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = move || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random
        };
        let disk = self.0.lock().unwrap().clone();
        let mut files = BTreeMap::new();
        for (name, file) in disk.files {
            if !file.named && next() % 2 == 0 {
                continue;
            }
            let mut durable = file.durable;
            for pending in file.pending {
                let Pending::Write(offset, bytes) = pending else {
                    if next() % 2 == 0 {
                        File::apply(&mut durable, &pending);
                    }
                    continue;
                };
                // Sector by sector: reordering and tearing at once.
                let mut at = 0;
                let fate = next() % 3;
                while at < bytes.len() {
                    let sector = (512 - (offset as usize + at) % 512).min(bytes.len() - at);
                    if fate == 1 || (fate == 2 && next() % 2 == 0) {
                        let part = Pending::Write(offset + at as u64, bytes[at..at + sector].to_vec());
                        File::apply(&mut durable, &part);
                    }
                    at += sector;
                }
            }
            files.insert(name, File { durable, pending: Vec::new(), named: true });
        }
        Self(Arc::new(Mutex::new(Disk { files, operations: 0, cut_at: None })))
    }
}

impl SpoolIo for FaultyIo {
    fn list(&self) -> Result<Vec<String>> {
        self.step(|disk| Ok(disk.files.keys().cloned().collect()))
    }
    fn create(&self, name: &str, length: u64) -> Result<()> {
        self.step(|disk| {
            let file = File { durable: vec![0; length as usize], pending: Vec::new(), named: false };
            disk.files.insert(name.to_owned(), file);
            Ok(())
        })
    }
    fn length(&self, name: &str) -> Result<u64> {
        self.file(name, |file| Ok(file.now().len() as u64))
    }
    fn write_at(&self, name: &str, offset: u64, parts: &[&[u8]]) -> Result<()> {
        self.file(name, |file| {
            file.pending.push(Pending::Write(offset, parts.concat()));
            Ok(())
        })
    }
    fn read_at(&self, name: &str, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.file(name, |file| {
            let content = file.now();
            let part = content.get(offset as usize..offset as usize + buffer.len());
            buffer.copy_from_slice(part.ok_or(Error::from(ErrorKind::UnexpectedEof))?);
            Ok(())
        })
    }
    fn truncate(&self, name: &str, length: u64) -> Result<()> {
        self.file(name, |file| {
            file.pending.push(Pending::Truncate(length));
            Ok(())
        })
    }
    fn sync(&self, name: &str) -> Result<()> {
        self.file(name, |file| {
            file.durable = file.now();
            file.pending.clear();
            Ok(())
        })
    }
    fn sync_directory(&self) -> Result<()> {
        self.step(|disk| {
            disk.files.values_mut().for_each(|file| file.named = true);
            Ok(())
        })
    }
    fn remove(&self, name: &str) -> Result<()> {
        self.step(|disk| {
            disk.files.remove(name);
            Ok(())
        })
    }
    fn free_bytes(&self) -> Result<u64> {
        Ok(u64::MAX)
    }
    fn descriptor(&self, name: &str) -> Result<OwnedFd> {
        use std::io::Write;
        let mut copy = tempfile::tempfile()?;
        copy.write_all(&self.file(name, |file| Ok(file.now()))?)?;
        Ok(copy.into())
    }
}

/// What was acknowledged before the cut.
#[derive(Default)]
struct Acknowledged {
    instances: Vec<(u64, Vec<u8>)>,
    jobs: BTreeMap<String, u64>,
    erased: bool,
}

/// A fixed piece of work that goes on until the power is cut.
fn work(io: FaultyIo, done: &mut Acknowledged) -> Option<()> {
    let spool = Spool::open_with(Arc::new(io), options(std::path::Path::new("/"))).ok()?;
    for round in 0u64..12 {
        let study = if round % 3 == 0 { "1.1" } else { "1.2" };
        let bytes: Vec<u8> = (0..3000 * (round + 1)).map(|n| ((n + round) % 253) as u8).collect();
        let mut incoming = spool.begin(study).ok()?;
        incoming.write(&bytes).ok()?;
        let mut batch = Batch::new();
        batch.put(Table::Jobs, "last", &round, None).ok()?;
        let stored = incoming.commit_blocking(arrival(study, &format!("1.{round}")), batch).ok()?;
        done.instances.push((stored.id, bytes));
        done.jobs.insert("last".into(), round);
        let mut batch = Batch::new();
        batch.put(Table::Deliveries, &round.to_string(), &round, None).ok()?;
        batch.put(Table::Ledger, &round.to_string(), &round, None).ok()?;
        spool.write_blocking(batch).ok()?;
        done.jobs.insert(round.to_string(), round);
    }
    spool.erase_study("1.1").ok()?;
    done.erased = true;
    Some(())
}

fn check(spool: &Spool, done: &Acknowledged, context: &str) {
    for (n, (id, bytes)) in done.instances.iter().enumerate() {
        let found = spool.instance(*id);
        if n % 3 == 0 {
            // The study whose erasure may have been under way: whole or gone, and gone where that was acknowledged.
            assert!(!(done.erased && found.is_some()), "{context}: an erased instance came back");
            continue;
        }
        let found = found.unwrap_or_else(|| panic!("{context}: acknowledged instance {id} is lost"));
        assert_eq!(spool.read(&found).unwrap(), *bytes, "{context}: instance {id} came back changed");
    }
    for (key, value) in &done.jobs {
        if key == "last" {
            continue;
        }
        let delivery: Option<u64> = spool.get(Table::Deliveries, key).unwrap();
        let ledger: Option<u64> = spool.get(Table::Ledger, key).unwrap();
        assert_eq!((delivery, ledger), (Some(*value), Some(*value)), "{context}: batch {key}");
    }
    for round in 0u64..12 {
        let key = round.to_string();
        let both = (spool.get::<u64>(Table::Deliveries, &key).unwrap(), spool.get::<u64>(Table::Ledger, &key).unwrap());
        assert_eq!(both.0.is_some(), both.1.is_some(), "{context}: half a batch is visible");
    }
}

#[test]
fn a_power_cut_at_any_operation_loses_nothing_that_was_acknowledged() {
    let mut cut = 1;
    loop {
        let mut done = Acknowledged::default();
        let io = FaultyIo::default().cutting_at(Some(cut));
        let finished = work(io.clone(), &mut done).is_some();
        for seed in 0..3 {
            let context = format!("cut at operation {cut}, seed {seed}");
            let disk = io.after_the_cut(seed + cut * 31);
            let spool = Spool::open_with(Arc::new(disk.clone()), options(std::path::Path::new("/")))
                .unwrap_or_else(|error| panic!("{context}: {error}"));
            check(&spool, &done, &context);
            // And the spool goes on: what is stored now survives the next cut as well.
            let mut incoming = spool.begin("1.9").unwrap();
            incoming.write(b"after").unwrap();
            let stored = incoming.commit_blocking(arrival("1.9", "1.9.1"), Batch::new()).unwrap();
            assert!(done.instances.iter().all(|(id, _)| *id < stored.id), "{context}: a number was used again");
            drop(spool);
            let again =
                Spool::open_with(Arc::new(disk.after_the_cut(seed)), options(std::path::Path::new("/"))).unwrap();
            check(&again, &done, &context);
            assert_eq!(again.read(&again.instance(stored.id).unwrap()).unwrap(), &b"after"[..], "{context}");
        }
        if finished {
            break;
        }
        cut += 1;
    }
    assert!(cut > 60, "the work must be cut at many operations, there were {cut}");
}
