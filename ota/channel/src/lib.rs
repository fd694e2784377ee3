//! The central side of the signed channel.
#![forbid(unsafe_code)]

pub mod cli;
pub mod hawkbit;
