//! By whose word a model is off: the agent says it of each that is suspended. An agent from before does not, and there it is read out of the
//! reason, by the words in which the updater has always given one; an updater from before, which may run again after a system that did not
//! hold, reads them of this agent too. So they stay as they are.
use super::ModelStatus;
use serde::{Deserialize, Serialize};

/// Before the region's reason, so that people see whose doing it is.
pub const BY_REGION: &str = "suspended by the region: ";
/// The updater's own reason.
pub const NOT_APPROVED: &str = "no state that is still approved can take its place";

/// By whose word a model is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Holder {
    /// The region's, which the updater has brought.
    Region,
    /// The updater's own.
    Updater,
    /// A person's, on this box.
    Person,
}

impl ModelStatus {
    /// Whether it is off by the region's word.
    pub fn is_off_by_region(&self) -> bool {
        self.is_off_by(Holder::Region, BY_REGION)
    }

    /// Whether it is off by the updater's own word.
    pub fn is_withheld(&self) -> bool {
        self.is_off_by(Holder::Updater, NOT_APPROVED)
    }

    fn is_off_by(&self, holder: Holder, words: &str) -> bool {
        let is_told = !self.by.is_empty();
        let is_in_words =
            || self.standing == "suspended" && self.reason.as_ref().is_some_and(|reason| reason.contains(words));
        if is_told { self.by.contains(&holder) } else { is_in_words() }
    }
}
