//! The packaged cases. Their models and images lie in the source tree: a box carries none of them.
use crate::fault::{Blame, Fault};
use std::path::{Path, PathBuf};

/// Where the cases lie, as seen from the top of the source tree.
pub const CASES: &str = "agent/demo/models";

/// A packaged case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Case {
    /// A whole MR series; the model outlines the brain.
    Brain,
    /// An ultrasound frame; the model finds text in the pixels.
    Text,
}

impl Case {
    /// Both.
    pub const ALL: [Case; 2] = [Case::Brain, Case::Text];

    /// Name of its package's folder.
    pub fn package(self) -> &'static str {
        match self {
            Case::Brain => "brain-extraction",
            Case::Text => "text-detection",
        }
    }

    /// What is sent, for people.
    pub fn study(self) -> &'static str {
        match self {
            Case::Brain => "an MR series of 20 slices",
            Case::Text => "an ultrasound frame",
        }
    }

    /// Kinds of results that must arrive.
    pub fn expects(self) -> &'static [&'static str] {
        match self {
            Case::Brain => &["SEG", "SR", "OT"],
            Case::Text => &["SR", "OT"],
        }
    }

    /// The package's folder among the cases.
    pub fn folder(self, cases: &Path) -> Result<PathBuf, Fault> {
        let folder = cases.join(self.package());
        if folder.is_dir() {
            return Ok(folder);
        }
        let reason = format!(
            "{} is not there: the demonstration's models come with the source tree; run it at its top, or name the folder by --cases",
            folder.display()
        );
        Err(Fault::new("case-not-found", Blame::Configuration, reason))
    }
}
