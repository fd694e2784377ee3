//! What `sund model test --json` tells of a package, as it told it, and with a trial of TensorRT in it.
use super::packages::{Held, Named, compared, packages, read, targets};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

const TOLD: &str = include_str!("../data/model-test.json");

/// The package's answers with those of tract as if they were TensorRT's.
fn told(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut told: Value = serde_json::from_str(TOLD).unwrap();
    assert_eq!(told["trials"][1]["engine"], "tract fp32");
    told["trials"][1]["engine"] = json!("tensorrt-rtx fp32");
    change(&mut told);
    told.to_string().into_bytes()
}

fn one(change: impl FnOnce(&mut Value)) -> (Held, String) {
    let rows = read(&told(change)).unwrap();
    assert_eq!((rows.len(), rows[0].package.as_str()), (1, "text-detection 4.0.0"));
    (rows[0].held, rows[0].found.clone())
}

#[test]
fn answers_within_the_tolerance_of_onnx_runtimes_hold() {
    let (held, found) = one(|_| {});
    assert_eq!(
        (held, found.as_str()),
        (Held::Holds, "golden cases: 1; numbers: 6, apart by at most 0.0 % of the tolerance")
    );
    let (held, found) =
        one(|told| told["trials"][1]["compared"][1]["found"] = json!(0.868_830_502_033_233_6 + 0.002_5));
    assert_eq!((held, found.contains("50.0 %")), (Held::Holds, true));
}

#[test]
fn answers_that_are_apart_differ_though_each_holds() {
    let (held, found) = one(|told| told["trials"][1]["compared"][1]["found"] = json!(0.868_830_5 + 0.005_1));
    assert_eq!((held, found.ends_with("score of box 1")), (Held::Differs, true));
}

#[test]
fn an_answer_that_lacks_or_is_of_another_thing_differs() {
    let changes: [fn(&mut Value); 6] = [
        |told| told["trials"][1]["fault"] = json!({ "code": "gpu-failed" }),
        |told| told["trials"][1]["compared"] = json!([]),
        |told| told["trials"][1]["compared"][0]["holds"] = json!(false),
        |told| told["trials"][1]["compared"][0]["found"] = json!(null),
        |told| told["trials"][1]["compared"][0]["what"] = json!("overlap of box 9"),
        |told| drop(told["trials"][1]["compared"].as_array_mut().unwrap().pop()),
    ];
    for change in changes {
        assert_eq!(one(change).0, Held::Differs);
    }
}

#[test]
fn an_engine_that_did_not_run_is_a_fault_and_no_onnx_runtime_is_unproven() {
    let rows = read(TOLD.as_bytes()).unwrap();
    assert_eq!((rows[0].held, rows[0].found.as_str()), (Held::Differs, "no engine of TensorRT ran"));
    let (held, found) = one(|told| {
        drop(told["trials"].as_array_mut().unwrap().remove(0));
        told["not_run"] = json!([{ "engine": "onnxruntime fp32", "reason": "no library" }]);
    });
    assert_eq!(held, Held::Unproven);
    assert_eq!(found, "the golden cases hold; not compared: onnxruntime fp32 did not run: no library");
}

#[test]
fn what_is_not_told_in_this_format_is_refused() {
    for told in [&b""[..], b"{}", b"{\"format\": 2, \"trials\": []}", b"{\"format\": 1}"] {
        assert!(read(told).is_err());
    }
}

#[test]
fn a_card_is_compiled_for_by_the_libraries_that_serve_it() {
    let named = |rtx, enterprise| Named { rtx, enterprise };
    assert_eq!(targets(named(true, false), (8, 9)).unwrap(), ["rtx:sm89"]);
    assert_eq!(targets(named(true, true), (9, 0)).unwrap(), ["trt:sm90"]);
    assert_eq!(targets(named(true, true), (12, 0)).unwrap(), ["rtx:sm120", "trt:sm120"]);
    assert!(targets(named(true, false), (9, 0)).unwrap_err().contains("does not serve compute capability 9.0"));
    assert!(targets(named(false, false), (8, 9)).is_err());
}

#[test]
fn the_demonstration_packages_are_looked_at() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/demo/models");
    let found = packages(&folder).unwrap();
    assert!(["brain-extraction", "text-detection"].iter().all(|name| found.contains(&folder.join(name))), "{found:?}");
    assert!(packages(folder.parent().unwrap()).is_err(), "a folder without packages is not one where all hold");
}

#[test]
fn each_package_is_compiled_in_a_copy_and_one_that_does_not_compile_is_a_fault() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gpu-check-test");
    if folder.exists() {
        fs::remove_dir_all(&folder).unwrap();
    }
    let (models, work) = (folder.join("models"), folder.join("work"));
    for name in ["b", "a"] {
        fs::create_dir_all(models.join(name).join("golden")).unwrap();
        let manifest = "format = 1\nengines = [{ class = \"tract\", precision = \"fp32\" }]\n";
        fs::write(models.join(name).join("model.toml"), manifest).unwrap();
        fs::write(models.join(name).join("golden/case"), "").unwrap();
    }
    let sund = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gpu_check/sund.sh");
    let targets = ["rtx:sm89".to_owned(), "rtx:sm75".to_owned()];
    // Twice: what is left of the first run is not in the way.
    for _ in 0..2 {
        let rows = compared(&sund, &models, &work, &targets).unwrap();
        let seen: Vec<_> = rows.iter().map(|row| (row.engine.as_str(), row.held)).collect();
        let of_one = [("tensorrt-rtx fp32", Held::Holds), ("rtx:sm75", Held::Differs)];
        assert_eq!(seen, [of_one, of_one].concat());
        assert!(rows[1].found.contains("sund model compile") && rows[1].package == "a");
    }
    assert!(!models.join("a/compiled").exists() && work.join("rtx-sm89/b/compiled").exists());
    let names = |manifest: &Path| fs::read_to_string(manifest).unwrap().contains("tensorrt");
    assert!(!names(&models.join("a/model.toml")) && names(&work.join("rtx-sm89/a/model.toml")));
    let rows = compared(Path::new("/no/such/sund"), &models, &work, &targets[..1]).unwrap();
    assert!(rows.iter().all(|row| row.held == Held::Differs && row.found.contains("does not run")));
}

#[cfg(feature = "tensorrt")]
#[test]
fn the_cards_of_tensorrt_rtx_are_those_that_it_compiles_for() {
    assert_eq!(super::packages::SERVED, sund_kernels::tensorrt::RTX_TARGETS);
}
