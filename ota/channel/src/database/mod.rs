//! `channel.db`: what the server knows of devices and rollouts.
//!
//! One thread writes. Writes that wait together share one commit, and nobody is answered before it is on the disk. Devices
//! read over one connection, people over another: a page that counts the fleet holds up no poll.
mod schema;

use crate::limits::database::{BUSY_TIME, MAX_BATCH, MAX_WAITING};
use crate::repository::files;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use sund_ota::fault::{Blame, Fault};
use tokio::sync::{oneshot, watch};

/// The name of the file in the channel's home.
pub const FILE_NAME: &str = "channel.db";

/// The database of a running server.
#[derive(Clone)]
pub struct Database {
    writer: SyncSender<Job>,
    devices: Arc<Mutex<Connection>>,
    people: Arc<Mutex<Connection>>,
    changes: watch::Receiver<u64>,
}

/// Does its work inside a transaction and gives what answers whoever waits, once it is known how the commit went.
type Job = Box<dyn FnOnce(Result<&Connection, Fault>) -> Reply + Send>;
type Reply = Box<dyn FnOnce(Result<(), Fault>) + Send>;

impl Database {
    /// Opens the database of a channel's home, or makes it.
    pub fn open(home: &Path) -> Result<Self, Fault> {
        let path = home.join(FILE_NAME);
        let mut writing = connect(&path, true)?;
        schema::migrate(&mut writing).map_err(|why| unusable(&path, &why))?;
        let (writer, jobs) = sync_channel(MAX_WAITING);
        let (changed, changes) = watch::channel(0);
        std::thread::Builder::new()
            .name("database".into())
            .spawn(move || write_until_closed(&writing, &jobs, &changed))
            .map_err(|error| unusable(&path, &error.to_string()))?;
        let reader = || connect(&path, false).map(|connection| Arc::new(Mutex::new(connection)));
        let devices = reader()?;
        // The same few statements for each poll, and each device has as many rows: SQLite would prepare them anew for each value that it is given.
        let is_stable = devices
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true);
        is_stable.map_err(|error| unusable(&path, &error.to_string()))?;
        Ok(Self { writer, devices, people: reader()?, changes })
    }

    /// A number that grows with every commit.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    /// Reads a little, at once: the few rows of one device.
    pub fn read<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Fault> {
        let connection = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        work(&connection).map_err(failed)
    }

    /// Reads much, off the event loop: what people look at.
    pub async fn survey<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let people = Arc::clone(&self.people);
        let read = move || {
            let connection = people.lock().unwrap_or_else(PoisonError::into_inner);
            work(&connection)
        };
        tokio::task::spawn_blocking(read).await.unwrap_or_else(|error| Err(failed(error)))
    }

    /// Writes, all or nothing, and answers when it is on the disk.
    pub async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let done = connection.and_then(|connection| apart(connection, work));
            // Whoever asked may be gone; what was written stays.
            Box::new(move |committed: Result<(), Fault>| drop(answer.send(committed.and(done))))
        });
        match self.writer.try_send(job) {
            Ok(()) => answered.await.unwrap_or_else(|error| Err(failed(error))),
            Err(TrySendError::Full(_)) => {
                Err(Fault::new("overloaded", Blame::Channel, "Too many writes wait for the disk; try again later."))
            }
            Err(TrySendError::Disconnected(_)) => Err(failed("its writer has ended")),
        }
    }
}

/// One job's work: its error takes back its own writes, and nobody else's.
fn apart<T>(connection: &Connection, work: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, Fault> {
    connection.execute_batch("SAVEPOINT job").map_err(failed)?;
    let done = work(connection);
    let end = if done.is_ok() { "RELEASE job" } else { "ROLLBACK TO job; RELEASE job" };
    connection.execute_batch(end).map_err(failed)?;
    done
}

fn write_until_closed(connection: &Connection, jobs: &Receiver<Job>, changed: &watch::Sender<u64>) {
    while let Ok(first) = jobs.recv() {
        let begun = connection.execute_batch("BEGIN IMMEDIATE").map_err(failed);
        let place = begun.map(|()| connection);
        let mut replies = vec![first(place.clone())];
        while replies.len() < MAX_BATCH {
            let Ok(job) = jobs.try_recv() else { break };
            replies.push(job(place.clone()));
        }
        let committed = place.and_then(|connection| connection.execute_batch("COMMIT").map_err(failed));
        if committed.is_err() && !connection.is_autocommit() {
            // Nothing more can be done about a rollback that fails: the next BEGIN says so.
            let _ = connection.execute_batch("ROLLBACK");
        }
        changed.send_modify(|n| *n += 1);
        for reply in replies {
            reply(committed.clone());
        }
    }
}

fn connect(path: &Path, writes: bool) -> Result<Connection, Fault> {
    let open = || {
        let mut flags = OpenFlags::SQLITE_OPEN_NO_MUTEX;
        flags |= if writes {
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE
        } else {
            OpenFlags::SQLITE_OPEN_READ_ONLY
        };
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_TIME)?;
        if writes {
            // FULL: a commit of the write-ahead log is on the disk before it is answered.
            connection
                .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON")?;
        }
        connection.set_prepared_statement_cache_capacity(64);
        Ok::<_, rusqlite::Error>(connection)
    };
    open().map_err(|error| unusable(path, &error.to_string()))
}

