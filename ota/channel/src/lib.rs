//! The central side of the signed channel: the signed repository, publishing, approvals, rollouts, the fleet page.
#![forbid(unsafe_code)]

pub mod cli;
pub mod hawkbit;
pub mod repository;
