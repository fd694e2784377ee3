//! DICOM results: SEG, TID 1500 SR, secondary capture, outcome SR, and the note that rejects them.
//!
//! A result takes patient and study from the identity record alone, and geometry from the grid that was inferred on. The same
//! inputs give the same bytes.
mod build;
mod capture;
mod corrected;
mod identity;
mod lossy;
mod modules;
mod numbers;
mod rejection;
mod report;
mod seg;
mod uid;

pub use crate::route::Mode;
pub use capture::preview_png;
pub use corrected::corrected;
pub use identity::Identity;
pub use modules::is_result;
pub use numbers::{Measured, measured};
pub use rejection::{Rejected, RejectionContext, rejection_note};
pub use report::is_report;
pub use uid::UidKey;

use crate::dataset::Header;
use crate::fault::{Blame, Fault};
use crate::inference::{Findings, Inference, PackageRef, Picture};
use crate::outcome::Outcome;
use std::time::SystemTime;

/// An instance of the source series.
#[derive(Clone, Debug)]
pub struct SourceHeader {
    /// SOP Class UID.
    pub sop_class: String,
    /// SOP Instance UID.
    pub sop_instance: String,
    /// Its top level.
    pub header: Header,
    /// Length of its data set in bytes.
    pub length: u64,
}

/// The report that a new one supersedes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Predecessor {
    /// SOP Instance UID.
    pub sop_instance: String,
    /// Series Instance UID.
    pub series: String,
}

/// What results are made from, beside the inference.
#[derive(Clone, Debug)]
pub struct ResultContext<'a> {
    /// The newest identity record.
    pub identity: &'a Identity,
    /// The source series.
    pub sources: &'a [SourceHeader],
    /// Digests of the input.
    pub input_digests: &'a [String],
    /// The route's mode.
    pub mode: Mode,
    /// Key of the UIDs.
    pub uid_key: &'a UidKey,
    /// When the job was decided: the time that is written, the same each time that the job is done again.
    pub at: SystemTime,
    /// Name of this device.
    pub device: &'a str,
    /// Effective parameters of the model beyond its package.
    pub parameters: &'a str,
    /// The report that is superseded.
    pub predecessor: Option<&'a Predecessor>,
    /// What the study lacked when the job was decided.
    pub partial: Option<&'a str>,
}

/// A result: the very bytes that are stored and sent.
#[derive(Clone, Debug)]
pub struct ResultObject {
    /// `SEG`, `SR`, `SC`, `OUTCOME`; `KO` of a rejection note.
    pub kind: &'static str,
    /// SOP Class UID.
    pub sop_class: String,
    /// SOP Instance UID.
    pub sop_instance: String,
    /// Series Instance UID.
    pub series: String,
    /// Transfer Syntax UID.
    pub transfer_syntax: String,
    /// The encoded data set.
    pub dataset: Vec<u8>,
    /// One line for people, without patient data.
    pub summary: String,
}

/// The results of an inference: SEG where there are segments, SR, preview; each alone in a series.
pub fn make(context: &ResultContext<'_>, inference: &Inference) -> Result<Vec<ResultObject>, Fault> {
    check(inference)?;
    let seg = match &inference.findings {
        Findings::Volume { grid, sources, segments } => seg::make(context, inference, grid, sources, segments)?,
        Findings::Images { .. } => None,
    };
    let report = report::make(context, inference, seg.as_ref())?;
    let preview = capture::make(context, inference, &report.summary)?;
    Ok(seg.into_iter().chain([report, preview]).collect())
}

/// What a worker says is outside input: its shapes are looked at before anything is indexed by them.
fn check(inference: &Inference) -> Result<(), Fault> {
    let wrong = |what: &str| {
        Err(Fault::new("inference-malformed", Blame::Sund, format!("The inference is not whole: {what}.")))
    };
    if let Findings::Volume { grid, sources, segments } = &inference.findings {
        let [slices, rows, columns] = grid.dims;
        let voxels = slices.checked_mul(rows).and_then(|n| n.checked_mul(columns));
        if rows.max(columns) > usize::from(u16::MAX)
            || segments.len() >= usize::from(u16::MAX)
            || sources.len() != slices
        {
            return wrong("its grid does not fit its sources");
        }
        if segments.iter().any(|s| Some(s.mask.len()) != voxels || s.mask.iter().any(|value| *value > 1)) {
            return wrong("a mask is not one of zeros and ones on the grid");
        }
    }
    if inference.measurements.iter().any(|m| !m.value.is_finite()) {
        return wrong("a measurement is not a number");
    }
    let Picture { width, height, rgb } = &inference.preview;
    if *width.max(height) > u32::from(u16::MAX) || rgb.len() as u64 != 3 * u64::from(*width) * u64::from(*height) {
        return wrong("its preview has another size than it says");
    }
    Ok(())
}

/// The outcome of a job as a report.
pub fn outcome_report(
    context: &ResultContext<'_>,
    outcome: Outcome,
    package: &PackageRef,
    reason: &str,
) -> Result<ResultObject, Fault> {
    report::outcome(context, package, outcome, reason)
}

impl ResultObject {
    /// The result as a Part 10 file.
    pub fn part10(&self) -> Vec<u8> {
        crate::dataset::part10::write(&self.sop_class, &self.sop_instance, &self.transfer_syntax, &self.dataset)
    }
}
