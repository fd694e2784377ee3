//! What a vendor and a PACS administrator type: `sund model`, `sund route`, `sund hash-password`.
use crate::hospital::{Image, copy_of, signed};
use crate::results::conforms;
use crate::serve::Site;
use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use sund_agent::dataset::part10;
use sund_agent::model::{Package, golden};

const SUND: &str = env!("CARGO_BIN_EXE_sund");
const MODELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/models");

fn sund(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(SUND).args(arguments).current_dir(folder).env_remove("SUND_ONNXRUNTIME").output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_new_package_says_what_is_missing_and_is_not_made_twice() {
    let folder = tempfile::tempdir().unwrap();
    for kind in ["volume", "images"] {
        let made = sund(folder.path(), &["model", "new", kind, "--kind", kind]);
        assert!(made.status.success() && stdout(&made).contains("sund model check"), "{}", stderr(&made));
        let checked = sund(folder.path(), &["model", "check", kind]);
        assert_eq!(checked.status.code(), Some(65));
        let told = stdout(&checked);
        let lines: Vec<&str> = told.lines().collect();
        assert!(lines[0].starts_with(&format!("{kind}/model.toml:")) && told.contains("2 problems"), "{told}");
        assert!(lines[0].contains("networks.file: model.onnx cannot be read"), "{told}");
        assert!(told.contains("golden.folder: golden/first has no file that ends in .dcm"), "{told}");
    }
    let again = sund(folder.path(), &["model", "new", "volume"]);
    assert!(!again.status.success() && stderr(&again).contains("File exists"), "{}", stderr(&again));
    assert_eq!(sund(folder.path(), &["model", "new", "Not A Name"]).status.code(), Some(64));
    let path = sund(folder.path(), &["model", "new", "there/x"]);
    assert!(stderr(&path).contains("sund model new x --folder there/x"), "{}", stderr(&path));
}

#[test]
fn every_slip_in_a_manifest_is_told_at_once_with_its_line_and_what_was_meant() {
    let folder = tempfile::tempdir().unwrap();
    assert!(sund(folder.path(), &["model", "new", "m"]).status.success());
    let path = folder.path().join("m/model.toml");
    let new = fs::read_to_string(&path).unwrap();
    let check = |text: String| {
        fs::write(&path, text).unwrap();
        let checked = sund(folder.path(), &["model", "check", "m"]);
        assert_eq!(checked.status.code(), Some(65));
        stdout(&checked)
    };
    let line = |text: &str| new.lines().position(|line| line == text).unwrap() + 1;
    let slips = [("tolerance_ml = 15.0", "tolerence_ml = 15.0"), ("do = \"channel\"", "do = \"chanel\"")];
    let told = check(slips.iter().fold(new.clone(), |text, (right, wrong)| text.replace(right, wrong)));
    let place = format!(
        "m/model.toml:{}:1: golden.tolerence_ml: there is no such key\n    did you mean `tolerance_ml`?",
        line(slips[0].0)
    );
    assert!(told.contains(&place), "{told}");
    let place = format!(
        "m/model.toml:{}:6: steps.do: there is no step `chanel`\n    did you mean `channel`?",
        line(slips[1].0)
    );
    assert!(told.contains(&place) && told.contains("2 problems"), "{told}");

    let told = check(new.replace("vendor =", "vender =").replace("version = \"0.1.0\"", "version = 1"));
    assert!(told.contains("did you mean `vendor`?") && told.contains("version: is not a text"), "{told}");

    // What the steps do with their values is followed before any of them runs.
    let wrong = [
        ("above = 0.5", "above = nan", "steps.above: is not a finite number"),
        (
            "grid = \"input\"",
            "grid = \"answer\"",
            "steps.grid: `answer` is a network's answer for a volume; a volume or a mask is needed",
        ),
        ("from = \"score\"", "from = \"scores\"", "steps.from: reads `scores`, which no earlier step makes"),
        (
            "network = \"network\"",
            "network = \"networc\"",
            "steps.network: there is no network `networc`\n    did you mean `network`?",
        ),
        ("width = 400.0", "width = 0.5", "steps.width: is below 1"),
        (
            "class = \"tract\"",
            "class = \"tracd\"",
            "engines.class: there is no class `tracd`\n    did you mean `tract`?",
        ),
        ("axes = \"LPS\"", "axes = \"LRS\"", "steps.axes: is not three letters"),
        ("how = \"linear\"", "how = \"liner\"", "did you mean `linear`?"),
        ("format = 1", "format = 2", "reads format 1"),
        (
            "at_least = \"18Y\"",
            "at_least = \"18 years\"",
            "selection.require.at_least: is neither a finite number nor an age",
        ),
        (
            "colour = [200, 120, 60]",
            "colour = [300, 1, 1]",
            "segments.colour: is not three whole numbers from 0 to 255",
        ),
        ("volume_ml = true", "volume_ml = \"yes\"", "segments.volume_ml: is neither true nor false"),
        ("#at_most = \"120Y\"", "at_most = \"10Y\"", "selection.require.at_most: leaves nothing above at_least"),
        ("at_least = \"18Y\"", "at_least = 18", "require.at_least: is a number, which PatientAge never is"),
        ("attribute = \"PatientAge\"", "attribute = \"SliceThickness\"", "is an age, which SliceThickness never is"),
        ("attribute = \"PatientAge\"", "attribute = \"PixelData\"", "has no values that can be compared"),
        ("modality = [\"CT\"]", "modality = [\"ct\"]", "selection.modality: `ct` cannot be a modality"),
        (
            "property = { value = \"10200004\"",
            "property = { value = \"liver\"",
            "segments.property.value: `liver` is no code of SNOMED CT",
        ),
        (
            "category = { value = \"123037004\", scheme = \"SCT\"",
            "category = { value = \"123037004\", scheme = \"FOO\"",
            "segments.category.scheme: there is no scheme `FOO`",
        ),
        ("tolerance_ml = 15.0", "tolerance_ml = nan", "golden.tolerance_ml: is not a finite number"),
        (
            "file = \"model.onnx\"",
            "file = \"../model.onnx\"",
            "networks.file: `../model.onnx` is not a path inside the package",
        ),
    ];
    for (right, wrong, expected) in wrong {
        let told = check(
            new.replacen(&format!("\n{right}"), &format!("\n{wrong}"), 1)
                .replace(&format!("[{{ {right}"), &format!("[{{ {wrong}")),
        );
        assert!(told.contains(expected), "{wrong}: {told}");
    }
}

#[test]
fn the_packages_of_the_demonstration_hold() {
    for (package, expected) in [("text-detection", "score of box 3"), ("brain-extraction", "Dice")] {
        let checked = sund(Path::new(MODELS), &["model", "check", package]);
        assert!(checked.status.success(), "{}", stderr(&checked));
        let told = stdout(&checked);
        let rows: Vec<&str> = told.lines().filter(|line| line.contains("tract fp32")).collect();
        assert!(rows.iter().all(|row| row.contains("  yes")) && told.contains("the package holds"), "{told}");
        assert!(rows.iter().any(|row| row.contains(expected)), "{told}");
        let hint = "not run: onnxruntime fp32: no library of ONNX Runtime is named, by [worker] onnxruntime or SUND_ONNXRUNTIME";
        assert!(told.contains(hint), "{told}");
    }
}

#[test]
fn a_golden_case_that_does_not_hold_fails_the_check() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("m");
    copy_of("text-detection", &copy);
    let path = copy.join("model.toml");
    let text = fs::read_to_string(&path).unwrap().replace("[20.0, 17.0, 189.0, 32.0]", "[20.0, 217.0, 189.0, 232.0]");
    fs::write(&path, text).unwrap();
    let checked = sund(folder.path(), &["model", "check", "m"]);
    assert_eq!(checked.status.code(), Some(65));
    assert!(stdout(&checked).contains("  no  "), "{}", stdout(&checked));
    let told = stderr(&checked);
    assert!(
        told.contains("golden-case-missed") && told.contains("missed: [20, 217, 189, 232]; of what is there: ["),
        "{told}"
    );
}

