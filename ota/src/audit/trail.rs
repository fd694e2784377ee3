//! The events that the agent has not taken yet: one file in the updater's directory, replaced as a whole with each of them.
//!
//! Several programs write it, one after the other (a lock beside it). It outlives updates and restarts; what there is no room for
//! is counted, and told once there is room.
use super::event::{Event, Said};
use crate::durable;
use crate::fault::{Blame, Fault};
use crate::hex::hex;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

const FILE: &str = "audit.json";
/// One that can't be read is kept under this name.
const DAMAGED: &str = "audit.json.damaged";
const LOCK: &str = "audit.lock";
/// What is read here.
const FORMAT: u32 = 1;
/// Who says what the trail has to say of itself.
const OWN: &str = "the trail";
/// The file, in bytes: some 3000 events, against an agent that never comes back and a server that is refused at each poll.
const MAX_KEPT: usize = 1024 * 1024;
/// Events that are handed over at once...
const MAX_BATCH: usize = 32;
/// ... and bytes of them, unless it is one event: what the agent takes in one request is more.
const MAX_BATCH_BYTES: usize = 256 * 1024;

/// The events in a directory.
#[derive(Debug)]
pub struct Trail {
    directory: PathBuf,
    /// Events that the disk did not take.
    missed: AtomicU64,
}

/// Events that are to be handed over, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The trail that their numbers are of.
    pub trail: String,
    /// At least one.
    pub events: Vec<Event>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    format: u32,
    /// Random: a file that was lost and begun anew counts from 1 again.
    trail: String,
    /// The number of the next event.
    next: u64,
    /// Events that there was no room for.
    lost: u64,
    events: Vec<Event>,
}

impl Trail {
    /// That of the updater that works in a directory.
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), missed: AtomicU64::new(0) }
    }

    /// Keeps an event, durably.
    pub(super) fn append(&self, said: Said, by: &str) -> Result<(), Fault> {
        self.change(|kept| kept.push(said, by)).inspect_err(|_| {
            self.missed.fetch_add(1, Ordering::Relaxed);
        })
    }

    /// What comes next to be handed over.
    pub fn outstanding(&self) -> Result<Option<Batch>, Fault> {
        let _one = self.lock()?;
        self.read().map(|kept| kept.batch())
    }

    /// Lets go what was taken: the events of a trail up to a number.
    pub fn taken(&self, trail: &str, seq: u64) -> Result<(), Fault> {
        self.change(|kept| kept.drop_to(trail, seq))
    }

    /// How many events wait.
    pub fn waiting(&self) -> Result<usize, Fault> {
        if !self.directory.join(FILE).exists() {
            return Ok(0);
        }
        let _one = self.lock()?;
        self.read().map(|kept| kept.events.len())
    }

    fn change(&self, change: impl FnOnce(&mut Kept)) -> Result<(), Fault> {
        let _one = self.lock()?;
        let mut kept = self.read()?;
        let missed = self.missed.load(Ordering::Relaxed);
        kept.lost += missed;
        change(&mut kept);
        self.write(&kept)?;
        self.missed.fetch_sub(missed, Ordering::Relaxed);
        Ok(())
    }

    /// For as long as the value lives, which is one reading and one writing of the file.
    fn lock(&self) -> Result<File, Fault> {
        let lock = || {
            let lock = File::create(self.directory.join(LOCK))?;
            rustix::io::retry_on_intr(|| flock(&lock, FlockOperation::LockExclusive))?;
            Ok(lock)
        };
        lock().map_err(|error| self.failed(&error))
    }

    fn read(&self) -> Result<Kept, Fault> {
        let path = self.directory.join(FILE);
        let bytes = || {
            let mut bytes = Vec::new();
            File::open(&path)?.take(2 * MAX_KEPT as u64).read_to_end(&mut bytes)?;
            Ok::<_, io::Error>(bytes)
        };
        let bytes = match bytes() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Kept::new().map_err(|error| self.failed(&error));
            }
            bytes => bytes.map_err(|error| self.failed(&error))?,
        };
        let why = match serde_json::from_slice::<Kept>(&bytes) {
            Ok(kept) if kept.format == FORMAT => return Ok(kept),
            Ok(kept) => format!("it is of format {}, and {FORMAT} is known here", kept.format),
            Err(error) => error.to_string(),
        };
        durable::replace(&self.directory.join(DAMAGED), &bytes, 0o600)?;
        let mut kept = Kept::new().map_err(|error| self.failed(&error))?;
        let details = BTreeMap::from([("code".to_owned(), "audit-unreadable".to_owned()), ("reason".to_owned(), why)]);
        let text = format!("audit events that were kept can't be read, and lie in {DAMAGED}");
        kept.push(Said { warns: true, text, details }, OWN);
        self.write(&kept)?;
        Ok(kept)
    }

    fn write(&self, kept: &Kept) -> Result<(), Fault> {
        durable::replace(&self.directory.join(FILE), &kept.bytes(), 0o600)
    }

    fn failed(&self, error: &io::Error) -> Fault {
        let reason = format!("{}: {error}", self.directory.join(FILE).display());
        Fault::new("disk-failed", Blame::Box, reason)
    }
}

