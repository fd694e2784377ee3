//! Segmentation (PS3.3 A.51, C.8.20): masks as binary frames on the grid of the source.
use super::build::{EXPLICIT, Set};
use super::lossy::loss;
use super::modules::{SEGMENTATION, Uids, common, engine_text, uids};
use super::{ResultContext, ResultObject};
use crate::code::Code;
use crate::fault::Fault;
use crate::inference::{Inference, Segment, SourceFrame};
use dicom_core::VR;
use dicom_dictionary_std::tags;
use sund_kernels::Grid;

pub(super) const SOP_CLASS: &str = "1.2.840.10008.5.1.4.1.1.66.4";

/// A SEG of all segments; `None` where every mask is empty.
pub(super) fn make(
    context: &ResultContext<'_>,
    inference: &Inference,
    grid: &Grid,
    sources: &[SourceFrame],
    segments: &[Segment],
) -> Result<Option<ResultObject>, Fault> {
    let [slices, rows, columns] = grid.dims;
    let plane = rows * columns;
    let frames: Vec<(usize, usize)> = (0..segments.len())
        .flat_map(|segment| (0..slices).map(move |slice| (segment, slice)))
        .filter(|(segment, slice)| segments[*segment].mask[slice * plane..(slice + 1) * plane].contains(&1))
        .collect();
    if frames.is_empty() {
        return Ok(None);
    }
    let ids = uids(context, &inference.package, &engine_text(&inference.engine), "SEG");
    let dimension = context.uid_key.uid([ids.instance.as_str(), "dimension organization"]);
    let set = common(context, &inference.package, SOP_CLASS, &ids, "SEG", SEGMENTATION);
    let set = match loss(context.sources) {
        Some(loss) => loss.say(set),
        None => set.text(tags::LOSSY_IMAGE_COMPRESSION, VR::CS, "00"),
    };
    let set = image(set, context, inference, grid, frames.len())
        .sequence(tags::SEGMENT_SEQUENCE, segments.iter().enumerate().map(|(n, s)| segment(inference, n, s)).collect())
        .sequence(tags::REFERENCED_SERIES_SEQUENCE, vec![super::report::referenced_series(context, sources)])
        .sequence(
            tags::DIMENSION_ORGANIZATION_SEQUENCE,
            vec![Set::new().text(tags::DIMENSION_ORGANIZATION_UID, VR::UI, &dimension)],
        )
        .sequence(
            tags::DIMENSION_INDEX_SEQUENCE,
            vec![
                index(&dimension, tags::REFERENCED_SEGMENT_NUMBER, tags::SEGMENT_IDENTIFICATION_SEQUENCE),
                index(&dimension, tags::IMAGE_POSITION_PATIENT, tags::PLANE_POSITION_SEQUENCE),
            ],
        )
        .sequence(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, vec![shared(grid)])
        .sequence(
            tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE,
            frames
                .iter()
                .map(|(n, k)| per_frame(&position(context, grid, *k, &sources[*k]), *n, *k, &sources[*k]))
                .collect(),
        )
        .bytes(tags::PIXEL_DATA, packed(segments, &frames, plane));
    Ok(Some(object(ids, set.encode()?)))
}

fn object(ids: Uids, dataset: Vec<u8>) -> ResultObject {
    ResultObject {
        kind: "SEG",
        sop_class: SOP_CLASS.to_owned(),
        sop_instance: ids.instance,
        series: ids.series,
        transfer_syntax: EXPLICIT.to_owned(),
        dataset,
        summary: "segmentation".to_owned(),
    }
}

