//! Volumes: every voxel lies where its slice said, and what is no volume is refused with the reason.
use bytes::Bytes;
use dicom_core::{Tag, VR};
use sund_agent::dataset::{part10, scan};
use sund_agent::decode::{DecodedVolume, Samples, SourceInstance, volume};
use sund_agent::fault::Fault;

const EXPLICIT: &str = "1.2.840.10008.1.2.1";
const COLUMNS: usize = 7;
const ROWS: usize = 5;

/// An asymmetric phantom: no rotation or reflection of the patient maps it onto itself.
fn phantom([x, y, z]: [f64; 3]) -> i16 {
    (1000.0 + 40.0 * x - 17.0 * y + 5.0 * z + 0.8 * x * y).round() as i16
}

/// An element of explicit VR little endian.
fn element(tag: Tag, vr: VR, value: &[u8]) -> Vec<u8> {
    let mut value = value.to_vec();
    if value.len() % 2 == 1 {
        value.push(b' ');
    }
    let mut bytes = Vec::new();
    bytes.extend(tag.group().to_le_bytes());
    bytes.extend(tag.element().to_le_bytes());
    bytes.extend(vr.to_string().as_bytes());
    if matches!(vr, VR::SQ | VR::OW | VR::UN) {
        bytes.extend([0, 0]);
        bytes.extend((value.len() as u32).to_le_bytes());
    } else {
        bytes.extend((value.len() as u16).to_le_bytes());
    }
    bytes.extend(value);
    bytes
}

fn sequence(tag: Tag, items: &[Vec<u8>]) -> Vec<u8> {
    let item = |item: &Vec<u8>| [&[0xfe, 0xff, 0, 0xe0][..], &(item.len() as u32).to_le_bytes(), item].concat();
    element(tag, VR::SQ, &items.iter().flat_map(item).collect::<Vec<u8>>())
}

fn decimals(tag: Tag, values: &[f64]) -> Vec<u8> {
    let text: Vec<String> = values.iter().map(|v| format!("{v:.7}")).collect();
    element(tag, VR::DS, text.join("\\").as_bytes())
}

fn word(tag: Tag, value: usize) -> Vec<u8> {
    element(tag, VR::US, &(value as u16).to_le_bytes())
}

/// How a series lies in the patient.
#[derive(Clone, Copy)]
struct Acquisition {
    /// Centre of the first pixel of slice 0, mm.
    origin: [f64; 3],
    along_row: [f64; 3],
    along_column: [f64; 3],
    /// mm from one slice to the next along the normal; negative for the reverse order.
    step: f64,
    /// mm between rows, between columns.
    spacing: [f64; 2],
}

const AXIAL: Acquisition = Acquisition {
    origin: [-12.0, -9.5, 40.0],
    along_row: [1.0, 0.0, 0.0],
    along_column: [0.0, 1.0, 0.0],
    step: 3.0,
    spacing: [0.7, 1.1],
};

impl Acquisition {
    fn normal(&self) -> [f64; 3] {
        let ([a, b, c], [d, e, f]) = (self.along_row, self.along_column);
        [b * f - c * e, c * d - a * f, a * e - b * d]
    }

    fn position(&self, slice: f64) -> [f64; 3] {
        std::array::from_fn(|r| self.origin[r] + slice * self.step * self.normal()[r])
    }

    fn pixels(&self, position: [f64; 3]) -> Vec<u8> {
        let mut pixels = Vec::new();
        for j in 0..ROWS {
            for i in 0..COLUMNS {
                let at = std::array::from_fn(|r| {
                    position[r]
                        + j as f64 * self.spacing[0] * self.along_column[r]
                        + i as f64 * self.spacing[1] * self.along_row[r]
                });
                pixels.extend(phantom(at).to_le_bytes());
            }
        }
        pixels
    }
}

/// One classic slice, to be bent.
#[derive(Clone)]
struct Slice {
    acquisition: Acquisition,
    position: [f64; 3],
    orientation: bool,
    image_type: &'static str,
    frame_of_reference: &'static str,
    slope: f64,
}

fn slices(acquisition: Acquisition, count: usize) -> Vec<Slice> {
    let slice = |k: usize| Slice {
        acquisition,
        position: acquisition.position(k as f64),
        orientation: true,
        image_type: "ORIGINAL\\PRIMARY\\AXIAL",
        frame_of_reference: "1.2.3",
        slope: 1.0,
    };
    (0..count).map(slice).collect()
}

