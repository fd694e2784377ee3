//! What people order: make, approve, start, pause, resume, stop, retry. Each is one transaction and one line in the
//! acts.
use super::filter::{Attributes, Filter};
use super::maintenance;
use super::plan::{self, Candidate};
use super::{New, NewWave, Status, meant};
use crate::database::{failed, now, record};
use crate::limits::rollout::{MAX_NAME, MAX_SILENCE_HOURS, MAX_WAVES};
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use sund_ota::descriptor::Descriptor;
use sund_ota::fault::{Blame, Fault};

/// What may be ordered of a rollout that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Agree to it.
    Approve,
    /// Plan its waves and begin.
    Start,
    /// Offer nothing more.
    Pause,
    /// Go on: who failed, fell silent or was taken over so far is accepted.
    Resume,
    /// End it: what boxes have not finished is taken back.
    Stop,
    /// Offer it again to the boxes that failed, and go on.
    Retry,
}

impl Order {
    fn word(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Start => "start",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Stop => "stop",
            Self::Retry => "retry",
        }
    }
}

fn refused(code: &'static str, reason: impl Into<String>) -> Fault {
    Fault::new(code, Blame::Configuration, reason)
}

/// The refusal of a name that no rollout has.
pub fn unknown(name: &str) -> Fault {
    refused("rollout-unknown", format!("There is no rollout `{name}`."))
}

/// A state that is to be rolled out.
#[derive(Clone, Debug)]
pub struct State {
    /// What names it.
    pub descriptor: Descriptor,
    /// The boxes that it is for, as it says; absent: all.
    pub boxes: Option<Vec<String>>,
}

/// Makes a rollout of a state that the repository lists. Its groups take no box that the state is not for.
pub fn make(c: &Connection, new: &New, state: &State, needs_approval: bool, who: &str) -> Result<(), Fault> {
    let State { descriptor: state, boxes } = state;
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if new.name.is_empty() || new.name.len() > MAX_NAME || !new.name.bytes().all(is_plain) {
        let reason = format!("A rollout's name has 1 to {MAX_NAME} letters, digits, dots, dashes and underscores.");
        return Err(refused("rollout-name", reason));
    }
    if new.waves.is_empty() || new.waves.len() > MAX_WAVES {
        return Err(refused("rollout-groups", format!("A rollout has 1 to {MAX_WAVES} groups.")));
    }
    if new.waves.len() == 1 && !new.all_at_once {
        let reason = "One group alone has no canaries: put a small one before it (--group 2%), or say --all-at-once.";
        return Err(refused("rollout-no-canary", reason));
    }
    if !(1..=MAX_SILENCE_HOURS).contains(&new.silence_hours) {
        return Err(refused("rollout-silence", format!("Silence is 1 to {MAX_SILENCE_HOURS} hours.")));
    }
    new.maintenance.as_ref().map_or(Ok(()), maintenance::check)?;
    let taken =
        c.query_row("SELECT 1 FROM rollout WHERE name = ?1", [&new.name], |_| Ok(())).optional().map_err(failed)?;
    if taken.is_some() {
        return Err(refused(
            "rollout-exists",
            format!("There is a rollout `{}` already: take another name.", new.name),
        ));
    }
    let status = if needs_approval { Status::WaitingForApproval } else { Status::Ready };
    let window = new.maintenance.as_ref().map(serde_json::to_string).transpose().map_err(failed)?;
    let only = boxes.as_ref().map(serde_json::to_string).transpose().map_err(failed)?;
    c.execute(
        "INSERT INTO rollout (name, state, sha256, length, status, created_by, created_at, silence_hours, maintenance, confirm, boxes)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        params![
            new.name, state.target, state.sha256, state.length as i64, status, who, now(), new.silence_hours, window, new.confirm, only
        ],
    )
    .map_err(failed)?;
    let rollout = c.last_insert_rowid();
    let mut filters = Vec::new();
    for (position, NewWave { filter, success, error }) in new.waves.iter().enumerate() {
        let filter: Filter = filter.parse()?;
        if *success > 100 || *error > 100 {
            return Err(refused("rollout-thresholds", "Thresholds are 0 to 100 percent."));
        }
        c.execute(
            "INSERT INTO wave (rollout, position, filter, success, error) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![rollout, position as i64, filter.to_string(), success, error],
        )
        .map_err(failed)?;
        filters.push(filter);
    }
    plan(c, &new.name, &filters, boxes.as_deref())?;
    record(c, who, "rollout new", &new.name)
}

