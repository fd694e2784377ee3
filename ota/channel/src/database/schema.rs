//! The tables, one step for each format. A step that was released is never changed: the next one follows it.
use rusqlite::Connection;

const STEPS: [&str; 8] = [FIRST, TAKEN, ESCROW, ACCEPTED, AWAKE, MIRROR, AUTHORITY, HEARD];

const FIRST: &str = "
CREATE TABLE device (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    token BLOB,
    attributes TEXT NOT NULL DEFAULT '{}',
    reported TEXT NOT NULL DEFAULT '{}',
    reported_at INTEGER,
    blocked INTEGER NOT NULL DEFAULT 0,
    enrolled_at INTEGER NOT NULL,
    certificate_until INTEGER,
    key BLOB,
    seen_at INTEGER,
    installed INTEGER,
    installed_state TEXT
) STRICT;
CREATE UNIQUE INDEX device_token ON device (token) WHERE token IS NOT NULL;
CREATE TABLE code (
    hash BLOB PRIMARY KEY,
    device INTEGER NOT NULL REFERENCES device (id),
    expires_at INTEGER NOT NULL,
    key BLOB
) STRICT;
CREATE TABLE rollout (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    length INTEGER NOT NULL,
    status TEXT NOT NULL,
    reason TEXT,
    created_by TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    approved_by TEXT,
    started_at INTEGER,
    sequence INTEGER,
    silence_hours INTEGER NOT NULL,
    maintenance TEXT,
    confirm INTEGER NOT NULL
) STRICT;
CREATE TABLE wave (
    rollout INTEGER NOT NULL REFERENCES rollout (id),
    position INTEGER NOT NULL,
    filter TEXT NOT NULL,
    success INTEGER NOT NULL,
    error INTEGER NOT NULL,
    accepted INTEGER NOT NULL DEFAULT 0,
    begun_at INTEGER,
    PRIMARY KEY (rollout, position)
) STRICT;
CREATE TABLE action (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    rollout INTEGER NOT NULL REFERENCES rollout (id),
    wave INTEGER NOT NULL,
    device INTEGER NOT NULL REFERENCES device (id),
    status TEXT NOT NULL,
    current INTEGER NOT NULL DEFAULT 1,
    confirmed INTEGER NOT NULL DEFAULT 0,
    offered_at INTEGER,
    changed_at INTEGER NOT NULL,
    done INTEGER,
    total INTEGER,
    reason TEXT
) STRICT;
CREATE INDEX action_of_device ON action (device, status);
CREATE INDEX action_of_wave ON action (rollout, wave, status) WHERE current = 1;
CREATE INDEX action_failed ON action (changed_at) WHERE current = 1 AND status IN ('failed', 'silent');
CREATE TABLE message (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    action INTEGER NOT NULL REFERENCES action (id),
    at INTEGER NOT NULL,
    execution TEXT NOT NULL,
    finished TEXT NOT NULL,
    text TEXT NOT NULL
) STRICT;
CREATE INDEX message_of_action ON message (action, id);
CREATE TABLE act (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    who TEXT NOT NULL,
    what TEXT NOT NULL,
    subject TEXT NOT NULL
) STRICT;
";

/// Silence hides whether a box has begun: that is kept apart. Of actions from before nobody knows; such a box is asked
/// to leave it, which costs a box that never began one more poll.
const TAKEN: &str = "
ALTER TABLE action ADD COLUMN taken INTEGER NOT NULL DEFAULT 0;
UPDATE action SET taken = 1 WHERE status NOT IN ('scheduled', 'offered');
";

const ESCROW: &str = "
CREATE TABLE escrow (
    device INTEGER NOT NULL REFERENCES device (id),
    sha256 BLOB NOT NULL,
    recipient TEXT NOT NULL,
    sealed BLOB NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (device, sha256)
) STRICT;
";

/// A person accepts how these boxes ended, and not a number of failures, which others could use up. Of a wave from before
/// the oldest are taken to be meant: whatever came after them, nobody has seen.
const ACCEPTED: &str = "
ALTER TABLE action ADD COLUMN accepted INTEGER NOT NULL DEFAULT 0;
UPDATE action SET accepted = 1 WHERE id IN (
    SELECT id FROM (
        SELECT a.id, w.accepted AS places, row_number() OVER (PARTITION BY a.rollout, a.wave ORDER BY a.changed_at, a.id) AS place
        FROM action a JOIN wave w ON w.rollout = a.rollout AND w.position = a.wave
        WHERE a.current = 1 AND a.status IN ('failed', 'silent'))
    WHERE place <= places);
ALTER TABLE wave DROP COLUMN accepted;
CREATE TRIGGER action_is_otherwise AFTER UPDATE OF status ON action
WHEN NEW.accepted AND NEW.status <> OLD.status AND NEW.status <> 'canceled'
BEGIN UPDATE action SET accepted = 0 WHERE id = NEW.id; END;
";