impl Kept {
    fn new() -> io::Result<Self> {
        let mut random = [0; 16];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| io::Error::other("the system has no randomness"))?;
        Ok(Self { format: FORMAT, trail: hex(&random), next: 1, lost: 0, events: Vec::new() })
    }

    fn push(&mut self, said: Said, by: &str) {
        self.tell_lost();
        if !self.has_room_for(said, by) {
            self.lost += 1;
        }
    }

    /// Says how many there was no room for, once there is.
    fn tell_lost(&mut self) {
        if self.lost == 0 {
            return;
        }
        let text = "audit events of the updater were lost: there was no room for them".to_owned();
        let details = BTreeMap::from([("lost".to_owned(), self.lost.to_string())]);
        if self.has_room_for(Said { warns: true, text, details }, OWN) {
            self.lost = 0;
        }
    }

    /// Takes an event, where there is room.
    fn has_room_for(&mut self, said: Said, by: &str) -> bool {
        self.events.push(said.numbered(self.next, by));
        if self.bytes().len() > MAX_KEPT {
            self.events.pop();
            return false;
        }
        self.next += 1;
        true
    }

    fn drop_to(&mut self, trail: &str, seq: u64) {
        if self.trail == trail {
            self.events.retain(|event| event.seq > seq);
        }
        self.tell_lost();
    }

    fn batch(&self) -> Option<Batch> {
        let mut bytes = 0;
        let has_room = |event: &&Event| {
            bytes += serde_json::to_vec(event).map_or(0, |event| event.len());
            bytes <= MAX_BATCH_BYTES
        };
        let mut events: Vec<_> = self.events.iter().take(MAX_BATCH).take_while(has_room).cloned().collect();
        if events.is_empty() {
            events.extend(self.events.first().cloned());
        }
        (!events.is_empty()).then(|| Batch { trail: self.trail.clone(), events })
    }

    /// Numbers and texts: they are always JSON.
    fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable::{cut, replace_on};

    fn said(text: &str) -> Said {
        Said { warns: true, text: text.to_owned(), details: BTreeMap::new() }
    }

    fn texts(events: &[Event]) -> Vec<&str> {
        events.iter().map(|event| event.text.as_str()).collect()
    }

    #[test]
    fn a_power_cut_at_any_instant_leaves_the_events_before_or_these() {
        let folder = tempfile::tempdir().unwrap();
        let trail = Trail::new(folder.path());
        trail.append(said("one"), "run").unwrap();
        let before = trail.read().unwrap();
        trail.append(said("two"), "run").unwrap();
        let after = trail.read().unwrap();
        let mut seen = [0; 2];
        cut::after_each_cut(
            &[(FILE, &before.bytes())],
            |disk| replace_on(disk, Path::new(FILE), &after.bytes(), 0o600),
            |directory| {
                let found = Trail::new(directory).read().unwrap();
                assert!(found == before || found == after);
                seen[usize::from(found == after)] += 1;
            },
        );
        assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
    }

    #[test]
    fn what_there_is_no_room_for_is_counted_and_told_once_there_is() {
        let mut kept = Kept::new().unwrap();
        let long = "x".repeat(64 * 1024);
        for _ in 0..20 {
            kept.push(said(&long), "run");
        }
        let held = kept.events.len() as u64;
        assert!(kept.bytes().len() <= MAX_KEPT && held > 10, "{held}");
        // What fits says first what did not.
        kept.push(said("a short one"), "run");
        assert_eq!(kept.events[kept.events.len() - 2].details["lost"], (20 - held).to_string());
        kept.lost = 7;
        let (trail, last) = (kept.trail.clone(), kept.next - 1);
        kept.drop_to("another trail", last);
        assert!(kept.events.len() as u64 > held, "those are numbers of other events");
        kept.drop_to(&trail, last);
        assert_eq!(
            kept.events.iter().map(|event| (event.seq, event.details["lost"].as_str())).collect::<Vec<_>>(),
            [(last + 1, "7")]
        );
        assert_eq!(kept.lost, 0);
    }

    #[test]
    fn what_the_disk_does_not_take_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let trail = Trail::new(&folder.path().join("later"));
        for _ in 0..3 {
            assert_eq!(trail.append(said("missed"), "run").unwrap_err().code, "disk-failed");
        }
        assert_eq!(trail.waiting().unwrap(), 0);
        std::fs::create_dir(folder.path().join("later")).unwrap();
        trail.append(said("kept"), "run").unwrap();
        trail.append(said("kept too"), "run").unwrap();
        let batch = trail.outstanding().unwrap().unwrap();
        assert_eq!(batch.events[0].details["lost"], "3");
        assert_eq!(texts(&batch.events[1..]), ["kept", "kept too"]);
    }

    #[test]
    fn programs_that_write_at_once_lose_nothing_and_give_no_number_twice() {
        let folder = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for by in ["run", "enrol", "screen", "guard"] {
                let directory = folder.path();
                scope.spawn(move || (0..8).for_each(|_| Trail::new(directory).append(said(by), by).unwrap()));
            }
        });
        let trail = Trail::new(folder.path());
        let batch = trail.outstanding().unwrap().unwrap();
        assert_eq!(batch.events.iter().map(|event| event.seq).collect::<Vec<_>>(), (1..=32).collect::<Vec<_>>());
        trail.taken(&batch.trail, 31).unwrap();
        assert_eq!(trail.outstanding().unwrap().unwrap().events[0].seq, 32);
        trail.taken(&batch.trail, 32).unwrap();
        assert_eq!(trail.outstanding().unwrap(), None);
        trail.append(said("the next"), "run").unwrap();
        assert_eq!(trail.outstanding().unwrap().unwrap().events[0].seq, 33);
    }

    #[test]
    fn a_damaged_trail_is_set_aside_and_said_and_another_begins() {
        let folder = tempfile::tempdir().unwrap();
        let trail = Trail::new(folder.path());
        trail.append(said("one"), "run").unwrap();
        let before = trail.outstanding().unwrap().unwrap().trail;
        std::fs::write(folder.path().join(FILE), "half of").unwrap();
        trail.append(said("two"), "run").unwrap();
        let batch = trail.outstanding().unwrap().unwrap();
        assert_ne!(batch.trail, before);
        assert_eq!(batch.events[0].details["code"], "audit-unreadable");
        assert_eq!((batch.events[1].seq, batch.events[1].text.as_str()), (2, "two"));
        assert_eq!(std::fs::read(folder.path().join(DAMAGED)).unwrap(), b"half of");
    }
}