fn image(set: Set, context: &ResultContext<'_>, inference: &Inference, grid: &Grid, frames: usize) -> Set {
    let from_source = |tag| context.sources.first().and_then(|s| s.header.text(tag)).unwrap_or_default();
    let label: String = inference.package.name.to_uppercase().replace('-', "_").chars().take(16).collect();
    let mut set = set.texts(tags::IMAGE_TYPE, VR::CS, &["DERIVED", "PRIMARY"]);
    // PS3.3 table A.51-1: the module may be absent where frames name their source images, as ours do. A source without a
    // frame of reference gets none made up, which other series would seem to share or not to share.
    let frame_of_reference = from_source(tags::FRAME_OF_REFERENCE_UID);
    if !frame_of_reference.is_empty() {
        let indicator = from_source(tags::POSITION_REFERENCE_INDICATOR);
        set = set.text(tags::FRAME_OF_REFERENCE_UID, VR::UI, &frame_of_reference).text(
            tags::POSITION_REFERENCE_INDICATOR,
            VR::LO,
            &indicator,
        );
    }
    set.text(tags::SEGMENTATION_TYPE, VR::CS, "BINARY")
        .text(tags::CONTENT_LABEL, VR::CS, &label)
        .text(tags::CONTENT_DESCRIPTION, VR::LO, "AI result, unverified")
        .text(tags::CONTENT_CREATOR_NAME, VR::PN, "")
        .words(tags::SAMPLES_PER_PIXEL, &[1])
        .text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2")
        .text(tags::NUMBER_OF_FRAMES, VR::IS, &frames.to_string())
        .words(tags::ROWS, &[grid.dims[1] as u16])
        .words(tags::COLUMNS, &[grid.dims[2] as u16])
        .words(tags::BITS_ALLOCATED, &[1])
        .words(tags::BITS_STORED, &[1])
        .words(tags::HIGH_BIT, &[0])
        .words(tags::PIXEL_REPRESENTATION, &[0])
}

fn segment(inference: &Inference, n: usize, segment: &Segment) -> Set {
    let algorithm = Set::new()
        .code(tags::ALGORITHM_FAMILY_CODE_SEQUENCE, &Code::new("123109", "DCM", "Artificial Intelligence"))
        .text(tags::ALGORITHM_NAME, VR::LO, &inference.package.title)
        .text(tags::ALGORITHM_VERSION, VR::LO, &inference.package.version)
        .text(tags::ALGORITHM_PARAMETERS, VR::LT, &engine_text(&inference.engine))
        .text(tags::ALGORITHM_SOURCE, VR::LO, &inference.package.vendor);
    Set::new()
        .words(tags::SEGMENT_NUMBER, &[n as u16 + 1])
        .text(tags::SEGMENT_LABEL, VR::LO, &segment.label)
        .text(tags::SEGMENT_ALGORITHM_TYPE, VR::CS, "AUTOMATIC")
        .text(tags::SEGMENT_ALGORITHM_NAME, VR::LO, &inference.package.title)
        .code(tags::SEGMENTED_PROPERTY_CATEGORY_CODE_SEQUENCE, &segment.category)
        .code(tags::SEGMENTED_PROPERTY_TYPE_CODE_SEQUENCE, &segment.property)
        .words(tags::RECOMMENDED_DISPLAY_CIE_LAB_VALUE, &cielab(segment.colour))
        .sequence(tags::SEGMENTATION_ALGORITHM_IDENTIFICATION_SEQUENCE, vec![algorithm])
}

fn index(organization: &str, pointer: dicom_core::Tag, group: dicom_core::Tag) -> Set {
    Set::new()
        .text(tags::DIMENSION_ORGANIZATION_UID, VR::UI, organization)
        .tag(tags::DIMENSION_INDEX_POINTER, pointer)
        .tag(tags::FUNCTIONAL_GROUP_POINTER, group)
}

/// Pixel measures and plane orientation are those of all frames.
fn shared(grid: &Grid) -> Set {
    let [slice, row, column] = grid.spacing();
    let m = &grid.to_patient;
    let direction = |axis: usize, length: f64| [0, 1, 2].map(|r| m[r][axis] / length);
    let (along_row, along_column) = (direction(2, column), direction(1, row));
    let orientation: Vec<f64> = along_row.into_iter().chain(along_column).collect();
    Set::new()
        .sequence(
            tags::PIXEL_MEASURES_SEQUENCE,
            vec![
                Set::new()
                    .decimals(tags::SLICE_THICKNESS, &[slice])
                    .decimals(tags::SPACING_BETWEEN_SLICES, &[slice])
                    .decimals(tags::PIXEL_SPACING, &[row, column]),
            ],
        )
        .sequence(
            tags::PLANE_ORIENTATION_SEQUENCE,
            vec![Set::new().decimals(tags::IMAGE_ORIENTATION_PATIENT, &orientation)],
        )
}

