//! How the spool keeps a suspension: as an agent from before has written it, and reads it where a system did not hold. That one has not kept
//! whether a word of the channel's is the region's or the updater's own, an updater from before does not say it, and what either has left is
//! told apart by its reason. Nothing else is.
use super::{By, Holder, Suspension};
use serde::{Deserialize, Serialize};
use std::time::SystemTime;

/// How an updater begins a reason of the region's, and what it gives as its own.
const REGIONS: &str = "suspended by the region:";
const UPDATERS: &str = "no state that is still approved can take its place";

/// By whom a suspension is of which the reason alone is known; `None` where it is none of the channel's.
pub(super) fn by(reason: &str) -> Option<By> {
    if reason.starts_with(REGIONS) {
        Some(By::Channel)
    } else if reason.starts_with(UPDATERS) {
        Some(By::Updater)
    } else {
        None
    }
}

/// As the spool has it.
#[derive(Serialize, Deserialize)]
pub(super) struct Kept {
    package: String,
    reason: String,
    since: SystemTime,
    #[serde(default)]
    by: Option<KeptBy>,
    /// Beside `by`: an agent from before knows the channel as one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    holder: Option<Holder>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum KeptBy {
    Hand,
    Console,
    Channel,
}

impl From<Kept> for Suspension {
    fn from(Kept { package, reason, since, by: kept, holder }: Kept) -> Self {
        let by = match (kept, holder) {
            (Some(KeptBy::Hand), _) => Some(By::Hand),
            (Some(KeptBy::Console), _) => Some(By::Console),
            (Some(KeptBy::Channel), Some(Holder::Updater)) => Some(By::Updater),
            (Some(KeptBy::Channel), Some(_)) => Some(By::Channel),
            (Some(KeptBy::Channel), None) => by(&reason).or(Some(By::Channel)),
            (None, _) => by(&reason),
        };
        Self { package, reason, since, by }
    }
}

impl From<Suspension> for Kept {
    fn from(Suspension { package, reason, since, by }: Suspension) -> Self {
        let kept = by.map(|by| match by {
            By::Hand => KeptBy::Hand,
            By::Console => KeptBy::Console,
            By::Channel | By::Updater => KeptBy::Channel,
        });
        Self { package, reason, since, by: kept, holder: by.map(By::holder) }
    }
}