/// Carries out an order.
pub fn order(c: &Connection, name: &str, order: Order, who: &str) -> Result<(), Fault> {
    let row = "SELECT id, status, created_by FROM rollout WHERE name = ?1";
    let found = c
        .query_row(row, [name], |r| Ok((r.get::<_, i64>(0)?, r.get::<_, Status>(1)?, r.get::<_, String>(2)?)))
        .optional()
        .map_err(failed)?;
    let (id, status, maker) = found.ok_or_else(|| unknown(name))?;
    let done = match (order, status) {
        (Order::Approve, Status::WaitingForApproval) if maker == who => {
            return Err(refused("rollout-own", "Who makes a rollout does not approve it: ask another approver."));
        }
        (Order::Approve, Status::WaitingForApproval) => approve(c, id, who),
        (Order::Start, Status::Ready) => Ok(start(c, id, name)?),
        (Order::Start, Status::WaitingForApproval) => {
            return Err(refused("rollout-not-approved", format!("No approver has agreed to `{name}` yet.")));
        }
        (Order::Pause, Status::Running) => set(c, id, Status::Paused, Some(&format!("Paused by {who}."))),
        (Order::Resume, Status::Paused) => accept(c, id).and_then(|()| go_on(c, id)),
        (Order::Stop, Status::WaitingForApproval | Status::Ready | Status::Running | Status::Paused) => {
            take_back(c, id, &format!("The rollout `{name}` was stopped."))
                .and_then(|()| set(c, id, Status::Stopped, Some(&format!("Stopped by {who}."))))
        }
        (Order::Retry, Status::Running | Status::Paused | Status::Finished) => retry(c, id).and_then(|()| go_on(c, id)),
        _ => {
            let reason = format!("`{name}` is {}: {} does nothing there.", status.word(), order.word());
            return Err(refused("rollout-order", reason));
        }
    };
    done.map_err(failed)?;
    record(c, who, &format!("rollout {}", order.word()), name)
}

/// The switch: stops every rollout. Gives how many.
pub fn stop_all(c: &Connection, who: &str) -> Result<u64, Fault> {
    let names: Vec<String> = c
        .prepare("SELECT name FROM rollout WHERE status IN ('waiting-for-approval', 'ready', 'running', 'paused')")
        .and_then(|mut rows| rows.query_map([], |r| r.get(0))?.collect())
        .map_err(failed)?;
    names.iter().try_for_each(|name| order(c, name, Order::Stop, who))?;
    Ok(names.len() as u64)
}

pub(super) fn set(c: &Connection, id: i64, status: Status, reason: Option<&str>) -> rusqlite::Result<()> {
    c.execute("UPDATE rollout SET status = ?2, reason = ?3 WHERE id = ?1", params![id, status, reason]).map(drop)
}

/// Runs on. In a pause no box was offered anything: its hours are no box's silence, and each has its own anew.
fn go_on(c: &Connection, id: i64) -> rusqlite::Result<()> {
    c.execute(
        "UPDATE action SET offered_at = ?2 WHERE rollout = ?1 AND current = 1 AND status IN ('offered', 'taken')
           AND EXISTS (SELECT 1 FROM rollout r WHERE r.id = ?1 AND r.status = 'paused')",
        params![id, now()],
    )?;
    set(c, id, Status::Running, None)
}

fn approve(c: &Connection, id: i64, who: &str) -> rusqlite::Result<()> {
    c.execute("UPDATE rollout SET approved_by = ?2 WHERE id = ?1", params![id, who])?;
    set(c, id, Status::Ready, None)
}

/// Plans the waves over the fleet as it is now. A group by conditions that takes no box is a slip of the pen, and would let
/// the next group go first.
fn start(c: &Connection, id: i64, name: &str) -> Result<(), Fault> {
    let filters = filters(c, id).map_err(failed)?;
    let only: Option<String> =
        c.query_row("SELECT boxes FROM rollout WHERE id = ?1", [id], |r| r.get(0)).map_err(failed)?;
    let only: Option<Vec<String>> = only.map(|text| serde_json::from_str(&text)).transpose().map_err(failed)?;
    let waves = plan(c, name, &filters, only.as_deref())?;
    let empty = waves.iter().zip(&filters).position(|(wave, filter)| wave.is_empty() && filter.has_conditions());
    if let Some(n) = empty {
        let reason = format!(
            "Group {} of `{name}`, `{}`, takes no enrolled box that an earlier group has left: make the rollout anew \
             with the conditions mended, or without it.",
            n + 1,
            filters[n]
        );
        return Err(refused("rollout-group-empty", reason));
    }
    schedule(c, id, waves).map_err(failed)
}

/// The waves over the fleet as it is now. A box that the state is not for would refuse it, and its own people wait for theirs.
fn plan(c: &Connection, name: &str, filters: &[Filter], boxes: Option<&[String]>) -> Result<Vec<Vec<i64>>, Fault> {
    let fleet = fleet(c).map_err(failed)?;
    let waves = plan::waves(name, filters, &fleet);
    let Some(boxes) = boxes else { return Ok(waves) };
    let taken = fleet.iter().filter(|it| waves.iter().any(|wave| wave.contains(&it.id)));
    meant::check(name, boxes, taken.map(|it| it.name.as_str()), "name=north-*")?;
    Ok(waves)
}