fn image_attributes(frames: usize) -> Vec<u8> {
    [
        word(Tag(0x0028, 0x0002), 1),
        element(Tag(0x0028, 0x0004), VR::CS, b"MONOCHROME2"),
        element(Tag(0x0028, 0x0008), VR::IS, frames.to_string().as_bytes()),
        word(Tag(0x0028, 0x0010), ROWS),
        word(Tag(0x0028, 0x0011), COLUMNS),
    ]
    .concat()
}

fn pixel_attributes() -> Vec<u8> {
    [
        word(Tag(0x0028, 0x0100), 16),
        word(Tag(0x0028, 0x0101), 16),
        word(Tag(0x0028, 0x0102), 15),
        word(Tag(0x0028, 0x0103), 1),
    ]
    .concat()
}

fn instance(dataset: Vec<u8>, n: usize) -> SourceInstance {
    let header = scan::scan(&dataset, EXPLICIT).unwrap();
    SourceInstance {
        sop_class: "1.2.840.10008.5.1.4.1.1.4".into(),
        sop_instance: format!("2.25.{n}"),
        header,
        dataset: Bytes::from(dataset),
    }
}

impl Slice {
    fn instance(&self, n: usize) -> SourceInstance {
        let a = &self.acquisition;
        let mut dataset = element(Tag(0x0008, 0x0008), VR::CS, self.image_type.as_bytes());
        dataset.extend(decimals(Tag(0x0020, 0x0032), &self.position));
        if self.orientation {
            dataset.extend(decimals(Tag(0x0020, 0x0037), &[a.along_row, a.along_column].concat()));
        }
        dataset.extend(element(Tag(0x0020, 0x0052), VR::UI, self.frame_of_reference.as_bytes()));
        dataset.extend(image_attributes(1));
        dataset.extend(decimals(Tag(0x0028, 0x0030), &a.spacing));
        dataset.extend(pixel_attributes());
        dataset.extend(decimals(Tag(0x0028, 0x1052), &[0.0]));
        dataset.extend(decimals(Tag(0x0028, 0x1053), &[self.slope]));
        dataset.extend(element(Tag(0x7fe0, 0x0010), VR::OW, &a.pixels(self.position)));
        instance(dataset, n)
    }
}

fn build(slices: &[Slice]) -> Result<DecodedVolume, Fault> {
    volume(&slices.iter().enumerate().map(|(n, slice)| slice.instance(n)).collect::<Vec<_>>())
}

/// An enhanced instance of all slices in the given order of frames.
fn enhanced(acquisition: Acquisition, order: &[usize]) -> SourceInstance {
    let shared = [
        sequence(
            Tag(0x0020, 0x9116),
            &[decimals(Tag(0x0020, 0x0037), &[acquisition.along_row, acquisition.along_column].concat())],
        ),
        sequence(Tag(0x0028, 0x9110), &[decimals(Tag(0x0028, 0x0030), &acquisition.spacing)]),
        sequence(
            Tag(0x0028, 0x9145),
            &[[decimals(Tag(0x0028, 0x1052), &[-5.0]), decimals(Tag(0x0028, 0x1053), &[2.0])].concat()],
        ),
    ]
    .concat();
    let frame = |k: &usize| {
        // A private block, as long as real per-frame groups are: together they are more than a header keeps.
        let long = element(Tag(0x0021, 0x1001), VR::UN, &vec![7; 20_000]);
        [sequence(Tag(0x0020, 0x9113), &[decimals(Tag(0x0020, 0x0032), &acquisition.position(*k as f64))]), long]
            .concat()
    };
    let mut dataset = image_attributes(order.len());
    dataset.extend(pixel_attributes());
    dataset.extend(sequence(Tag(0x5200, 0x9229), &[shared]));
    dataset.extend(sequence(Tag(0x5200, 0x9230), &order.iter().map(frame).collect::<Vec<_>>()));
    let pixels: Vec<u8> = order.iter().flat_map(|k| acquisition.pixels(acquisition.position(*k as f64))).collect();
    dataset.extend(element(Tag(0x7fe0, 0x0010), VR::OW, &pixels));
    instance(dataset, 1)
}

