//! One shape for every refusal and failure: whose fault, a stable code, a sentence for people.
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;

/// Whose doing a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Blame {
    /// The channel: its server, its store, or who has taken them.
    Channel,
    /// Who signs for the region: what was approved does not fit together.
    Region,
    /// The model package or its vendor.
    Package,
    /// The configuration of this box.
    Configuration,
    /// The agent on this box.
    Agent,
    /// Disk, clock, network: this box.
    Box,
    /// The updater itself.
    Updater,
}

/// Why a step refused or failed. `code` is stable and stands in ota/README.md; `reason` says what was wrong and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct Fault {
    /// Stable identifier in kebab case, e.g. `metadata-expired`.
    pub code: Cow<'static, str>,
    /// Whose doing it is.
    pub blame: Blame,
    /// One or two sentences for people.
    pub reason: String,
    /// Since when updates are stopped, where metadata has expired. Expiry stops updates and nothing else: what the box runs it
    /// goes on running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updates_stopped_since: Option<Timestamp>,
}

impl Fault {
    /// A fault from its three parts.
    pub fn new(code: &'static str, blame: Blame, reason: impl Into<String>) -> Self {
        Self { code: code.into(), blame, reason: reason.into(), updates_stopped_since: None }
    }

    /// The same fault, of the kind that stops updates from `since` on and leaves alone what runs.
    #[must_use]
    pub fn stopping_updates(self, since: Timestamp) -> Self {
        Self { updates_stopped_since: Some(since), ..self }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.reason, self.code)
    }
}
