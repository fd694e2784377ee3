//! What is decoded is what the sender encoded: pydicom is the oracle, on its test files and on every layout of frames.
use bytes::Bytes;
use dicom_core::Tag;
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use sund_agent::dataset::{part10, scan};
use sund_agent::decode::{DecodedImage, Samples, SourceInstance, images};
use sund_agent::fault::Fault;

mod damage;
mod series;

/// What is refused, and with which code; whatever is not listed must decode.
const REFUSED: &[(&str, &str)] = &[
    ("JPEGLSNearLossless_08.dcm", "transfer-syntax-unsupported"),
    ("JPEGLSNearLossless_16.dcm", "transfer-syntax-unsupported"),
    ("MR_small_jpeg_ls_lossless.dcm", "transfer-syntax-unsupported"),
    ("SC_rgb_jls_lossy_line.dcm", "transfer-syntax-unsupported"),
    ("SC_rgb_jls_lossy_sample.dcm", "transfer-syntax-unsupported"),
    ("JPGExtended.dcm", "pixels-jpeg-process-unsupported"),
    ("SC_rgb_rle_32bit.dcm", "image-bits-unsupported"),
    ("SC_rgb_rle_32bit_2frame.dcm", "image-bits-unsupported"),
    // Implicit VR in a file that says explicit.
    ("SC_rgb_jpeg.dcm", "dataset-unknown-vr"),
    ("MR_truncated.dcm", "dataset-truncated"),
    ("rtplan_truncated.dcm", "dataset-truncated"),
];

/// Greatest difference from the oracle's JPEG decoder, which rounds elsewhere in IDCT, chrominance and colour transform.
const LOSSY: f64 = 3.0;

fn oracle(mode: &str) -> (tempfile::TempDir, Vec<Value>) {
    let python = std::env::var("SUND_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/decode/oracle.py");
    let out = tempfile::tempdir().unwrap();
    let run = Command::new(&python).arg(script).arg(mode).arg(out.path()).output();
    let run = run.unwrap_or_else(|error| panic!("{python}: {error}: install Python 3 and set SUND_TEST_PYTHON"));
    assert!(
        run.status.success(),
        "{python} needs numpy, pydicom, pylibjpeg with its openjpeg, libjpeg and rle plugins:\n{}",
        String::from_utf8_lossy(&run.stderr)
    );
    let index = std::fs::read(out.path().join("index.json")).unwrap();
    (out, serde_json::from_slice(&index).unwrap())
}

fn open(path: &Path) -> Result<SourceInstance, Fault> {
    part10::read_file(path)
}

fn values(samples: &Samples) -> Vec<f64> {
    match samples {
        Samples::U8(v) => v.iter().map(|x| f64::from(*x)).collect(),
        Samples::I16(v) => v.iter().map(|x| f64::from(*x)).collect(),
        Samples::U16(v) => v.iter().map(|x| f64::from(*x)).collect(),
        Samples::I32(v) => v.iter().map(|x| f64::from(*x)).collect(),
        Samples::F32(v) => v.iter().map(|x| f64::from(*x)).collect(),
    }
}

/// The greatest difference of decoded images and the oracle's pixels, or why they cannot be compared.
fn difference(images: &[DecodedImage], entry: &Value) -> Result<f64, String> {
    let bytes = std::fs::read(entry["pixels"].as_str().unwrap()).unwrap();
    let colour = images[0].channels == 3;
    let expected: Vec<f64> = if colour {
        bytes.iter().map(|b| f64::from(*b)).collect()
    } else {
        bytes.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect()
    };
    let got: Vec<f64> = images.iter().flat_map(|image| values(&image.samples)).collect();
    if got.len() != expected.len() {
        return Err(format!("{} samples, {} expected", got.len(), expected.len()));
    }
    Ok(got.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max))
}

fn refused(name: &str) -> Option<&'static str> {
    REFUSED.iter().find(|(file, _)| *file == name).map(|(_, code)| *code)
}

