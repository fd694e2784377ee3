//! The signed repository at the centre: what is published, what is proposed, who has to sign it, and how it becomes
//! visible.
//!
//! `edit → proposal → signatures → published`. Nothing here can sign for the region: the keys at the server are those
//! of `timestamp` and `snapshot` alone.
mod approve;
mod authorities;
mod bounds;
pub mod bundle;
mod ceremony;
pub mod certificate;
mod commit;
mod discard;
mod document;
mod draft;
pub mod files;
mod formerly;
mod history;
pub mod home;
mod kept;
pub mod keys;
mod known;
pub mod limits;
pub mod local;
pub mod mirror;
mod online;
mod package;
mod persons;
mod proposal;
pub mod published;
mod release;
mod renew;
pub mod rescue;
mod roles;
mod routes;
mod sign;
mod status;
pub(crate) mod store;
pub mod sweep;
mod switches;
pub mod token;
mod words;

pub use approve::{Approval, approve};
pub use authorities::{add_authority, drafted_authorities, drop_authority, proposed_authorities, signed_authorities};
pub use ceremony::{Delegation, First, OnlineKeys, add_key, delegate, first, remove_key, rotate, threshold};
pub use discard::discard;
pub use document::{Document, in_days};
pub use draft::Draft;
pub use home::Home;
pub use kept::Kept;
pub use proposal::{Proposal, Seat, SignatureFile, Standing};
pub use published::Published;
pub use release::{Operating, configuration, model, operating_system, state};
pub use renew::{Alarm, Renewal, Upkeep, alarms, is_late, renew};
pub(crate) use roles::{ROOT, TARGETS, check_name};
pub use sign::{enclose, messages, signature_file};
pub use status::{RoleStatus, Status, status, suspensions, waiting};
pub use switches::{Suspended, Withdrawn, go_on, resume, stop_all, suspend, withdraw};
pub use words::{describe, plain};
