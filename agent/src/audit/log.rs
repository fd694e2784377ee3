//! The log that is being written: one thread, one sync for all events that wait, the chain across files.
use super::event::Event;
use super::line::{FORMAT, Head, Line, file_name, files, hash};
use super::message::message;
use super::seal::{Key, seal};
use super::updater::Taken;
use super::verify::{ChainBreak, Walk, next_line, parse};
use crate::fault::{Blame, Fault};
use crate::limits::agent::LAST_LOCK;
use crate::limits::audit::{MAX_FILE, MAX_LINE, MAX_WAITING};
use crate::lock;
use crate::metrics;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::SystemTime;
use tokio::sync::watch;

/// How a log is opened.
#[derive(Clone)]
pub struct Options {
    /// Folder of the files; made when it is missing.
    pub dir: PathBuf,
    /// Key of the identifiers.
    pub key: Key,
    /// AuditSourceID: which box this is, e.g. its AE title.
    pub source: String,
    /// Length at which the next file begins; `limits::audit::MAX_FILE` at most.
    pub max_file: u64,
}

/// An open log. Dropping it ends its thread after what waits is written.
pub struct Log {
    heads: watch::Sender<Option<u64>>,
    queue: Option<SyncSender<Waiting>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Waiting {
    event: Event,
    at: SystemTime,
    done: Sender<Result<Head, Fault>>,
}

impl Log {
    /// Opens the log, checks its last file, and goes on from there. The line that a crash left incomplete is moved to a
    /// file of its own beside the log, which an event says. A chain that is broken otherwise is refused.
    pub fn open(options: Options) -> Result<Self, Fault> {
        let mut writer = Writer::open(options)?;
        if let Some(repair) = writer.repaired.take() {
            writer.write(&[(repair, SystemTime::now())])?;
        }
        let (queue, waiting) = sync_channel(MAX_WAITING);
        let heads = watch::channel(writer.head.as_ref().map(|head| head.seq)).0;
        let told = heads.clone();
        let thread = std::thread::Builder::new()
            .name("audit".into())
            .spawn(move || writer.run(&waiting, &told))
            .map_err(|error| disk("start its thread for", &error))?;
        Ok(Self { heads, queue: Some(queue), thread: Mutex::new(Some(thread)) })
    }

    /// Appends `event` and returns when it is on stable storage; waits for the disk, so asynchronous code calls it
    /// through `spawn_blocking`. On an error the event is not in the log and what it stands for must not go on.
    pub fn append(&self, event: Event) -> Result<Head, Fault> {
        self.append_of(event, SystemTime::now())
    }

    /// The same of an event that was told later than it happened. One of the updater's that is in the log already is not written again.
    pub fn append_of(&self, event: Event, at: SystemTime) -> Result<Head, Fault> {
        let (done, answer) = channel();
        let waiting = Waiting { event, at, done };
        let ended = || Fault::new("audit-ended", Blame::Sund, "The audit log has ended; nothing can go on unaudited.");
        self.queue.as_ref().ok_or_else(ended)?.send(waiting).map_err(|_| ended())?;
        answer.recv().map_err(|_| ended())?
    }

    /// Number of the last line, as it grows.
    pub fn heads(&self) -> watch::Receiver<Option<u64>> {
        self.heads.subscribe()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.queue.take(); // the thread ends when the queue is empty and closed
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
    }
}

struct Writer {
    options: Options,
    dir: File,
    file: File,
    length: u64,
    head: Option<Head>,
    /// The last event of the updater that is in the log.
    taken: Option<Taken>,
    repaired: Option<Event>,
    failed: bool,
}

impl Writer {
    fn open(options: Options) -> Result<Self, Fault> {
        let failed = |error: &io::Error| disk("open", error);
        fs::create_dir_all(&options.dir).map_err(|e| failed(&e))?;
        let dir = File::open(&options.dir).map_err(|e| failed(&e))?;
        lock::take(&dir, LAST_LOCK, || true)
            .map_err(|_| Fault::new("audit-in-use", Blame::Configuration, "Another agent writes this audit log."))?;
        let (head, last) = tail(&options.dir)?;
        let mut taken = Taken::read(&options.dir).map_err(|e| failed(&e))?;
        let Some(path) = last else {
            let file = create(&options.dir, &dir, 0).map_err(|e| failed(&e))?;
            return Ok(Self { options, dir, file, length: 0, head, taken, repaired: None, failed: false });
        };
        let mut walk = Walk { head, lines: 0 };
        let mut length = 0;
        let result = walk.file(&path, |_, line| {
            taken = Taken::in_message(&line.message).or(taken.take());
            Ok(())
        });
        let mut file = OpenOptions::new().read(true).write(true).open(&path).map_err(|e| failed(&e))?;
        let repaired = match result {
            Ok(good) => {
                length = good;
                None
            }
            Err(ChainBreak::Read(error)) => return Err(failed(&error)),
            Err(broken) => {
                let good = good_length(&path, walk.lines).map_err(|e| failed(&e))?;
                Some((good, broken))
            }
        };
        let repaired = match repaired {
            None => None,
            Some((good, broken)) => {
                length = good;
                Some(cut(&options.dir, &mut file, good, &broken)?)
            }
        };
        file.seek(SeekFrom::Start(length)).map_err(|e| failed(&e))?;
        Ok(Self { options, dir, file, length, head: walk.head, taken, repaired, failed: false })
    }

