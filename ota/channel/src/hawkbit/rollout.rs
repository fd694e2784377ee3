//! Rollouts of hawkBit: groups one after another, each let go by the share of the one before it that succeeded.
use super::meant::{check_filter, check_group};
use super::publish::Set;
use super::{GROUPS, Management, Release, Repository, TYPE_KEY, checked};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;
use sund_ota::fault::{Blame, Fault};
use tokio::time::{Instant, sleep};

/// A rollout that is to be made.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Name of the rollout.
    pub name: String,
    /// Which boxes, in hawkBit's query language.
    pub filter: String,
    /// Groups in their order.
    pub groups: Vec<Group>,
    /// Per cent of a group that must succeed before the next one starts.
    pub success: u8,
    /// Per cent of a group that may fail before the rollout pauses itself.
    pub error: u8,
    /// Whether somebody at each box confirms first.
    pub confirm: bool,
}

/// A group: `NAME=PERCENT`.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Name.
    pub name: String,
    /// Per cent of all boxes of the filter (hawkBit 0.5 and later). The last group has 100: it takes what is left.
    pub percent: f32,
}

/// What is asked of a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// No further group starts; what a box has begun goes on.
    Pause,
    /// Goes on.
    Resume,
    /// Ends it: what is not done is cancelled, also on the boxes.
    Stop,
    /// Approves it, where hawkBit asks for that.
    Approve,
    /// Denies it.
    Deny,
}

/// How a rollout stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RolloutStatus {
    /// Name.
    pub name: String,
    /// hawkBit's word: `creating`, `ready`, `waiting_for_approval`, `starting`, `running`, `paused`, `stopped`, `finished`...
    pub status: String,
    /// Boxes in all.
    pub boxes: u64,
    /// Boxes by what they do: `scheduled`, `running`, `finished`, `error`...; none of those that have no box.
    pub counts: BTreeMap<String, u64>,
    /// Groups in their order.
    pub groups: Vec<GroupStatus>,
}

/// How a group stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupStatus {
    /// Name.
    pub name: String,
    /// hawkBit's word.
    pub status: String,
    /// Boxes in all.
    pub boxes: u64,
    /// Boxes by what they do.
    pub counts: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    id: u64,
    name: String,
    status: String,
    /// Of a rollout; a group has none.
    #[serde(default)]
    distribution_set_id: u64,
    total_targets: u64,
    #[serde(default)]
    total_targets_per_status: BTreeMap<String, u64>,
}

impl FromStr for Group {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, percent) = text.split_once('=').ok_or("a group is NAME=PERCENT")?;
        let percent = percent.parse().map_err(|error| format!("{percent}: {error}"))?;
        checked("group", name).map_err(|fault| fault.reason)?;
        if 0.0 < percent && percent <= 100.0 {
            Ok(Self { name: name.to_owned(), percent })
        } else {
            Err(format!("{percent} per cent: more than 0, at most 100"))
        }
    }
}

/// Makes a rollout of a state that was pushed; it does not start by itself. Its filter takes no box that the state is not for.
pub async fn plan(hawkbit: &Management, release: &Release, plan: &Plan) -> Result<RolloutStatus, Fault> {
    checked("rollout", &plan.name)?;
    let unfit = |reason: &str| Err(Fault::new("rollout-invalid", Blame::Configuration, reason));
    if plan.groups.last().is_none_or(|group| group.percent < 100.0) {
        return unfit("the last group has 100 per cent, which is all that is left, or some boxes would be in none");
    }
    if !(1..=100).contains(&plan.success) || !(1..=100).contains(&plan.error) {
        return unfit("thresholds are from 1 to 100 per cent");
    }
    let set = pushed(hawkbit, release).await?;
    check_filter(hawkbit, release, &plan.name, &plan.filter).await?;
    let threshold = |percent: u8| json!({ "condition": "THRESHOLD", "expression": percent.to_string() });
    let groups = plan.groups.iter().map(|group| {
        json!({ "name": group.name, "targetPercentage": group.percent, "confirmationRequired": plan.confirm,
            "successCondition": threshold(plan.success), "successAction": { "action": "NEXTGROUP" },
            "errorCondition": threshold(plan.error), "errorAction": { "action": "PAUSE" } })
    });
    let body = json!({ "name": plan.name, "targetFilterQuery": plan.filter, "distributionSetId": set.id,
        "type": "forced", "groups": groups.collect::<Vec<Value>>() });
    match hawkbit.make::<Entry>("rollouts", &body).await? {
        Some(entry) => of(hawkbit, entry).await,
        None => {
            let reason = format!("a rollout `{}` is there already: give this one another name", plan.name);
            Err(Fault::new("hawkbit-there-already", Blame::Configuration, reason))
        }
    }
}

/// Says how a rollout stands.
pub async fn status(hawkbit: &Management, name: &str) -> Result<RolloutStatus, Fault> {
    let entry = find(hawkbit, name).await?;
    of(hawkbit, entry).await
}

