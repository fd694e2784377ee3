//! The device's side of the signed channel.
//!
//! `poll → verify → install → test → activate | roll back → report`. This crate can verify and cannot sign.
#![forbid(unsafe_code)]

pub mod agent;
pub mod audit;
pub mod authorities;
pub mod bundle;
pub mod cli;
pub mod config;
pub mod ddi;
pub mod descriptor;
pub mod documents;
pub mod durable;
pub mod escrow;
pub mod exit;
pub mod fault;
pub mod firmware;
pub mod guard;
pub mod hex;
pub mod http;
pub mod identity;
pub mod limits;
pub mod machine;
pub mod networks;
pub mod provision;
pub mod rauc;
pub mod recovery;
pub mod release;
pub mod reset;
mod said;
pub mod screen;
pub mod started;
pub mod state;
pub mod status;
pub mod stick;
pub mod tpm;
pub mod trust;
pub mod units;
pub mod window;
