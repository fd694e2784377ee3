//! A volume from frames, by where they lie in the patient; what cannot be one volume is refused with the reason.
use super::frames::Frames;
use super::geometry::{Geometry, Kind, Plane, Rescale, cross, dot, length};
use super::{DecodedVolume, Samples, SourceInstance, series};
use crate::fault::{Blame, Fault, StageError};
use dicom_dictionary_std::tags;
use sund_kernels::Grid;

/// Directions of two slices that differ by less (a component of the unit vectors) are the same: 0.06 degrees.
const SAME_DIRECTION: f64 = 1e-3;
/// Pixel Spacings that differ by a smaller part are the same.
const SAME_SPACING: f64 = 1e-3;
/// Slices that are closer than this, mm, lie at the same place.
const SAME_POSITION: f64 = 0.01;
/// A gap of more than this many usual ones is a missing slice.
const MISSING: f64 = 1.5;
/// A slice may lie this part of the slice step away from where regular steps put it, and a step lean by as much...
const UNEVEN: f64 = 0.05;
/// ...and in any case this far, mm: positions are often written with one decimal.
const UNEVEN_MM: f64 = 0.1;

/// Builds one volume from single-frame instances or from the frames of enhanced ones.
///
/// Slice index `k` grows along row direction x column direction, so that (column, row, slice) is right-handed, whatever the
/// order of acquisition or of the instance numbers. Localizers are left out and named in `partial`. MONOCHROME1 is not
/// inverted: a volume's values are measurements.
pub fn volume(instances: &[SourceInstance]) -> Result<DecodedVolume, StageError> {
    let opened = series::open(instances)?;
    let (mut slices, localizers) = slices(&opened)?;
    let Some(first) = slices.first() else {
        return Err(refuse("volume-too-few-slices", "the series has no image that could be part of a volume".into()));
    };
    let normal = first.plane.normal();
    alike(&slices, &opened)?;
    slices.sort_by(|a, b| dot(a.plane.position, normal).total_cmp(&dot(b.plane.position, normal)));
    let step = step(&slices, normal)?;

    let wanted: Vec<_> = slices.iter().map(|slice| (slice.instance, slice.frame)).collect();
    let decoded = series::decode(&opened, &wanted)?;
    let (samples, rescale) = rescaled(decoded, &slices);
    let pixel = opened[slices[0].instance].pixel;
    let partial = match localizers {
        0 => None,
        1 => Some("1 localizer image was left out".to_owned()),
        n => Some(format!("{n} localizer images were left out")),
    };
    Ok(DecodedVolume {
        grid: Grid { dims: [slices.len(), pixel.rows, pixel.columns], to_patient: to_patient(&slices[0].plane, step) },
        samples,
        slope: rescale.slope,
        intercept: rescale.intercept,
        sources: slices.iter().map(|slice| series::source(&opened[slice.instance], slice.frame)).collect(),
        partial,
    })
}

struct Slice {
    /// Index into the instances.
    instance: usize,
    /// From 0.
    frame: usize,
    plane: Plane,
    rescale: Rescale,
}

/// All frames that are no localizers, and the number of those that are.
fn slices(opened: &[Frames]) -> Result<(Vec<Slice>, usize), Fault> {
    let mut slices = Vec::new();
    let mut localizers = 0;
    for (instance, frames) in opened.iter().enumerate() {
        let geometry = Geometry::of(frames)?;
        for frame in 0..frames.pixel.frames {
            match geometry.kind(frame)? {
                Kind::Slice => {}
                Kind::Localizer => {
                    localizers += 1;
                    continue;
                }
                Kind::Mosaic => {
                    let reason =
                        "the series has mosaics: tiles of several slices in one image, which are not taken apart";
                    return Err(refuse("volume-mosaic", reason.into()));
                }
            }
            slices.push(Slice { instance, frame, plane: geometry.plane(frame)?, rescale: geometry.rescale(frame)? });
        }
    }
    Ok((slices, localizers))
}

