//! How the process ends.
use std::process::ExitCode;

/// Every exit code of `sund-updater`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All went well.
    Done,
    /// Something failed; stderr says what.
    Failed,
    /// The command line or the configuration is wrong (sysexits: `EX_USAGE`).
    Usage,
    /// The channel or the agent could not be reached; the same command may do later (sysexits: `EX_TEMPFAIL`).
    Later,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 64,
            Exit::Later => 75,
        })
    }
}
