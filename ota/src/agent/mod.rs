//! What the updater asks the agent of this box, and what that answers: lines of JSON on the agent's channel socket, one
//! request and one answer for each connection. The shapes are frozen by the golden files in ota/tests/goldens/agent, which the
//! agent's own tests hold as well.
pub mod client;
mod holder;

use crate::audit::Event;
use crate::descriptor::Descriptor;
use crate::documents::VendorKeys;
use crate::fault::Fault;
use crate::machine::record::state_name;
use crate::state::RoutePlan;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

pub use holder::{BY_REGION, Holder, NOT_APPROVED};

/// A state. A name can be published again with other bytes, so that its hash counts as well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateId {
    /// Its name.
    pub name: String,
    /// SHA-256 of its document; absent where an agent activated it that knew states by their names alone.
    pub sha256: Option<String>,
}

impl StateId {
    /// True unless it is known to be another one: what an older agent has activated is known by its name.
    pub fn may_be(&self, other: &Self) -> bool {
        self.name == other.name && (self.sha256 == other.sha256 || self.sha256.is_none() || other.sha256.is_none())
    }
}

impl From<&Descriptor> for StateId {
    fn from(descriptor: &Descriptor) -> Self {
        Self { name: state_name(descriptor).to_owned(), sha256: Some(descriptor.sha256.clone()) }
    }
}

/// What the agent is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// How it stands.
    Status,
    /// Try a state beside the one that serves: check the configuration, open the packages, choose engines and run golden cases.
    /// Answers at once with [`Answer::Trial`]; asked again by [`Request::Trial`].
    Try(Box<Offer>),
    /// How the trial stands.
    Trial,
    /// End the trial of a state soon, where it runs, and let go what it has proven. What serves is untouched, also where it was tried last.
    /// Answers at once with [`Answer::Trial`], which may run still; asked again by [`Request::Trial`].
    Leave {
        /// The state.
        state: StateId,
    },
    /// Serve what was tried, from the next job on. Only after a trial that held.
    Activate {
        /// The state.
        state: StateId,
    },
    /// Serve an earlier state again, or the box's own configuration.
    Revert {
        /// A state that the agent still keeps; absent: the box's own configuration.
        state: Option<StateId>,
    },
    /// Run the golden cases of what serves again, in the workers that serve. Answers at once with [`Answer::Check`]; asked again by
    /// [`Request::Checked`].
    Check {
        /// The state that is meant to serve.
        state: StateId,
    },
    /// How that check stands.
    Checked,
    /// Switch a model off at once, whatever the state says, until it is resumed.
    Suspend {
        /// Name of the package.
        package: String,
        /// Why, for the audit log and for people.
        reason: String,
        /// By whose word: the region's or the updater's own; absent, for an agent from before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Holder>,
    },
    /// Take a suspension back.
    Resume {
        /// Name of the package.
        package: String,
    },
    /// Take all that the region suspends, whether it serves or not: no job of it ends with a result. What was asked before and is not among it no
    /// longer counts.
    RegionSuspends {
        /// All of it.
        all: Vec<RegionSuspension>,
    },
    /// Have no job begin for so long; those that run end, studies are taken in and results are sent. It takes the place of what was asked
    /// before, zero takes it back, and a restart ends it.
    Hold {
        /// Seconds, at most 3600.
        seconds: u64,
    },
    /// What runs now has held, its operating system too, and the box does not go back behind it: files may be written as an older
    /// agent does not read them.
    Committed,
    /// Take events of the updater into the audit log, each once.
    Audit {
        /// The trail that their numbers are of.
        trail: String,
        /// In their order.
        events: Vec<Event>,
    },
}

/// A state to try.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    /// The state.
    pub state: StateId,
    /// The configuration, a file that the agent may read; absent: the one that it was started with.
    pub configuration: Option<PathBuf>,
    /// Packages, files that the agent may read. They replace those of the configuration.
    pub packages: Vec<OfferedPackage>,
    /// What each route runs. A route of the configuration that is not named here runs nothing.
    pub routes: BTreeMap<String, RoutePlan>,
    /// The vendors' keys that the region pins; absent: it pins none, and those of the configuration count. Only for an agent that says that
    /// it takes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendors: Option<VendorKeys>,
}

impl AgentStatus {
    /// Whether what the agent knows of the region suspends this version of a package.
    #[must_use]
    pub fn region_lists(&self, package: &str, version: &str) -> bool {
        let is_of = |one: &RegionSuspension| {
            one.package == package && one.version.as_deref().is_none_or(|only| only == version)
        };
        self.region_suspends.iter().flatten().any(is_of)
    }
}

/// A package that the region suspends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegionSuspension {
    /// Its name.
    pub package: String,
    /// This version alone; absent: every version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Why, for the audit log and for people.
    pub reason: String,
}