/// Reads from the database of a home, whether or not a server runs on it; nothing where none has ever run.
pub fn read<T>(home: &Path, work: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<Option<T>, Fault> {
    let path = home.join(FILE_NAME);
    if path.is_file() { work(&connect(&path, false)?).map(Some) } else { Ok(None) }
}

/// Copies the database of a home to a file, whole and with all that is committed, whether or not a server runs on it.
pub fn copy(home: &Path, to: &Path) -> Result<(), Fault> {
    let part = to.with_added_extension("part");
    let unwritten = |error: &dyn std::fmt::Display| {
        let reason = format!("{} was not written: {error}", to.display());
        Fault::new("backup-failed", Blame::Box, reason)
    };
    let from = home.join(FILE_NAME);
    if !from.is_file() {
        let reason = format!("{} is not there: name the home of a channel that has served", from.display());
        return Err(Fault::new("backup-failed", Blame::Configuration, reason));
    }
    let source = connect(&from, false)?;
    // SQLite writes into a file that is there and empty: by then nobody else may read it.
    let open = || OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part);
    let file = open().map_err(|error| unwritten(&error))?;
    source.execute("VACUUM INTO ?1", [part.to_string_lossy()]).map_err(|error| unwritten(&error))?;
    let placed = file.sync_all().and_then(|()| std::fs::rename(&part, to)).and_then(|()| files::sync_directory(to));
    placed.map_err(|error| unwritten(&error))
}

fn unusable(path: &Path, why: &str) -> Fault {
    let reason = format!("The database {} cannot be used: {why}.", PathBuf::from(path).display());
    Fault::new("database-unusable", Blame::Channel, reason)
}

/// A read or a write that failed.
pub(crate) fn failed(error: impl std::fmt::Display) -> Fault {
    Fault::new("database-failed", Blame::Channel, format!("The database failed: {error}."))
}

/// Writes down who did what: beside what they did, in the same commit.
pub(crate) fn record(connection: &Connection, who: &str, what: &str, subject: &str) -> Result<(), Fault> {
    tracing::info!(who, what, subject, "done");
    let act = "INSERT INTO act (at, who, what, subject) VALUES (?1, ?2, ?3, ?4)";
    connection.prepare_cached(act).and_then(|mut act| act.execute((now(), who, what, subject))).map_err(failed)?;
    Ok(())
}

/// Milliseconds since 1970.
pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// An enum of fixed words: in the database, in JSON and on the page they are the same ones.
macro_rules! words {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[$doc])* #[serde(rename = $word)] $variant),+ }

        impl $name {
            /// Its word.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl rusqlite::ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
                Ok(self.word().into())
            }
        }

        impl rusqlite::types::FromSql for $name {
            fn column_result(value: rusqlite::types::ValueRef<'_>) -> rusqlite::types::FromSqlResult<Self> {
                match value.as_str()? {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(rusqlite::types::FromSqlError::InvalidType),
                }
            }
        }
    };
}
pub(crate) use words;

/// An empty database that is gone with its connection.
#[cfg(test)]
pub(crate) fn in_memory() -> Connection {
    let mut connection = Connection::open_in_memory().unwrap();
    schema::migrate(&mut connection).unwrap();
    connection
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_write_that_fails_takes_back_its_own_and_nobody_elses() {
        let home = tempfile::tempdir().unwrap();
        let database = Database::open(home.path()).unwrap();
        let act = "INSERT INTO act (at, who, what, subject) VALUES (1, 'a', ?1, '')";
        let good = database.write(move |c| c.execute(act, ["good"]).map_err(failed));
        let bad = database.write(move |c| {
            c.execute(act, ["bad"]).map_err(failed)?;
            Err::<(), _>(Fault::new("refused", Blame::Region, "no"))
        });
        let (good, bad) = tokio::join!(good, bad);
        assert_eq!((good.is_ok(), bad.map_err(|fault| fault.code.to_string())), (true, Err("refused".into())));
        let kept: String =
            database.read(|c| c.query_row("SELECT group_concat(what) FROM act", [], |r| r.get(0))).unwrap();
        assert_eq!(kept, "good");
    }

    #[test]
    fn a_database_of_a_newer_server_is_left_alone() {
        let home = tempfile::tempdir().unwrap();
        drop(Database::open(home.path()).unwrap());
        let path = home.path().join(FILE_NAME);
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
        let fault = Database::open(home.path()).err().unwrap();
        assert_eq!(fault.code, "database-unusable");
        assert!(fault.reason.contains("use a newer server"), "{fault}");
    }
}
