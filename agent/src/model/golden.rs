//! Golden cases: known answers that an engine must give before it serves.
use super::Package;
use super::anonymous;
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
use serde::Serialize;
use std::collections::BTreeSet;

/// Most boxes that are told of a case that was missed.
const MAX_SHOWN: usize = 16;

/// A number that a case asks for, beside the one that was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Compared {
    /// Which: `volume, ml`, `Dice`, `overlap of box 1`, `score of box 1`.
    pub what: String,
    /// What is expected.
    pub expected: f64,
    /// What was found; `None` where there is no such thing.
    pub found: Option<f64>,
    /// The largest difference that is taken.
    pub tolerance: f64,
    /// True where it is within the tolerance.
    pub holds: bool,
}

impl Compared {
    fn new(what: impl Into<String>, expected: f64, found: Option<f64>, tolerance: f64) -> Self {
        // What comes as 32 bits is not the decimal number that was written: half of their last place.
        let slack = f64::from(f32::EPSILON);
        let holds = found.is_some_and(|found| (found - expected).abs() <= tolerance + slack);
        Self { what: what.into(), expected, found, tolerance, holds }
    }
}

/// Runs every golden case of a package on an engine, in this process; the first that does not hold is an error.
pub fn check(package: &Package, engine: &mut dyn Engine) -> Result<Vec<Inference>, Fault> {
    package
        .manifest
        .golden
        .iter()
        .map(|case| {
            let inference = bracket::run(package, engine, &series(package, case)?, &mut |_| {})?;
            held(package, case, &inference)?;
            Ok(inference)
        })
        .collect()
}

/// The images of a case: one series that identifies nobody and that the package's selection rule takes. An answer to anything else would prove
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
    for (name, instance) in files.iter().zip(&series) {
        if let Err(why) = anonymous::check(instance) {
            let reason = format!("{name} {why}: a golden case travels with the package, and identifies nobody");
            return Err(Fault::new("golden-case-identified", Blame::Package, reason));
        }
    }
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

/// The numbers of an answer; an error where it is not the one that a case asks for.
pub fn held(package: &Package, case: &Golden, inference: &Inference) -> Result<Vec<Compared>, Fault> {
    let compared = judge(package, case, inference)?;
    let missed: Vec<String> = compared.iter().filter(|one| !one.holds).map(told).collect();
    if missed.is_empty() {
        return Ok(compared);
    }
    let boxes = match &inference.findings {
        Findings::Images { boxes, .. } if case.volume_ml.is_none() => missed_boxes(case, boxes),
        _ => String::new(),
    };
    let reason = format!("golden case `{}`: {}{boxes}", case.name, missed.join("; "));
    Err(Fault::new("golden-case-missed", Blame::Package, reason))
}

fn told(Compared { what, expected, found, tolerance, .. }: &Compared) -> String {
    let found = found.map_or_else(|| "nothing".to_owned(), |found| format!("{found:.3}"));
    format!("{what}: {expected:.3} ± {tolerance:.3} is expected, {found} was found")
}

/// Numbers that hold, for people.
pub fn figures(compared: &[Compared]) -> String {
    let figure = |Compared { what, expected, found, tolerance, .. }: &Compared| {
        format!("{what} {:.3} ({expected:.3} ± {tolerance:.3})", found.unwrap_or(f64::NAN))
    };
    compared.iter().map(figure).collect::<Vec<_>>().join(", ")
}

/// What a case asks for, for people.
pub fn expected(case: &Golden) -> String {
    match case.volume_ml {
        Some(ml) => format!("{ml:.1} ± {:.1} ml", case.tolerance_ml),
        None => {
            format!("{}, overlap at least {:.2}", counted(case.boxes.len(), "box", "boxes"), case.least_overlap)
        }
    }
}

