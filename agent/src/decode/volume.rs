//! One volume out of a series, by geometry and never by instance number (PS3.3 C.7.6.2).
use super::frames::{Shape, pixels};
use super::samples::stored;
use super::{DecodedVolume, Samples, SourceInstance};
use crate::dataset::Header;
use crate::fault::{Blame, Fault, StageError};
use crate::inference::SourceFrame;
use crate::limits::decode::{MAX_PIXEL_BYTES, ORIENTATION_TOLERANCE, SPACING_TOLERANCE};
use dicom_dictionary_std::tags;
use sund_kernels::Grid;

/// Where one slice lies.
struct Slice<'a> {
    instance: &'a SourceInstance,
    position: [f64; 3],
    /// Along the normal, in mm.
    depth: f64,
}

struct Plane {
    row: [f64; 3],
    column: [f64; 3],
    spacing: [f64; 2],
}

/// Decodes a series of single-frame images as one volume. Slice index grows along the normal, row direction x column
/// direction, so that the grid is right-handed. Localizers are left out, and `partial` says so.
pub fn volume(instances: &[SourceInstance]) -> Result<DecodedVolume, StageError> {
    let (images, localizers): (Vec<_>, Vec<_>) = instances.iter().partition(|instance| !is_localizer(&instance.header));
    let first = images.first().ok_or_else(|| refused("volume-empty", "the series has no image".into()))?;
    let plane = plane(&first.header)?;
    let normal = cross(plane.row, plane.column);
    let shape = Shape::of(&first.header)?;
    let mut slices = Vec::with_capacity(images.len());
    for instance in &images {
        check_alike(first, instance, &plane, &shape)?;
        let position = triple(&instance.header, tags::IMAGE_POSITION_PATIENT)
            .ok_or_else(|| refused("volume-no-position", "an image has no Image Position (Patient)".into()))?;
        slices.push(Slice { instance, position, depth: dot(position, normal) });
    }
    slices.sort_by(|a, b| a.depth.total_cmp(&b.depth));
    let step = step(&slices)?;
    let grid = grid(&slices, &plane, &shape, step);
    if grid.len().saturating_mul(4) > MAX_PIXEL_BYTES {
        return Err(refused("volume-too-large", format!("{:?} voxels are over the limit", grid.dims)));
    }
    let (samples, slope, intercept) = fill(&slices)?;
    let sources = slices.iter().map(|slice| SourceFrame {
        sop_class: slice.instance.sop_class.clone(),
        sop_instance: slice.instance.sop_instance.clone(),
        frame: None,
    });
    let partial = (!localizers.is_empty()).then(|| format!("{} localizer images were left out", localizers.len()));
    Ok(DecodedVolume { grid, samples, slope, intercept, sources: sources.collect(), partial })
}

fn refused(code: &'static str, reason: String) -> Fault {
    Fault::new(code, Blame::Study, format!("the series is no volume: {reason}"))
}

fn is_localizer(header: &Header) -> bool {
    header.texts(tags::IMAGE_TYPE).iter().any(|value| value == "LOCALIZER")
}

fn plane(header: &Header) -> Result<Plane, Fault> {
    let directions = header.numbers(tags::IMAGE_ORIENTATION_PATIENT);
    let spacing = header.numbers(tags::PIXEL_SPACING);
    let ([a, b, c, d, e, f], [rows, columns]) = (&directions[..], &spacing[..]) else {
        return Err(refused(
            "volume-no-geometry",
            "Image Orientation (Patient) or Pixel Spacing is absent or incomplete".into(),
        ));
    };
    let (row, column) = ([*a, *b, *c], [*d, *e, *f]);
    let unit = |v: [f64; 3]| (dot(v, v).sqrt() - 1.0).abs() < 1e-2;
    if !unit(row) || !unit(column) || dot(row, column).abs() > 1e-2 || *rows <= 0.0 || *columns <= 0.0 {
        return Err(refused("volume-bad-geometry", "its directions are not two perpendicular unit vectors".into()));
    }
    Ok(Plane { row, column, spacing: [*rows, *columns] })
}

