//! What kind each value of a package's steps is, before any of them runs: a step that is given the wrong kind is told with
//! its line, not by a failed job.
use super::manifest::{Input, Manifest};
use super::step::Step;
use std::collections::BTreeMap;
use std::fmt;

/// What a step reads or makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Volume,
    Mask,
    Range,
    Region,
    Image,
    /// Of a volume.
    VolumeAnswer,
    /// Of an image.
    ImageAnswer,
    Boxes,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Volume => "a volume",
            Kind::Mask => "a mask",
            Kind::Range => "a range",
            Kind::Region => "a region",
            Kind::Image => "an image",
            Kind::VolumeAnswer => "a network's answer for a volume",
            Kind::ImageAnswer => "a network's answer for an image",
            Kind::Boxes => "boxes",
        })
    }
}

/// A value that a step reads: its key, its name, the kinds that it may be of.
type Read<'a> = (&'static str, &'a str, &'static [Kind]);

/// The kinds that each value that a step reads may be, by its key, and what it makes where its `from` is of this kind.
fn signature(step: &Step, from: Option<Kind>) -> (Vec<Read<'_>>, Kind) {
    const VOLUME: &[Kind] = &[Kind::Volume];
    const MASK: &[Kind] = &[Kind::Mask];
    const EITHER: &[Kind] = &[Kind::Volume, Kind::Mask];
    let same = if from == Some(Kind::Mask) { Kind::Mask } else { Kind::Volume };
    match step {
        Step::Orient { from, .. } => (vec![("from", from, EITHER)], same),
        Step::Resize { from, .. }
        | Step::Resample { from, .. }
        | Step::Pad { from, .. }
        | Step::Window { from, .. }
        | Step::ZScore { from, .. }
        | Step::ScaleOffset { from, .. } => (vec![("from", from, VOLUME)], Kind::Volume),
        Step::Quantiles { from, .. } => (vec![("from", from, VOLUME)], Kind::Range),
        Step::ClipRange { from, range, .. } => {
            (vec![("from", from, VOLUME), ("range", range, &[Kind::Range])], Kind::Volume)
        }
        Step::Infer { from: name, .. } => {
            let made = if from == Some(Kind::Image) { Kind::ImageAnswer } else { Kind::VolumeAnswer };
            (vec![("from", name, &[Kind::Volume, Kind::Image])], made)
        }
        Step::Softmax { from, .. } => (vec![("from", from, &[Kind::VolumeAnswer])], Kind::VolumeAnswer),
        Step::Argmax { from, .. } => (vec![("from", from, &[Kind::VolumeAnswer])], Kind::Mask),
        Step::Channel { from, .. } => (vec![("from", from, &[Kind::VolumeAnswer])], Kind::Volume),
        Step::Threshold { from, .. } => (vec![("from", from, VOLUME)], Kind::Mask),
        Step::LargestComponent { from, .. } | Step::FillHoles { from, .. } => (vec![("from", from, MASK)], Kind::Mask),
        Step::OccupiedRegion { from, of, .. } => (vec![("from", from, MASK), ("of", of, EITHER)], Kind::Region),
        Step::Crop { from, region, .. } => {
            (vec![("from", from, VOLUME), ("region", region, &[Kind::Region])], Kind::Volume)
        }
        Step::Paste { from, region, onto, .. } => {
            (vec![("from", from, EITHER), ("region", region, &[Kind::Region]), ("onto", onto, EITHER)], same)
        }
        Step::Onto { from, grid, .. } => (vec![("from", from, EITHER), ("grid", grid, EITHER)], same),
        Step::FitImage { from, .. } => (vec![("from", from, &[Kind::Image])], Kind::Image),
        Step::TextBoxes { from, .. } => (vec![("from", from, &[Kind::ImageAnswer])], Kind::Boxes),
    }
}

/// Follows the values through the steps; `complain` is told the path of each key that names a value that is not there, or
/// is of the wrong kind, and what is wrong with it.
pub(super) fn check(manifest: &Manifest, complain: &mut dyn FnMut(String, String)) {
    let given = match manifest.input {
        Input::Volume => Kind::Volume,
        Input::Images => Kind::Image,
    };
    // `None`: a step should have made it, and is wrong itself.
    let mut values: BTreeMap<&str, Option<Kind>> = BTreeMap::from([("input", Some(given))]);
    let mut want = |values: &BTreeMap<&str, Option<Kind>>, path: String, name: &str, wanted: &[Kind]| {
        let wrong = match values.get(name) {
            None => format!("reads `{name}`, which no earlier step makes"),
            Some(Some(found)) if !wanted.contains(found) => {
                let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
                format!("`{name}` is {found}; {} is needed", wanted.join(" or "))
            }
            Some(_) => return true,
        };
        complain(path, wrong);
        false
    };
    for (n, step) in manifest.steps.iter().enumerate() {
        let (reads, into) = step.values();
        let from = reads.first().and_then(|name| values.get(name).copied().flatten());
        let (reads, made) = signature(step, from);
        let mut holds = true;
        for (key, name, wanted) in reads {
            holds &= want(&values, format!("steps.{n}.{key}"), name, wanted);
        }
        values.insert(into, holds.then_some(made));
    }
    for (n, segment) in manifest.segments.iter().enumerate() {
        want(&values, format!("segments.{n}.from"), &segment.from, &[Kind::Mask]);
    }
    if let Some(boxes) = &manifest.boxes {
        want(&values, "boxes.from".to_owned(), &boxes.from, &[Kind::Boxes]);
    }
}
