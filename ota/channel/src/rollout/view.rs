//! What people and scripts see of rollouts and of the fleet. These shapes are `--json` and the page's API alike.
use super::filter::Attributes;
use super::hearing::{self, Applied, Hearing};
use super::{Status, action};
use crate::database::failed;
use crate::enrol::attributes;
use crate::enrol::standing::Authority;
use crate::limits::people::{MAX_DEVICES_SHOWN, MAX_FAILURES_SHOWN, MAX_ROLLOUTS_SHOWN, MAX_SEARCH, MAX_STATES_SHOWN};
use crate::repository::Upkeep;
use rusqlite::{Connection, Row, params};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use sund_ota::ddi::Maintenance;
use sund_ota::fault::Fault;

/// One rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    /// Its name.
    pub name: String,
    /// Target of the desired state.
    pub state: String,
    /// How it stands.
    pub status: Status,
    /// Why it is paused or stopped.
    pub reason: Option<String>,
    /// Who made it.
    pub created_by: String,
    /// When, in milliseconds since 1970.
    pub created_at: i64,
    /// Who agreed.
    pub approved_by: Option<String>,
    /// When it was started.
    pub started_at: Option<i64>,
    /// Hours without a word after which a box counts as failed.
    pub silence_hours: i64,
    /// When boxes may install, in their local time.
    pub maintenance: Option<Maintenance>,
    /// Waves in order.
    pub waves: Vec<Wave>,
}

/// One wave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Wave {
    /// Which boxes.
    pub filter: String,
    /// Percent that have to end well.
    pub success: u8,
    /// Percent that may fail.
    pub error: u8,
    /// When it was offered.
    pub begun_at: Option<i64>,
    /// Boxes by the status of their action.
    pub boxes: BTreeMap<String, i64>,
}

/// A box that failed, or is silent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// The box.
    pub device: String,
    /// The rollout.
    pub rollout: String,
    /// `failed` or `silent`.
    pub status: action::Status,
    /// The box's own words.
    pub reason: Option<String>,
    /// When.
    pub at: i64,
}

/// One box.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Attributes that were given to it or that it told.
    pub attributes: Attributes,
    /// The desired state that it runs, as it has last said: with the end of an action, or of itself.
    pub installed: Option<String>,
    /// Version of the repository that it has heard, as it has last said.
    pub heard: Option<u64>,
    /// When it was last heard.
    pub seen_at: Option<i64>,
    /// When its certificate expires, in milliseconds since 1970.
    pub certificate_until: Option<i64>,
    /// Which of the channel's authorities had issued the certificate that it has last shown.
    pub authority: Option<String>,
    /// Since when the newest recovery key of its disk is kept, in milliseconds since 1970.
    pub escrowed_at: Option<i64>,
    /// Whether it is shut out.
    pub blocked: bool,
    /// Whether it is a mirror, and no box.
    pub mirror: bool,
    /// What it does now: rollout and status.
    pub doing: Option<(String, action::Status)>,
}

/// The fleet in figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Overview {
    /// Boxes that are enrolled; mirrors are none.
    pub devices: i64,
    /// Of those, heard within the last three poll intervals.
    pub reachable: i64,
    /// Boxes by the state that they run, the most frequent first; `null`: none.
    pub installed: Vec<(Option<String>, i64)>,
    /// Boxes that run a state which is not among these.
    pub others: i64,
    /// Rollouts, the newest first.
    pub rollouts: Vec<Rollout>,
    /// Failures of boxes that have not ended well since, the newest first.
    pub failures: Vec<Failure>,
    /// How many there are: more than are listed, perhaps.
    pub failed: i64,
    /// How the boxes hear the region.
    pub hearing: Hearing,
    /// How far each suspension that is in force has come.
    pub suspensions: Vec<Applied>,
    /// How the signed repository fares.
    pub repository: Upkeep,
    /// The channel's own authorities, and how boxes stand with each.
    pub authorities: Vec<Authority>,
}

