//! Keeps timestamp and snapshot fresh, and raises the alarm before what persons sign runs out.
use super::commit::{reissue, stamp};
use super::home::{Home, Lock};
use super::published::Published;
use super::rescue::{self, Payload};
use super::roles::{ROOT, SNAPSHOT, TIMESTAMP};
use super::store;
use jiff::Timestamp as Time;
use serde::{Deserialize, Serialize};
use sund_ota::documents::Suspension;
use sund_ota::fault::Fault;

/// How long a timestamp holds.
pub const TIMESTAMP_DAYS: i64 = 7;
/// How long a snapshot holds.
pub const SNAPSHOT_DAYS: i64 = 14;

/// A role that is past half of its life, or something else that ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// The role; `rescue` is the recovery bundle, `server` the server's own certificate, and `authority` the channel's own that issues.
    pub role: String,
    /// When it ends: boxes take no update by a role then, and go on with what they run.
    pub expires: String,
    /// Whole days left; negative: so long ago.
    pub days_left: i64,
    /// What to do.
    pub advice: String,
}

/// How a repository fares at the server that renews it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upkeep {
    /// Why timestamp and snapshot were not renewed the last time; absent: they were, or nothing is published yet.
    pub trouble: Option<Fault>,
    /// Roles and a recovery bundle past half of their lives, and what ails the server's certificate.
    pub alarms: Vec<Alarm>,
    /// Version of the timestamp that is published; absent: none is.
    #[serde(default)]
    pub version: Option<u64>,
    /// What is suspended.
    #[serde(default)]
    pub suspensions: Vec<Suspension>,
}

/// What was renewed, and what is alarming.
#[derive(Clone, Debug, Serialize)]
pub struct Renewal {
    /// Version of the timestamp.
    pub timestamp: u64,
    /// Version of the snapshot.
    pub snapshot: u64,
    /// Roles past half of their lives, and a recovery bundle that is.
    pub alarms: Vec<Alarm>,
}

/// Signs a new timestamp, and a new snapshot where it is past half of its life; takes a recovery bundle back that is listed no
/// more. To be called once a day.
pub fn renew(home: &Home, turn: &Lock) -> Result<Renewal, Fault> {
    let published = Published::must(home)?;
    store::tidy(home, turn);
    let roots = [&published.root.signed];
    let is_late = left(published.snapshot.signed.expires) < SNAPSHOT_DAYS * DAY / 2;
    match published.timestamp.signed.meta.get("snapshot.json") {
        Some(snapshot) if !is_late => stamp(home, Some(&published), &roots, snapshot.clone())?,
        _ => reissue(home, Some(&published), &roots, &published.snapshot.signed.meta)?,
    }
    rescue::forget_unlisted(home)?;
    let renewed = Published::must(home)?;
    Ok(Renewal {
        timestamp: renewed.timestamp.signed.version.get(),
        snapshot: renewed.snapshot.signed.version.get(),
        alarms: alarms(&renewed, rescue::offered(home)?.as_ref()),
    })
}

/// Whether timestamp or snapshot is past half of its life. Renewed each day neither comes to that: the clock was wrong, or the repository was
/// restored.
pub fn is_late(published: &Published) -> bool {
    left(published.timestamp.signed.expires) < TIMESTAMP_DAYS * DAY / 2
        || left(published.snapshot.signed.expires) < SNAPSHOT_DAYS * DAY / 2
}

const DAY: i64 = 24 * 60 * 60;

/// What is past half of its life: roles, and the recovery bundle that boxes are offered.
pub fn alarms(published: &Published, rescue: Option<&Payload>) -> Vec<Alarm> {
    use super::document::PERSONS_DAYS;
    let online = "`sund-channel serve` keeps it, or `renew` once a day: see why neither does";
    let mut ends = vec![
        (TIMESTAMP.to_owned(), published.timestamp.signed.expires, TIMESTAMP_DAYS, online.to_owned()),
        (SNAPSHOT.to_owned(), published.snapshot.signed.expires, SNAPSHOT_DAYS, online.to_owned()),
        (ROOT.to_owned(), published.root.signed.expires, PERSONS_DAYS, "propose `sund-channel root rotate`".to_owned()),
    ];
    for (role, signed) in &published.roles {
        let advice = format!("propose `sund-channel refresh {role}`");
        ends.push((role.clone(), signed.signed.expires, PERSONS_DAYS, advice));
    }
    let late = ends.into_iter().filter(|(_, expires, days, _)| left(*expires) < days * DAY / 2);
    let alarm = |(role, expires, _, advice): (String, Time, i64, String)| Alarm {
        role,
        expires: expires.to_string(),
        days_left: left(expires).div_euclid(DAY),
        advice,
    };
    late.map(alarm).chain(rescue.and_then(rescue_alarm)).collect()
}

/// The alarm of a recovery bundle.
fn rescue_alarm(payload: &Payload) -> Option<Alarm> {
    let life = payload.expires.as_second() - payload.time.as_second();
    (left(payload.expires) < life / 2).then(|| Alarm {
        role: "rescue".to_owned(),
        expires: payload.expires.to_string(),
        days_left: left(payload.expires).div_euclid(DAY),
        advice: "propose `sund-channel publish rescue` again".to_owned(),
    })
}

fn left(expires: Time) -> i64 {
    expires.as_second() - Time::now().as_second()
}
