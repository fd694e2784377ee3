//! An Eclipse hawkBit as the server that devices poll: what is published and rolled out goes through its Management API.
//!
//! It is trusted with nothing. It carries descriptors, which name what the region has signed; its operator, or a thief, can
//! hold them back or send a box to another state that is still listed, and no more. So nothing is signed here either.
mod fleet;
mod management;
mod meant;
mod publish;
mod release;
mod rollout;

pub use fleet::{FleetBox, MAX_REASONS, StateName, fleet};
pub use management::{Login, Management};
pub use publish::{Published, push};
pub use release::{Release, Repository};
pub use rollout::{Command, Group, GroupStatus, Plan, RolloutStatus, command, plan, start, status};

use std::time::Duration;
use sund_ota::fault::{Blame, Fault};

/// Key of the types that hold a desired state: of the software module and of the distribution set.
pub const TYPE_KEY: &str = "sund-state";

/// One answer, in bytes: a hawkBit that sends without end fills no memory. A page of 500 targets has about 300 KB.
const MAX_ANSWER: usize = 4 * 1024 * 1024;
/// What one list may have in all, over its pages.
const MAX_ENTRIES: usize = 100_000;
/// Entries that are asked for at once; the most that hawkBit gives.
const PAGE: usize = 500;
/// Until a connection stands.
const CONNECT: Duration = Duration::from_secs(10);
/// Until an answer is there in full; a page of 500 targets takes hawkBit well under a second.
pub const ANSWER: Duration = Duration::from_mins(1);
/// Until a new rollout has its groups. hawkBit fills them by a scheduler of its own, every 2 s, at some thousand targets each.
const GROUPS: Duration = Duration::from_mins(2);
/// The name of a state, rollout or group, in characters.
const MAX_NAME: usize = 64;

/// Checks a name that goes into a query: hawkBit's query language has characters of its own, and `*` stands for anything.
fn checked<'a>(what: &str, name: &'a str) -> Result<&'a str, Fault> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(fits) {
        let reason = format!("`{name}` is no name of a {what}: up to {MAX_NAME} of the characters A-Z a-z 0-9 - _ .");
        return Err(Fault::new("name-invalid", Blame::Configuration, reason));
    }
    Ok(name)
}
