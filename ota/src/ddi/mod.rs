//! The shapes of hawkBit's Direct Device Integration API, version 1: what a device asks and what a server answers. Both sides
//! of the channel use these very types.
//!
//! Fields that a server adds are ignored: hawkBit adds some in each release.
pub mod client;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `GET /{tenant}/controller/v1/{controllerId}`: when to ask again, and what there is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// What the server asks of the poller.
    pub config: PollConfig,
    /// `configData`, `deploymentBase`, `confirmationBase`, `cancelAction`, `installedBase`, where there is something.
    #[serde(rename = "_links", default)]
    pub links: BTreeMap<String, Link>,
}

/// What the server asks of the poller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PollConfig {
    /// The interval.
    pub polling: Polling,
}

/// The interval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Polling {
    /// `HH:MM:SS` between two polls.
    pub sleep: String,
}

/// A link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Where to.
    pub href: String,
}

/// `GET .../deploymentBase/{actionId}` and `GET .../confirmationBase/{actionId}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeploymentBase {
    /// The action.
    pub id: String,
    /// What is to be done; `deployment` where it is no confirmation.
    #[serde(alias = "confirmation")]
    pub deployment: Deployment,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// Whether to download.
    pub download: Handling,
    /// Whether to update. `skip` with a window: when the window opens. `skip` without one: never; the action asks for the
    /// download alone and ends with [`Execution::Downloaded`].
    pub update: Handling,
    /// `available` or `unavailable`, where the action has a maintenance window.
    #[serde(rename = "maintenanceWindow", default, skip_serializing_if = "Option::is_none")]
    pub maintenance_window: Option<String>,
    /// When the device may install and reboot, in its own local time. An addition of ours: hawkBit knows no time zone of a device.
    #[serde(rename = "sundMaintenance", default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Maintenance>,
    /// Software modules.
    #[serde(default)]
    pub chunks: Vec<Chunk>,
}

/// When a device may install and reboot, in its own local time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Maintenance {
    /// `HH:MM`.
    pub from: String,
    /// `HH:MM`, not itself in the window; earlier than `from` where the window passes midnight.
    pub until: String,
    /// `mon` to `sun`, the days on which the window opens; empty: every day.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub days: Vec<String>,
}

/// How the server wants a step handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Handling {
    /// Not now.
    Skip,
    /// The device may choose when.
    Attempt,
    /// At once.
    Forced,
}

/// A software module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Type of the module, e.g. `os`, `bApp`.
    pub part: String,
    /// Version.
    pub version: String,
    /// Name.
    pub name: String,
    /// Files.
    #[serde(default)]
    pub artifacts: Vec<Artifact>,
}

/// A file of a software module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// File name.
    pub filename: String,
    /// Digests. None is trusted, and a server may leave any of them out.
    #[serde(default)]
    pub hashes: Hashes,
    /// Length in bytes.
    pub size: u64,
    /// `download` (https), `download-http`; over plain HTTP hawkBit names the latter alone.
    #[serde(rename = "_links", default)]
    pub links: BTreeMap<String, Link>,
}

/// Digests of a file, as lower-case hexadecimal digits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hashes {
    /// SHA-1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha1: Option<String>,
    /// MD5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub md5: Option<String>,
    /// SHA-256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// `GET .../cancelAction/{actionId}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancel {
    /// The cancel action.
    pub id: String,
    /// What is to be stopped.
    #[serde(rename = "cancelAction")]
    pub cancel_action: StopId,
}

/// The action that is to be stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopId {
    /// Its number; of hawkBit the same as the cancel action's.
    #[serde(rename = "stopId")]
    pub stop_id: String,
}

/// `POST .../deploymentBase/{actionId}/feedback` and `POST .../cancelAction/{actionId}/feedback`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feedback {
    /// The action again: hawkBit before 0.5 answers 404 where it is not said here too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<i64>,
    /// How it stands.
    pub status: FeedbackStatus,
}

/// How an action stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedbackStatus {
    /// What happens.
    pub execution: Execution,
    /// How it ended.
    pub result: FeedbackResult,
    /// A number of the device's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// Lines for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
}

/// The attribute by which a device says which state it runs: the name of that state, or [`NO_STATE`].
pub const STATE: &str = "state";

/// What it says where it runs none.
pub const NO_STATE: &str = "own configuration";

/// The attribute by which a device says which word of the region it has heard: the version of its repository's timestamp.
pub const REPOSITORY: &str = "repository";

/// The one by which it says that it hears none now: a code, and after [`SINCE`] when it did last.
pub const REPOSITORY_TROUBLE: &str = "repository.trouble";

/// Stands in it before the time, RFC 3339.
pub const SINCE: &str = " since ";

/// How a device's line begins that says why its action waits. It is said once, and holds until another word: no such device is silent.
pub const WAITS: &str = "waits: ";

/// What happens with an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Execution {
    /// It is over.
    Closed,
    /// It goes on.
    Proceeding,
    /// The payload is fetched.
    Download,
    /// The payload was fetched.
    Downloaded,
    /// It was stopped.
    Canceled,
    /// It was planned.
    Scheduled,
    /// It was refused.
    Rejected,
    /// It was taken up again.
    Resumed,
}

/// How an action ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedbackResult {
    /// How.
    pub finished: Finished,
    /// How far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
}

/// How an action ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Finished {
    /// Well.
    Success,
    /// Badly.
    Failure,
    /// Not yet. Beside `closed` a server takes it for success: never send the two together.
    None,
}

/// How far an action is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Done.
    pub cnt: u32,
    /// Of so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<u32>,
}

/// `PUT .../configData`: what the device is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigData {
    /// `merge`, `replace` or `remove`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Attributes.
    pub data: BTreeMap<String, String>,
}

/// `POST .../confirmationBase/{actionId}/feedback`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmation {
    /// `confirmed` or `denied`.
    pub confirmation: String,
    /// A number of the device's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// Lines for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
}
