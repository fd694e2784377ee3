//! The audit log: what happened to whose data, who asked for it, and how it ended.
//!
//! One event is one line of JSON, mapped to the audit message of PS3.15 A.5. What identifies a patient or a study sits in
//! a field of its own, encrypted (AES-256-GCM). Lines are chained: each carries the SHA-256 of the line before it, the
//! first one [`GENESIS`]. An edit, a removal or a swap of lines therefore shows in [`verify`]; a cut at the end, or a
//! chain that was recomputed as a whole, shows against a [`Head`] that was anchored elsewhere.
//!
//! ```text
//! {"format":1,"seq":7,"prev":"<sha-256 of line 6, without its newline>","message":{...},"identifiers":{"key":..,"nonce":..,"text":..}}
//! ```
//!
//! Files are named after their first line, `audit-<seq>.jsonl`; the chain goes on from one to the next. [`Log::append`]
//! returns when the line is on stable storage. Where that fails, the agent ends, so that nothing goes on unaudited; what it
//! had begun is in the spool. Only what was collected ([`forward`]) and kept for its time is removed; where the chain begins then is
//! kept beside it. What this box's updater says of itself is handed over by it, and stands in the same log.
mod beside;
mod event;
pub mod forward;
mod line;
mod log;
mod message;
mod seal;
mod updater;
mod verify;

pub use event::{Event, Model, Peer, Study, Undelivered};
pub use line::{GENESIS, Head, files};
pub use log::{Log, Options};
pub use seal::{Key, identifiers};
pub use updater::UpdaterEvent;
pub use verify::{Anchors, ChainBreak, Report, verify};
