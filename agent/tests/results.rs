//! Results conform, keep the patient of the identity record, and lie where the source lies.
use dicom_core::{Tag, VR};
use dicom_dictionary_std::{tags, uids};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};
use sund_agent::code::Code;
use sund_agent::dataset::scan::scan;
use sund_agent::dataset::{Element, part10};
use sund_agent::inference::{
    EngineUsed, Findings, FoundBox, Inference, Measurement, PackageRef, Picture, Segment, SourceFrame,
};
use sund_agent::outcome::Outcome;
use sund_agent::results::{Identity, Mode, ResultContext, ResultObject, SourceHeader, UidKey, make, outcome_report};

fn demo(folder: &str) -> Vec<SourceHeader> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/models").join(folder);
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = |file: &PathBuf| part10::read_file(file).expect("demonstration file");
    files
        .iter()
        .map(read)
        .map(|i| SourceHeader {
            sop_class: i.sop_class,
            sop_instance: i.sop_instance,
            header: i.header,
            length: i.dataset.len() as u64,
        })
        .collect()
}

fn inference(findings: Findings, measurements: Vec<Measurement>) -> Inference {
    Inference {
        package: PackageRef {
            name: "brain-extraction".into(),
            title: "Brain extraction".into(),
            version: "1.0.2".into(),
            vendor: "a vendor".into(),
            digest: "sha256:00".into(),
        },
        engine: EngineUsed { class: "tract".into(), precision: "fp32".into(), version: "0".into() },
        outcome: Outcome::Finding,
        findings,
        measurements,
        preview: Picture { width: 320, height: 100, rgb: vec![40; 3 * 320 * 100] },
        partial: None,
        times: Vec::new(),
    }
}

/// An asymmetric mask on the oblique grid of the demonstration series, as the decoder sees it.
fn on_the_series() -> (Vec<SourceHeader>, Inference) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/models/brain-extraction/golden/brain");
    let mut series = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        series.push(part10::read_file(&entry.unwrap().path()).unwrap());
    }
    let decoded = sund_agent::decode::volume(&series).unwrap();
    let [slices, rows, columns] = decoded.grid.dims;
    let mut mask = vec![0u8; decoded.grid.len()];
    for (k, j, i) in (3..9).flat_map(|k| (20..60 + k).flat_map(move |j| (100..130 + 2 * k).map(move |i| (k, j, i)))) {
        mask[(k * rows + j) * columns + i] = 1;
    }
    assert_eq!(slices, 20);
    let segment = Segment {
        label: "Brain".into(),
        category: Code::new("123037004", "SCT", "Anatomical Structure"),
        property: Code::new("12738006", "SCT", "Brain"),
        colour: [64, 196, 180],
        mask,
    };
    let measurement = Measurement {
        concept: Code::new("118565006", "SCT", "Volume"),
        value: 1291.7,
        unit: Code::new("ml", "UCUM", "milliliter"),
        segment: Some(0),
    };
    let findings = Findings::Volume { grid: decoded.grid, sources: decoded.sources, segments: vec![segment] };
    (demo("brain-extraction/golden/brain"), inference(findings, vec![measurement]))
}

fn on_the_image() -> (Vec<SourceHeader>, Inference) {
    let sources = demo("text-detection/golden/ultrasound");
    let frame = SourceFrame {
        sop_class: sources[0].sop_class.clone(),
        sop_instance: sources[0].sop_instance.clone(),
        frame: None,
    };
    let found = FoundBox {
        image: 0,
        finding: Code::new("SUND-TEXT", "99SUND", "Burned-in text"),
        corners: [20.0, 17.0, 189.0, 32.0],
        score: 0.9,
    };
    (sources, inference(Findings::Images { sources: vec![frame], boxes: vec![found] }, Vec::new()))
}

