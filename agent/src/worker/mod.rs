//! The worker process: decode to postprocess, apart from the DICOM node.
pub mod bulk;
pub mod channel;
mod launch;
mod message;
mod supervise;

pub use launch::{Launcher, Process};
pub use message::{Said, Task};
pub use supervise::{Bounds, TaskError, run};
