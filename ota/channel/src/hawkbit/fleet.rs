//! Which box runs which state, as hawkBit knows it.
use super::publish::Set;
use super::{Management, TYPE_KEY};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use sund_ota::fault::Fault;

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
    /// Of one that failed: its own words.
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
struct Id {
    id: u64,
}

#[derive(Deserialize)]
struct ActionStatus {
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
    for target in targets {
        let failed = target.update_status == "error";
        let reason = if failed { reason(hawkbit, &target.controller_id).await? } else { Vec::new() };
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
    let path = format!("targets/{}/actions", url::form_urlencoded::byte_serialize(id.as_bytes()).collect::<String>());
    let actions: Vec<Id> = hawkbit.list(&path, None).await?;
    let Some(newest) = actions.iter().map(|action| action.id).max() else { return Ok(Vec::new()) };
    let said: Vec<ActionStatusOf> = hawkbit.list(&format!("{path}/{newest}/status"), None).await?;
    Ok(said.into_iter().max_by_key(|status| status.id).map(|status| status.said.messages).unwrap_or_default())
}

#[derive(Deserialize)]
struct ActionStatusOf {
    id: u64,
    #[serde(flatten)]
    said: ActionStatus,
}
