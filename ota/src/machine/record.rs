//! What the machine knows across restarts and power cuts: one small file, replaced whole at each transition.
//!
//! Fields that a newer updater adds are ignored, and those that it lacks have a default: the box may go back to an older system.
use crate::descriptor::Descriptor;
use crate::documents::{Suspension, VendorKeys};
use crate::fault::{Blame, Fault};
use crate::limits::MAX_SUSPENDED;
use crate::machine::engines::Engines;
use crate::state::Pin;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

pub use crate::durable::replace as persist;

/// The file in bytes, against one that is something else.
const MAX_BYTES: u64 = 4 * 1024 * 1024;
/// States that held, of which the box keeps the payloads: as many as the agent can go back to.
pub const KEPT_STATES: usize = 2;

/// `state.json`, format 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// 1.
    pub format: u32,
    /// The action in hand.
    pub action: Option<Action>,
    /// The last action that was reported.
    pub last: Option<Action>,
    /// An action of the channel that ended, was not told yet, and had to be put aside for a stick.
    #[serde(default)]
    pub untold: Option<Action>,
    /// States that held on this box, the newest first.
    pub good: Vec<Good>,
    /// A state held on this box once, whatever was withdrawn since: its own configuration is none to go back to as it was.
    #[serde(default)]
    pub had_states: bool,
    /// Hashes of the payloads of a state that serves and was not watched to its end: a newer action took its place.
    #[serde(default)]
    pub unproven: Vec<String>,
    /// Models that the updater has switched off because nothing that is still listed could take their place.
    pub suspended: Vec<String>,
    /// The region's switches.
    #[serde(default)]
    pub switches: Switches,
    /// What the channel was last told that this box is.
    pub told: Option<String>,
    /// The operating system that was found good on this box; absent: none was looked at yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<System>,
    /// The operating system that goes with its withdrawn state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back: Option<Back>,
    /// The newest format that the agent of this box may have written its spool in.
    #[serde(default = "first_format")]
    pub spool_format: u32,
    /// The system under which it first wrote in that format: none that is older is known to read it.
    #[serde(default)]
    pub spool_since: Option<String>,
}

/// What every agent reads.
fn first_format() -> u32 {
    1
}

/// How the region's switches stood when they were last learned, and what was done by them here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Switches {
    /// Since when and why no new deployment is begun; absent: rollouts go on.
    pub stopped: Option<String>,
    /// What the region suspends.
    pub suspended: Vec<Suspended>,
    /// Packages that the updater switched off for it, with the reason that it gave the agent.
    pub applied: BTreeMap<String, String>,
}

/// A package that the region suspends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspended {
    /// Its name.
    pub package: String,
    /// This version alone; absent: every version.
    pub version: Option<String>,
    /// Why, for people.
    pub reason: String,
}

/// An action: a state that the box is to come to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// Its number at the server; of one from a stick, the name of its bundle.
    pub id: String,
    /// Who brought it.
    #[serde(default)]
    pub origin: Origin,
    /// What it names; absent: it named nothing that can be read.
    pub descriptor: Option<Descriptor>,
    /// When it was taken up, in seconds since 1970.
    pub since: i64,
    /// What the server calls the version of it.
    pub version: String,
    /// Hashes of its payloads, from the time that they are here.
    pub files: Vec<String>,
    /// The keys that the region pinned for its vendors then; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendors: Option<VendorKeys>,
    /// The operating system that came with it, from before its slot is written.
    pub os: Option<OsTrial>,
    /// How far it is.
    pub step: Step,
}

/// The operating system that was found good on this box.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct System {
    /// Its version.
    pub version: String,
    /// The version before it, for as long as it lies whole in the other slot.
    pub other: Option<String>,
    /// The engines that were last known to serve under it.
    #[serde(flatten)]
    pub engines: Engines,
    /// Its bundle, where a state of the region brought it here.
    #[serde(default)]
    pub bundle: Option<Pin>,
    /// The bundle of the version before it.
    #[serde(default)]
    pub other_bundle: Option<Pin>,
}

impl System {
    /// What the other slot holds is none to go back to any more.
    pub fn forget_other(&mut self) {
        (self.other, self.other_bundle) = (None, None);
    }
}