/// The fleet in figures, at a moment, beside `repository` and `authorities`; a box that was heard since `heard_since` is reachable.
pub fn overview(
    c: &Connection,
    heard_since: i64,
    at: i64,
    repository: Upkeep,
    authorities: Vec<Authority>,
) -> Result<Overview, Fault> {
    let read = || {
        let enrolled = "(token IS NOT NULL OR certificate_until IS NOT NULL) AND blocked = 0 AND mirror = 0";
        let (devices, reachable) = c
            .prepare_cached(&format!("SELECT count(*), total(seen_at >= ?1) FROM device WHERE {enrolled}"))?
            .query_row([heard_since], |r| Ok((r.get(0)?, r.get::<_, f64>(1)? as i64)))?;
        let installed = states(c, enrolled)?;
        let others = devices - installed.iter().map(|(_, boxes)| boxes).sum::<i64>();
        let (rollouts, failures) = (rollouts_read(c, None)?, failures(c)?);
        let failed = c
            .prepare_cached(&format!("SELECT count(*) FROM action a WHERE {HAS_FAILED}"))?
            .query_row([], |r| r.get(0))?;
        let hearing = hearing::hearing(c, enrolled, repository.version, at)?;
        let suspensions = hearing::applied(c, enrolled, repository.suspensions.clone())?;
        Ok(Overview {
            devices,
            reachable,
            installed,
            others,
            rollouts,
            failures,
            failed,
            hearing,
            suspensions,
            repository,
            authorities,
        })
    };
    read().map_err(|error: rusqlite::Error| failed(error))
}

/// Boxes by the state that they run; those that run none are always told apart.
fn states(c: &Connection, enrolled: &str) -> rusqlite::Result<Vec<(Option<String>, i64)>> {
    let mut all: Vec<(Option<String>, i64)> = c
        .prepare_cached(&format!(
            "SELECT installed_state, count(*) FROM device WHERE {enrolled} GROUP BY 1
             ORDER BY installed_state IS NULL DESC, 2 DESC LIMIT ?1 + 1"
        ))?
        .query_map([MAX_STATES_SHOWN], |r| Ok((r.get(0)?, r.get(1)?)))?
        .collect::<Result<_, _>>()?;
    all.truncate(MAX_STATES_SHOWN as usize + usize::from(all.first().is_some_and(|(state, _)| state.is_none())));
    all.sort_by_key(|(_, boxes)| std::cmp::Reverse(*boxes));
    Ok(all)
}

/// Rollouts, the newest first; all, or the one of a name.
pub fn rollouts(c: &Connection, name: Option<&str>) -> Result<Vec<Rollout>, Fault> {
    rollouts_read(c, name).map_err(failed)
}

fn rollouts_read(c: &Connection, name: Option<&str>) -> rusqlite::Result<Vec<Rollout>> {
    let mut waves = c.prepare_cached(
        "SELECT w.position, w.filter, w.success, w.error, w.begun_at, a.status, count(a.id)
         FROM wave w LEFT JOIN action a ON a.rollout = w.rollout AND a.wave = w.position AND a.current = 1
         WHERE w.rollout = ?1 GROUP BY w.position, a.status ORDER BY w.position",
    )?;
    let mut rows = c.prepare_cached(
        "SELECT id, name, state, status, reason, created_by, created_at, approved_by, started_at, silence_hours, maintenance
         FROM rollout WHERE ?1 IS NULL OR name = ?1 ORDER BY id DESC LIMIT ?2",
    )?;
    let rollouts = rows.query_map(params![name, MAX_ROLLOUTS_SHOWN], |r| {
        let mut all: Vec<Wave> = Vec::new();
        let mut wave = waves.query([r.get::<_, i64>(0)?])?;
        while let Some(row) = wave.next()? {
            let position: usize = row.get::<_, i64>(0)? as usize;
            if position == all.len() {
                let boxes = BTreeMap::new();
                all.push(Wave {
                    filter: row.get(1)?,
                    success: row.get(2)?,
                    error: row.get(3)?,
                    begun_at: row.get(4)?,
                    boxes,
                });
            }
            if let (Some(last), Some(status)) = (all.last_mut(), row.get::<_, Option<String>>(5)?) {
                last.boxes.insert(status, row.get(6)?);
            }
        }
        Ok(Rollout {
            name: r.get(1)?,
            state: r.get(2)?,
            status: r.get(3)?,
            reason: r.get(4)?,
            created_by: r.get(5)?,
            created_at: r.get(6)?,
            approved_by: r.get(7)?,
            started_at: r.get(8)?,
            silence_hours: r.get(9)?,
            maintenance: r.get::<_, Option<String>>(10)?.and_then(|text| serde_json::from_str(&text).ok()),
            waves: all,
        })
    })?;
    rollouts.collect()
}