#[test]
fn a_golden_case_that_the_model_would_not_be_run_on_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("m");
    copy_of("text-detection", &copy);
    let (manifest, case) = (copy.join("model.toml"), copy.join("golden/ultrasound"));
    let text = fs::read_to_string(&manifest).unwrap();
    let refused = |expected: &str| {
        let checked = sund(folder.path(), &["model", "check", "m"]);
        let told = stdout(&checked);
        assert_eq!(checked.status.code(), Some(65), "{told}");
        assert!(told.contains(&format!("golden.folder: golden/ultrasound{expected}")), "{expected}: {told}");
    };
    fs::write(&manifest, text.replace("\"US\", ", "")).unwrap();
    refused(" is refused by [selection]: not meant for modality US");
    fs::write(&manifest, text).unwrap();
    fs::copy(Path::new(MODELS).join("brain-extraction/golden/brain/brain_01.dcm"), case.join("other.dcm")).unwrap();
    refused(" holds files of 2 studies: a golden case is one series");
    fs::write(case.join("other.dcm"), "hi").unwrap();
    refused("/other.dcm: this is not a DICOM file");
}

/// Golden cases travel with the package, wherever it goes.
#[test]
fn a_golden_case_that_may_identify_a_patient_is_refused_by_check_and_pack() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("m");
    copy_of("text-detection", &copy);
    let path = copy.join("golden/ultrasound/frame.dcm");
    let frame = Image::read(&path);
    let removed = tags::PATIENT_IDENTITY_REMOVED;
    for (image, expected) in [
        (frame.clone().without(removed), "(0012,0062)"),
        (frame.clone().with(removed, VR::CS, b"NO"), "(0012,0062)"),
        (frame.clone().with(tags::PATIENT_BIRTH_DATE, VR::DA, b"19470823"), "Patient's Birth Date (0010,0030)"),
        (frame.clone().with(tags::PATIENT_NAME, VR::PN, b"Quillfeather^Z"), "Patient's Name (0010,0010)"),
        (frame.clone().with(tags::PATIENT_NAME, VR::PN, b"DEMO\\Quillfeather"), "Patient's Name (0010,0010)"),
        (frame.clone().with(tags::PATIENT_ID, VR::LO, b"470823-1234"), "Patient ID (0010,0020)"),
        (frame.clone().with(tags::INSTITUTION_NAME, VR::LO, b"A hospital"), "Institution Name (0008,0080)"),
        (frame.clone().with(Tag(0x0010, 0x1000), VR::LO, b"DEMO-2"), "Other Patient IDs (0010,1000)"),
    ] {
        let object = image.object();
        let file = part10::write(&object.sop_class, &object.sop_instance, &object.transfer_syntax, &object.dataset);
        fs::write(&path, file).unwrap();
        for command in ["check", "pack"] {
            let refused = sund(folder.path(), &["model", command, "m"]);
            let told = stdout(&refused) + &stderr(&refused);
            assert_eq!(refused.status.code(), Some(65), "{command}: {told}");
            assert!(told.contains(expected), "{command}: {expected}: {told}");
            assert!(!told.contains("Quillfeather") && !told.contains("470823"), "a patient in {told}");
        }
    }
    // And by a node, whoever packed it.
    let package = Package::open(&copy).unwrap();
    let fault = golden::series(&package, &package.manifest.golden[0]).unwrap_err();
    assert_eq!(fault.code, "golden-case-identified");
}

