//! Rollouts: one signed desired state, brought to the fleet in waves.
pub mod action;
mod awake;
pub mod engine;
pub mod filter;
pub mod hearing;
pub mod listed;
pub mod maintenance;
pub mod meant;
pub mod orders;
pub mod plan;
pub mod rules;
pub mod view;

use crate::database::words;
use serde::{Deserialize, Serialize};
use sund_ota::ddi::Maintenance;

words! {
    /// How a rollout stands.
    pub enum Status {
        /// An approver has not agreed yet.
        WaitingForApproval = "waiting-for-approval",
        /// It may start.
        Ready = "ready",
        /// Waves begin as the rules say.
        Running = "running",
        /// No wave begins, and no box is offered anything; boxes that have begun go on.
        Paused = "paused",
        /// All boxes have ended, or have been left to a newer rollout.
        Finished = "finished",
        /// A person ended it.
        Stopped = "stopped",
    }
}

/// A rollout that is to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct New {
    /// Its name.
    pub name: String,
    /// The desired state: `north-1` or `state/north-1.json`.
    pub state: String,
    /// Waves, the canaries first.
    pub waves: Vec<NewWave>,
    /// Hours without a word after which a box counts as failed.
    pub silence_hours: u32,
    /// When boxes may install, in their local time.
    #[serde(default)]
    pub maintenance: Option<Maintenance>,
    /// Whether somebody has to confirm at each box.
    #[serde(default)]
    pub confirm: bool,
    /// Allows a rollout without canaries.
    #[serde(default)]
    pub all_at_once: bool,
}

/// One wave of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewWave {
    /// Which boxes, as [`filter::Filter`] reads it.
    pub filter: String,
    /// Percent that have to end well before the next wave begins.
    pub success: u8,
    /// Percent that may fail.
    pub error: u8,
}
