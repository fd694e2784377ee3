//! What people and scripts see of rollouts and of the fleet. These shapes are `--json` and the page's API alike.
use super::filter::Attributes;
use super::{Status, action};
use crate::database::failed;
use crate::enrol::attributes;
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
    /// The desired state that it has last reported as installed.
    pub installed: Option<String>,
    /// When it was last heard.
    pub seen_at: Option<i64>,
    /// When its certificate expires, in milliseconds since 1970.
    pub certificate_until: Option<i64>,
    /// Since when the newest recovery key of its disk is kept, in milliseconds since 1970.
    pub escrowed_at: Option<i64>,
    /// Whether it is shut out.
    pub blocked: bool,
    /// What it does now: rollout and status.
    pub doing: Option<(String, action::Status)>,
}

/// The fleet in figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Overview {
    /// Boxes that are enrolled.
    pub devices: i64,
    /// Of those, heard within the last three poll intervals.
    pub reachable: i64,
    /// Boxes by installed state, the most frequent first; `null`: nothing yet.
    pub installed: Vec<(Option<String>, i64)>,
    /// Rollouts, the newest first.
    pub rollouts: Vec<Rollout>,
    /// Failures, the newest first.
    pub failures: Vec<Failure>,
    /// How the signed repository fares.
    pub repository: Upkeep,
}

/// The fleet in figures, beside `repository`; a box that was heard since `heard_since` is reachable.
pub fn overview(c: &Connection, heard_since: i64, repository: Upkeep) -> Result<Overview, Fault> {
    let read = || {
        let enrolled = "(token IS NOT NULL OR certificate_until IS NOT NULL) AND blocked = 0";
        let (devices, reachable) = c
            .prepare_cached(&format!("SELECT count(*), total(seen_at >= ?1) FROM device WHERE {enrolled}"))?
            .query_row([heard_since], |r| Ok((r.get(0)?, r.get::<_, f64>(1)? as i64)))?;
        let installed = c
            .prepare_cached(&format!(
                "SELECT installed_state, count(*) FROM device WHERE {enrolled} GROUP BY 1 ORDER BY 2 DESC LIMIT ?1"
            ))?
            .query_map([MAX_STATES_SHOWN], |r| Ok((r.get(0)?, r.get(1)?)))?
            .collect::<Result<_, _>>()?;
        let (rollouts, failures) = (rollouts_read(c, None)?, failures(c)?);
        Ok(Overview { devices, reachable, installed, rollouts, failures, repository })
    };
    read().map_err(|error: rusqlite::Error| failed(error))
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

fn failures(c: &Connection) -> rusqlite::Result<Vec<Failure>> {
    c.prepare_cached(
        "SELECT d.name, r.name, a.status, a.reason, a.changed_at
         FROM action a JOIN device d ON d.id = a.device JOIN rollout r ON r.id = a.rollout
         WHERE a.current = 1 AND a.status IN ('failed', 'silent') ORDER BY a.changed_at DESC LIMIT ?1",
    )?
    .query_map([MAX_FAILURES_SHOWN], |r| {
        Ok(Failure { device: r.get(0)?, rollout: r.get(1)?, status: r.get(2)?, reason: r.get(3)?, at: r.get(4)? })
    })?
    .collect()
}

/// A page of the boxes whose name, attributes or state contain `search`, and how many there are.
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
                     (SELECT max(at) FROM escrow WHERE escrow.device = device.id) FROM device
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
        doing,
    })
}