/// Every voxel has the phantom's value at the place that the grid gives it, and slices go up along the normal.
fn check(volume: &DecodedVolume, acquisition: &Acquisition, count: usize) {
    assert_eq!(volume.grid.dims, [count, ROWS, COLUMNS]);
    let Samples::I16(values) = &volume.samples else { panic!("signed words stay what they are") };
    for k in 0..count {
        for j in 0..ROWS {
            for i in 0..COLUMNS {
                let at = volume.grid.to_mm([k as f64, j as f64, i as f64]);
                let value = values[(k * ROWS + j) * COLUMNS + i];
                assert!((i32::from(value) - i32::from(phantom(at))).abs() <= 1, "{k} {j} {i}");
            }
        }
    }
    let step: Vec<f64> = (0..3).map(|r| volume.grid.to_patient[r][0]).collect();
    let along: f64 = step.iter().zip(acquisition.normal()).map(|(a, b)| a * b).sum();
    assert!((along - acquisition.step.abs()).abs() < 1e-5, "{along}");
    let spacing = volume.grid.spacing();
    assert!((spacing[1] - acquisition.spacing[0]).abs() < 1e-9 && (spacing[2] - acquisition.spacing[1]).abs() < 1e-9);
}

fn oblique() -> Acquisition {
    // Rotated about all three axes; rows and columns orthogonal unit vectors.
    let (a, b) = (0.35_f64, -0.6_f64);
    let along_row = [a.cos(), a.sin() * b.cos(), a.sin() * b.sin()];
    let along_column = [-a.sin(), a.cos() * b.cos(), a.cos() * b.sin()];
    Acquisition { origin: [31.0, -4.0, 12.5], along_row, along_column, step: 2.5, spacing: [0.9, 0.6] }
}

#[test]
fn every_voxel_lies_where_its_slice_said_in_any_order_and_direction() {
    let sagittal = Acquisition { along_row: [0.0, 1.0, 0.0], along_column: [0.0, 0.0, -1.0], ..AXIAL };
    let coronal_reversed =
        Acquisition { along_row: [-1.0, 0.0, 0.0], along_column: [0.0, 0.0, -1.0], step: -1.5, ..AXIAL };
    for acquisition in [AXIAL, oblique(), sagittal, coronal_reversed, Acquisition { step: -3.0, ..AXIAL }] {
        let mut slices = slices(acquisition, 6);
        check(&build(&slices).unwrap(), &acquisition, 6);
        slices.reverse();
        check(&build(&slices).unwrap(), &acquisition, 6);
        slices.swap(1, 4);
        check(&build(&slices).unwrap(), &acquisition, 6);
    }
}

#[test]
fn sources_follow_the_slices() {
    let mut series = slices(AXIAL, 4);
    series.swap(0, 2);
    let sources = build(&series).unwrap().sources;
    let uids: Vec<&str> = sources.iter().map(|source| &source.sop_instance[..]).collect();
    assert_eq!(uids, ["2.25.2", "2.25.1", "2.25.0", "2.25.3"]);
    assert!(sources.iter().all(|source| source.frame.is_none()));
}

#[test]
fn enhanced_frames_make_the_same_volume_by_their_functional_groups() {
    for acquisition in [AXIAL, oblique()] {
        let volume = volume(&[enhanced(acquisition, &[2, 0, 4, 1, 3])]).unwrap();
        check(&volume, &acquisition, 5);
        assert_eq!((volume.slope, volume.intercept), (2.0, -5.0));
        let frames: Vec<Option<u32>> = volume.sources.iter().map(|source| source.frame).collect();
        assert_eq!(frames, [Some(2), Some(4), Some(1), Some(5), Some(3)]);
    }
}

#[test]
fn a_localizer_is_left_out_and_named() {
    let mut series = slices(AXIAL, 4);
    let coronal = Acquisition { along_column: [0.0, 0.0, -1.0], ..AXIAL };
    series.push(Slice { image_type: "ORIGINAL\\PRIMARY\\LOCALIZER", ..slices(coronal, 1)[0].clone() });
    let volume = build(&series).unwrap();
    check(&volume, &AXIAL, 4);
    assert_eq!(volume.partial.as_deref(), Some("1 localizer image was left out"));
}

