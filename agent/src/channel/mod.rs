//! How a state comes into service: the updater offers it on a local socket, the agent tries it beside what serves, and only what
//! held is activated, as a whole and durably. What the updater has downloaded and verified is checked here once more, by the same
//! checker and the same golden cases as everything else.
//!
//! Agent and updater share no code: they meet by lines of JSON, whose shapes are frozen by golden files on both sides.
mod cohort;
mod desk;
mod expectations;
mod gone;
mod kept;
mod protocol;
mod socket;
mod standing;
mod trail;
mod trial;

pub use crate::pipeline::StateId;
pub use desk::{Desk, Trials};
pub(crate) use kept::Record;
pub use kept::Served;
pub use protocol::{
    AgentStatus, Answer, Finding, ModelStatus, Offer, OfferedPackage, Request, Trial, TrialStanding, UpdaterEvent,
};
pub use socket::Channel;
