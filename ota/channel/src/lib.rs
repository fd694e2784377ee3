//! The central side of the signed channel.
#![forbid(unsafe_code)]

pub mod cli;
pub mod database;
pub mod enrol;
pub mod fleet;
mod hex;
pub mod limits;
pub mod rollout;
pub mod server;
