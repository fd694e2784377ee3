//! The main job on packaged data: a sender, this node, a stand-in PACS, over real associations.
mod case;
mod pacs;
mod story;
mod verify;

pub use case::{CASES, Case};
pub use story::{Options, run};