    /// Writes what waits, one sync for all of it, until the queue is closed.
    fn run(mut self, queue: &Receiver<Waiting>, told: &watch::Sender<Option<u64>>) {
        while let Ok(first) = queue.recv() {
            let mut waiting = vec![first];
            waiting.extend(queue.try_iter().take(MAX_WAITING));
            let (events, done): (Vec<_>, Vec<_>) = waiting.into_iter().map(|w| ((w.event, w.at), w.done)).unzip();
            let result = self.write(&events);
            told.send_replace(self.head.as_ref().map(|head| head.seq));
            for (index, done) in done.into_iter().enumerate() {
                let answer = match &result {
                    Ok(heads) => Ok(heads[index].clone()),
                    Err(fault) => Err(fault.clone()),
                };
                let _ = done.send(answer); // the stage may be gone; the event stands
            }
        }
    }

    /// All of `events` become durable, or none of them is in the log.
    fn write(&mut self, events: &[(Event, SystemTime)]) -> Result<Vec<Head>, Fault> {
        if self.failed {
            return Err(Fault::new(
                "audit-failed",
                Blame::Box,
                "The audit log could not be synced; restart the agent.",
            ));
        }
        let mut text = Vec::new();
        let mut heads: Vec<Head> = Vec::with_capacity(events.len());
        let mut taken = self.taken.clone();
        let mut written = Vec::with_capacity(events.len());
        for (event, at) in events {
            if let Event::Updater(event) = event {
                let is_there = taken.as_ref().is_some_and(|taken| taken.has(event));
                if let Some(head) = heads.last().or(self.head.as_ref()).filter(|_| is_there).cloned() {
                    heads.push(head);
                    continue;
                }
                taken = Some(Taken::of(event));
            }
            written.push(event);
            let (seq, prev) = Head::next(heads.last().or(self.head.as_ref()));
            let (message, identifiers) = message(event, *at, &self.options.source);
            let identifiers = identifiers.map(|i| seal(&self.options.key, seq, &i)).transpose()?;
            let line = serde_json::to_vec(&Line { format: FORMAT, seq, prev, message, identifiers })
                .map_err(|_| Fault::new("audit-event", Blame::Sund, "An audit event could not be written as JSON."))?;
            debug_assert!(line.len() <= MAX_LINE);
            heads.push(Head::of(seq, &line));
            text.extend_from_slice(&line);
            text.push(b'\n');
        }
        if written.is_empty() {
            return Ok(heads);
        }
        self.rotate()?;
        if let Err(error) = self.file.write_all(&text) {
            // Disk full: what came through goes, so that the next try begins at a line's start.
            let back = self.file.set_len(self.length).and_then(|()| self.file.seek(SeekFrom::Start(self.length)));
            self.failed = back.is_err();
            return Err(disk("write", &error));
        }
        if let Err(error) = self.file.sync_data() {
            // After a failed sync the kernel may have dropped the pages: what is on disk is known only after a reopen.
            self.failed = true;
            return Err(disk("sync", &error));
        }
        self.length += text.len() as u64;
        self.head = heads.last().cloned();
        self.taken = taken;
        metrics::audit_events(written.len());
        for fault in written.iter().filter_map(|event| event.refusal()) {
            metrics::refusal(&fault.code);
        }
        Ok(heads)
    }

