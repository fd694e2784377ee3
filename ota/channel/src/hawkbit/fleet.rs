//! Which box runs which state, as hawkBit knows it.
use super::publish::Set;
use super::{Management, TYPE_KEY};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use sund_ota::fault::Fault;

/// Boxes whose reason is asked for, two requests each: a fleet that failed as a whole is told by a few.
pub const MAX_REASONS: usize = 200;

/// A state by name and version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StateName {
    /// Name.
    pub state: String,
    /// SHA-256.
    pub version: String,
}

/// A box. hawkBit's answer carries its token too; that is read nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FleetBox {
    /// Its identity in the channel.
    pub id: String,
    /// hawkBit's word: `unknown`, `registered`, `pending`, `in_sync`, `error`.
    pub status: String,
    /// When it polled last, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_poll: Option<u64>,
    /// Whether it should have polled since.
    pub overdue: bool,
    /// What it said that it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub installed: Option<StateName>,
    /// What it was told to run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assigned: Option<StateName>,
    /// Of one that failed, among the first [`MAX_REASONS`]: its own words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reason: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Target {
    controller_id: String,
    update_status: String,
    poll_status: Option<PollStatus>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PollStatus {
    last_request_at: Option<u64>,
    #[serde(default)]
    overdue: bool,
}

#[derive(Deserialize)]
struct Action {
    id: u64,
}

#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    messages: Vec<String>,
}

/// Every box, or those of a filter in hawkBit's query language.
pub async fn fleet(hawkbit: &Management, filter: Option<&str>) -> Result<Vec<FleetBox>, Fault> {
    let targets: Vec<Target> = hawkbit.list("targets", filter).await?;
    // By state, not by box: a region has few states and many boxes.
    let sets: Vec<Set> = hawkbit.list("distributionsets", Some(&format!("type=={TYPE_KEY}"))).await?;
    let (mut installed, mut assigned) = (BTreeMap::new(), BTreeMap::new());
    for set in &sets {
        for (kind, boxes) in [("installedTargets", &mut installed), ("assignedTargets", &mut assigned)] {
            let those: Vec<Target> = hawkbit.list(&format!("distributionsets/{}/{kind}", set.id), filter).await?;
            let name = StateName { state: set.name.clone(), version: set.version.clone() };
            boxes.extend(those.into_iter().map(|target| (target.controller_id, name.clone())));
        }
    }
    let mut fleet = Vec::with_capacity(targets.len());
    let mut reasons = 0;
    for target in targets {
        let asks = target.update_status == "error" && reasons < MAX_REASONS;
        let reason = if asks { reason(hawkbit, &target.controller_id).await? } else { Vec::new() };
        reasons += usize::from(asks);
        let poll = target.poll_status.as_ref();
        fleet.push(FleetBox {
            last_poll: poll.and_then(|poll| poll.last_request_at),
            overdue: poll.is_some_and(|poll| poll.overdue),
            installed: installed.remove(&target.controller_id),
            assigned: assigned.remove(&target.controller_id),
            status: target.update_status,
            id: target.controller_id,
            reason,
        });
    }
    fleet.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(fleet)
}

/// What a box said last of its newest action.
async fn reason(hawkbit: &Management, id: &str) -> Result<Vec<String>, Fault> {
    let id: String = url::form_urlencoded::byte_serialize(id.as_bytes()).collect();
    let actions = format!("targets/{id}/actions");
    let Some(Action { id: newest }) = hawkbit.newest(&actions).await? else { return Ok(Vec::new()) };
    let said: Option<Said> = hawkbit.newest(&format!("{actions}/{newest}/status")).await?;
    Ok(said.map(|said| said.messages).unwrap_or_default())
}
