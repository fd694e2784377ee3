//! What this process warns of in its log, kept on disk until the collector of the audit log has it: the journal, where it goes as well,
//! overwrites its oldest, and is collected by nobody.
//!
//! A record is one line of JSON, as `tracing` writes it; it names no patient, as nothing of the log does. Lines go into files of
//! bounded length. The collector gets the oldest file as a whole, which is removed then, so that there is no place to be
//! remembered; nothing is removed before. What comes while all together reach their bound is counted, and that it was lost is a record itself.
use crate::limits::records::{MAX_FILE, MAX_KEPT, MAX_RECORD};
use crate::numbered;
use serde_json::{Value, json};
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use tokio::sync::watch;
use tracing_subscriber::fmt::MakeWriter;

/// Their files are `log-NUMBER.jsonl`.
const PREFIX: &str = "log";

/// The records of a process; all clones are one.
#[derive(Clone, Debug)]
pub struct Records(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    files: Mutex<Files>,
    news: watch::Sender<()>,
}

#[derive(Debug)]
struct Files {
    folder: PathBuf,
    /// That which is written.
    open: Option<Open>,
    /// Number of the next one.
    next: u64,
    /// Length of all together, and its bound.
    bytes: u64,
    bound: u64,
    /// Records that were not kept, and not told yet.
    lost: u64,
}

#[derive(Debug)]
struct Open {
    number: u64,
    file: Arc<File>,
    bytes: u64,
}

/// A file of records that is to be collected.
#[derive(Debug)]
pub struct Batch {
    path: PathBuf,
    bytes: u64,
    /// Lines that a power cut has torn.
    torn: u64,
    /// In their order.
    pub records: Vec<Record>,
}

/// A record that was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When it was said, RFC 3339.
    pub at: String,
    /// An error, and no warning.
    pub is_error: bool,
    /// The line.
    pub text: String,
}

impl Records {
    /// Those in a folder, which is made where it is not there.
    pub fn open(folder: &Path) -> io::Result<Self> {
        Self::bounded(folder, MAX_KEPT)
    }

