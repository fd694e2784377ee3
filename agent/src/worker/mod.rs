//! The worker process: decode to postprocess, apart from the DICOM node.
//!
//! Whatever a codec, a model or an engine does costs one job and never the node.
pub mod bulk;
pub mod channel;
mod launch;
mod message;
mod process;
mod supervise;

pub use launch::{Launcher, Process, Seat};
pub use message::{Answer, Asked, Question, Said, Task, TaskInstance};
pub use process::{Work, serve, serve_with};
pub use supervise::{Bounds, TaskError, compile, look_for_gpu, run};
