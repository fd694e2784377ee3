//! What a recall answers: studies and destinations, and what became of the results there. Study Instance UIDs stand in it, and
//! nothing else of a patient.
use super::{Reason, Which};
use crate::fault::Fault;
use serde::{Deserialize, Serialize};
use std::iter::Sum;
use std::ops::Add;

/// The answer; its JSON is frozen by a golden file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Format, 1.
    pub format: u32,
    /// Whose results.
    pub package: Which,
    /// Why; `None` in a dry run, which changes nothing.
    pub reason: Option<Reason>,
    /// The packages that this names, of which results are here.
    pub packages: Vec<PackageRecalled>,
    /// The studies with results of them, as they stand now.
    pub studies: Vec<StudyRecalled>,
    /// Sums over all of them.
    pub total: Counts,
    /// Rejection notes, over all destinations.
    pub notes: u64,
    /// Jobs of these packages that have not ended: a recall ends them, and those that are there after it came later.
    pub open_jobs: u64,
    /// Jobs of these packages that a recall ended before they made anything.
    #[serde(default)]
    pub cancelled_jobs: u64,
    /// Models of these packages that still serve.
    pub still_on: Vec<StillOn>,
}

/// A package that has made results.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PackageRecalled {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Digest.
    pub digest: String,
}

/// A study.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StudyRecalled {
    /// Study Instance UID.
    pub study: String,
    /// Results that were made of it, wherever they are.
    pub results: u64,
    /// Destinations that were to get them.
    pub destinations: Vec<DestinationRecalled>,
    /// Why not all of it could be done.
    pub fault: Option<Fault>,
}

/// What became of a study's results at one destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DestinationRecalled {
    /// Name in the configuration.
    pub destination: String,
    /// Counted.
    #[serde(flatten)]
    pub counts: Counts,
    /// Rejection notes for it: one, and one more for each later recall that found more results there.
    pub notes: Vec<NoteSent>,
}

/// Results, counted once for each destination. What was superseded before it went, or is kept here by policy, is in none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// The destination confirmed them.
    pub sent: u64,
    /// They were on their way, and no answer is known: the destination may hold them. They are rejected as if it did.
    pub in_doubt: u64,
    /// They waited, were held or given up, and never go.
    pub cancelled: u64,
    /// Of those sent and in doubt: no rejection note tells the destination, and a person has to withdraw them there.
    pub by_hand: u64,
}

/// A rejection note on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoteSent {
    /// SOP Instance UID.
    pub uid: String,
    /// `waiting`, `delivered`, `dead` or `held`, as deliveries are.
    pub state: String,
}

/// A model that goes on making results.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StillOn {
    /// Its package.
    pub package: PackageRecalled,
    /// What switches it off.
    pub command: String,
}

impl Report {
    /// Sums up what is told of each study.
    #[must_use]
    pub fn summed(mut self) -> Self {
        let destinations = || self.studies.iter().flat_map(|study| &study.destinations);
        (self.total, self.notes) =
            (destinations().map(|one| one.counts).sum(), destinations().map(|one| one.notes.len() as u64).sum());
        self
    }
}

impl Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            sent: self.sent + other.sent,
            in_doubt: self.in_doubt + other.in_doubt,
            cancelled: self.cancelled + other.cancelled,
            by_hand: self.by_hand + other.by_hand,
        }
    }
}

impl Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), Add::add)
    }
}
