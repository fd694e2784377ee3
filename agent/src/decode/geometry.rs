//! Where a frame lies in the patient (PS3.3 C.7.6.2), and what its values mean (C.11.1).
use super::frames::Frames;
use super::functional_groups::FunctionalGroups;
use crate::dataset::Header;
use crate::fault::{Blame, Fault};
use dicom_core::Tag;
use dicom_dictionary_std::tags;

/// The plane of a frame.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plane {
    /// Image Position (Patient): the centre of the first pixel, mm.
    pub position: [f64; 3],
    /// Direction in which the column index grows (the first three of Image Orientation), a unit vector.
    pub along_row: [f64; 3],
    /// Direction in which the row index grows, a unit vector.
    pub along_column: [f64; 3],
    /// Pixel Spacing: mm between rows, between columns.
    pub spacing: [f64; 2],
}

impl Plane {
    /// Row direction x column direction: for an axial image with the usual orientation, towards the head.
    pub(super) fn normal(&self) -> [f64; 3] {
        cross(self.along_row, self.along_column)
    }
}

/// What a frame is to a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Slice,
    /// A scout or topogram, taken to plan the others.
    Localizer,
    /// A whole volume laid out as tiles of one image, with the place of none of them (Siemens).
    Mosaic,
}

/// Real value = stored * slope + intercept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rescale {
    pub slope: f32,
    pub intercept: f32,
}

/// What an instance says of its frames.
pub(super) struct Geometry<'a> {
    header: &'a Header,
    groups: FunctionalGroups,
}

impl<'a> Geometry<'a> {
    pub(super) fn of(frames: &'a Frames) -> Result<Self, Fault> {
        let header = frames.header();
        if header.raw(tags::MODALITY_LUT_SEQUENCE, &frames.dataset).is_some_and(|(_, value)| !value.is_empty()) {
            let reason = "the values are mapped by a Modality LUT, which is not applied here";
            return Err(Fault::new("image-modality-lut-unsupported", Blame::Study, reason));
        }
        Ok(Self { header, groups: FunctionalGroups::of(header, &frames.dataset)? })
    }

    /// The plane of a frame (from 0).
    pub(super) fn plane(&self, frame: usize) -> Result<Plane, Fault> {
        let numbers = |sequence, tag, name: &str, count: usize| {
            let values = self.numbers(frame, sequence, tag)?;
            if values.len() == count && values.iter().all(|v| v.is_finite()) {
                return Ok(values);
            }
            let reason = format!("an image does not state its {name}, so that it has no place in a volume");
            Err(Fault::new("volume-without-geometry", Blame::Study, reason))
        };
        let position =
            numbers(tags::PLANE_POSITION_SEQUENCE, tags::IMAGE_POSITION_PATIENT, "Image Position (Patient)", 3)?;
        let orientation = numbers(
            tags::PLANE_ORIENTATION_SEQUENCE,
            tags::IMAGE_ORIENTATION_PATIENT,
            "Image Orientation (Patient)",
            6,
        )?;
        let spacing = numbers(tags::PIXEL_MEASURES_SEQUENCE, tags::PIXEL_SPACING, "Pixel Spacing", 2)?;
        let wrong = |reason: &str| Fault::new("volume-geometry-wrong", Blame::Study, reason);
        if spacing.iter().any(|mm| *mm <= 0.0) {
            return Err(wrong("an image has a Pixel Spacing that is not positive"));
        }
        let x = [orientation[0], orientation[1], orientation[2]];
        let y = [orientation[3], orientation[4], orientation[5]];
        // Written with a few decimals, directions are unit vectors and orthogonal to about a thousandth.
        if (length(x) - 1.0).abs() > 0.01 || (length(y) - 1.0).abs() > 0.01 || dot(x, y).abs() > 0.01 {
            return Err(wrong(
                "an image has an Image Orientation (Patient) that is not a pair of orthogonal directions",
            ));
        }
        Ok(Plane {
            position: [position[0], position[1], position[2]],
            along_row: unit(x),
            along_column: unit(y),
            spacing: [spacing[0], spacing[1]],
        })
    }

