//! Which boxes a rollout of hawkBit takes, held against those that its state is for: hawkBit itself knows nothing of that.
use super::{Management, Release};
use crate::rollout::meant::check;
use serde::Deserialize;
use sund_ota::fault::Fault;

/// A box. hawkBit's answer carries its token too; that is read nowhere.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Target {
    controller_id: String,
}

/// Refuses a filter that takes boxes that the state is not for, as hawkBit knows its boxes now.
pub(super) async fn check_filter(
    hawkbit: &Management,
    release: &Release,
    rollout: &str,
    filter: &str,
) -> Result<(), Fault> {
    check_targets(hawkbit, release, rollout, "targets", Some(filter)).await
}

/// Refuses a group that has such boxes, as hawkBit has filled it: between the filter's check and that, boxes come and change.
pub(super) async fn check_group(
    hawkbit: &Management,
    release: &Release,
    rollout: &str,
    (rollout_id, group_id): (u64, u64),
) -> Result<(), Fault> {
    let path = format!("rollouts/{rollout_id}/deploygroups/{group_id}/targets");
    check_targets(hawkbit, release, rollout, &path, None).await
}

async fn check_targets(
    hawkbit: &Management,
    release: &Release,
    rollout: &str,
    path: &str,
    filter: Option<&str>,
) -> Result<(), Fault> {
    let Some(boxes) = release.boxes() else { return Ok(()) };
    let targets: Vec<Target> = hawkbit.list(path, filter).await?;
    let names = targets.iter().map(|target| target.controller_id.as_str());
    check(rollout, boxes, names, "controllerId==north-*")
}
