//! The way back when neither slot of a box boots: fetches a recovery bundle from the channel and verifies it.
//!
//! `ask every source → verify the descriptors → take the newest → receive its bundle → verify it → make it valid`. What decides
//! is the recovery role's signatures over version, length and SHA-256 of the bundle. TLS keeps others from reading along and
//! from wasting the box's time; nothing is believed because it came over TLS. This crate cannot sign.
#![forbid(unsafe_code)]

mod algorithms;
pub mod config;
pub mod descriptor;
mod destination;
pub mod fault;
pub mod firmware;
mod http;
pub mod identity;
pub mod limits;
mod line;
pub mod minimum;
pub mod moment;
pub mod rescue;
pub mod role;
pub mod site;
pub mod source;
pub mod starts;
mod tls;
pub mod tpm;