/// An operating system that goes with its withdrawn state: to the one that the next state names, else to the one before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Back {
    /// The version that is left.
    pub from: String,
    /// The version that was written to the other slot for it.
    pub written: Option<String>,
    /// The boot in which the boot loader was told to start the other slot.
    pub boot: Option<String>,
    /// Why RAUC did not take what was to be written: it is not tried again and again.
    #[serde(default)]
    pub refused: Option<Fault>,
}

/// Who brings an action.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The channel, which is told how it goes.
    #[default]
    Channel,
    /// A person with a stick.
    Stick,
}

/// An operating system on trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OsTrial {
    /// Its version.
    pub version: String,
    /// The version that ran before it.
    pub before: String,
    /// The boot in which its slot was written or marked last.
    pub boot: String,
    /// How far its slot is.
    #[serde(default)]
    pub slot: Slot,
    /// The engines that served before it.
    #[serde(flatten)]
    pub engines: Engines,
    /// The interfaces that had an address right before the restart into it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub networks: BTreeSet<String>,
    /// Its bundle, as the region listed it.
    #[serde(default)]
    pub bundle: Option<Pin>,
    /// Times that its bundle did not come whole.
    #[serde(default)]
    pub broken_streams: u32,
    /// Whether the boot loader was told to stay with it.
    pub committed: bool,
}

/// How far the other slot is, for a system that is to be started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Slot {
    /// RAUC was to write it, and may be half through.
    Writing,
    /// It is whole. The boot loader knows nothing of it.
    Written,
    /// The boot loader starts it next. What an older updater has written, RAUC had marked with the last block.
    #[default]
    Marked,
}

/// How far an action is: what was done, never what was proven. A proof is made again after each restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "at", rename_all = "kebab-case")]
pub enum Step {
    /// It names a state; nothing is known about it.
    Candidate,
    /// The region lists it, and all of its payload is here.
    Verified,
    /// The operating system is in the other slot and waits for its boot.
    Rebooting,
    /// The operating system that it names runs.
    Installed,
    /// The agent's trial held.
    Tested {
        /// What the trial found.
        findings: Vec<String>,
    },
    /// It serves, and is watched.
    Active {
        /// Since when, in seconds since 1970.
        since: i64,
        /// Seconds for which it was watched so far, by no clock that can be set; without them, as an older updater keeps none, the watch
        /// begins anew.
        #[serde(default)]
        watched: u64,
        /// What the trial found.
        findings: Vec<String>,
        /// How the models did that served before it, by their names.
        #[serde(default)]
        before: BTreeMap<String, Before>,
    },
    /// It is being taken back.
    RollingBack {
        /// Why.
        fault: Fault,
        /// The boot in which the operating system was given up.
        boot: Option<String>,
        /// Findings and figures that were known of it, for people.
        #[serde(default)]
        details: Vec<String>,
    },
    /// It is over, and the channel is to be told.
    Ended {
        /// How it ended.
        outcome: Outcome,
    },
}

/// How a model did in the state before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// Its version.
    pub version: String,
    /// Jobs that it answered.
    pub answered: u64,
    /// Jobs that failed.
    pub failed: u64,
    /// Jobs on studies that were not what it is for.
    #[serde(default)]
    pub not_applicable: u64,
    /// Median time of an answer, in milliseconds.
    pub median_ms: Option<u64>,
}

/// How an action ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// How.
    pub end: End,
    /// When, in seconds since 1970.
    pub at: i64,
    /// Why, where it did not end well.
    pub fault: Option<Fault>,
    /// Figures and findings, for people.
    pub details: Vec<String>,
}

/// How an action ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// It serves, and held while it was watched.
    Active,
    /// It served, or its operating system ran, and it was taken back.
    RolledBack,
    /// It never served.
    Refused,
    /// The channel stopped it.
    Stopped,
}

/// A state that held on this box.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Good {
    /// What names it.
    pub descriptor: Descriptor,
    /// What the server calls the version of it.
    pub version: String,
    /// Hashes of its payloads.
    pub files: Vec<String>,
    /// Since when, in seconds since 1970.
    pub since: i64,
    /// The region no longer listed it when it was last asked, and it could not be left yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub withdrawn: bool,
}

impl Switches {
    /// Suspends more. What is suspended already stays so, with its reason.
    pub fn suspend_too(&mut self, more: Suspended) {
        let is_known = |known: &Suspended| {
            known.package == more.package && (known.version.is_none() || known.version == more.version)
        };
        let length: usize = self.suspended.iter().chain([&more]).map(Suspended::length).sum();
        if !self.suspended.iter().any(is_known) && length <= MAX_SUSPENDED {
            self.suspended.push(more);
        }
    }

