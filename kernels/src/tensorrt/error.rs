//! Why TensorRT cannot do what it was asked, and whose fault it is.
use super::boundary;
use super::library::{Kind, Version};
use std::path::PathBuf;

/// Why TensorRT cannot do what it was asked. `why` is what TensorRT or the system said, in one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TensorRtError {
    /// The configuration's: there is no library there, or the system cannot open it.
    #[error("{} cannot be opened as {kind}: {why}", path.display())]
    Open {
        /// Which TensorRT was expected.
        kind: Kind,
        /// Where.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
    /// The configuration's: a library, but not TensorRT.
    #[error("{} is not {kind}: it has no {symbol}", path.display())]
    NotTensorRt {
        /// Which TensorRT was expected.
        kind: Kind,
        /// What was opened.
        path: PathBuf,
        /// What every TensorRT has.
        symbol: &'static str,
    },
    /// The configuration's: the other TensorRT, or another version than this program was built for.
    #[error("{} is TensorRT {found}; this program was built for {kind} {needed} and serves that and later {}.x",
        path.display(), needed.major)]
    Version {
        /// Which TensorRT was expected.
        kind: Kind,
        /// What was opened.
        path: PathBuf,
        /// What this program was built for.
        needed: Version,
        /// What the library says.
        found: Version,
    },
    /// The caller's: an option beyond its limit.
    #[error("{what} is {found}; the limit is {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// What it is.
        found: u64,
        /// What it may be.
        limit: u64,
    },
    /// The caller's: this TensorRT does not compile for these GPUs.
    #[error("{kind} does not compile for compute capability {}.{}: {why}", target / 10, target % 10)]
    Target {
        /// Which TensorRT.
        kind: Kind,
        /// 86 for 8.6.
        target: u32,
        /// What does.
        why: &'static str,
    },
    /// The package's: TensorRT cannot read the network.
    #[error("{kind} cannot read the network: {why}")]
    Network {
        /// Which TensorRT.
        kind: Kind,
        /// What it says.
        why: String,
    },
    /// The caller's: targets or profiles that do not fit the network.
    #[error("the options do not fit the network: {why}")]
    Options {
        /// What it says.
        why: String,
    },
    /// The package's: the network was read, and no plan could be made of it.
    #[error("{kind} cannot compile the network: {why}")]
    Build {
        /// Which TensorRT.
        kind: Kind,
        /// What it says.
        why: String,
    },
    /// The machine's: no driver, no GPU, or not one that this TensorRT serves.
    #[error("{kind} finds no GPU that it can use: {why}")]
    Device {
        /// Which TensorRT.
        kind: Kind,
        /// What it says.
        why: String,
    },
    /// The package's: the plan is damaged, of another version, or for another GPU.
    #[error("{kind} does not take the plan; it may be damaged, of another version or for another GPU: {why}")]
    Plan {
        /// Which TensorRT.
        kind: Kind,
        /// What it says.
        why: String,
    },
    /// The caller's: a name, shape, length or address that the plan does not take.
    #[error("the plan does not take its input: {why}")]
    Shape {
        /// What is wrong.
        why: String,
    },
    /// The machine's: the run failed.
    #[error("{kind} failed while it ran: {why}")]
    Execution {
        /// Which TensorRT.
        kind: Kind,
        /// What it says.
        why: String,
    },
    /// The machine's: no memory left, on the GPU or beside it.
    #[error("{kind} has no memory left: {why}")]
    Memory {
        /// Which TensorRT.
        kind: Kind,
        /// What it says.
        why: String,
    },
    /// TensorRT's or ours: something was thrown that should not have been.
    #[error("{kind} threw: {why}")]
    Thrown {
        /// Which TensorRT.
        kind: Kind,
        /// What was thrown.
        why: String,
    },
}

impl TensorRtError {
    /// What a status of the shim means; `Ok` for none.
    pub(super) fn check(kind: Kind, status: i32, why: &boundary::Why) -> Result<(), Self> {
        let text = || why.line();
        Err(match status {
            boundary::OK => return Ok(()),
            boundary::NETWORK => Self::Network { kind, why: text() },
            boundary::OPTIONS => Self::Options { why: text() },
            boundary::BUILD => Self::Build { kind, why: text() },
            boundary::DEVICE => Self::Device { kind, why: text() },
            boundary::PLAN => Self::Plan { kind, why: text() },
            boundary::SHAPE => Self::Shape { why: text() },
            boundary::EXECUTION => Self::Execution { kind, why: text() },
            boundary::MEMORY => Self::Memory { kind, why: text() },
            _ => Self::Thrown { kind, why: text() },
        })
    }

    /// Refuses what is beyond a limit.
    pub(super) fn bounded(what: &'static str, found: usize, limit: usize) -> Result<(), Self> {
        if found <= limit {
            return Ok(());
        }
        Err(Self::TooLarge { what, found: found as u64, limit: limit as u64 })
    }
}