const AWAKE: &str = "
CREATE TABLE awake (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    since INTEGER NOT NULL,
    until INTEGER NOT NULL
) STRICT;
";

const MIRROR: &str = "ALTER TABLE device ADD COLUMN mirror INTEGER NOT NULL DEFAULT 0;";

/// How a device stands with the channel's authorities; of one from before nobody knows, and it counts as one of the first.
const AUTHORITY: &str = "
ALTER TABLE device ADD COLUMN authority TEXT;
ALTER TABLE device ADD COLUMN believes TEXT;
";

/// Which version of the repository a box has heard and since when it hears none, and when each became public; which boxes a rollout's state is for.
const HEARD: &str = "
ALTER TABLE device ADD COLUMN heard INTEGER;
ALTER TABLE device ADD COLUMN unheard_since INTEGER;
CREATE TABLE publication (
    version INTEGER PRIMARY KEY,
    at INTEGER NOT NULL
) STRICT;
ALTER TABLE rollout ADD COLUMN boxes TEXT;
";

/// Brings a database to the newest format. One from a newer server is an error, and nothing of it is touched.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), String> {
    let text = |error: rusqlite::Error| error.to_string();
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(text)?;
    let format: u32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(text)?;
    let Some(missing) = STEPS.get(format as usize..) else {
        return Err(format!("it has format {format}, and this server knows {}: use a newer server", STEPS.len()));
    };
    for step in missing {
        transaction.execute_batch(step).map_err(text)?;
    }
    transaction.pragma_update(None, "user_version", STEPS.len() as u32).map_err(text)?;
    transaction.commit().map_err(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_of_the_first_format_goes_on_and_no_silent_box_is_taken_for_one_that_never_began() {
        let mut c = Connection::open_in_memory().unwrap();
        c.execute_batch(FIRST).unwrap();
        c.pragma_update(None, "user_version", 1).unwrap();
        let rows = "INSERT INTO device (id, name, enrolled_at) VALUES (1, 'a', 1);
            INSERT INTO rollout (id, name, state, sha256, length, status, created_by, created_at, silence_hours, confirm)
                VALUES (1, 'r', 'state/s.json', '0', 1, 'paused', 'a', 1, 24, 0);
            INSERT INTO action (rollout, wave, device, status, changed_at)
                VALUES (1, 0, 1, 'scheduled', 1), (1, 0, 1, 'offered', 1), (1, 0, 1, 'taken', 1), (1, 0, 1, 'silent', 1);";
        c.execute_batch(rows).unwrap();
        migrate(&mut c).unwrap();
        let taken = "SELECT group_concat(status || taken, ' ') FROM (SELECT * FROM action ORDER BY id)";
        let taken: String = c.query_row(taken, [], |r| r.get(0)).unwrap();
        assert_eq!(taken, "scheduled0 offered0 taken1 silent1");
    }

    #[test]
    fn what_a_person_accepted_as_a_number_are_boxes_from_now_on_and_no_more_of_them() {
        let mut c = Connection::open_in_memory().unwrap();
        for step in &STEPS[..3] {
            c.execute_batch(step).unwrap();
        }
        c.pragma_update(None, "user_version", 3).unwrap();
        let rows = "INSERT INTO device (id, name, enrolled_at) VALUES (1, 'a', 1);
            INSERT INTO rollout (id, name, state, sha256, length, status, created_by, created_at, silence_hours, confirm)
                VALUES (1, 'r', 'state/s.json', '0', 1, 'paused', 'a', 1, 24, 0);
            INSERT INTO wave (rollout, position, filter, success, error, accepted) VALUES (1, 0, '', 0, 0, 2), (1, 1, '', 0, 0, 0);
            INSERT INTO action (rollout, wave, device, status, changed_at)
                VALUES (1, 0, 1, 'failed', 3), (1, 0, 1, 'silent', 2), (1, 0, 1, 'failed', 1), (1, 0, 1, 'taken', 0), (1, 1, 1, 'failed', 0);";
        c.execute_batch(rows).unwrap();
        migrate(&mut c).unwrap();
        let standing = || -> String {
            let all = "SELECT group_concat(status || accepted, ' ') FROM (SELECT * FROM action ORDER BY id)";
            c.query_row(all, [], |r| r.get(0)).unwrap()
        };
        assert_eq!(standing(), "failed0 silent1 failed1 taken0 failed0");
        c.execute("UPDATE action SET status = 'taken' WHERE status = 'silent'", []).unwrap();
        assert_eq!(standing(), "failed0 taken0 failed1 taken0 failed0", "a box that is back is no longer accepted");
    }
}
