//! Every exit code of `sund-channel`, in one place (BSD sysexits where one fits).
use std::process::ExitCode;
use sund_ota::fault::{Blame, Fault};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, and every check held.
    Ok = 0,
    /// The command ran, and something is alarming or does not hold.
    Failed = 1,
    /// The command line or what it names is wrong (EX_USAGE).
    Usage = 64,
    /// The data given is not what it should be (EX_DATAERR).
    Data = 65,
    /// A service that is needed is not there (EX_UNAVAILABLE).
    Unavailable = 69,
    /// A defect of ours (EX_SOFTWARE).
    Internal = 70,
    /// Reading or writing failed (EX_IOERR).
    Io = 74,
    /// More persons have to sign first (EX_TEMPFAIL).
    Waiting = 75,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

impl From<&Fault> for Exit {
    fn from(fault: &Fault) -> Self {
        match (fault.code.as_ref(), fault.blame) {
            (
                "origin-unreachable" | "origin-failed" | "server-away" | "port-unavailable" | "control-unavailable",
                _,
            ) => Exit::Unavailable,
            (_, Blame::Configuration) => Exit::Usage,
            (_, Blame::Region | Blame::Package | Blame::Channel | Blame::Agent) => Exit::Data,
            (_, Blame::Box) => Exit::Io,
            (_, Blame::Updater) => Exit::Internal,
        }
    }
}