    /// What the region suspends of what was switched off for it: what it has lifted meanwhile is kept until the agent serves that package again.
    pub fn shown(&self) -> BTreeMap<String, String> {
        let is_named = |package: &str| self.suspended.iter().any(|suspended| suspended.package == package);
        let applied = self.applied.iter().filter(|(package, _)| is_named(package));
        applied.map(|(package, reason)| (package.clone(), reason.clone())).collect()
    }
}

impl From<Suspension> for Suspended {
    fn from(Suspension { package, version, reason, .. }: Suspension) -> Self {
        Self { package, version, reason }
    }
}

impl Suspended {
    fn length(&self) -> usize {
        self.package.len() + self.version.as_ref().map_or(0, String::len) + self.reason.len()
    }

    /// Whether it is about a package in that version.
    pub fn is_of(&self, package: &str, version: &str) -> bool {
        self.package == package && self.version.as_ref().is_none_or(|only| only == version)
    }
}

impl Step {
    /// The order of the steps: an action goes forward alone.
    pub fn rank(&self) -> u8 {
        match self {
            Step::Candidate => 0,
            Step::Verified => 1,
            Step::Rebooting => 2,
            Step::Installed => 3,
            Step::Tested { .. } => 4,
            Step::Active { .. } => 5,
            Step::RollingBack { .. } => 6,
            Step::Ended { .. } => 7,
        }
    }

    /// Name, as in the file.
    pub fn name(&self) -> &'static str {
        ["candidate", "verified", "rebooting", "installed", "tested", "active", "rolling-back", "ended"]
            [usize::from(self.rank())]
    }
}

impl Action {
    /// Name of the desired state, as in its target's path.
    pub fn state(&self) -> Option<&str> {
        self.descriptor.as_ref().map(state_name)
    }

    /// Whether its state held on this box.
    fn has_held(&self) -> bool {
        matches!(&self.step, Step::Ended { outcome } if outcome.end == End::Active)
    }

    /// Whether it has changed the box and is not over: it comes to its end before anything else is begun.
    pub fn is_under_way(&self) -> bool {
        match self.step {
            Step::Ended { .. } => false,
            Step::Active { .. } | Step::RollingBack { .. } => true,
            _ => self.os.is_some(),
        }
    }
}

/// Name of the state that a descriptor names.
pub fn state_name(descriptor: &Descriptor) -> &str {
    let path = descriptor.target.strip_prefix("state/").unwrap_or(&descriptor.target);
    path.strip_suffix(".json").unwrap_or(path)
}

impl Default for Record {
    fn default() -> Self {
        Self {
            format: 1,
            action: None,
            last: None,
            untold: None,
            good: Vec::new(),
            had_states: false,
            unproven: Vec::new(),
            suspended: Vec::new(),
            switches: Switches::default(),
            told: None,
            system: None,
            back: None,
            spool_format: first_format(),
            spool_since: None,
        }
    }
}

impl Record {
    /// Reads what was persisted; nothing was, on a new box.
    pub fn read(path: &Path) -> Result<Self, Fault> {
        let unreadable = |reason: String| {
            let reason =
                format!("{} cannot be read: {reason}. Restore it, or move it away to begin anew", path.display());
            Fault::new("record-unreadable", Blame::Box, reason)
        };
        let bytes = match std::fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(unreadable(error.to_string())),
            Ok(metadata) if metadata.len() > MAX_BYTES => return Err(unreadable("it is too long".to_owned())),
            Ok(_) => std::fs::read(path).map_err(|error| unreadable(error.to_string()))?,
        };
        let mut record: Self = serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
        if record.format != 1 {
            return Err(unreadable(format!("it has format {}, and this updater reads 1", record.format)));
        }
        // An older updater has kept nothing of that.
        record.had_states |= !record.good.is_empty() || record.last.as_ref().is_some_and(Action::has_held);
        Ok(record)
    }

    /// Makes it durable.
    pub fn write(&self, path: &Path) -> Result<(), Fault> {
        let bytes = serde_json::to_vec_pretty(self)
            .map_err(|error| Fault::new("record-unwritable", Blame::Updater, error.to_string()))?;
        persist(path, &bytes, 0o640)
    }
}
