//! The worker process: decode to postprocess, apart from the DICOM node.
//!
//! Whatever a codec, a model or an engine does costs one job and never the node. On a GPU several tasks are in flight in one
//! worker: what is lost with it runs once more, and then alone.
pub mod bulk;
mod call_off;
pub mod channel;
mod launch;
mod message;
mod nvml;
mod process;
mod seat;
mod sources;
mod supervise;
mod turns;
mod watch;

pub use call_off::CallOff;
pub use launch::{Launcher, Process};
pub use message::{Answer, Asked, GpuError, Question, Said, Task, Told, Watch};
pub use process::{Work, serve, serve_with};
pub use seat::Seat;
pub use sources::Place;
pub use supervise::{Bounds, TaskError, compile, look_for_gpu, run};
pub use turns::Company;
pub use watch::{Loss, Names, watch as watch_gpus};
