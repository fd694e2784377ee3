//! One shape for every refusal and failure: whose fault, a stable code, a sentence for the person at the console.
use std::fmt;
use std::process::ExitCode;

/// Whose doing a failure is, and with it the exit code (sysexits). In ascending gravity: where all sources fail, the gravest
/// failure is the one that is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Blame {
    /// No source can be reached, or the line breaks: exit code 69.
    Network,
    /// A source does not prove who it is, or does not speak the protocol: 76.
    Source,
    /// What a source holds is not what the recovery role has signed, or is too old: 65.
    Channel,
    /// The configuration: 64.
    Configuration,
    /// Disk or TPM of this box: 74.
    Box,
}

impl From<Blame> for ExitCode {
    fn from(blame: Blame) -> Self {
        Self::from(match blame {
            Blame::Configuration => 64,
            Blame::Channel => 65,
            Blame::Network => 69,
            Blame::Box => 74,
            Blame::Source => 76,
        })
    }
}

/// Why something was refused or failed. `code` is stable and stands in ota/README.md.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Fault {
    /// Stable identifier in kebab case, e.g. `bundle-altered`.
    pub code: &'static str,
    /// Whose doing it is.
    pub blame: Blame,
    /// One or two sentences: what was wrong, what to do.
    pub reason: String,
}

impl Fault {
    /// A fault from its three parts.
    pub fn new(code: &'static str, blame: Blame, reason: impl Into<String>) -> Self {
        Self { code, blame, reason: reason.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.reason, self.code)
    }
}
