//! The packaged models give their known answers on the engine that is always there.
use std::path::Path;
use sund_agent::infer::TractEngine;
use sund_agent::inference::Findings;
use sund_agent::model::{Package, golden};
use sund_agent::outcome::Outcome;

fn package(name: &str) -> Package {
    Package::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/models").join(name)).expect("package")
}

#[test]
fn the_brain_model_outlines_the_brain_of_the_demonstration_series() {
    let answers = golden::check(&package("brain-extraction"), &mut TractEngine::default()).expect("golden case");
    let ml = answers[0].measurements[0].value;
    assert!((1279.0..1305.0).contains(&ml), "{ml} ml");
    assert_eq!(answers[0].outcome, Outcome::Finding);
}

#[test]
fn the_text_model_finds_the_made_up_name() {
    let answers = golden::check(&package("text-detection"), &mut TractEngine::default()).expect("golden case");
    let Findings::Images { boxes, .. } = &answers[0].findings else { panic!("boxes were expected") };
    assert!(boxes.len() >= 4, "{boxes:?}");
}

fn altered(change: impl Fn(String) -> String) -> Result<Package, sund_agent::fault::Fault> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/models/text-detection");
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(source.join("detect.onnx"), dir.path().join("detect.onnx")).unwrap();
    let manifest = change(std::fs::read_to_string(source.join("model.toml")).unwrap());
    std::fs::write(dir.path().join("model.toml"), manifest).unwrap();
    Package::open(dir.path())
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
