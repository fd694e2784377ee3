//! Which boxes hear the region. One whose mirror stopped following polls as ever, and what was suspended or withdrawn since does not reach
//! it: it is known by the version of the repository that it tells.
use super::filter::Attributes;
use crate::database::failed;
use crate::limits::people::{BEHIND, MAX_PUBLICATIONS, MAX_UNHEARD_SHOWN};
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use sund_ota::ddi::{REPOSITORY, REPOSITORY_TROUBLE, SINCE};
use sund_ota::documents::Suspension;
use sund_ota::fault::Fault;

/// How the fleet hears the region.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hearing {
    /// Version of the repository that is published.
    pub version: Option<u64>,
    /// Hours after which a box that has not heard what was published does not hear the region.
    pub hours: u64,
    /// Boxes that do not.
    pub behind: i64,
    /// Boxes that say nothing of it: their updater is from before this, or no one of Sund.
    pub untold: i64,
    /// Those that do not, the longest first, as far as they are listed.
    pub boxes: Vec<Unheard>,
}

/// A box that does not hear the region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unheard {
    /// The box.
    pub device: String,
    /// Version of the repository that it has heard last.
    pub version: Option<u64>,
    /// Since when there is a newer one, or since when it hears none, in milliseconds since 1970.
    pub since: i64,
    /// What it says is the matter; absent: it has found nothing wrong, as behind a mirror that stopped following.
    pub trouble: Option<String>,
}

/// How far a suspension has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The suspension.
    #[serde(flatten)]
    pub suspension: Suspension,
    /// Boxes that have the package, by their own word...
    pub boxes: i64,
    /// ... and those of them on which it is off.
    pub off: i64,
}

/// Writes down that a version of the repository is public.
pub fn note(c: &Connection, version: u64, at: i64) -> Result<(), Fault> {
    let noted = || {
        c.execute("INSERT OR IGNORE INTO publication (version, at) VALUES (?1, ?2)", params![version as i64, at])?;
        let oldest = version.saturating_sub(MAX_PUBLICATIONS) as i64;
        c.execute("DELETE FROM publication WHERE version <= ?1", [oldest])
    };
    noted().map(drop).map_err(failed)
}

/// Keeps what a box says of its hearing the region. One that has never heard it names no time: it says so since it first did.
pub fn keep(c: &Connection, device: i64, told: &Attributes, at: i64) -> Result<(), Fault> {
    let heard: Option<i64> = told.get(REPOSITORY).and_then(|version| version.parse().ok());
    let trouble = told.get(REPOSITORY_TROUBLE);
    let since = trouble.and_then(|told| told.rsplit_once(SINCE)?.1.parse().ok()).map(jiff::Timestamp::as_millisecond);
    let row = "UPDATE device SET heard = ?2,
                   unheard_since = CASE WHEN ?3 THEN coalesce(?4, unheard_since, ?5) ELSE NULL END WHERE id = ?1";
    c.execute(row, params![device, heard, trouble.is_some(), since, at]).map(drop).map_err(failed)
}

/// How the boxes of a condition hear a version of the repository at a moment.
pub(super) fn hearing(c: &Connection, of: &str, version: Option<u64>, at: i64) -> rusqlite::Result<Hearing> {
    let mut hearing = Hearing { version, hours: BEHIND.as_secs() / 3600, ..Hearing::default() };
    let untold = format!("SELECT count(*) FROM device WHERE {of} AND heard IS NULL");
    hearing.untold = c.prepare_cached(&untold)?.query_row([], |r| r.get(0))?;
    let rows = format!(
        "SELECT name, heard, since, reported ->> '$.\"{REPOSITORY_TROUBLE}\"', count(*) OVER () FROM (
             SELECT name, heard, reported, min(coalesce(unheard_since, ?2),
                 coalesce((SELECT min(at) FROM publication p WHERE p.version > device.heard AND p.version <= ?1), ?2)) AS since
             FROM device WHERE {of})
         WHERE since < ?3 ORDER BY since, name LIMIT ?4"
    );
    let before = at - BEHIND.as_millis() as i64;
    let published = version.map_or(0, |version| version as i64);
    let mut statement = c.prepare_cached(&rows)?;
    let mut rows = statement.query(params![published, at, before, MAX_UNHEARD_SHOWN])?;
    while let Some(row) = rows.next()? {
        hearing.behind = row.get(4)?;
        let version = row.get::<_, Option<i64>>(1)?.map(|version| version as u64);
        hearing.boxes.push(Unheard { device: row.get(0)?, version, since: row.get(2)?, trouble: row.get(3)? });
    }
    Ok(hearing)
}