/// Of an action `a`: its box failed or fell silent, and has ended nothing well since.
const HAS_FAILED: &str = "a.current = 1 AND a.status IN ('failed', 'silent') AND NOT EXISTS (
    SELECT 1 FROM action b WHERE b.device = a.device AND b.status = 'finished' AND b.changed_at > a.changed_at)";

fn failures(c: &Connection) -> rusqlite::Result<Vec<Failure>> {
    c.prepare_cached(&format!(
        "SELECT d.name, r.name, a.status, a.reason, a.changed_at
         FROM action a JOIN device d ON d.id = a.device JOIN rollout r ON r.id = a.rollout
         WHERE {HAS_FAILED} ORDER BY a.changed_at DESC LIMIT ?1"
    ))?
    .query_map([MAX_FAILURES_SHOWN], |r| {
        Ok(Failure { device: r.get(0)?, rollout: r.get(1)?, status: r.get(2)?, reason: r.get(3)?, at: r.get(4)? })
    })?
    .collect()
}

/// A page of the boxes and mirrors whose name, attributes or state contain `search`, and how many there are.
pub fn devices(c: &Connection, search: &str, page: u32) -> Result<(Vec<Device>, i64), Fault> {
    let search: String = search.chars().take(MAX_SEARCH).collect();
    let like = format!("%{}%", search.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_"));
    let found = "(name LIKE ?1 ESCAPE '\\' OR attributes LIKE ?1 ESCAPE '\\' OR reported LIKE ?1 ESCAPE '\\'
                  OR installed_state LIKE ?1 ESCAPE '\\')";
    let read = || {
        let all = c
            .prepare_cached(&format!("SELECT count(*) FROM device WHERE {found}"))?
            .query_row([&like], |r| r.get(0))?;
        let some = c
            .prepare_cached(&format!(
                "SELECT id, name, attributes, reported, installed_state, seen_at, certificate_until, blocked,
                     (SELECT max(at) FROM escrow WHERE escrow.device = device.id), mirror, authority, heard FROM device
                 WHERE {found} ORDER BY name LIMIT ?2 OFFSET ?3"
            ))?
            .query_map(params![like, MAX_DEVICES_SHOWN, page.saturating_mul(MAX_DEVICES_SHOWN)], |r| device(c, r))?
            .collect::<Result<_, _>>()?;
        Ok((some, all))
    };
    read().map_err(|error: rusqlite::Error| failed(error))
}

