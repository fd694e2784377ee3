//! The device's work, for all studies of a worker: one thread owns the device and decides what runs on it.
//!
//! `handle` is the engine that the bracket sees, one for each task; `scheduler` decides, and knows no clock and no thread;
//! `residents` are the networks in the device's memory. A study's answer is the same as if it had the device to itself.
mod handle;
mod queue;
mod residents;
mod scheduler;

pub use handle::{GpuEngine, Opened, Places, start};
pub use queue::{Answer, Key, Request};
pub use scheduler::{Scheduler, Turn};
