//! Every exit code of `sund`, in one place (BSD sysexits where one fits).
use crate::fault::{Blame, Fault};
use std::process::ExitCode;

/// How a `sund` command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, and every check held.
    Ok = 0,
    /// The command ran, and what it checked does not hold.
    Failed = 1,
    /// The command line or the configuration is wrong (EX_USAGE, also bad configuration).
    Usage = 64,
    /// The data given is not what it should be (EX_DATAERR).
    Data = 65,
    /// A service that is needed is not there: port taken, spool held by another agent (EX_UNAVAILABLE).
    Unavailable = 69,
    /// A defect of ours (EX_SOFTWARE).
    Internal = 70,
    /// Reading or writing failed: disk full, device error (EX_IOERR).
    Io = 74,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

impl From<&Fault> for Exit {
    fn from(fault: &Fault) -> Self {
        match (fault.code.as_ref(), fault.blame) {
            ("port-unavailable" | "spool-held" | "agent-away" | "drain-incomplete", _) => Exit::Unavailable,
            (_, Blame::Configuration) => Exit::Usage,
            (_, Blame::Peer | Blame::Study | Blame::Package) => Exit::Data,
            (_, Blame::Destination) => Exit::Unavailable,
            (_, Blame::Box) => Exit::Io,
            (_, Blame::Sund) => Exit::Internal,
        }
    }
}