#[test]
fn a_test_and_a_bench_say_in_json_what_a_script_wants_to_know() {
    let json = |arguments: &[&str]| -> (Option<i32>, serde_json::Value) {
        let output = sund(Path::new(MODELS), arguments);
        (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_default())
    };
    let (code, tested) = json(&["model", "test", "text-detection", "--json"]);
    let trial = &tested["trials"][0];
    assert_eq!((code, &tested["holds"], &trial["engine"]), (Some(0), &true.into(), &"tract fp32".into()));
    assert_eq!((trial["compared"].as_array().unwrap().len(), &trial["used"]["class"]), (6, &"tract".into()));
    assert!(trial["seconds"].as_f64().unwrap() > 0.0 && tested["not_run"][0]["engine"] == "onnxruntime fp32");

    let bench = ["model", "bench", "text-detection", "--rounds", "2", "--warm-up", "0", "--json"];
    let (code, measured) = json(&bench);
    let latencies = measured["engines"][0]["latencies"].as_array().unwrap();
    let names: Vec<&str> = latencies.iter().map(|one| one["what"].as_str().unwrap()).collect();
    assert_eq!((code, names), (Some(0), vec!["detect", "whole"]));
    let median = |n: usize| latencies[n]["median_ms"].as_f64().unwrap();
    assert!(median(0) > 0.0 && median(1) >= median(0));
    assert_eq!(json(&["model", "bench", "text-detection", "--case", "none"]).0, Some(64));
    assert_eq!(json(&["model", "bench", "text-detection", "--rounds", "0"]).0, Some(64));

    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("m");
    copy_of("text-detection", &copy);
    let text = fs::read_to_string(copy.join("model.toml")).unwrap().replace("[0.869,", "[0.5,");
    fs::write(copy.join("model.toml"), text).unwrap();
    let (code, tested) = json(&["model", "test", copy.to_str().unwrap(), "--json"]);
    assert_eq!((code, &tested["holds"]), (Some(65), &false.into()));
    assert_eq!(tested["trials"][0]["fault"]["code"], "golden-case-missed");
}

