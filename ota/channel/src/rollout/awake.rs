//! Since when boxes could be heard. A server that was away has heard nobody: that is its own silence, and no box's.
use crate::database::{Database, failed, now};
use crate::limits::rollout::{LONGEST_ABSENCE, LONGEST_LOOK};
use rusqlite::{Connection, OptionalExtension, params};
use std::time::Duration;
use sund_ota::fault::Fault;

/// The moment since when boxes could be heard, in milliseconds since 1970. To be asked again and again: that is how the
/// server says that it is awake.
pub async fn since(database: &Database) -> Result<i64, Fault> {
    let at = now();
    let known = database.read(Awake::read)?;
    let awake = Awake::go_on(known, at);
    if known.is_none_or(|known| known.since != awake.since || (at - known.until).abs() >= milliseconds(LONGEST_LOOK)) {
        database.write(move |c| awake.write(c).map_err(failed)).await?;
    }
    Ok(awake.since)
}

/// What is kept of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Awake {
    since: i64,
    until: i64,
}

impl Awake {
    /// A restart is no absence: a server that starts anew each night would never call anybody silent. After one that is
    /// longer, or that the whole machine slept through, it counts anew.
    fn go_on(known: Option<Self>, at: i64) -> Self {
        let known = known.filter(|known| at - known.until <= milliseconds(LONGEST_ABSENCE));
        // A clock that was set back leaves no moment in the future.
        Self { since: known.map_or(at, |known| known.since.min(at)), until: at }
    }

    fn read(c: &Connection) -> rusqlite::Result<Option<Self>> {
        let row = "SELECT since, until FROM awake";
        c.prepare_cached(row)?.query_row([], |r| Ok(Self { since: r.get(0)?, until: r.get(1)? })).optional()
    }

    fn write(self, c: &Connection) -> rusqlite::Result<()> {
        let row = "INSERT INTO awake (id, since, until) VALUES (1, ?1, ?2) ON CONFLICT (id) DO UPDATE SET since = ?1, until = ?2";
        c.prepare_cached(row)?.execute(params![self.since, self.until]).map(drop)
    }
}

fn milliseconds(time: Duration) -> i64 {
    time.as_millis() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absence_counts_from_its_end_and_a_restart_is_none() {
        let (minute, hour) = (60 * 1000, 60 * 60 * 1000);
        let mut known = None;
        let mut since = |at| known.insert(Awake::go_on(known, at)).since;
        assert_eq!(since(hour), hour);
        assert_eq!(since(hour + minute), hour);
        assert_eq!(since(hour + 5 * minute), hour, "it was started anew");
        assert_eq!(since(30 * hour), 30 * hour, "it was away");
        assert_eq!(since(30 * hour + minute), 30 * hour);
        assert_eq!(since(20 * hour), 20 * hour, "its clock was set back");
        assert_eq!(since(20 * hour + minute), 20 * hour);
    }
}
