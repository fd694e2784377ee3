//! The packaged models give their known answers on every engine.
use crate::hospital::copy_of;
use std::path::{Path, PathBuf};
use std::process::Command;
use sund_agent::infer::{OnnxRuntimeEngine, TractEngine};
use sund_agent::inference::{Findings, Inference};
use sund_agent::model::{Package, golden};
use sund_agent::outcome::Outcome;

fn package(name: &str) -> Package {
    Package::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/models").join(name)).expect("package")
}

/// The library in the wheel of PyPI.
pub fn onnxruntime() -> PathBuf {
    let python = std::env::var("SUND_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let script = "import onnxruntime, pathlib; print(*pathlib.Path(onnxruntime.__file__).parent.glob('capi/libonnxruntime.so.*'))";
    let output = Command::new(python).args(["-c", script]).output().expect("Python; set SUND_TEST_PYTHON");
    assert!(output.status.success(), "install onnxruntime: {}", String::from_utf8_lossy(&output.stderr));
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

/// The golden case of a package on tract and on ONNX Runtime; both must hold.
fn on_both_engines(name: &str) -> [Inference; 2] {
    let package = package(name);
    let mut oracle = OnnxRuntimeEngine::open(&onnxruntime()).expect("ONNX Runtime");
    let first = |mut answers: Vec<Inference>| answers.swap_remove(0);
    [
        first(golden::check(&package, &mut TractEngine::default()).expect("golden case on tract")),
        first(golden::check(&package, &mut oracle).expect("golden case on ONNX Runtime")),
    ]
}

#[test]
fn the_brain_model_outlines_the_brain_of_the_demonstration_series_on_every_engine() {
    let answers = on_both_engines("brain-extraction");
    let masks = answers.each_ref().map(|answer| {
        assert_eq!(answer.outcome, Outcome::Finding);
        let ml = answer.measurements[0].value;
        assert!((1279.0..1305.0).contains(&ml), "{ml} ml");
        let Findings::Volume { segments, .. } = &answer.findings else { panic!("segments were expected") };
        &segments[0].mask
    });
    let count = |mask: &[u8]| mask.iter().filter(|voxel| **voxel != 0).count();
    let shared = masks[0].iter().zip(masks[1]).filter(|(a, b)| **a != 0 && **b != 0).count();
    let dice = 2.0 * shared as f64 / (count(masks[0]) + count(masks[1])) as f64;
    assert!(dice > 0.999, "the engines agree to a Dice coefficient of {dice}");
}

#[test]
fn the_text_model_finds_the_made_up_name_on_every_engine() {
    let [tract, oracle] = on_both_engines("text-detection");
    let boxes = |answer: &Inference| match &answer.findings {
        Findings::Images { boxes, .. } => boxes.clone(),
        Findings::Volume { .. } => panic!("boxes were expected"),
    };
    let (ours, theirs) = (boxes(&tract), boxes(&oracle));
    assert!(ours.len() >= 4 && ours.len() == theirs.len(), "{ours:?} {theirs:?}");
    for (a, b) in ours.iter().zip(&theirs) {
        let apart = a.corners.iter().zip(&b.corners).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart < 1.0, "{a:?} and {b:?} are {apart} pixels apart");
    }
}

#[test]
fn a_library_that_is_not_onnx_runtime_is_refused_and_harms_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("libonnxruntime.so");
    std::fs::write(&text, "no library").unwrap();
    let elsewhere = PathBuf::from("/usr/lib/x86_64-linux-gnu/libm.so.6");
    for library in [text, elsewhere, folder.path().join("absent.so")] {
        // The process keeps the first library that it opens, so another process tries this one.
        let checked = Command::new(env!("CARGO_BIN_EXE_sund"))
            .args(["model", "check"])
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/models/text-detection"))
            .env("SUND_ONNXRUNTIME", &library)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&checked.stderr);
        assert_eq!(checked.status.code(), Some(64), "{told}");
        assert!(told.contains("engine-unavailable") && told.contains(&library.display().to_string()), "{told}");
    }
}

fn altered(change: impl Fn(String) -> String) -> Result<Package, sund_agent::fault::Fault> {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("model");
    copy_of("text-detection", &copy);
    let manifest = change(std::fs::read_to_string(copy.join("model.toml")).unwrap());
    std::fs::write(copy.join("model.toml"), manifest).unwrap();
    Package::open(&copy)
}

#[test]
fn a_package_that_is_not_what_it_says_is_refused_with_the_line() {
    assert!(altered(|text| text).is_ok());
    let unknown = altered(|text| text.replace("intended_use", "intented_use")).unwrap_err();
    assert!(unknown.reason.contains("line 7") && unknown.reason.contains("intented_use"), "{unknown}");
    let digest = altered(|text| text.replace("sha256 = \"d2", "sha256 = \"d3")).unwrap_err();
    assert_eq!(digest.code, "package-altered");
    let path = altered(|text| text.replace("detect.onnx", "../detect.onnx")).unwrap_err();
    assert!(path.reason.contains("not a path inside"), "{path}");
    let order = altered(|text| text.replace("from = \"map\"", "from = \"mapp\"")).unwrap_err();
    assert!(order.reason.contains("which no earlier step makes"), "{order}");
    let external = altered(|text| text.replace("\"declared\"", "\"external\"")).unwrap_err();
    assert!(external.reason.contains("reserved"), "{external}");
}