#[test]
fn a_run_on_a_folder_gives_results_and_says_why_there_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir_all(data.join("deep/er")).unwrap();
    let golden = Path::new(MODELS).join("text-detection/golden/ultrasound");
    for entry in fs::read_dir(golden).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), data.join("deep/er").join(entry.file_name())).unwrap();
    }
    let mr = Path::new(MODELS).join("brain-extraction/golden/brain/brain_01.dcm");
    fs::copy(mr, data.join("mr.dcm")).unwrap();
    fs::write(data.join("notes.txt"), "no image").unwrap();
    let model = Path::new(MODELS).join("text-detection");
    let ran = sund(folder.path(), &["model", "run", model.to_str().unwrap(), "--on", "data", "--out", "out"]);
    assert_eq!(ran.status.code(), Some(0), "{}", stderr(&ran));
    let table = stdout(&ran);
    assert!(table.contains("2 DICOM files of 2 studies; 1 other file skipped"), "{table}");
    assert!(table.contains("not meant for modality MR") && table.contains("Burned-in text: 10 places"), "{table}");
    assert!(!table.contains("DEMO-0001"), "a patient in {table}");
    let mut files: Vec<String> = fs::read_dir(folder.path().join("out"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let expected = [
        "results.json",
        "study01-series01-preview.dcm",
        "study01-series01-preview.png",
        "study01-series01-sr.dcm",
        "study02-series01-outcome.dcm",
    ];
    assert_eq!(files, expected);
    for file in files.iter().filter(|name| Path::new(name).extension().is_some_and(|kind| kind == "dcm")) {
        conforms(&folder.path().join("out").join(file));
    }
    let index = fs::read(folder.path().join("out/results.json")).unwrap();
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
    assert_eq!((&index[0]["outcome"], &index[0]["folder"]), (&"finding".into(), &"data/deep/er".into()));
    let mixed = sund(folder.path(), &["model", "run", model.to_str().unwrap(), "--on", "data", "--out", "out"]);
    assert_eq!(mixed.status.code(), Some(64), "results of two runs are not mixed");
    let nothing = sund(folder.path(), &["model", "run", model.to_str().unwrap(), "--on", "out/none"]);
    assert_ne!(nothing.status.code(), Some(0));
}

#[test]
fn on_a_terminal_a_run_shows_how_far_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let model = format!("{MODELS}/text-detection");
    let run = format!("{SUND} model run {model} --on {model}/golden --out {}", folder.path().join("out").display());
    // script(1) gives a command a terminal.
    let ran = Command::new("script").args(["-qec", &run, "/dev/null"]).output().expect("script, of util-linux");
    let shown = stdout(&ran);
    assert!(ran.status.success(), "{shown}");
    for bar in ["looking for DICOM files", "1/1 files", "1/1 studies", "Burned-in text: 10 places"] {
        assert!(shown.contains(bar), "not shown: {bar}\n{shown}");
    }
}