    fn bounded(folder: &Path, bound: u64) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let kept = files(folder)?;
        let mut bytes = 0;
        for (_, path) in &kept {
            bytes += fs::metadata(path)?.len();
        }
        let next = kept.last().map_or(0, |(number, _)| number + 1);
        let files = Files { folder: folder.to_owned(), open: None, next, bytes, bound, lost: 0 };
        let inner = Inner { folder: folder.to_owned(), files: Mutex::new(files), news: watch::Sender::new(()) };
        Ok(Self(Arc::new(inner)))
    }

    /// Wakes with each record.
    pub fn news(&self) -> watch::Receiver<()> {
        self.0.news.subscribe()
    }

    /// The oldest file, to which nothing is added any more; `None` where there is no record. What is kept is on stable storage then.
    pub fn oldest(&self) -> io::Result<Option<Batch>> {
        let (path, written) = {
            let mut files = self.files();
            let Some((number, path)) = self::files(&self.0.folder)?.into_iter().next() else { return Ok(None) };
            let written = files.open.as_ref().map(|open| Arc::clone(&open.file));
            if files.open.as_ref().is_some_and(|open| open.number == number) {
                files.open = None;
            }
            (path, written)
        };
        if let Some(written) = written {
            written.sync_data()?;
        }
        let mut bytes = Vec::new();
        File::open(&path)?.take(MAX_FILE + MAX_RECORD).read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        let records: Vec<_> = text.lines().filter_map(Record::read).collect();
        let torn = (text.lines().count() - records.len()) as u64;
        Ok(Some(Batch { path, bytes: bytes.len() as u64, torn, records }))
    }

    /// Removes what was collected.
    pub fn collected(&self, batch: &Batch) -> io::Result<()> {
        fs::remove_file(&batch.path)?;
        let mut files = self.files();
        files.bytes = files.bytes.saturating_sub(batch.bytes);
        files.lost += batch.torn;
        files.tell_lost();
        Ok(())
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.0.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Records {
    /// One record. It fails for nobody: one that is not kept is counted.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.files().append(line);
        self.0.news.send_replace(());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Records {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Files {
    fn append(&mut self, line: &[u8]) {
        self.tell_lost();
        if self.is_kept(line, self.bound) {
            return;
        }
        self.lost += 1;
        if self.lost == 1 {
            // Beyond the bound: it is told also where the process ends before there is room to say how many they were.
            let begins = own("records of the log are lost from here on: there is no room for them, or no disk", None);
            self.is_kept(&begins, self.bound + MAX_RECORD);
        }
    }

    /// Says how many were lost, once there is room.
    fn tell_lost(&mut self) {
        if self.lost > 0 && self.is_kept(&own("records of the log were lost", Some(self.lost)), self.bound) {
            self.lost = 0;
        }
    }

    fn is_kept(&mut self, line: &[u8], bound: u64) -> bool {
        let length = line.len() as u64;
        if length > MAX_RECORD || self.bytes + length > bound {
            return false;
        }
        let is_written = self.write(line).is_ok();
        if is_written {
            self.bytes += length;
        } else {
            // What follows half a line would be torn with it.
            self.open = None;
        }
        is_written
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let length = line.len() as u64;
        let mut open = match self.open.take().filter(|open| open.bytes + length <= MAX_FILE) {
            Some(open) => open,
            None => {
                let number = self.next;
                self.next += 1;
                let path = self.folder.join(numbered::name(PREFIX, number));
                let file = File::options().append(true).create_new(true).mode(0o600).open(path)?;
                Open { number, file: Arc::new(file), bytes: 0 }
            }
        };
        (&*open.file).write_all(line)?;
        open.bytes += length;
        self.open = Some(open);
        Ok(())
    }
}

impl Record {
    fn read(line: &str) -> Option<Self> {
        let json = serde_json::from_str::<Value>(line).ok()?;
        let at = json["timestamp"].as_str()?.to_owned();
        Some(Self { at, is_error: json["level"] == "ERROR", text: line.to_owned() })
    }
}

/// What is said of the records themselves; it does not go through the log, which would come back here.
fn own(message: &str, lost: Option<u64>) -> Vec<u8> {
    let at = humantime::format_rfc3339_micros(SystemTime::now()).to_string();
    let mut fields = json!({ "message": message });
    if let Some(lost) = lost {
        fields["lost"] = lost.into();
    }
    format!("{}\n", json!({ "timestamp": at, "level": "ERROR", "fields": fields, "target": module_path!() }))
        .into_bytes()
}

/// Files with their numbers, the oldest first; none where the folder is gone.
fn files(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    match numbered::files(folder, PREFIX) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        files => files,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> String {
        format!(
            "{}\n",
            json!({ "timestamp": "2026-11-29T17:00:00.123456Z", "level": "WARN", "fields": { "message": text } })
        )
    }

    fn say(records: &Records, text: &str) {
        records.clone().write_all(line(text).as_bytes()).unwrap();
    }

    /// Collects all that is there: what each record says, and how many it says were lost.
    fn collect(records: &Records) -> Vec<(String, Option<u64>)> {
        let mut told = Vec::new();
        while let Some(batch) = records.oldest().unwrap() {
            told.extend(batch.records.iter().map(|record| {
                let fields = serde_json::from_str::<Value>(&record.text).unwrap()["fields"].take();
                (fields["message"].as_str().unwrap().to_owned(), fields["lost"].as_u64())
            }));
            records.collected(&batch).unwrap();
        }
        told
    }

    fn length(folder: &Path) -> u64 {
        files(folder).unwrap().iter().map(|(_, path)| fs::metadata(path).unwrap().len()).sum()
    }

    #[test]
    fn records_wait_over_a_restart_and_go_in_their_order_once_they_are_collected_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::open(&folder.path().join("log")).unwrap();
        say(&records, "one");
        let sent = records.oldest().unwrap().unwrap();
        assert_eq!((sent.records.len(), sent.records[0].is_error), (1, false));
        // Nobody has it; what comes meanwhile goes elsewhere.
        say(&records, "two");
        drop(records);
        let records = Records::open(&folder.path().join("log")).unwrap();
        say(&records, "three");
        let again = records.oldest().unwrap().unwrap();
        assert_eq!(again.records, sent.records);
        let told = collect(&records);
        assert_eq!(told.iter().map(|(text, _)| text.as_str()).collect::<Vec<_>>(), ["one", "two", "three"]);
        assert_eq!((files(&records.0.folder).unwrap().len(), records.files().bytes), (0, 0));
    }

    #[test]
    fn what_there_is_no_room_for_is_told_at_once_and_counted_and_takes_no_more_of_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let bound = 10 * line("a record").len() as u64;
        let records = Records::bounded(folder.path(), bound).unwrap();
        (0..1000).for_each(|_| say(&records, "a record"));
        assert!(length(folder.path()) < bound + 300, "{}", length(folder.path()));
        let told = collect(&records);
        assert_eq!(told.len(), 12, "{told:?}");
        assert!(told[10].0.starts_with("records of the log are lost from here on"), "{told:?}");
        assert_eq!(told[11], ("records of the log were lost".to_owned(), Some(990)));
        // A process that ends before it can tell how many they were has told that they are.
        (0..11).for_each(|_| say(&records, "a record"));
        drop(records);
        let told = collect(&Records::bounded(folder.path(), bound).unwrap());
        assert!(told.last().unwrap().0.starts_with("records of the log are lost from here on"), "{told:?}");
    }

    #[test]
    fn a_record_that_a_power_cut_has_torn_is_counted_and_holds_up_none() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::open(folder.path()).unwrap();
        say(&records, "one");
        say(&records, "two");
        let (_, path) = files(folder.path()).unwrap().remove(0);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 9]).unwrap();
        let told = collect(&Records::open(folder.path()).unwrap());
        assert_eq!(told, [("one".to_owned(), None), ("records of the log were lost".to_owned(), Some(1))]);
    }

    #[test]
    fn a_longer_record_than_a_message_holds_is_lost_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::open(folder.path()).unwrap();
        say(&records, &"x".repeat(MAX_RECORD as usize));
        say(&records, "one");
        let told = collect(&records);
        assert_eq!(told.iter().map(|(_, lost)| *lost).collect::<Vec<_>>(), [None, Some(1), None]);
        assert_eq!(told[2].0, "one");
    }

    #[test]
    fn files_are_no_longer_than_one_connection_takes() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::open(folder.path()).unwrap();
        let long = "x".repeat(MAX_RECORD as usize / 2);
        (0..40).for_each(|_| say(&records, &long));
        let files = files(folder.path()).unwrap();
        assert!(files.len() > 1 && files.iter().all(|(_, path)| fs::metadata(path).unwrap().len() <= MAX_FILE));
        assert_eq!(collect(&records).len(), 40);
    }

    #[test]
    fn a_disk_that_takes_nothing_ends_nothing_and_is_told_once_it_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let records = Records::open(&path).unwrap();
        fs::remove_dir(&path).unwrap();
        (0..3).for_each(|_| say(&records, "lost"));
        assert!(records.oldest().unwrap().is_none());
        fs::create_dir(&path).unwrap();
        say(&records, "kept");
        assert_eq!(
            collect(&records),
            [("records of the log were lost".to_owned(), Some(3)), ("kept".to_owned(), None)]
        );
    }
}