fn with_context<T>(sources: &[SourceHeader], mode: Mode, act: impl FnOnce(&ResultContext<'_>) -> T) -> T {
    act(&ResultContext {
        identity: &Identity::from_header(&sources[0].header),
        sources,
        input_digests: &["b".into(), "a".into()],
        mode,
        uid_key: &UidKey::new(&[1; 32]),
        at: SystemTime::UNIX_EPOCH + Duration::from_hours(500000),
        device: "test",
        parameters: "",
        predecessor: None,
        partial: None,
    })
}

fn validate(object: &ResultObject, folder: &Path, name: &str) -> PathBuf {
    let file = folder.join(format!("{name}.dcm"));
    std::fs::write(&file, object.part10()).unwrap();
    conforms(&file);
    file
}

/// A file has no error to the validator of David Clunie's dicom3tools.
pub fn conforms(file: &Path) {
    let output = Command::new("dciodvfy").arg(file).output().expect("dciodvfy, from Debian's dicom3tools");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let errors: Vec<&str> = said.lines().filter(|line| line.starts_with("Error")).collect();
    assert!(errors.is_empty(), "{}: {errors:#?}", file.display());
}

fn python() -> String {
    std::env::var("SUND_TEST_PYTHON").unwrap_or_else(|_| "python3".into())
}

#[test]
fn every_result_passes_dciodvfy_in_research_and_in_clinical_mode() {
    let dir = tempfile::tempdir().unwrap();
    for (case, (sources, inference)) in [("volume", on_the_series()), ("image", on_the_image())] {
        for mode in [Mode::Research, Mode::Clinical] {
            let objects = with_context(&sources, mode, |context| make(context, &inference)).unwrap();
            assert_eq!(objects.len(), if case == "volume" { 3 } else { 2 });
            for object in &objects {
                let file = validate(object, dir.path(), &format!("{case}-{}-{mode:?}", object.kind));
                if object.kind == "SR" {
                    let output =
                        Command::new("dsrdump").arg("+Pl").arg(&file).output().expect("dsrdump, from Debian's dcmtk");
                    let text = String::from_utf8_lossy(&output.stdout);
                    let complaints = String::from_utf8_lossy(&output.stderr);
                    assert!(output.status.success() && !complaints.contains("E:"), "{complaints}");
                    assert!(
                        text.contains("Imaging Measurement Report") && text.contains("AI outcome: finding"),
                        "{text}"
                    );
                    assert!(text.contains("Algorithm Manufacturer"), "{text}");
                    assert_eq!(text.contains("NOT FOR DIAGNOSIS"), mode == Mode::Research);
                }
            }
        }
    }
}

#[test]
fn each_of_the_five_outcomes_is_a_report_that_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let (sources, inference) = on_the_series();
    for outcome in Outcome::ALL {
        let object = with_context(&sources, Mode::Clinical, |context| {
            outcome_report(context, outcome, &inference.package, "two slices are missing").unwrap()
        });
        validate(&object, dir.path(), &format!("{outcome:?}"));
    }
}

#[test]
fn the_same_result_is_the_same_bytes_and_another_input_is_another_uid() {
    let (sources, inference) = on_the_series();
    let first = with_context(&sources, Mode::Clinical, |context| make(context, &inference)).unwrap();
    let again = with_context(&sources, Mode::Clinical, |context| make(context, &inference)).unwrap();
    for (a, b) in first.iter().zip(&again) {
        assert_eq!(a.dataset, b.dataset, "{}", a.kind);
    }
    let mut other = inference.clone();
    other.package.digest = "sha256:01".into();
    let changed = with_context(&sources, Mode::Clinical, |context| make(context, &other)).unwrap();
    assert!(first.iter().zip(&changed).all(|(a, b)| a.sop_instance != b.sop_instance));
    let research = with_context(&sources, Mode::Research, |context| make(context, &inference)).unwrap();
    assert!(first.iter().zip(&research).all(|(a, b)| a.sop_instance != b.sop_instance), "the marks differ");
    let later = with_context(&sources, Mode::Clinical, |context| {
        make(&ResultContext { at: context.at + Duration::from_secs(1), ..context.clone() }, &inference)
    });
    assert!(first.iter().zip(&later.unwrap()).all(|(a, b)| a.sop_instance != b.sop_instance), "the times differ");
    let mut renamed = sources.clone();
    renamed[0].header.elements.remove(&tags::PATIENT_NAME);
    let renamed = with_context(&renamed, Mode::Clinical, |context| make(context, &inference)).unwrap();
    assert!(first.iter().zip(&renamed).all(|(a, b)| a.sop_instance != b.sop_instance), "the names differ");
    let failed = |reason: &str| {
        with_context(&sources, Mode::Clinical, |c| outcome_report(c, Outcome::Failed, &inference.package, reason))
            .unwrap()
    };
    assert_ne!(failed("one").sop_instance, failed("two").sop_instance);
}

#[test]
fn an_empty_mask_gives_no_segmentation_and_its_volume_of_zero_is_in_the_report() {
    let dir = tempfile::tempdir().unwrap();
    let (sources, mut inference) = on_the_series();
    inference.measurements[0].value = 0.0;
    inference.outcome = Outcome::NoFinding;
    let Findings::Volume { segments, .. } = &mut inference.findings else { unreachable!() };
    segments[0].mask.fill(0);
    let objects = with_context(&sources, Mode::Clinical, |context| make(context, &inference)).unwrap();
    assert_eq!(objects.iter().map(|object| object.kind).collect::<Vec<_>>(), ["SR", "SC"]);
    let file = validate(&objects[0], dir.path(), "empty");
    let output = Command::new("dsrdump").arg("+Pl").arg(&file).output().expect("dsrdump, from Debian's dcmtk");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("Volume") && text.contains("no finding"), "{text}");
}