fn check_pixels(entries: &[Value]) {
    let mut wrong = Vec::new();
    for entry in entries.iter().filter(|entry| !entry["shape"].is_null()) {
        let name = entry["name"].as_str().unwrap();
        let opened = open(Path::new(entry["path"].as_str().unwrap()));
        let lossy = opened.as_ref().is_ok_and(|i| i.header.transfer_syntax == "1.2.840.10008.1.2.4.50");
        match (opened.and_then(|instance| images(&[instance])), refused(name)) {
            (Ok(images), None) => match difference(&images, entry) {
                Ok(worst) if worst <= if lossy { LOSSY } else { 0.0 } => {}
                Ok(worst) => wrong.push(format!("{name}: differs by {worst}")),
                Err(why) => wrong.push(format!("{name}: {why}")),
            },
            (Err(fault), Some(code)) if fault.code == code => {}
            (Ok(_), Some(code)) => wrong.push(format!("{name}: decoded, {code} expected")),
            (Err(fault), _) => wrong.push(format!("{name}: {fault}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn real_files_of_every_encoding_decode_to_the_oracles_pixels() {
    let (_out, entries) = oracle("files");
    assert!(entries.len() > 60, "pydicom brings its test files");
    check_pixels(&entries);
}

#[test]
fn one_image_is_the_same_in_every_encoding_and_layout_of_fragments() {
    let (_out, entries) = oracle("made");
    check_pixels(&entries);
}

#[test]
fn headers_read_as_the_oracle_reads_them_in_every_character_set() {
    let (_out, entries) = oracle("files");
    let mut wrong = Vec::new();
    for entry in &entries {
        let name = entry["name"].as_str().unwrap();
        let file = Bytes::from(std::fs::read(entry["path"].as_str().unwrap()).unwrap());
        let (meta, dataset) = part10::split(&file).unwrap();
        let header = match scan::scan(&dataset, &meta.transfer_syntax) {
            Ok(header) => header,
            Err(fault) => {
                if refused(name) != Some(&fault.code) {
                    wrong.push(format!("{name}: {fault}"));
                }
                continue;
            }
        };
        for (kind, elements) in entry["header"].as_object().unwrap() {
            for (key, expected) in elements.as_object().unwrap() {
                let number = u32::from_str_radix(key, 16).unwrap();
                let tag = Tag((number >> 16) as u16, number as u16);
                if !header.elements.contains_key(&tag) {
                    wrong.push(format!("{name} {tag}: missing"));
                    continue;
                }
                let got = if kind == "texts" {
                    // PS3.5 6.2: empty component groups at the end of a name may be left out, and the oracle does.
                    let texts = header.texts(tag);
                    Value::from(texts.iter().map(|text| text.trim_end_matches('=')).collect::<Vec<_>>())
                } else {
                    Value::from(header.numbers(tag))
                };
                if got != *expected {
                    wrong.push(format!("{name} {tag} {}: {got} for {expected}", header.elements[&tag].vr));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_front_cut_anywhere_shows_a_part_of_the_whole() {
    let (_out, entries) = oracle("made");
    for entry in &entries {
        let whole = open(Path::new(entry["path"].as_str().unwrap())).unwrap();
        for cut in (0..whole.dataset.len()).step_by(97) {
            // Between a fault for what is broken and silence for what has not come yet, a cut is the second.
            let front = scan::front(&whole.dataset[..cut], &whole.header.transfer_syntax).unwrap();
            for (tag, element) in &front.elements {
                assert!(element == &whole.header.elements[tag], "{} {tag} at {cut}", entry["name"]);
            }
        }
    }
}

/// From its first byte on; what begins well may give some of its pixels, and takes nobody down.
#[test]
fn garbage_in_place_of_a_codestream_is_refused() {
    let (_out, entries) = oracle("made");
    for entry in entries.iter().filter(|entry| matches!(entry["name"].as_str(), Some("jpeg2000" | "rle"))) {
        let good = open(Path::new(entry["path"].as_str().unwrap())).unwrap();
        let start = good.header.pixel_data.as_ref().unwrap().offset as usize + 16;
        // A sequence delimiter ends it.
        let length = good.dataset.len() - 8 - start;
        for cut in [0, 40, 90, length / 2, length] {
            let mut data = good.dataset.to_vec();
            for byte in &mut data[start + cut..start + length] {
                *byte = byte.wrapping_mul(31).wrapping_add(97);
            }
            let read = images(&[SourceInstance { dataset: Bytes::from(data), ..good.clone() }]);
            match (cut, read) {
                (0, Ok(_)) => panic!("{}: pixels of garbage", entry["name"]),
                (cut, Err(fault)) if cut == length => panic!("{}: {fault}", entry["name"]),
                (_, Err(fault)) => assert!(fault.code.starts_with("pixels-"), "{}: {fault}", entry["name"]),
                (_, Ok(images)) => assert_eq!(images.len(), 1),
            }
        }
    }
}
