//! How the boxes stand with the channel's authorities: which can be dropped, and whom that would cut off.
use super::authorities::{Set, all, dropped, waiting};
use super::authority::FIRST;
use crate::database::{failed, words};
use crate::limits::people::MAX_DEVICES_SHOWN;
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use std::path::Path;
use sund_ota::fault::Fault;

words! {
    /// Whether an authority counts.
    pub enum Counts {
        /// It issues to the boxes that believe it.
        Issues = "issues",
        /// What it has issued is good.
        Good = "good",
        /// The region has yet to sign it.
        Waits = "waits",
        /// What it has issued is worth nothing.
        Dropped = "dropped",
    }
}

/// One of the channel's authorities.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    /// The name of its files in `ca/`.
    pub name: String,
    /// SHA-256 of its certificate.
    pub sha256: String,
    /// When it ends, in milliseconds since 1970.
    pub until: i64,
    /// Whether it counts.
    pub counts: Counts,
    /// Whether the server is known by it.
    pub serves: bool,
    /// Boxes and mirrors that hold a certificate of it.
    pub held_by: i64,
    /// Boxes and mirrors that have not said that they believe it.
    pub unknown_to: i64,
    /// The proposal that waits for signatures and drops it.
    pub leaves_with: Option<String>,
}

/// Whom it would cut off to drop an authority.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Lost {
    /// So many boxes and mirrors.
    pub boxes: i64,
    /// So many of them hold a certificate of it.
    pub held_by: i64,
    /// So many have not said that they believe the one by which the server would be known.
    pub unknown_to: i64,
    /// Their names, the first ones.
    pub names: Vec<String>,
}

impl Lost {
    /// How many, which, and why, in words.
    pub fn told(&self) -> String {
        let Self { boxes, held_by, unknown_to, names } = self;
        let more = usize::try_from(*boxes).unwrap_or_default().saturating_sub(names.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!(
            "boxes and mirrors, {boxes} in all ({}{more}): {held_by} by a certificate of what is dropped, {unknown_to} for not having said \
             that they know what stays",
            names.join(", ")
        )
    }
}

/// Of a device: it speaks to the channel, by a certificate or by a token.
const SPEAKS: &str = "blocked = 0 AND (token IS NOT NULL OR (key IS NOT NULL AND certificate_until > ?1))";
/// It has a certificate of one of the authorities ?2, a list in JSON. One of which nobody knows is of the first.
const HOLDS: &str =
    "key IS NOT NULL AND certificate_until > ?1 AND coalesce(authority, ?4) IN (SELECT value FROM json_each(?2))";
/// It has not said that it believes the authority of the digest ?3.
const IS_STRANGE: &str = "instr(coalesce(believes, ''), ?3) = 0";

/// Every authority that counts or lies in the home, by its name.
pub fn standing(c: &Connection, home: &Path, set: &Set, at: i64) -> Result<Vec<Authority>, Fault> {
    let (dropped, waiting) = (dropped(home), if set.all().len() > 1 { waiting(home) } else { Vec::new() });
    let described = |it: &super::authority::Authority| {
        let counts = match () {
            () if it.digest() == set.newest().digest() => Counts::Issues,
            () if set.has(it.digest()) => Counts::Good,
            () if dropped.iter().any(|digest| digest == it.digest()) => Counts::Dropped,
            () => Counts::Waits,
        };
        let drops = |(_, after): &&(String, Set)| set.has(it.digest()) && !after.has(it.digest());
        let (held_by, unknown_to) = counted(c, &[it.name()], it.digest(), at)?;
        Ok(Authority {
            name: it.name().to_owned(),
            sha256: it.digest().to_owned(),
            until: it.until(),
            counts,
            serves: it.digest() == set.oldest().digest(),
            held_by,
            unknown_to,
            leaves_with: waiting.iter().find(drops).map(|(id, _)| id.clone()),
        })
    };
    let others = all(home).into_iter().flatten().filter(|it| !set.has(it.digest()));
    let mut all: Vec<_> = set.all().iter().cloned().chain(others).collect();
    all.sort_by(|a, b| a.name().cmp(b.name()));
    all.iter().map(|it| described(it)).collect()
}

/// Whom it would cut off to drop these authorities, where the server is known by the one of `digest` then.
pub fn lost(c: &Connection, names: &[&str], digest: &str, at: i64) -> Result<Lost, Fault> {
    let (held_by, unknown_to) = counted(c, names, digest, at)?;
    let cut_off = format!("FROM device WHERE {SPEAKS} AND (({HOLDS}) OR {IS_STRANGE})");
    let read = || {
        let (listed, count) = (json(names), format!("SELECT count(*) {cut_off}"));
        let boxes = c.query_row(&count, params![at, listed, digest, FIRST], |row| row.get(0))?;
        let mut rows = c.prepare(&format!("SELECT name {cut_off} ORDER BY name LIMIT ?5"))?;
        let names = rows.query_map(params![at, listed, digest, FIRST, MAX_DEVICES_SHOWN], |row| row.get(0))?;
        Ok((boxes, names.collect::<Result<Vec<_>, _>>()?))
    };
    let (boxes, names) = read().map_err(|error: rusqlite::Error| failed(error))?;
    Ok(Lost { boxes, held_by, unknown_to, names })
}

fn counted(c: &Connection, names: &[&str], digest: &str, at: i64) -> Result<(i64, i64), Fault> {
    let row = format!("SELECT total({HOLDS}), total({IS_STRANGE}) FROM device WHERE {SPEAKS}");
    let read = || {
        c.prepare_cached(&row)?.query_row(params![at, json(names), digest, FIRST], |row| {
            Ok((row.get::<_, f64>(0)? as i64, row.get::<_, f64>(1)? as i64))
        })
    };
    read().map_err(failed)
}

fn json(names: &[&str]) -> String {
    serde_json::Value::from(names).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::in_memory;

    #[test]
    fn a_box_is_lost_while_it_holds_the_old_or_has_not_said_that_it_believes_the_new() {
        let c = in_memory();
        for (name, rest) in [
            ("a-of-before", "x'01', 9, NULL, NULL, NULL, 0"),
            ("b-holds-the-old", "x'01', 9, NULL, 'ca', 'old,new', 0"),
            ("c-is-through", "x'01', 9, NULL, 'ca-2', 'old,new', 0"),
            ("d-by-token-strange", "NULL, NULL, x'04', NULL, 'old', 0"),
            ("e-by-token-through", "NULL, NULL, x'05', NULL, 'old,new', 0"),
            ("f-has-ended", "x'01', 4, NULL, 'ca', 'old', 0"),
            ("g-is-shut-out", "x'01', 9, NULL, 'ca', 'old', 1"),
            ("h-expected", "NULL, NULL, NULL, NULL, NULL, 0"),
        ] {
            let row = format!(
                "INSERT INTO device (name, enrolled_at, key, certificate_until, token, authority, believes, blocked) VALUES ('{name}', 1, {rest})"
            );
            c.execute(&row, []).unwrap();
        }
        let told = lost(&c, &["ca"], "new", 5).unwrap();
        assert_eq!((told.boxes, told.held_by, told.unknown_to), (3, 2, 2));
        assert_eq!(told.names, ["a-of-before", "b-holds-the-old", "d-by-token-strange"]);
        assert_eq!(lost(&c, &["ca", "ca-2"], "new", 5).unwrap().boxes, 4, "both at once");
    }
}
