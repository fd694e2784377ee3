//! The device's side of the signed channel.
//!
//! `poll → verify → install → test → activate | roll back → report`. This crate can verify and cannot sign.
#![forbid(unsafe_code)]

pub mod agent;
pub mod bundle;
pub mod ddi;
pub mod descriptor;
pub mod documents;
pub mod fault;
pub mod limits;
pub mod state;
pub mod trust;