/// How far suspensions have come on the boxes of a condition, by what these say of their models.
pub(super) fn applied(c: &Connection, of: &str, suspensions: Vec<Suspension>) -> rusqlite::Result<Vec<Applied>> {
    if suspensions.is_empty() {
        return Ok(Vec::new());
    }
    let rows = format!(
        "SELECT substr(told.key, 7), told.value, count(*) FROM device, json_each(device.reported) told
         WHERE {of} AND told.key GLOB 'model.*' GROUP BY 1, 2"
    );
    let mut models: BTreeMap<String, Vec<(String, i64)>> = BTreeMap::new();
    let mut statement = c.prepare_cached(&rows)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        models.entry(row.get(0)?).or_default().push((row.get(1)?, row.get(2)?));
    }
    let applied = suspensions.into_iter().map(|suspension| {
        let (mut boxes, mut off) = (0, 0);
        for (told, count) in models.get(&suspension.package).into_iter().flatten() {
            // `VERSION STANDING`
            let (version, standing) = told.rsplit_once(' ').unwrap_or((told, ""));
            if suspension.version.as_ref().is_none_or(|only| only == version) {
                boxes += count;
                off += if standing == "suspended" { *count } else { 0 };
            }
        }
        Applied { suspension, boxes, off }
    });
    Ok(applied.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::in_memory;
    use serde_json::{Value, json};

    const ALL: &str = "1";
    const HOUR: i64 = 60 * 60 * 1000;
    /// 2026-11-30T12:00:00Z
    const NOON: i64 = 1_796_040_000_000;

    fn tells(c: &Connection, name: &str, told: Value) {
        let row = "INSERT INTO device (name, enrolled_at, reported) VALUES (?1, 1, ?2)";
        c.execute(row, params![name, told.to_string()]).unwrap();
        keep(c, c.last_insert_rowid(), &serde_json::from_value(told).unwrap(), NOON).unwrap();
    }

    #[test]
    fn a_box_is_behind_once_it_has_not_heard_for_hours_what_was_published() {
        let c = in_memory();
        for (version, at) in [(4, NOON), (5, NOON + HOUR), (6, NOON + 9 * HOUR)] {
            note(&c, version, at).unwrap();
        }
        note(&c, 5, NOON + 8 * HOUR).unwrap();
        tells(&c, "hears", json!({ REPOSITORY: "6" }));
        tells(&c, "frozen", json!({ REPOSITORY: "4" }));
        tells(&c, "before-us", json!({ REPOSITORY: "1" }));
        tells(&c, "older", json!({}));
        let behind = |published, at| {
            let hearing = hearing(&c, ALL, Some(published), at).unwrap();
            let names = hearing.boxes.iter().map(|it| (it.device.clone(), it.since)).collect::<Vec<_>>();
            assert_eq!((hearing.behind, hearing.untold), (names.len() as i64, 1));
            names
        };
        assert_eq!(behind(5, NOON + 2 * HOUR), []);
        let both = [("before-us".to_owned(), NOON), ("frozen".to_owned(), NOON + HOUR)];
        assert_eq!(behind(5, NOON + 5 * HOUR), both);
        assert_eq!(behind(6, NOON + 10 * HOUR), both, "a newer publication takes nobody's lateness away");
        assert_eq!(behind(4, NOON + 20 * HOUR), both[..1], "a repository that was restored has no later one");
    }

    #[test]
    fn a_box_that_says_that_it_hears_nothing_is_believed_from_the_time_that_it_names() {
        let c = in_memory();
        note(&c, 5, NOON - 100 * HOUR).unwrap();
        let says = |trouble: &str| json!({ REPOSITORY: "5", REPOSITORY_TROUBLE: trouble });
        tells(&c, "alone", says("store-unreachable since 2026-11-30T07:00:00Z"));
        tells(&c, "a-moment", says("store-unreachable since 2026-11-30T11:00:00Z"));
        tells(&c, "never", json!({ REPOSITORY_TROUBLE: "root-missing" }));
        let found = |at| hearing(&c, ALL, Some(5), at).unwrap();
        let alone = Unheard {
            device: "alone".to_owned(),
            version: Some(5),
            since: NOON - 5 * HOUR,
            trouble: Some("store-unreachable since 2026-11-30T07:00:00Z".to_owned()),
        };
        assert_eq!(found(NOON).boxes, [alone]);
        assert_eq!(found(NOON + 4 * HOUR).behind, 3);
        keep(&c, 1, &serde_json::from_value(json!({ REPOSITORY: "5" })).unwrap(), NOON).unwrap();
        assert_eq!(found(NOON + 4 * HOUR).behind, 2, "it hears it again");
    }

    #[test]
    fn a_suspension_counts_the_boxes_that_have_the_package_and_those_where_it_is_off() {
        let c = in_memory();
        for (name, told) in [("a", "2.0 suspended"), ("b", "2.0 active"), ("c", "1.0 suspended"), ("d", "1.0 off")] {
            tells(&c, name, json!({ "model.brain": told, "model.lung": "1.0 active", "brain": "2.0 active" }));
        }
        let suspends = |package: &str, version: Option<&str>| {
            let (package, version) = (package.to_owned(), version.map(str::to_owned));
            let it =
                Suspension { package, version, reason: "drift".to_owned(), since: "2026-11-30T12:00:00Z".to_owned() };
            let applied = applied(&c, ALL, vec![it]).unwrap();
            (applied[0].off, applied[0].boxes)
        };
        assert_eq!(suspends("brain", None), (2, 4));
        assert_eq!(suspends("brain", Some("2.0")), (1, 2));
        assert_eq!(suspends("lung", None), (0, 4));
        assert_eq!(suspends("liver", None), (0, 0));
    }
}