/// Everything but the position must agree.
fn alike(slices: &[Slice], opened: &[Frames]) -> Result<(), Fault> {
    if slices.len() < 2 {
        return Err(refuse("volume-too-few-slices", "a volume needs at least two slices, the series has one".into()));
    }
    let frame_of_reference = |slice: &Slice| opened[slice.instance].header().text(tags::FRAME_OF_REFERENCE_UID);
    let first = &slices[0];
    let pixel = opened[first.instance].pixel;
    let reference = frame_of_reference(first);
    if !pixel.photometric.is_grey() {
        return Err(refuse("volume-not-grey", "a volume is made of grey images, the series has colour".into()));
    }
    for slice in slices {
        let other = opened[slice.instance].pixel;
        if (other.rows, other.columns) != (pixel.rows, pixel.columns) {
            let reason = format!(
                "the series has images of {} x {} and of {} x {} pixels",
                pixel.columns, pixel.rows, other.columns, other.rows
            );
            return Err(refuse("volume-mixed-size", reason));
        }
        if other.photometric != pixel.photometric {
            return Err(refuse("volume-mixed-photometric", "the series mixes photometric interpretations".into()));
        }
        let apart = |a: [f64; 3], b: [f64; 3]| a.iter().zip(b).any(|(a, b)| (a - b).abs() > SAME_DIRECTION);
        if apart(slice.plane.along_row, first.plane.along_row)
            || apart(slice.plane.along_column, first.plane.along_column)
        {
            return Err(refuse("volume-mixed-orientation", "the series has images of different orientation".into()));
        }
        for (a, b) in slice.plane.spacing.iter().zip(first.plane.spacing) {
            if (a - b).abs() > SAME_SPACING * b {
                let reason = format!("the series has images with pixels of {b} mm and of {a} mm");
                return Err(refuse("volume-mixed-spacing", reason));
            }
        }
        if frame_of_reference(slice) != reference {
            let reason = "the series has images in different frames of reference, whose positions cannot be compared";
            return Err(refuse("volume-mixed-frame-of-reference", reason.into()));
        }
    }
    Ok(())
}

/// The vector from one slice to the next, mm, where the slices, in their order, are evenly spaced.
fn step(slices: &[Slice], normal: [f64; 3]) -> Result<[f64; 3], Fault> {
    let along: Vec<f64> = slices.iter().map(|slice| dot(slice.plane.position, normal)).collect();
    let gaps: Vec<f64> = along.windows(2).map(|pair| pair[1] - pair[0]).collect();
    if let Some(k) = gaps.iter().position(|gap| *gap < SAME_POSITION) {
        let reason = format!(
            "slices {} and {} of {} lie at the same position: the series holds more than one volume",
            k + 1,
            k + 2,
            slices.len()
        );
        return Err(refuse("volume-duplicate-position", reason));
    }
    let mut sorted = gaps.clone();
    sorted.sort_by(f64::total_cmp);
    let usual = sorted[sorted.len() / 2];
    if let Some(k) = gaps.iter().position(|gap| *gap > MISSING * usual) {
        let reason = format!(
            "between slices {} and {} of {} there are {:.2} mm where {usual:.2} mm are usual: images are missing",
            k + 1,
            k + 2,
            slices.len(),
            gaps[k]
        );
        return Err(refuse("volume-missing-slice", reason));
    }

    let first = slices[0].plane.position;
    let last = slices[slices.len() - 1].plane.position;
    let steps = (slices.len() - 1) as f64;
    let step: [f64; 3] = std::array::from_fn(|r| (last[r] - first[r]) / steps);
    let tolerance = (UNEVEN * length(step)).max(UNEVEN_MM);
    let lean = length(cross(step, normal));
    if lean > tolerance {
        let reason = format!(
            "each slice is shifted within its plane by {lean:.2} mm against the one before (a tilted gantry): no regular volume"
        );
        return Err(refuse("volume-tilted", reason));
    }
    for (k, slice) in slices.iter().enumerate() {
        let off: [f64; 3] = std::array::from_fn(|r| slice.plane.position[r] - first[r] - k as f64 * step[r]);
        if length(off) > tolerance {
            let reason = format!(
                "slice {} of {} lies {:.2} mm from where even steps of {:.2} mm put it; {tolerance:.2} mm are allowed",
                k + 1,
                slices.len(),
                length(off),
                length(step)
            );
            return Err(refuse("volume-uneven-spacing", reason));
        }
    }
    Ok(step)
}

/// PS3.3 C.7.6.2.1.1, with the slice step as a further column: (slice, row, column) to mm.
fn to_patient(first: &Plane, step: [f64; 3]) -> [[f64; 4]; 3] {
    let [between_rows, between_columns] = first.spacing;
    std::array::from_fn(|r| {
        [step[r], first.along_column[r] * between_rows, first.along_row[r] * between_columns, first.position[r]]
    })
}

/// Stored values with one rescale, or real values where slices have different ones (as PET has).
fn rescaled(decoded: Vec<Samples>, slices: &[Slice]) -> (Samples, Rescale) {
    let first = slices[0].rescale;
    if slices.iter().all(|slice| slice.rescale == first) {
        return (Samples::concatenate(decoded), first);
    }
    let real = std::iter::zip(decoded, slices)
        .map(|(samples, slice)| Samples::F32(samples.to_real(slice.rescale.slope, slice.rescale.intercept)));
    (Samples::concatenate(real.collect()), Rescale { slope: 1.0, intercept: 0.0 })
}

fn refuse(code: &'static str, reason: String) -> Fault {
    Fault::new(code, Blame::Study, reason)
}
