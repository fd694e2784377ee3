//! The rules, applied: reads how running rollouts stand and takes the steps that [`super::rules`] names.
//!
//! It keeps nothing in memory. Whatever moment the server dies at, the next look goes on from what was committed.
use super::orders::set;
use super::rules::{self, Step, Tally, Wave};
use super::{Status, awake, listed};
use crate::database::{Database, failed, now};
use crate::limits::rollout::{LONGEST_LOOK, SHORTEST_LOOK};
use rusqlite::{Connection, params};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use sund_ota::ddi::WAITS;
use sund_ota::descriptor::Descriptor;
use sund_ota::fault::Fault;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

/// Looks whenever `wake` is notified, and every [`LONGEST_LOOK`], until `stop`.
pub async fn run(database: Database, home: PathBuf, wake: Arc<Notify>, mut stop: watch::Receiver<bool>) {
    let looks = async {
        loop {
            if let Err(fault) = look(&database, home.clone()).await {
                tracing::error!(code = %fault.code, "rollouts do not go on: {fault}");
            }
            // Ten thousand boxes that speak at once cause a few looks.
            sleep(SHORTEST_LOOK).await;
            let _ = timeout(LONGEST_LOOK, wake.notified()).await;
        }
    };
    tokio::select! {
        () = looks => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

async fn look(database: &Database, home: PathBuf) -> Result<(), Fault> {
    let awake_since = awake::since(database).await?;
    let running = database
        .read(|c| c.query_row("SELECT count(*) FROM rollout WHERE status = 'running'", [], |r| r.get::<_, i64>(0)))?;
    if running == 0 {
        return Ok(());
    }
    let states = tokio::task::spawn_blocking(move || listed::states(&home)).await.map_err(failed)??;
    database.write(move |c| advance(c, &states, now(), awake_since)).await
}

/// One look at all running rollouts at a moment, by a server that could hear boxes since another one; in milliseconds
/// since 1970.
pub fn advance(c: &Connection, states: &BTreeMap<String, Descriptor>, at: i64, awake_since: i64) -> Result<(), Fault> {
    let rollouts: Vec<Rollout> = c
        .prepare_cached("SELECT id, name, state, sha256, silence_hours FROM rollout WHERE status = 'running' ORDER BY sequence DESC")
        .and_then(|mut rows| rows.query_map([], Rollout::read)?.collect())
        .map_err(failed)?;
    for rollout in rollouts {
        if states.get(&rollout.state).is_none_or(|state| state.sha256 != rollout.sha256) {
            let why = format!("The repository lists {} no more: it was withdrawn or replaced.", rollout.state);
            set(c, rollout.id, Status::Paused, Some(&why)).map_err(failed)?;
            continue;
        }
        rollout.advance(c, at, awake_since).map_err(failed)?;
    }
    Ok(())
}

struct Rollout {
    id: i64,
    name: String,
    state: String,
    sha256: String,
    silence_hours: i64,
}

impl Rollout {
    fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            name: row.get(1)?,
            state: row.get(2)?,
            sha256: row.get(3)?,
            silence_hours: row.get(4)?,
        })
    }

    fn advance(&self, c: &Connection, at: i64, awake_since: i64) -> rusqlite::Result<()> {
        self.hear_silence(c, at, awake_since)?;
        loop {
            match rules::next(&waves(c, self.id)?) {
                Step::Wait => return Ok(()),
                Step::Begin(wave) => self.begin(c, wave, at)?,
                Step::Pause(why) => {
                    tracing::warn!(rollout = self.name, "paused: {why}");
                    return set(c, self.id, Status::Paused, Some(&why));
                }
                Step::Finish => return set(c, self.id, Status::Finished, None),
            }
        }
    }

    /// A box that is not heard for the stated hours has failed, as far as anybody knows, and so has one that polls and has said no word of
    /// what it was offered in that time: its updater takes nothing up, or has stuck in the middle. One whose last word is that it waits,
    /// for its window perhaps, says that once. Where somebody has to confirm at the box, the hours begin when it was confirmed.
    fn hear_silence(&self, c: &Connection, at: i64, awake_since: i64) -> rusqlite::Result<()> {
        let hours = self.silence_hours;
        let before = at - hours * 60 * 60 * 1000;
        if awake_since >= before {
            return Ok(());
        }
        let last_is_wait = format!(
            "(SELECT m.execution = 'scheduled' OR m.text GLOB '{WAITS}*' FROM message m WHERE m.action = action.id ORDER BY m.id DESC LIMIT 1)"
        );
        for (why, is_silent) in [
            (
                format!("No word for {hours} hours."),
                "NOT EXISTS (SELECT 1 FROM device d WHERE d.id = action.device AND d.seen_at >= ?2)".to_owned(),
            ),
            (
                format!("It polls, and has said nothing of this for {hours} hours."),
                format!(
                    "NOT EXISTS (SELECT 1 FROM message m WHERE m.action = action.id AND m.at >= ?2) AND NOT coalesce({last_is_wait}, 0)
                     AND NOT EXISTS (SELECT 1 FROM rollout r WHERE r.id = ?1 AND r.confirm AND (NOT action.confirmed OR action.changed_at >= ?2))"
                ),
            ),
        ] {
            c.prepare_cached(&format!(
                "UPDATE action SET status = 'silent', reason = ?3, changed_at = ?4
                 WHERE rollout = ?1 AND current = 1 AND status IN ('offered', 'taken') AND offered_at < ?2 AND {is_silent}"
            ))?
            .execute(params![self.id, before, why, at])?;
        }
        Ok(())
    }

    /// Offers a wave. Where rollouts overlap the newest started one has its way: it takes a box over from older ones,
    /// and a box that a newer one has reached is left to that.
    fn begin(&self, c: &Connection, wave: usize, at: i64) -> rusqlite::Result<()> {
        let wave = wave as i64;
        c.execute("UPDATE wave SET begun_at = ?3 WHERE rollout = ?1 AND position = ?2", params![self.id, wave, at])?;
        c.execute(
            "UPDATE action SET status = 'canceled', reason = 'A newer rollout reached this box first.', changed_at = ?3
             WHERE rollout = ?1 AND wave = ?2 AND current = 1 AND status = 'scheduled' AND EXISTS (
                 SELECT 1 FROM action newer JOIN rollout r ON r.id = newer.rollout
                 WHERE newer.device = action.device AND newer.current = 1 AND newer.status NOT IN ('scheduled', 'canceled')
                   AND r.sequence > (SELECT sequence FROM rollout WHERE id = ?1))",
            params![self.id, wave, at],
        )?;
        c.execute(
            "UPDATE action SET status = 'offered', offered_at = ?3, changed_at = ?3
             WHERE rollout = ?1 AND wave = ?2 AND current = 1 AND status = 'scheduled'",
            params![self.id, wave, at],
        )?;
        c.execute(
            "UPDATE action SET status = CASE WHEN taken THEN 'canceling' ELSE 'canceled' END, reason = ?3, changed_at = ?4
             WHERE rollout <> ?1 AND status IN ('scheduled', 'offered', 'taken', 'silent')
               AND (SELECT sequence FROM rollout o WHERE o.id = action.rollout) < (SELECT sequence FROM rollout WHERE id = ?1)
               AND device IN (SELECT device FROM action WHERE rollout = ?1 AND wave = ?2 AND current = 1 AND status = 'offered')",
            params![self.id, wave, format!("The newer rollout `{}` took its place.", self.name), at],
        )
        .map(drop)
    }
}

/// A box that is asked to leave for a newer rollout counts as gone: one that is dead would keep the older one open for
/// ever, and one that answers that it is too late to leave counts as it says.
fn waves(c: &Connection, rollout: i64) -> rusqlite::Result<Vec<Wave>> {
    c.prepare_cached(
        "SELECT w.begun_at IS NOT NULL, w.success, w.error, count(a.id), total(a.status = 'finished'),
             total(a.status IN ('failed', 'silent') AND NOT a.accepted),
             total(a.status IN ('canceled', 'canceling') AND NOT a.accepted), total(a.accepted)
         FROM wave w LEFT JOIN action a ON a.rollout = w.rollout AND a.wave = w.position AND a.current = 1
         WHERE w.rollout = ?1 GROUP BY w.position ORDER BY w.position",
    )?
    .query_map([rollout], |r| {
        let count = |n: usize| r.get::<_, f64>(n).map(|count| count as u64);
        let tally = Tally {
            total: r.get::<_, i64>(3)? as u64,
            finished: count(4)?,
            failed: count(5)?,
            canceled: count(6)?,
            accepted: count(7)?,
        };
        Ok(Wave { begun: r.get(0)?, success: r.get(1)?, error: r.get(2)?, tally })
    })?
    .collect()
}