fn device(c: &Connection, r: &Row<'_>) -> rusqlite::Result<Device> {
    let mut all = attributes(&r.get::<_, String>(3)?);
    all.append(&mut attributes(&r.get::<_, String>(2)?));
    let doing = c
        .prepare_cached(
            "SELECT r.name, a.status FROM action a JOIN rollout r ON r.id = a.rollout
             WHERE a.device = ?1 AND a.current = 1 AND a.status <> 'canceled' ORDER BY a.id DESC LIMIT 1",
        )?
        .query_map([r.get::<_, i64>(0)?], |row| Ok((row.get(0)?, row.get(1)?)))?
        .next()
        .transpose()?;
    Ok(Device {
        name: r.get(1)?,
        attributes: all,
        installed: r.get(4)?,
        seen_at: r.get(5)?,
        certificate_until: r.get(6)?,
        escrowed_at: r.get(8)?,
        blocked: r.get(7)?,
        mirror: r.get(9)?,
        authority: r.get(10)?,
        heard: r.get::<_, Option<i64>>(11)?.map(|version| version as u64),
        doing,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::in_memory;

    /// A rollout, and boxes of which each runs a state and has failed, at the millisecond of its number.
    fn fleet(states: &[Option<&str>]) -> Connection {
        let c = in_memory();
        let rollout = "INSERT INTO rollout (id, name, state, sha256, length, status, created_by, created_at, silence_hours, confirm)
                       VALUES (1, 'r', 'state/s.json', '0', 1, 'paused', 'a', 1, 24, 0)";
        c.execute(rollout, []).unwrap();
        for (n, state) in states.iter().enumerate() {
            let n = n as i64;
            let row = "INSERT INTO device (id, name, token, enrolled_at, installed_state) VALUES (?1, 'box-' || ?1, ?2, 1, ?3)";
            c.execute(row, params![n, n.to_be_bytes(), state]).unwrap();
            let row = "INSERT INTO action (rollout, wave, device, status, changed_at) VALUES (1, 0, ?1, 'failed', ?1)";
            c.execute(row, [n]).unwrap();
        }
        c
    }

    fn seen(c: &Connection) -> Overview {
        overview(c, 0, 0, Upkeep::default(), Vec::new()).unwrap()
    }

    #[test]
    fn more_failures_than_are_listed_are_counted_all_the_same() {
        let all = MAX_FAILURES_SHOWN as usize + 50;
        let overview = seen(&fleet(&vec![None; all]));
        assert_eq!((overview.failures.len(), overview.failed), (MAX_FAILURES_SHOWN as usize, all as i64));
        assert_eq!(overview.failures[0].device, format!("box-{}", all - 1), "the newest first");
    }

    #[test]
    fn states_beyond_those_that_are_told_apart_are_one_and_no_box_is_lost() {
        let names: Vec<String> = (0..12).map(|n| format!("state/s{n}.json")).collect();
        let twice = [&names[0], &names[1]].into_iter().chain(&names[..]).chain([&names[0]]);
        let states: Vec<Option<&str>> = twice.map(|name| Some(name.as_str())).chain([None]).collect();
        let overview = seen(&fleet(&states));
        let told_apart = i64::from(MAX_STATES_SHOWN);
        assert_eq!((overview.installed.len() as i64, overview.others), (told_apart + 1, 12 - told_apart));
        assert_eq!(overview.installed[..2], [(Some(names[0].clone()), 3), (Some(names[1].clone()), 2)]);
        assert!(overview.installed.contains(&(None, 1)), "who runs none is no other state");
        let shown: i64 = overview.installed.iter().map(|(_, boxes)| boxes).sum();
        assert_eq!(shown + overview.others, overview.devices);
        assert_eq!(seen(&fleet(&[None])).others, 0);
    }

    #[test]
    fn a_failure_is_listed_until_its_box_has_ended_something_well() {
        let c = fleet(&[None, None]);
        let ends = |device: i64, at: i64| {
            let row =
                "INSERT INTO action (rollout, wave, device, status, changed_at) VALUES (1, 0, ?1, 'finished', ?2)";
            c.execute(row, [device, at]).unwrap();
        };
        ends(1, 0);
        assert_eq!(seen(&c).failed, 2, "what went well before says nothing");
        ends(1, 5);
        let overview = seen(&c);
        let listed: Vec<&str> = overview.failures.iter().map(|failure| failure.device.as_str()).collect();
        assert_eq!((listed, overview.failed), (vec!["box-0"], 1));
    }
}