/// Compares an answer with what a case asks for.
///
/// A volume: the first measurement, and the Dice coefficient of its segment with the stored mask. Boxes: the overlap
/// (intersection over union) of each expected one with the found one that meets it best, and the score of that one; further
/// boxes are no fault.
pub fn judge(package: &Package, case: &Golden, inference: &Inference) -> Result<Vec<Compared>, Fault> {
    let mut all = Vec::new();
    if let Some(ml) = case.volume_ml {
        let measured = inference.measurements.first();
        all.push(Compared::new("volume, ml", ml, measured.map(|one| one.value), case.tolerance_ml));
        if let Some(mask) = package.mask(case)? {
            let segment = measured.and_then(|one| one.segment);
            let found = match &inference.findings {
                Findings::Volume { segments, .. } => segment.and_then(|n| segments.get(n)),
                Findings::Images { .. } => None,
            };
            let dice = found.and_then(|segment| dice(&mask, &segment.mask));
            all.push(Compared::new("Dice", 1.0, dice, 1.0 - case.least_dice));
        }
        return Ok(all);
    }
    let found = match &inference.findings {
        Findings::Images { boxes, .. } => boxes.as_slice(),
        Findings::Volume { .. } => &[],
    };
    for (n, expected) in case.boxes.iter().enumerate() {
        let best = found
            .iter()
            .map(|one| (overlap(&one.corners, expected), one.score))
            .max_by(|(one, _), (other, _)| one.total_cmp(other));
        let least = f64::from(case.least_overlap);
        let number = n + 1;
        let overlap = best.map(|(overlap, _)| f64::from(overlap));
        all.push(Compared::new(format!("overlap of box {number}"), 1.0, overlap, 1.0 - least));
        if let Some(score) = case.scores.get(n) {
            let met = best.filter(|(overlap, _)| *overlap >= case.least_overlap).map(|(_, score)| f64::from(score));
            let tolerance = f64::from(case.tolerance_score);
            all.push(Compared::new(format!("score of box {number}"), f64::from(*score), met, tolerance));
        }
    }
    Ok(all)
}

/// True where numbers of the report that tells an answer are those that a case asks for. `boxes`: left, top, right, bottom.
pub fn meets(case: &Golden, volume_ml: Option<f64>, boxes: &[[f32; 4]]) -> bool {
    match case.volume_ml {
        Some(expected) => volume_ml.is_some_and(|ml| (ml - expected).abs() <= case.tolerance_ml),
        None => case.boxes.iter().all(|expected| best_overlap(expected, boxes) >= case.least_overlap),
    }
}

/// 2 |a ∩ b| / (|a| + |b|) of a stored mask (a bit for each voxel, the least significant one first) and a found one (a byte for
/// each voxel); 1 where both are empty. `None` where they are not of as many voxels.
fn dice(stored: &[u8], found: &[u8]) -> Option<f64> {
    if stored.len() != found.len().div_ceil(8) {
        return None;
    }
    let (mut shared, mut total) = (0_u64, 0_u64);
    for (n, voxel) in found.iter().enumerate() {
        let (a, b) = (stored[n / 8] >> (n % 8) & 1 == 1, *voxel != 0);
        shared += u64::from(a && b);
        total += u64::from(a) + u64::from(b);
    }
    Some(if total == 0 { 1.0 } else { 2.0 * shared as f64 / total as f64 })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dice_coefficient_is_of_the_voxels_that_are_shared() {
        // Voxels 0, 1 and 8 of nine are stored.
        let stored = [0b0000_0011, 0b0000_0001];
        assert_eq!(dice(&stored, &[1, 1, 0, 0, 0, 0, 0, 0, 1]), Some(1.0));
        assert_eq!(dice(&stored, &[0, 1, 0, 0, 0, 0, 0, 0, 0]), Some(0.5));
        assert_eq!(dice(&stored, &[0, 0, 1, 0, 0, 0, 0, 0, 0]), Some(0.0));
        assert_eq!(dice(&[0, 0], &[0; 9]), Some(1.0));
        assert_eq!(dice(&stored, &[1; 17]), None);
    }

    #[test]
    fn what_is_at_the_tolerance_holds_and_what_is_not_there_does_not() {
        assert!(Compared::new("x", 1.0, Some(0.5), 0.5).holds);
        assert!(Compared::new("x", 1.0, Some(f64::from(0.7_f32)), 0.3).holds);
        assert!(!Compared::new("x", 1.0, Some(0.49), 0.5).holds);
        assert!(!Compared::new("x", 1.0, Some(f64::NAN), 0.5).holds);
        assert!(!Compared::new("x", 1.0, None, 9.0).holds);
    }
}