    /// The rescale of a frame (from 0); slope 1, intercept 0 where none is stated.
    pub(super) fn rescale(&self, frame: usize) -> Result<Rescale, Fault> {
        let number = |tag, default: f32| -> Result<f32, Fault> {
            let values = self.numbers(frame, tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE, tag)?;
            Ok(values.first().map_or(default, |value| *value as f32))
        };
        let rescale =
            Rescale { slope: number(tags::RESCALE_SLOPE, 1.0)?, intercept: number(tags::RESCALE_INTERCEPT, 0.0)? };
        if !rescale.slope.is_finite() || !rescale.intercept.is_finite() || rescale.slope == 0.0 {
            let reason = "an image has a Rescale Slope or Intercept that cannot be applied";
            return Err(Fault::new("image-attributes-wrong", Blame::Peer, reason));
        }
        Ok(rescale)
    }

    /// First Window Center and Width of a frame, in real values.
    pub(super) fn window(&self, frame: usize) -> Result<Option<(f32, f32)>, Fault> {
        let first = |tag| -> Result<Option<f64>, Fault> {
            Ok(self.numbers(frame, tags::FRAME_VOILUT_SEQUENCE, tag)?.first().copied())
        };
        let window = first(tags::WINDOW_CENTER)?.zip(first(tags::WINDOW_WIDTH)?);
        Ok(window.filter(|(_, width)| *width > 0.0).map(|(centre, width)| (centre as f32, width as f32)))
    }

    /// Millimetres between rows, between columns; at the detector where no other is known.
    pub(super) fn spacing(&self, frame: usize) -> Result<Option<[f32; 2]>, Fault> {
        let mut values = self.numbers(frame, tags::PIXEL_MEASURES_SEQUENCE, tags::PIXEL_SPACING)?;
        if values.is_empty() {
            values = self.header.numbers(tags::IMAGER_PIXEL_SPACING);
        }
        Ok(match values[..] {
            [rows, columns] if rows > 0.0 && columns > 0.0 => Some([rows as f32, columns as f32]),
            _ => None,
        })
    }

    /// What Image Type and Frame Type say against a slice of a volume (PS3.3 C.7.6.1.1.2, C.8.16.1.3).
    pub(super) fn kind(&self, frame: usize) -> Result<Kind, Fault> {
        let mut types = self.header.texts(tags::IMAGE_TYPE);
        for sequence in
            [tags::CT_IMAGE_FRAME_TYPE_SEQUENCE, tags::MR_IMAGE_FRAME_TYPE_SEQUENCE, tags::PET_FRAME_TYPE_SEQUENCE]
        {
            if let Some(group) = self.groups.group(frame, sequence)? {
                types.extend(group.texts(tags::FRAME_TYPE));
            }
        }
        let says = |kind: &str| types.iter().any(|term| term == kind);
        Ok(if says("LOCALIZER") || says("SCOUT") {
            Kind::Localizer
        } else if says("MOSAIC") {
            Kind::Mosaic
        } else {
            Kind::Slice
        })
    }

    /// An attribute that an enhanced instance has in a macro and a classic one at its top level.
    fn numbers(&self, frame: usize, sequence: Tag, tag: Tag) -> Result<Vec<f64>, Fault> {
        if !self.groups.is_empty()
            && let Some(group) = self.groups.group(frame, sequence)?
        {
            return Ok(group.numbers(tag));
        }
        Ok(self.header.numbers(tag))
    }
}

pub(super) fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

pub(super) fn cross(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

pub(super) fn length(a: [f64; 3]) -> f64 {
    dot(a, a).sqrt()
}

fn unit(a: [f64; 3]) -> [f64; 3] {
    a.map(|v| v / length(a))
}