fn filters(c: &Connection, id: i64) -> rusqlite::Result<Vec<Filter>> {
    c.prepare("SELECT filter FROM wave WHERE rollout = ?1 ORDER BY position")?
        .query_map([id], |r| r.get::<_, String>(0))?
        .map(|filter| filter.and_then(|text| text.parse().map_err(|_| rusqlite::Error::InvalidQuery)))
        .collect()
}

fn schedule(c: &Connection, id: i64, waves: Vec<Vec<i64>>) -> rusqlite::Result<()> {
    let at = now();
    let mut scheduled = c.prepare(
        "INSERT INTO action (rollout, wave, device, status, changed_at) VALUES (?1, ?2, ?3, 'scheduled', ?4)",
    )?;
    for (position, wave) in waves.into_iter().enumerate() {
        for device in wave {
            scheduled.execute(params![id, position as i64, device, at])?;
        }
    }
    let begin = "UPDATE rollout SET started_at = ?2, sequence = (SELECT coalesce(max(sequence), 0) + 1 FROM rollout) WHERE id = ?1";
    c.execute(begin, params![id, at])?;
    set(c, id, Status::Running, None)
}

/// The boxes that may be reached: enrolled, not blocked, and no mirrors. What an operator said of a box counts before what it says
/// itself.
fn fleet(c: &Connection) -> rusqlite::Result<Vec<Candidate>> {
    let rows = "SELECT id, name, attributes, reported FROM device
                WHERE blocked = 0 AND mirror = 0 AND (token IS NOT NULL OR certificate_until IS NOT NULL)";
    c.prepare(rows)?
        .query_map([], |r| {
            let name: String = r.get(1)?;
            let mut attributes = crate::enrol::attributes(&r.get::<_, String>(3)?);
            attributes.append(&mut crate::enrol::attributes(&r.get::<_, String>(2)?));
            attributes.insert("name".to_owned(), name.clone());
            Ok(Candidate { id: r.get(0)?, name, attributes: attributes as Attributes })
        })?
        .collect()
}

/// Of waves that have begun, a person has seen who failed, fell silent or was taken over. That holds for a box until it is
/// otherwise with that box: the table sees to it.
fn accept(c: &Connection, id: i64) -> rusqlite::Result<()> {
    c.execute(
        "UPDATE action SET accepted = 1
         WHERE rollout = ?1 AND current = 1 AND status IN ('failed', 'silent', 'canceling', 'canceled')
           AND wave IN (SELECT position FROM wave WHERE rollout = ?1 AND begun_at IS NOT NULL)",
        [id],
    )
    .map(drop)
}

/// Takes back what boxes have not finished: a box that has begun is asked, also one that is silent since, and one that
/// has not never sees it.
fn take_back(c: &Connection, id: i64, why: &str) -> rusqlite::Result<()> {
    c.execute(
        "UPDATE action SET status = CASE WHEN taken THEN 'canceling' ELSE 'canceled' END, reason = ?2, changed_at = ?3
         WHERE rollout = ?1 AND status IN ('scheduled', 'offered', 'taken', 'silent')",
        params![id, why, now()],
    )
    .map(drop)
}

/// A failed action stays as it was, for the record, and a new one waits in its place; its wave begins again, by the
/// same rules. A silent one has not ended: its box goes on with it once it is back, and has its hours anew.
fn retry(c: &Connection, id: i64) -> rusqlite::Result<()> {
    c.execute(
        "UPDATE wave SET begun_at = NULL WHERE rollout = ?1 AND EXISTS (SELECT 1 FROM action a
             WHERE a.rollout = wave.rollout AND a.wave = wave.position AND a.current = 1 AND a.status IN ('failed', 'silent'))",
        [id],
    )?;
    c.execute(
        "UPDATE action SET status = CASE WHEN taken THEN 'taken' ELSE 'scheduled' END, offered_at = ?2, changed_at = ?2, reason = NULL
         WHERE rollout = ?1 AND current = 1 AND status = 'silent'",
        params![id, now()],
    )?;
    let newest: i64 = c.query_row("SELECT coalesce(max(id), 0) FROM action", [], |r| r.get(0))?;
    c.execute(
        "INSERT INTO action (rollout, wave, device, status, changed_at)
         SELECT rollout, wave, device, 'scheduled', ?2 FROM action
         WHERE rollout = ?1 AND current = 1 AND status = 'failed'",
        params![id, now()],
    )?;
    c.execute(
        "UPDATE action SET current = 0 WHERE rollout = ?1 AND id <= ?2 AND status = 'failed'",
        params![id, newest],
    )
    .map(drop)
}
