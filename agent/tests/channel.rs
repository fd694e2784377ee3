//! The updater's side of a running daemon: a state is tried beside what serves, takes its place as a whole, is taken back; a model
//! is suspended at once. Real processes, real packages; the worker is stopped where a job is to be caught under way.
mod accepted;
mod access;
mod cohort;
pub mod fixture;
mod hold;
mod leave;
mod missed;
mod pinned;
mod protocol;
mod restart;
mod serving;
mod suspension;
pub mod trail;
mod unit;
mod watch;
