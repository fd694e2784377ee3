//! What a vendor and a PACS administrator type: `sund model`, `sund route`, `sund hash-password`.
use crate::serve::Site;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const SUND: &str = env!("CARGO_BIN_EXE_sund");
const MODELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/models");

fn sund(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(SUND).args(arguments).current_dir(folder).output().unwrap()
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
        assert!(stderr(&checked).contains("model.onnx cannot be read"), "{}", stderr(&checked));
    }
    let again = sund(folder.path(), &["model", "new", "volume"]);
    assert!(!again.status.success() && stderr(&again).contains("File exists"), "{}", stderr(&again));
    assert_eq!(sund(folder.path(), &["model", "new", "Not A Name"]).status.code(), Some(64));
}

#[test]
fn a_slip_in_a_manifest_is_told_with_its_line_and_what_was_meant() {
    let folder = tempfile::tempdir().unwrap();
    assert!(sund(folder.path(), &["model", "new", "m"]).status.success());
    let path = folder.path().join("m/model.toml");
    let text = fs::read_to_string(&path).unwrap();
    for (right, wrong, meant) in
        [("tolerance_ml", "tolerence_ml", "tolerance_ml"), ("do = \"channel\"", "do = \"chanel\"", "channel")]
    {
        fs::write(&path, text.replace(right, wrong)).unwrap();
        let checked = sund(folder.path(), &["model", "check", "m"]);
        assert_eq!(checked.status.code(), Some(65));
        let told = stderr(&checked);
        assert!(told.contains("line ") && told.contains(&format!("did you mean `{meant}`?")), "{told}");
    }
}

#[test]
fn the_packages_of_the_demonstration_hold() {
    let checked = sund(Path::new(MODELS), &["model", "check", "text-detection"]);
    assert!(checked.status.success(), "{}", stderr(&checked));
    assert!(stdout(&checked).contains("held"), "{}", stdout(&checked));
}

#[test]
fn a_golden_case_that_does_not_hold_fails_the_check() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("m");
    let copied =
        Command::new("cp").arg("-r").arg(Path::new(MODELS).join("text-detection")).arg(&copy).status().unwrap();
    assert!(copied.success());
    let path = copy.join("model.toml");
    let text = fs::read_to_string(&path).unwrap().replace("[20.0, 17.0, 189.0, 32.0]", "[20.0, 217.0, 189.0, 232.0]");
    fs::write(&path, text).unwrap();
    let checked = sund(folder.path(), &["model", "check", "m"]);
    assert_eq!(checked.status.code(), Some(65));
    assert!(stdout(&checked).contains("missed"), "{}", stdout(&checked));
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
    assert!(table.contains("2 files of 2 studies") && table.contains("1 files are not DICOM"), "{table}");
    assert!(table.contains("not meant for modality MR") && table.contains("Burned-in text: 10 places"), "{table}");
    assert!(!table.contains("DEMO-0001"), "a patient in {table}");
    let mut files: Vec<String> = fs::read_dir(folder.path().join("out"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let kinds: Vec<&str> = files.iter().filter_map(|name| name.rsplit('-').next()).collect();
    assert_eq!(kinds.len(), 4, "{files:?}");
    for kind in ["outcome.dcm", "sr.dcm", "sc.dcm", "sc.png"] {
        assert!(kinds.contains(&kind), "{kind} is not among {files:?}");
    }
    for file in files.iter().filter(|name| Path::new(name).extension().is_some_and(|kind| kind == "dcm")) {
        let checked = Command::new("dciodvfy").arg(folder.path().join("out").join(file)).output();
        let complaints = stderr(&checked.expect("dciodvfy, from Debian's dicom3tools"));
        assert!(!complaints.lines().any(|line| line.starts_with("Error")), "{file}: {complaints}");
    }
    let nothing = sund(folder.path(), &["model", "run", model.to_str().unwrap(), "--on", "out/none"]);
    assert_ne!(nothing.status.code(), Some(0));
}

#[test]
fn route_explain_says_what_runs_and_every_reason_against() {
    let models = format!(
        "[[models]]\nfolder = \"{MODELS}/text-detection\"\n[[models]]\nfolder = \"{MODELS}/brain-extraction\"\n\
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
    assert!(!table.contains("neuro"), "a route that does not listen is not asked: {table}");
    let json =
        site.sund(&["route", "explain", "--json", "--called", "NEURO", &format!("{MODELS}/text-detection/golden")]);
    let lines: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(lines.as_array().unwrap().len(), 3);
    assert_eq!(lines[2]["route"], "neuro");
    let codes: Vec<&str> =
        lines[2]["reasons"].as_array().unwrap().iter().map(|reason| reason[0].as_str().unwrap()).collect();
    assert!(codes.contains(&"not-for-modality") && codes.contains(&"attribute-missing"), "{codes:?}");
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