/// Starts a rollout, as soon as hawkBit has filled its groups; none of them has a box that the state is not for.
pub async fn start(hawkbit: &Management, repository: &Repository, name: &str) -> Result<RolloutStatus, Fault> {
    let entry = filled(hawkbit, find(hawkbit, name).await?).await?;
    if entry.status == "waiting_for_approval" {
        let reason = format!("`{name}` awaits approval: `hawkbit rollout approve {name}`, by somebody who may");
        return Err(Fault::new("rollout-awaits-approval", Blame::Configuration, reason));
    }
    let release = rolled_out(hawkbit, repository, &entry).await?;
    for group in groups(hawkbit, &entry).await? {
        check_group(hawkbit, &release, name, (entry.id, group.id)).await?;
    }
    hawkbit.act(&format!("rollouts/{}/start", entry.id)).await?;
    status(hawkbit, name).await
}

/// The state of a rollout as the repository lists it now: another version no box would take.
async fn rolled_out(hawkbit: &Management, repository: &Repository, rollout: &Entry) -> Result<Release, Fault> {
    let refused = |reason: String| Fault::new("target-not-approved", Blame::Region, reason);
    let set: Option<Set> = hawkbit.get(&format!("distributionsets/{}", rollout.distribution_set_id)).await?;
    let set = set.ok_or_else(|| refused(format!("the state of `{}` is gone from hawkBit", rollout.name)))?;
    let release = Release::read(repository, &set.name).await?;
    if release.version() != set.version {
        let reason = format!(
            "`{}` is of {} in the version {}, and {} is listed now: push that one, and make the rollout anew",
            rollout.name,
            set.name,
            set.version,
            release.version()
        );
        return Err(refused(reason));
    }
    Ok(release)
}

/// Asks something else of a rollout, and says how it stands then.
pub async fn command(hawkbit: &Management, name: &str, command: Command) -> Result<RolloutStatus, Fault> {
    let verb = match command {
        Command::Pause => "pause",
        Command::Resume => "resume",
        Command::Stop => "stop",
        Command::Approve => "approve",
        Command::Deny => "deny",
    };
    let mut entry = find(hawkbit, name).await?;
    if matches!(command, Command::Approve | Command::Deny) {
        entry = filled(hawkbit, entry).await?;
    }
    hawkbit.act(&format!("rollouts/{}/{verb}", entry.id)).await?;
    status(hawkbit, name).await
}

/// Waits until hawkBit has filled the groups: before that it refuses to start.
async fn filled(hawkbit: &Management, mut entry: Entry) -> Result<Entry, Fault> {
    let end = Instant::now() + GROUPS;
    while entry.status == "creating" {
        if Instant::now() > end {
            let reason = format!("`{}` has no groups after {} s: look at hawkBit's log", entry.name, GROUPS.as_secs());
            return Err(Fault::new("rollout-not-ready", Blame::Channel, reason));
        }
        sleep(Duration::from_millis(250)).await;
        entry = find(hawkbit, &entry.name).await?;
    }
    Ok(entry)
}

async fn find(hawkbit: &Management, name: &str) -> Result<Entry, Fault> {
    let query = format!("name=={}", checked("rollout", name)?);
    let found: Vec<Entry> = hawkbit.list("rollouts", Some(&query)).await?;
    found
        .into_iter()
        .find(|rollout| rollout.name == name)
        .ok_or_else(|| Fault::new("rollout-unknown", Blame::Configuration, format!("hawkBit has no rollout `{name}`")))
}

async fn of(hawkbit: &Management, rollout: Entry) -> Result<RolloutStatus, Fault> {
    let groups = groups(hawkbit, &rollout).await?.into_iter().map(|group| GroupStatus {
        name: group.name,
        status: group.status,
        boxes: group.total_targets,
        counts: some(group.total_targets_per_status),
    });
    // A list of rollouts has no counts; the rollout alone has them.
    let whole: Option<Entry> = hawkbit.get(&format!("rollouts/{}", rollout.id)).await?;
    let rollout = whole.unwrap_or(rollout);
    Ok(RolloutStatus {
        name: rollout.name,
        status: rollout.status,
        boxes: rollout.total_targets,
        counts: some(rollout.total_targets_per_status),
        groups: groups.collect(),
    })
}

async fn groups(hawkbit: &Management, rollout: &Entry) -> Result<Vec<Entry>, Fault> {
    // Without `representation=full` the groups come without their counts.
    hawkbit.list(&format!("rollouts/{}/deploygroups?representation=full", rollout.id), None).await
}

fn some(counts: BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    counts.into_iter().filter(|(_, boxes)| *boxes > 0).collect()
}

async fn pushed(hawkbit: &Management, release: &Release) -> Result<Set, Fault> {
    let (state, version) = (release.name(), release.version());
    let query = format!("name=={state};version=={version};type=={TYPE_KEY}");
    let sets: Vec<Set> = hawkbit.list("distributionsets", Some(&query)).await?;
    sets.into_iter().find(|set| set.valid && set.name == state && set.version == version).ok_or_else(|| {
        let reason = format!(
            "hawkBit has no state `{state}` in the version that the repository lists: `hawkbit push --state {state}` first"
        );
        Fault::new("state-not-pushed", Blame::Configuration, reason)
    })
}