/// What was lost in the source's compression stays said of the segmentation and of the preview.
#[test]
fn results_of_lossy_images_say_that_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let (sources, inference) = on_the_series();
    let put = |sources: &mut [SourceHeader], tag: Tag, vr: VR, value: &str| {
        sources[0].header.elements.insert(tag, Element { vr, value: value.as_bytes().to_vec() });
    };
    let mut said = sources.clone();
    put(&mut said, tags::LOSSY_IMAGE_COMPRESSION, VR::CS, "01");
    put(&mut said, tags::LOSSY_IMAGE_COMPRESSION_RATIO, VR::DS, "12.5");
    put(&mut said, tags::LOSSY_IMAGE_COMPRESSION_METHOD, VR::CS, "ISO_14495_1 ");
    // What is encapsulated here is as long as what is not: the ratio is 1.
    let compressed = |syntax: &str| {
        let mut sources = sources.clone();
        sources[0].header.transfer_syntax = syntax.to_owned();
        sources
    };
    let mut reversible = compressed(uids::JPEG2000);
    put(&mut reversible, tags::LOSSY_IMAGE_COMPRESSION, VR::CS, "00");
    for (case, sources, ratio_and_method) in [
        ("said", said, Some(["12.5", "ISO_14495_1"])),
        ("baseline", compressed(uids::JPEG_BASELINE8_BIT), Some(["1.0", "ISO_10918_1"])),
        ("jpeg 2000", compressed(uids::JPEG2000), Some(["1.0", "ISO_15444_1"])),
        ("reversible", reversible, None),
        ("lossless", compressed(uids::JPEG_LOSSLESS_SV1), None),
    ] {
        let objects = with_context(&sources, Mode::Clinical, |context| make(context, &inference)).unwrap();
        for object in objects.iter().filter(|object| object.kind != "SR") {
            validate(object, dir.path(), &format!("{case}-{}", object.kind));
            let header = scan(&object.dataset, &object.transfer_syntax).unwrap();
            let text = |tag| header.text(tag);
            assert_eq!(
                text(tags::LOSSY_IMAGE_COMPRESSION).as_deref() == Some("01"),
                ratio_and_method.is_some(),
                "{case}"
            );
            let said = [tags::LOSSY_IMAGE_COMPRESSION_RATIO, tags::LOSSY_IMAGE_COMPRESSION_METHOD].map(text);
            let said = said.each_ref().map(|text| text.as_deref().unwrap_or_default());
            assert_eq!(said, ratio_and_method.unwrap_or_default(), "{case}");
        }
    }
}

#[test]
fn a_source_without_a_frame_of_reference_gives_a_segmentation_without_one() {
    let dir = tempfile::tempdir().unwrap();
    let (mut sources, inference) = on_the_series();
    for source in &mut sources {
        source.header.elements.remove(&tags::FRAME_OF_REFERENCE_UID);
        source.header.elements.remove(&tags::POSITION_REFERENCE_INDICATOR);
    }
    let objects = with_context(&sources, Mode::Clinical, |context| make(context, &inference)).unwrap();
    for object in &objects {
        validate(object, dir.path(), object.kind);
    }
    let header = scan(&objects[0].dataset, &objects[0].transfer_syntax).unwrap();
    assert!(!header.elements.contains_key(&tags::FRAME_OF_REFERENCE_UID));
}

#[test]
fn an_answer_whose_parts_do_not_fit_is_refused() {
    let (sources, inference) = on_the_series();
    let mut short = inference.clone();
    let Findings::Volume { segments, .. } = &mut short.findings else { unreachable!() };
    segments[0].mask.pop();
    let mut preview = inference;
    preview.preview.rgb.pop();
    for broken in [short, preview] {
        let fault = with_context(&sources, Mode::Clinical, |context| make(context, &broken)).unwrap_err();
        assert_eq!(fault.code, "inference-malformed");
    }
}

#[test]
fn other_readers_find_the_mask_where_it_was_and_the_name_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let (sources, inference) = on_the_series();
    let objects = with_context(&sources, Mode::Clinical, |context| make(context, &inference)).unwrap();
    std::fs::write(dir.path().join("seg.dcm"), objects[0].part10()).unwrap();
    let Findings::Volume { segments, sources: frames, .. } = &inference.findings else { unreachable!() };
    std::fs::write(dir.path().join("mask.bin"), &segments[0].mask).unwrap();
    let order: Vec<&str> = frames.iter().map(|frame| frame.sop_instance.as_str()).collect();
    std::fs::write(dir.path().join("order.txt"), order.join("\n")).unwrap();
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(python())
        .arg(tests.join("tests/results_check.py"))
        .arg(dir.path())
        .arg(tests.join("demo/models/brain-extraction/golden/brain"))
        .output()
        .expect("Python with pydicom and highdicom; set SUND_TEST_PYTHON");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// An element in explicit VR little endian, with a value of even length.