fn check_alike(first: &SourceInstance, other: &SourceInstance, plane: &Plane, shape: &Shape) -> Result<(), Fault> {
    let theirs = self::plane(&other.header)?;
    let apart = |a: [f64; 3], b: [f64; 3]| (0..3).any(|n| (a[n] - b[n]).abs() > ORIENTATION_TOLERANCE);
    if apart(plane.row, theirs.row) || apart(plane.column, theirs.column) {
        return Err(refused("volume-mixed-orientation", "its images lie in different directions".into()));
    }
    if (0..2).any(|n| (plane.spacing[n] - theirs.spacing[n]).abs() > 1e-3 * plane.spacing[n]) {
        return Err(refused("volume-mixed-spacing", "its images have different pixel spacing".into()));
    }
    let frame = |instance: &SourceInstance| instance.header.text(tags::FRAME_OF_REFERENCE_UID);
    if frame(first) != frame(other) {
        return Err(refused("volume-mixed-frame-of-reference", "its images have different frames of reference".into()));
    }
    let their_shape = Shape::of(&other.header)?;
    if their_shape != *shape || shape.channels != 1 || shape.frames != 1 {
        return Err(refused(
            "volume-mixed-size",
            "its images differ in size or coding, or are no single grey frames".into(),
        ));
    }
    Ok(())
}

/// The step between slices, in mm; refused where slices lie on each other, or where one is missing.
fn step(slices: &[Slice<'_>]) -> Result<f64, Fault> {
    if slices.len() < 2 {
        return Err(refused("volume-too-few-slices", "it has one slice, at least two are needed".into()));
    }
    let steps: Vec<f64> = slices.windows(2).map(|pair| pair[1].depth - pair[0].depth).collect();
    let mut sorted = steps.clone();
    sorted.sort_by(f64::total_cmp);
    let median = sorted[sorted.len() / 2];
    if let Some(n) = steps.iter().position(|step| *step < 1e-3) {
        return Err(refused(
            "volume-duplicate-position",
            format!("slices {} and {} lie at the same place", n + 1, n + 2),
        ));
    }
    if let Some(n) = steps.iter().position(|step| (step - median).abs() > SPACING_TOLERANCE * median) {
        let reason = format!("slices {} and {} are {:.2} mm apart, the others {median:.2} mm", n + 1, n + 2, steps[n]);
        return Err(refused("volume-uneven-spacing", reason));
    }
    Ok((slices[slices.len() - 1].depth - slices[0].depth) / (slices.len() - 1) as f64)
}

fn grid(slices: &[Slice<'_>], plane: &Plane, shape: &Shape, step: f64) -> Grid {
    let normal = cross(plane.row, plane.column);
    let (first, last) = (&slices[0], &slices[slices.len() - 1]);
    // From the first slice's corner to the last's: a tilted gantry shears the grid, and the grid says so.
    let count = (slices.len() - 1) as f64;
    let sheared: [f64; 3] = std::array::from_fn(|r| (last.position[r] - first.position[r]) / count);
    let straight: [f64; 3] = std::array::from_fn(|r| normal[r] * step);
    let off = (0..3).map(|r| (sheared[r] - straight[r]).powi(2)).sum::<f64>().sqrt();
    let along = if off < 1e-3 * step { straight } else { sheared };
    Grid {
        dims: [slices.len(), shape.rows, shape.columns],
        to_patient: std::array::from_fn(|r| {
            // PS3.3 C.7.6.2.1.1: the row direction is that of increasing column index.
            [along[r], plane.column[r] * plane.spacing[0], plane.row[r] * plane.spacing[1], first.position[r]]
        }),
    }
}

/// The stored values of all slices under one rescale; real values where slices have different ones.
fn fill(slices: &[Slice<'_>]) -> Result<(Samples, f32, f32), Fault> {
    let rescale = |slice: &Slice<'_>| {
        let number = |tag, default| slice.instance.header.number(tag).map_or(default, |n: f64| n as f32);
        (number(tags::RESCALE_SLOPE, 1.0), number(tags::RESCALE_INTERCEPT, 0.0))
    };
    let (slope, intercept) = rescale(&slices[0]);
    let same = slices.iter().all(|slice| rescale(slice) == (slope, intercept));
    let mut all: Option<Samples> = None;
    for slice in slices {
        let pixels = pixels(&slice.instance.header, &slice.instance.dataset)?;
        let mut samples = stored(&pixels.shape, &pixels.frames[0]);
        if !same {
            let (slope, intercept) = rescale(slice);
            samples = Samples::F32(samples.to_real(slope, intercept));
        }
        all = Some(match all {
            None => samples,
            Some(all) => all.join(samples)?,
        });
    }
    let samples = all.unwrap_or(Samples::U8(Vec::new()));
    Ok(if same { (samples, slope, intercept) } else { (samples, 1.0, 0.0) })
}

fn triple(header: &Header, tag: dicom_core::Tag) -> Option<[f64; 3]> {
    header.numbers(tag).first_chunk::<3>().copied().filter(|p| p.iter().all(|v| v.is_finite()))
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn cross(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}