#[test]
fn route_explain_says_what_runs_and_every_reason_against() {
    let packed = tempfile::tempdir().unwrap();
    let [text, brain] = ["text-detection", "brain-extraction"].map(|model| signed(model, packed.path()).configured());
    let models = format!(
        "{text}{brain}\
         [[routes]]\nname = \"all\"\nmodels = [\"text-detection\", \"brain-extraction\"]\n\
         [[routes]]\nname = \"neuro\"\ncalled_ae = [\"NEURO\"]\nmodels = [\"brain-extraction\"]\n\
         rules = {{ require = [{{ attribute = \"SliceThickness\", at_most = 2.0 }}] }}\n"
    );
    let site = Site::new(&models);
    let explained = site.sund(&["route", "explain", &format!("{MODELS}/text-detection/golden")]);
    let table = stdout(&explained);
    assert!(explained.status.success(), "{}", stderr(&explained));
    let line = |model: &str| table.lines().find(|line| line.contains(model)).unwrap_or_default().to_owned();
    assert!(
        line("text-detection").contains("runs") && line("brain-extraction").contains("not meant for modality US"),
        "{table}"
    );
    assert!(table.contains("route neuro listens to called AE title NEURO alone, not to SUND"), "{table}");
    let json =
        site.sund(&["route", "explain", "--json", "--called", "NEURO", &format!("{MODELS}/text-detection/golden")]);
    let explained: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    let study = &explained["studies"][0];
    assert_eq!((&study["verdict"], study["decisions"].as_array().unwrap().len()), (&"runs".into(), 3));
    let neuro = &study["decisions"][2];
    assert_eq!((&neuro["route"], &neuro["runs"]), (&"neuro".into(), &false.into()));
    let codes: Vec<&str> =
        neuro["reasons"].as_array().unwrap().iter().map(|reason| reason["code"].as_str().unwrap()).collect();
    assert!(codes.contains(&"not-for-modality") && codes.contains(&"attribute-missing"), "{codes:?}");
}

#[test]
fn a_study_that_no_model_wants_says_so() {
    let packed = tempfile::tempdir().unwrap();
    let model = signed("text-detection", packed.path()).configured();
    let site = Site::new(&format!("{model}[[routes]]\nname = \"all\"\nmodels = [\"text-detection\"]\n"));
    let explained = site.sund(&["route", "explain", &format!("{MODELS}/brain-extraction/golden")]);
    assert!(explained.status.success(), "{}", stderr(&explained));
    assert!(stdout(&explained).contains("study 1: no model wants it"), "{}", stdout(&explained));
}

#[test]
fn a_password_is_hashed_from_a_pipe() {
    let mut child =
        Command::new(SUND).arg("hash-password").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"correct horse battery staple\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let hash = stdout(&output);
    assert!(output.status.success() && hash.starts_with("$argon2id$"));
    assert!(sund_agent::console::User::new("holm", hash.trim()).is_ok());
}

#[test]
fn the_specification_names_every_key_and_step_and_its_example_is_the_packaged_model() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("MODELS.md")).unwrap();
    for keys in sund_agent::model::keys::KEYS {
        let step = keys.section.strip_prefix("steps.");
        for key in keys.all().chain(step) {
            assert!(text.contains(&format!("`{key}`")), "{key} of [{}] is not in MODELS.md", keys.section);
        }
    }
    let example = text.split("```toml\n").find(|block| block.starts_with("# Model package, ")).unwrap();
    let example = example.split("```").next().unwrap();
    assert_eq!(example, fs::read_to_string(Path::new(MODELS).join("brain-extraction/model.toml")).unwrap());
}