    fn rotate(&mut self) -> Result<(), Fault> {
        if self.length < self.options.max_file.min(MAX_FILE) {
            return Ok(());
        }
        let (seq, _) = Head::next(self.head.as_ref());
        // First: the next start looks at the last file alone.
        if let Some(taken) = &self.taken {
            taken.write(&self.options.dir).map_err(|e| disk("begin a new file of", &e))?;
        }
        self.file = create(&self.options.dir, &self.dir, seq).map_err(|e| disk("begin a new file of", &e))?;
        self.length = 0;
        Ok(())
    }
}

/// Makes the file that begins with line `seq`; one that a crash left empty is taken.
fn create(path: &Path, dir: &File, seq: u64) -> io::Result<File> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path.join(file_name(seq)))?;
    if file.metadata()?.len() > 0 {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the next file is there already"));
    }
    dir.sync_all()?;
    Ok(file)
}

/// The line before the last file, and the last file. A file that a crash left empty right after it was begun still
/// follows the file before it.
fn tail(dir: &Path) -> Result<(Option<Head>, Option<PathBuf>), Fault> {
    let files = files(dir).map_err(|e| disk("open", &e))?;
    let Some((first, path)) = files.last() else { return Ok((None, None)) };
    if *first == 0 {
        return Ok((None, Some(path.clone())));
    }
    let before = files.len().checked_sub(2).map(|i| &files[i].1);
    let last_line = before.map(|path| last_line(path)).transpose().map_err(|e| disk("open", &e))?.flatten();
    match last_line {
        Some(head) if head.seq + 1 == *first => Ok((Some(head), Some(path.clone()))),
        _ => Err(broken("The file before the last one is missing or does not lead to it.")),
    }
}

pub(super) fn last_line(path: &Path) -> io::Result<Option<Head>> {
    let mut reader = BufReader::new(File::open(path)?);
    let (mut bytes, mut head) = (Vec::new(), None);
    while let Some(complete) = next_line(&mut reader, &mut bytes)? {
        head = complete.then(|| parse(&bytes)).flatten().map(|line| Head::of(line.seq, &bytes));
    }
    Ok(head)
}

/// Bytes of the first `lines` lines.
fn good_length(path: &Path, lines: u64) -> io::Result<u64> {
    let mut reader = BufReader::new(File::open(path)?);
    let (mut bytes, mut length) = (Vec::new(), 0);
    for _ in 0..lines {
        next_line(&mut reader, &mut bytes)?;
        length += bytes.len() as u64 + 1;
    }
    Ok(length)
}

/// Moves what follows the good lines into a file of its own, unless a line of the log is among it: a write that a crash
/// cut short leaves no such line behind, so there it was an edit, which is not ours to mend.
fn cut(dir: &Path, file: &mut File, good: u64, why: &ChainBreak) -> Result<Event, Fault> {
    let failed = |error: &io::Error| disk("repair", error);
    file.seek(SeekFrom::Start(good)).map_err(|e| failed(&e))?;
    let mut rest = Vec::new();
    file.read_to_end(&mut rest).map_err(|e| failed(&e))?;
    if rest.split_inclusive(|b| *b == b'\n').any(|l| l.strip_suffix(b"\n").is_some_and(|l| parse(l).is_some())) {
        return Err(broken(&why.to_string()));
    }
    let digest = hash(&rest);
    let mut aside = File::create(dir.join(format!("incomplete-{}", &digest[..16]))).map_err(|e| failed(&e))?;
    aside.write_all(&rest).and_then(|()| aside.sync_all()).map_err(|e| failed(&e))?;
    file.set_len(good).and_then(|()| file.sync_all()).map_err(|e| failed(&e))?;
    Ok(Event::LogRepaired { bytes: rest.len() as u64, digest })
}

fn broken(why: &str) -> Fault {
    let what = "Keep the folder as evidence, and let the agent begin a new log in another one.";
    Fault::new("audit-chain-broken", Blame::Box, format!("The audit log does not hold together: {why} {what}"))
}

fn disk(what: &str, error: &io::Error) -> Fault {
    Fault::new("audit-disk", Blame::Box, format!("Cannot {what} the audit log: {error}."))
}