#[test]
fn slices_with_different_rescale_become_real_values() {
    let mut series = slices(AXIAL, 3);
    series[1].slope = 0.5;
    let volume = build(&series).unwrap();
    let Samples::F32(values) = &volume.samples else { panic!("real values") };
    let expected = f64::from(phantom(AXIAL.position(1.0))) * 0.5;
    assert!((f64::from(values[ROWS * COLUMNS]) - expected).abs() < 1e-3);
    assert_eq!((volume.slope, volume.intercept), (1.0, 0.0));
}

/// A series that is no volume, and the code of the refusal.
fn refused(code: &str, bend: impl Fn(&mut Vec<Slice>)) {
    let mut series = slices(AXIAL, 6);
    bend(&mut series);
    let fault = build(&series).expect_err(code);
    assert_eq!(fault.code, code, "{fault}");
}

#[test]
fn what_is_no_volume_is_refused_with_the_reason() {
    refused("volume-too-few-slices", |s| s.truncate(1));
    refused("volume-too-few-slices", Vec::clear);
    refused("volume-without-geometry", |s| s[2].orientation = false);
    refused("volume-missing-slice", |s| {
        s.remove(3);
    });
    refused("volume-duplicate-position", |s| s.push(s[2].clone()));
    refused("volume-mosaic", |s| s[0].image_type = "ORIGINAL\\PRIMARY\\M\\MOSAIC");
    refused("volume-uneven-spacing", |s| s[3].position[2] += 0.4);
    refused("volume-mixed-frame-of-reference", |s| s[5].frame_of_reference = "1.2.4");
    refused("volume-mixed-spacing", |s| s[1].acquisition.spacing = [0.8, 1.1]);
    refused("volume-mixed-orientation", |s| s[1].acquisition.along_row = [0.9950042, 0.0, 0.0998334]);
    refused("volume-geometry-wrong", |s| s[1].acquisition.along_row = [0.0, 1.0, 0.0]);
    refused("volume-tilted", |s| {
        for (k, slice) in s.iter_mut().enumerate() {
            slice.position[1] += k as f64;
        }
    });
}

#[test]
fn positions_that_were_rounded_are_no_reason_to_refuse() {
    let mut series = slices(Acquisition { step: 0.625, ..AXIAL }, 40);
    for slice in &mut series {
        slice.position = slice.position.map(|mm| (mm * 10.0).round() / 10.0);
    }
    assert_eq!(build(&series).unwrap().grid.dims[0], 40);
}

#[test]
fn a_real_series_keeps_its_geometry_whatever_follows_its_pixels() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/models/brain-extraction/golden/brain");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut series: Vec<SourceInstance> = files.map(|file| part10::read_file(&file).unwrap()).collect();
    let before = volume(&series).unwrap();
    assert_eq!(before.grid.dims, [20, 256, 256]);
    // Positions are written with one decimal, so that the steps differ by a tenth of a millimetre.
    assert!((before.grid.spacing()[0] - 7.0005).abs() < 1e-3, "{:?}", before.grid);
    // Megabytes of no meaning behind Pixel Data, as one scanner leaves them.
    let mut long = series[0].dataset.to_vec();
    long.resize(long.len() + 2_500_000, 0);
    series[0].header = scan::scan(&long, &series[0].header.transfer_syntax).unwrap();
    series[0].dataset = Bytes::from(long);
    let after = volume(&series).unwrap();
    assert_eq!((after.grid, after.samples), (before.grid, before.samples));
}

#[test]
fn a_header_that_claims_more_than_is_there_is_refused_without_allocating() {
    let claim = |rows: usize, frames: &str| {
        let mut dataset = element(Tag(0x0028, 0x0004), VR::CS, b"MONOCHROME2");
        dataset.extend(element(Tag(0x0028, 0x0008), VR::IS, frames.as_bytes()));
        dataset.extend([word(Tag(0x0028, 0x0010), rows), word(Tag(0x0028, 0x0011), rows)].concat());
        dataset.extend(pixel_attributes());
        dataset.extend(element(Tag(0x7fe0, 0x0010), VR::OW, &[0; 64]));
        volume(&[instance(dataset, 0)]).unwrap_err().code
    };
    assert_eq!(claim(65_535, "1"), "image-too-large");
    assert_eq!(claim(512, "100000"), "image-too-large");
    assert_eq!(claim(512, "65000"), "image-too-large");
    assert_eq!(claim(8, "2"), "pixels-truncated");
    assert_eq!(claim(0, "1"), "image-attributes-wrong");
}
