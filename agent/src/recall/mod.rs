//! Recall: what a package has made is taken back. What waits never goes, and a destination that has results is told to reject
//! them (IHE RAD, Imaging Object Change Management), where it takes such notes.
//!
//! Here is what is asked and what is answered; `pipeline/recall.rs` does it, `results/rejection.rs` makes the note.
mod reason;
mod report;
mod which;

pub use reason::Reason;
pub use report::{Counts, DestinationRecalled, NoteSent, PackageRecalled, Report, StillOn, StudyRecalled};
pub use which::Which;

use serde::{Deserialize, Serialize};
use std::time::SystemTime;

/// An order to recall, as the table of settings keeps it under `recall/WHICH`: one that a cut left unfinished is taken up at
/// the next start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    /// Whose results.
    pub package: Which,
    /// Why.
    pub reason: Reason,
    /// When it was given; the time that its rejection notes carry.
    pub at: SystemTime,
    /// When it was done.
    pub done: Option<SystemTime>,
}

impl Order {
    /// What the keys of all orders begin with.
    pub const KEYS: &'static str = "recall/";

    /// An order that is given now.
    pub fn now(package: Which, reason: Reason) -> Self {
        Self { package, reason, at: SystemTime::now(), done: None }
    }

    /// The key in the table of settings.
    pub fn key(&self) -> String {
        format!("{}{}", Self::KEYS, self.package)
    }
}
