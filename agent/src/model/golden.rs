//! Golden cases: known answers that an engine must give before it serves.
use super::Package;
use super::manifest::Golden;
use crate::bracket;
use crate::counted::counted;
use crate::dataset::{Header, part10};
use crate::decode::SourceInstance;
use crate::fault::{Blame, Fault};
use crate::infer::Engine;
use crate::inference::{Findings, FoundBox, Inference};
use crate::limits::dataset::MAX_FILE;
use crate::route;
use bytes::Bytes;
use dicom_dictionary_std::tags;
use std::collections::BTreeSet;

/// Most boxes that are told of a case that was missed.
const MAX_SHOWN: usize = 16;

/// What a case asks for, beside what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What is expected, for people.
    pub expected: String,
    /// What was found, for people.
    pub found: String,
    /// True where it is within the tolerance.
    pub holds: bool,
}

/// Runs every golden case of a package on an engine, in this process; the first that does not hold is an error.
pub fn check(package: &Package, engine: &mut dyn Engine) -> Result<Vec<Inference>, Fault> {
    package
        .manifest
        .golden
        .iter()
        .map(|case| {
            let inference = bracket::run(package, engine, &series(package, case)?, &mut |_| {})?;
            held(case, &inference)?;
            Ok(inference)
        })
        .collect()
}

/// The images of a case: one series, which the package's selection rule takes. An answer to anything else would prove
/// nothing about what the model is run on.
pub fn series(package: &Package, case: &Golden) -> Result<Vec<SourceInstance>, Fault> {
    let unreadable = |reason: String| Fault::new("package-invalid", Blame::Package, reason);
    let files = package.contents.dicom_files(&case.folder).map_err(unreadable)?;
    let series = files.iter().map(|name| {
        let bytes = package.contents.read(name, MAX_FILE).map_err(unreadable)?;
        part10::read(&Bytes::from(bytes))
            .map_err(|fault| Fault { reason: format!("{name}: {}", fault.reason), ..fault })
    });
    let series = series.collect::<Result<Vec<_>, _>>()?;
    let unfit = |reason: String| Fault::new("golden-case-unfit", Blame::Package, format!("{} {reason}", case.folder));
    let uids = [(tags::STUDY_INSTANCE_UID, "studies"), (tags::SERIES_INSTANCE_UID, "series")];
    for (tag, what) in uids {
        let known: BTreeSet<Option<String>> = series.iter().map(|instance| instance.header.text(tag)).collect();
        if known.len() > 1 {
            return Err(unfit(format!("holds files of {} {what}: a golden case is one series", known.len())));
        }
    }
    let headers: Vec<&Header> = series.iter().map(|instance| &instance.header).collect();
    let against: Vec<String> =
        route::judge(&package.manifest.selection, &headers).iter().map(ToString::to_string).collect();
    if against.is_empty() {
        Ok(series)
    } else {
        Err(unfit(format!("is refused by [selection]: {}", against.join("; "))))
    }
}

/// An error where an answer is not the one that a case asks for.
pub fn held(case: &Golden, inference: &Inference) -> Result<(), Fault> {
    let Verdict { expected, found, holds } = judge(case, inference);
    if holds {
        return Ok(());
    }
    let missed = match &inference.findings {
        Findings::Images { boxes, .. } if case.volume_ml.is_none() => missed_boxes(case, boxes),
        _ => String::new(),
    };
    let reason = format!("golden case `{}`: {expected} is expected, {found} was found{missed}", case.name);
    Err(Fault::new("golden-case-missed", Blame::Package, reason))
}

/// What a case asks for, for people.
pub fn expected(case: &Golden) -> String {
    match case.volume_ml {
        Some(ml) => format!("{ml:.1} ± {:.1} ml", case.tolerance_ml),
        None => format!("{}, overlap at least {:.2}", boxes(case.boxes.len()), case.least_overlap),
    }
}

/// Compares an answer with what a case asks for.
///
/// A volume: the first measurement lies within the tolerance. Boxes: each expected one is met by a found one with at least
/// the overlap (intersection over union); further boxes are no fault.
pub fn judge(case: &Golden, inference: &Inference) -> Verdict {
    let (found, holds) = match (case.volume_ml, &inference.findings) {
        (Some(_), _) => match inference.measurements.first() {
            Some(measured) => {
                (format!("{:.1} {}", measured.value, measured.unit.value), meets(case, Some(measured.value), &[]))
            }
            None => ("no measurement".to_owned(), false),
        },
        (None, Findings::Images { boxes: all, .. }) => {
            let all: Vec<[f32; 4]> = all.iter().map(|one| one.corners).collect();
            let least = worst_overlap(case, &all);
            (format!("{}, worst overlap {least:.2}", boxes(all.len())), meets(case, None, &all))
        }
        (None, Findings::Volume { .. }) => ("a volume".to_owned(), false),
    };
    Verdict { expected: expected(case), found, holds }
}

/// True where numbers, of an answer or of the report that tells it, are those that a case asks for. `boxes`: left, top,
/// right, bottom.
pub fn meets(case: &Golden, volume_ml: Option<f64>, boxes: &[[f32; 4]]) -> bool {
    match case.volume_ml {
        Some(expected) => volume_ml.is_some_and(|ml| (ml - expected).abs() <= case.tolerance_ml),
        None => worst_overlap(case, boxes) >= case.least_overlap,
    }
}

/// How well the expected box is met that is met worst.
fn worst_overlap(case: &Golden, found: &[[f32; 4]]) -> f32 {
    case.boxes.iter().map(|expected| best_overlap(expected, found)).fold(1.0, f32::min)
}

fn boxes(n: usize) -> String {
    counted(n, "box", "boxes")
}

/// The expected boxes that none met, and what was found instead.
fn missed_boxes(case: &Golden, found: &[FoundBox]) -> String {
    let shown = |corners: &[f32; 4]| format!("{:?}", corners.map(|place| place.round() as i32));
    let all: Vec<[f32; 4]> = found.iter().map(|one| one.corners).collect();
    let missed = case.boxes.iter().filter(|expected| best_overlap(expected, &all) < case.least_overlap);
    let missed: Vec<String> = missed.take(MAX_SHOWN).map(shown).collect();
    let mut there: Vec<String> = found.iter().take(MAX_SHOWN).map(|one| shown(&one.corners)).collect();
    if found.len() > there.len() {
        there.push(format!("and {} more", found.len() - there.len()));
    }
    let there = if there.is_empty() { "nothing".to_owned() } else { there.join(", ") };
    format!("; left, top, right, bottom of what was missed: {}; of what is there: {there}", missed.join(", "))
}

fn best_overlap(expected: &[f32; 4], found: &[[f32; 4]]) -> f32 {
    found.iter().map(|one| overlap(one, expected)).fold(0.0, f32::max)
}

/// Intersection over union.
fn overlap(a: &[f32; 4], b: &[f32; 4]) -> f32 {
    let side = |low: f32, high: f32| (high - low).max(0.0);
    let area = |r: &[f32; 4]| side(r[0], r[2]) * side(r[1], r[3]);
    let shared = side(a[0].max(b[0]), a[2].min(b[2])) * side(a[1].max(b[1]), a[3].min(b[3]));
    let union = area(a) + area(b) - shared;
    if union > 0.0 { shared / union } else { 0.0 }
}
