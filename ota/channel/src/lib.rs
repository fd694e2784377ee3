//! The central side of the signed channel: the signed repository, publishing, approvals, rollouts, the fleet page.
#![forbid(unsafe_code)]

pub mod cli;
pub mod database;
pub mod enrol;
pub mod escrow;
pub mod fleet;
pub mod hawkbit;
pub mod limits;
pub mod provision;
pub mod repository;
pub mod rollout;
pub mod server;