/// Where a slice lies: where its source image says, since scanners round positions and readers match frames by them; where
/// the source says nothing close to the grid (an enhanced image has its positions elsewhere), where the grid says.
fn position(context: &ResultContext<'_>, grid: &Grid, slice: usize, frame: &SourceFrame) -> Vec<f64> {
    let on_grid = grid.to_mm([slice as f64, 0.0, 0.0]);
    let source = context.sources.iter().find(|source| source.sop_instance == frame.sop_instance);
    let said = source.map(|source| source.header.numbers(tags::IMAGE_POSITION_PATIENT)).unwrap_or_default();
    let apart = said.iter().zip(&on_grid).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt();
    if frame.frame.is_none() && said.len() == 3 && apart < 0.1 * grid.spacing()[0] { said } else { on_grid.to_vec() }
}

fn per_frame(position: &[f64], segment: usize, slice: usize, source: &SourceFrame) -> Set {
    let purpose = Code::new("121322", "DCM", "Source image for image processing operation");
    let source = super::report::referenced_sop(source)
        .text(tags::SPATIAL_LOCATIONS_PRESERVED, VR::CS, "YES")
        .code(tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE, &purpose);
    let derivation = Set::new()
        .sequence(tags::SOURCE_IMAGE_SEQUENCE, vec![source])
        .code(tags::DERIVATION_CODE_SEQUENCE, &Code::new("113076", "DCM", "Segmentation"));
    Set::new()
        .sequence(
            tags::FRAME_CONTENT_SEQUENCE,
            vec![Set::new().longs(tags::DIMENSION_INDEX_VALUES, &[segment as u32 + 1, slice as u32 + 1])],
        )
        .sequence(tags::PLANE_POSITION_SEQUENCE, vec![Set::new().decimals(tags::IMAGE_POSITION_PATIENT, position)])
        .sequence(
            tags::SEGMENT_IDENTIFICATION_SEQUENCE,
            vec![Set::new().words(tags::REFERENCED_SEGMENT_NUMBER, &[segment as u16 + 1])],
        )
        .sequence(tags::DERIVATION_IMAGE_SEQUENCE, vec![derivation])
}

/// Frames bit by bit, the first pixel in the lowest bit, without padding between frames (PS3.5 8.1.1).
fn packed(segments: &[Segment], frames: &[(usize, usize)], plane: usize) -> Vec<u8> {
    let mut bytes = vec![0u8; (frames.len() * plane).div_ceil(8)];
    for (n, (segment, slice)) in frames.iter().enumerate() {
        for (i, value) in segments[*segment].mask[slice * plane..(slice + 1) * plane].iter().enumerate() {
            let bit = n * plane + i;
            bytes[bit / 8] |= value << (bit % 8);
        }
    }
    if bytes.len() % 2 == 1 {
        bytes.push(0);
    }
    bytes
}

/// sRGB to CIELab as 16-bit values (PS3.3 C.10.7.1.1), white point D65.
fn cielab(rgb: [u8; 3]) -> [u16; 3] {
    let linear = rgb.map(|v| {
        let v = f64::from(v) / 255.0;
        if v <= 0.04045 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
    });
    let dot = |w: [f64; 3]| w[0] * linear[0] + w[1] * linear[1] + w[2] * linear[2];
    let f = |v: f64| if v > 216.0 / 24389.0 { v.cbrt() } else { (24389.0 / 27.0 * v + 16.0) / 116.0 };
    let x = f(dot([0.4124, 0.3576, 0.1805]) / 0.9505);
    let y = f(dot([0.2126, 0.7152, 0.0722]));
    let z = f(dot([0.0193, 0.1192, 0.9505]) / 1.089);
    let scale = |v: f64, low: f64, range: f64| ((v - low) / range * 65535.0).round().clamp(0.0, 65535.0) as u16;
    [scale(116.0 * y - 16.0, 0.0, 100.0), scale(500.0 * (x - y), -128.0, 255.0), scale(200.0 * (y - z), -128.0, 255.0)]
}
