//! Removes what was collected and has been kept for its time. The line before the first that stays is kept: the chain begins there.
use super::super::line::{Head, files};
use super::super::log::last_line;
use super::cursor::{Cursor, read, write};
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

const FILE: &str = "removed.json";
/// Files that always stay: the log goes on in the last, which is held against the one before.
const STAY: usize = 2;

/// The line before the first file, where older ones were collected and removed.
pub fn start(dir: &Path) -> io::Result<Option<Head>> {
    Ok(read(dir, FILE)?.map(|cursor| Head { seq: cursor.seq, hash: cursor.hash }))
}

/// Removes files whose lines were all collected, the last of them `keep` ago or more.
pub(super) fn prune(dir: &Path, collected: &Cursor, keep: Duration) -> io::Result<()> {
    let files = files(dir)?;
    let oldest = SystemTime::now().checked_sub(keep).unwrap_or(SystemTime::UNIX_EPOCH);
    for pair in files[..files.len().saturating_sub(STAY - 1)].windows(2) {
        let [(_, path), (next, _)] = pair else { break };
        let is_old = fs::metadata(path)?.modified()? <= oldest;
        if !is_old || collected.seq + 1 < *next {
            break;
        }
        let Some(last) = last_line(path)?.filter(|last| last.seq + 1 == *next) else { break };
        // First where the chain begins then: a file that is removed and not told would look like a cut.
        write(dir, FILE, &Cursor::of(last.seq, last.hash))?;
        fs::remove_file(path)?;
        File::open(dir)?.sync_all()?;
        tracing::info!(file = %path.display(), "a collected file of the audit log was removed");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Anchors, Event, Key, Log, Options, verify};

    fn written(dir: &Path, events: usize) -> Vec<Head> {
        let options = Options { dir: dir.to_owned(), key: Key::new([7; 32]), source: "SUND".into(), max_file: 1 };
        let log = Log::open(options).unwrap();
        let event = || Event::AgentStarted { version: "1".into() };
        (0..events).map(|_| log.append(event()).unwrap()).collect()
    }

    #[test]
    fn nothing_goes_before_it_is_collected_and_its_time_is_over_and_the_chain_holds_without_it() {
        let folder = tempfile::tempdir().unwrap();
        let heads = written(folder.path(), 6);
        let count = || files(folder.path()).unwrap().len();
        let cursor = |seq: usize| Cursor::of(heads[seq].seq, heads[seq].hash.clone());
        assert_eq!(count(), 6);
        prune(folder.path(), &cursor(5), Duration::from_hours(1)).unwrap();
        assert_eq!(count(), 6, "its time is not over");
        prune(folder.path(), &cursor(1), Duration::ZERO).unwrap();
        assert_eq!(count(), 4, "what was not collected stays");
        prune(folder.path(), &cursor(5), Duration::ZERO).unwrap();
        assert_eq!(count(), STAY);
        let anchors = Anchors { start: start(folder.path()).unwrap(), head: Some(heads[5].clone()) };
        assert_eq!(verify(folder.path(), &anchors).unwrap().lines, 2);
        // The log goes on, and a file that is left over from a removal that a power cut ended is none of the chain.
        assert_eq!(written(folder.path(), 1)[0].seq, 6);
    }
}