fn element(tag: Tag, vr: VR, value: &[u8]) -> Vec<u8> {
    let is_long = vr == VR::SQ || vr == VR::UT;
    let mut bytes = [tag.group().to_le_bytes(), tag.element().to_le_bytes()].concat();
    bytes.extend_from_slice(vr.to_string().as_bytes());
    let padding = value.len() % 2;
    let length = value.len() + padding;
    if is_long {
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(&(length as u32).to_le_bytes());
    } else {
        bytes.extend_from_slice(&(length as u16).to_le_bytes());
    }
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len() + padding, b' ');
    bytes
}

fn item(elements: &[Vec<u8>]) -> Vec<u8> {
    let body = elements.concat();
    [&[0xfe, 0xff, 0x00, 0xe0][..], &(body.len() as u32).to_le_bytes(), &body].concat()
}

#[test]
fn results_carry_issuers_and_requests_as_the_record_has_them() {
    let (mut sources, inference) = on_the_series();
    let issuer = || item(&[element(tags::LOCAL_NAMESPACE_ENTITY_ID, VR::UT, b"RIS NORD")]);
    let code = item(&[
        element(tags::CODE_VALUE, VR::SH, b"MRHOVED"),
        element(tags::CODING_SCHEME_DESIGNATOR, VR::SH, b"99RIS"),
        element(tags::CODE_MEANING, VR::LO, b"MR af hoved"),
    ]);
    // "Undersøgelse", in the character set that the data set declares: ISO 8859-1.
    let description = b"Unders\xf8gelse";
    let request = |id: &[u8]| {
        item(&[
            element(tags::ACCESSION_NUMBER, VR::SH, b"ACC-7"),
            element(tags::REQUESTED_PROCEDURE_DESCRIPTION, VR::LO, description),
            element(tags::REQUESTED_PROCEDURE_CODE_SEQUENCE, VR::SQ, &code),
            element(tags::SCHEDULED_PROCEDURE_STEP_ID, VR::SH, b"STEP-1"),
            element(tags::REQUESTED_PROCEDURE_ID, VR::SH, id),
        ])
    };
    let set = |value: &[u8], vr| Element { vr, value: value.to_vec() };
    let header = &mut sources[0].header;
    header.elements.insert(tags::SPECIFIC_CHARACTER_SET, set(b"ISO_IR 100", VR::CS));
    header.elements.insert(tags::ACCESSION_NUMBER, set(b"ACC-7 ", VR::SH));
    header.elements.insert(tags::ISSUER_OF_ACCESSION_NUMBER_SEQUENCE, set(&issuer(), VR::SQ));
    header
        .elements
        .insert(tags::REQUEST_ATTRIBUTES_SEQUENCE, set(&[request(b"RP-1"), request(b"RP-2")].concat(), VR::SQ));

    let dir = tempfile::tempdir().unwrap();
    let objects = with_context(&sources, Mode::Clinical, |context| make(context, &inference)).unwrap();
    for object in &objects {
        validate(object, dir.path(), object.kind);
        let header = scan(&object.dataset, &object.transfer_syntax).unwrap();
        let items = |tag| header.items(tag, &object.dataset).unwrap();
        let issuers = items(tags::ISSUER_OF_ACCESSION_NUMBER_SEQUENCE);
        assert_eq!(issuers[0].text(tags::LOCAL_NAMESPACE_ENTITY_ID).as_deref(), Some("RIS NORD"), "{}", object.kind);
        let (here, elsewhere) = match object.kind {
            "SR" => (tags::REFERENCED_REQUEST_SEQUENCE, tags::REQUEST_ATTRIBUTES_SEQUENCE),
            _ => (tags::REQUEST_ATTRIBUTES_SEQUENCE, tags::REFERENCED_REQUEST_SEQUENCE),
        };
        assert!(items(elsewhere).is_empty());
        let requests = items(here);
        let ids: Vec<_> = requests.iter().filter_map(|request| request.text(tags::REQUESTED_PROCEDURE_ID)).collect();
        assert_eq!(ids, ["RP-1", "RP-2"], "{}", object.kind);
        let mut first = requests[0].clone();
        first.elements.insert(tags::SPECIFIC_CHARACTER_SET, set(b"ISO_IR 192", VR::CS));
        assert_eq!(first.text(tags::REQUESTED_PROCEDURE_DESCRIPTION).as_deref(), Some("Undersøgelse"));
        assert_eq!(first.text(tags::ACCESSION_NUMBER).as_deref(), Some("ACC-7"));
        let codes = first.items(tags::REQUESTED_PROCEDURE_CODE_SEQUENCE, &[]).unwrap();
        assert_eq!(codes[0].text(tags::CODE_VALUE).as_deref(), Some("MRHOVED"));
    }
}