/// A package to try.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfferedPackage {
    /// The packed file.
    pub file: PathBuf,
    /// SHA-256 of the file, 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// Name of the package, as in its manifest.
    pub name: String,
}

/// What the agent answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// How it stands.
    Status(Box<AgentStatus>),
    /// How the trial stands.
    Trial(Trial),
    /// How the golden cases of what serves stand.
    Check(Trial),
    /// What serves from now on.
    Serves {
        /// The state; absent: the box's own configuration.
        state: Option<StateId>,
        /// The agent ends and is started again to serve it: its address, its TLS, or another thing that is set at the start.
        restarts: bool,
    },
    /// The suspension is kept, or was taken back.
    Suspended {
        /// Name of the package.
        package: String,
        /// Whether it is off now.
        off: bool,
    },
    /// What the region suspends is off, whichever version serves.
    RegionSuspended {
        /// How many entries.
        count: u32,
    },
    /// No job begins.
    Held {
        /// Before then; absent: they begin.
        until: Option<Timestamp>,
        /// Jobs that run still.
        running: u32,
    },
    /// It is known that the system stays.
    Committed {
        /// The format in which the spool is written from now on.
        format: u32,
    },
    /// The events are in the audit log.
    Audited {
        /// Those of the trail up to this number.
        seq: u64,
    },
    /// Not done.
    Refused(AgentFault),
}

/// Why the agent refused: the agent's own words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentFault {
    /// Stable identifier (agent/REFUSALS.md).
    pub code: String,
    /// Whose doing it is, in the agent's words.
    pub blame: String,
    /// One or two sentences for people.
    pub reason: String,
}

/// How the agent stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentStatus {
    /// Version of the agent.
    pub version: String,
    /// The state that serves; absent: the box's own configuration.
    pub state: Option<StateId>,
    /// `gpu` or `cpu`: the best class of engine that serves now.
    pub engine_class: String,
    /// Studies that are worked on now.
    pub running: u32,
    /// No job begins before then; absent: they begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_until: Option<Timestamp>,
    /// The format in which the spool is written; an older agent does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spool_format: Option<u32>,
    /// The state that is tried now; absent: none, its trial is being left, or the agent is older and knows no [`Request::Leave`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trying: Option<StateId>,
    /// Whether an offer may bring the vendors' keys; an older agent does not say, and refuses one that does.
    #[serde(default)]
    pub takes_vendors: bool,
    /// All that the region suspends, as the agent was told last; an older agent does not say, and refuses to be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region_suspends: Option<Vec<RegionSuspension>>,
    /// Whether the DICOM node answers its own echo.
    pub node_answers: bool,
    /// The models that serve.
    pub models: Vec<ModelStatus>,
}

/// How a model stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelStatus {
    /// Name of the package.
    pub name: String,
    /// Version of the package.
    pub version: String,
    /// Digest of the package.
    pub digest: String,
    /// `active`, `checking`, `waiting`, `off` or `suspended`.
    pub standing: String,
    /// Why it is off or waits.
    pub reason: Option<String>,
    /// By whose word it is suspended; empty where it is not, or an older agent does not say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by: Vec<Holder>,
    /// The engine that serves it, in words.
    pub engine: Option<String>,
    /// `gpu` or `cpu`, once an engine of that class serves it; an older agent does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine_class: Option<String>,
    /// Jobs since it was activated that ended with an answer.
    pub answered: u64,
    /// Jobs since it was activated that failed.
    pub failed: u64,
    /// Jobs since it was activated on studies that are not what it is for: neither answered nor failed.
    #[serde(default)]
    pub not_applicable: u64,
    /// Median time of an answer, in milliseconds.
    pub median_ms: Option<f64>,
}

/// A trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// The state.
    pub state: StateId,
    /// How it stands.
    pub standing: TrialStanding,
    /// What was found out, one line for each package and each check, with its figures.
    pub findings: Vec<Finding>,
}

/// How a trial stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrialStanding {
    /// It runs.
    Running,
    /// All of it held.
    Held,
    /// It did not hold.
    Missed(AgentFault),
}

/// One thing that a trial found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Name of the package; absent: the configuration.
    pub package: Option<String>,
    /// `configuration`, `opened`, `engine`, `golden-cases`, `acceptance`.
    pub check: String,
    /// Whether it held.
    pub held: bool,
    /// In words, with the figures.
    pub text: String,
    /// How long it took, in milliseconds.
    pub ms: f64,
}

impl From<AgentFault> for Fault {
    fn from(fault: AgentFault) -> Self {
        let reason = format!("{} [{}]", fault.reason, fault.code);
        Self::new("agent-refused", crate::fault::Blame::Agent, reason)
    }
}
