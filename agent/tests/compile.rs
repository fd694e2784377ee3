//! `sund model compile`: what comes of it is named in the manifest as its vendor would have written it, and a precision in which
//! the golden cases do not hold is not compiled.
use crate::hospital::copy_of;
use crate::model::onnxruntime;
use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use sund_agent::compile::{Bounds, Compiler, Proof, Target, compile, keep};
use sund_agent::fault::Fault;
use sund_agent::infer::{Engines, Gpu, TensorRtLibrary};
use sund_agent::model::Package;
use sund_agent::model::compiled::Compiled;
use sund_agent::worker::Launcher;

const SUND: &str = env!("CARGO_BIN_EXE_sund");
const BOTH: &str = "{ class = \"onnxruntime\", precision = \"fp32\" }";

/// Bytes of a network, GPUs, and lengths of its input.
type Request = (usize, Vec<String>, Option<Bounds>);

/// Stands in for TensorRT: its plans say what it was asked for.
#[derive(Default)]
struct StandIn {
    asked: RefCell<Vec<Request>>,
    /// It compiles so many networks, then it fails.
    fails_after: Option<usize>,
}

impl Compiler for StandIn {
    fn version(&self) -> String {
        "1.7.1".to_owned()
    }

    fn compile(&self, onnx: &[u8], architectures: &[String], bounds: Option<&Bounds>) -> Result<Vec<u8>, String> {
        let mut asked = self.asked.borrow_mut();
        if self.fails_after.is_some_and(|most| asked.len() >= most) {
            return Err("no kernel does this".to_owned());
        }
        asked.push((onnx.len(), architectures.to_vec(), bounds.cloned()));
        Ok(format!("plan {} of {} bytes", asked.len(), onnx.len()).into_bytes())
    }
}

/// A copy of a packaged model that is validated for TensorRT-RTX in these precisions.
fn package(folder: &Path, model: &str, precisions: &[&str]) -> PathBuf {
    let copy = folder.join(model);
    copy_of(model, &copy);
    let manifest = fs::read_to_string(copy.join("model.toml")).unwrap();
    let more: Vec<String> =
        precisions.iter().map(|one| format!(", {{ class = \"tensorrt-rtx\", precision = \"{one}\" }}")).collect();
    let more = more.concat();
    fs::write(copy.join("model.toml"), manifest.replace(BOTH, &format!("{BOTH}{more}"))).unwrap();
    copy
}

fn compiled(folder: &Path, precision: &str, compiler: &StandIn) -> Result<Vec<Compiled>, Fault> {
    let target: Target = "rtx:sm86,sm89".parse().unwrap();
    let here = Engines { onnxruntime: Some(onnxruntime()), ..Engines::default() };
    let launcher = Launcher::Child { program: SUND.into() };
    compile(folder, &target, precision, compiler, Proof { here: &here, launcher: &launcher }, &mut |_| {})
}

/// All that is in a folder, by path.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { open.push(path) } else { all.push((path.clone(), fs::read(path).unwrap())) }
        }
    }
    all.sort();
    all
}

#[test]
fn engines_are_named_in_the_manifest_and_its_comments_stay() {
    let folder = tempfile::tempdir().unwrap();
    let package = package(folder.path(), "brain-extraction", &["fp32"]);
    let before = fs::read_to_string(package.join("model.toml")).unwrap();
    let compiler = StandIn::default();
    let made = compiled(&package, "fp32", &compiler).unwrap();
    assert_eq!(made.iter().map(|one| one.network.as_str()).collect::<Vec<_>>(), ["locate", "extract"]);
    let after = fs::read_to_string(package.join("model.toml")).unwrap();
    assert!(after.starts_with(&before), "what was there stays as it was");
    let opened = Package::inspect(&package).unwrap();
    assert_eq!(opened.manifest.compiled, made);
    let plan = |architecture| opened.plan("extract", ("tensorrt-rtx", "fp32"), "1.7.1", architecture);
    assert!(plan("sm89").unwrap().starts_with(b"plan 2 of") && plan("sm90").is_err());
    // Once more: the same entries, and no others beside them.
    let again = compiled(&package, "fp32", &StandIn::default()).unwrap();
    assert_eq!(Package::inspect(&package).unwrap().manifest.compiled, again);
    // They travel in the packed package, and are compared with the manifest there too.
    let packed = folder.path().join("brain.sund");
    let sund = |arguments: &[&str]| Command::new(SUND).arg("model").args(arguments).output().unwrap();
    let (from, to) = (package.to_str().unwrap(), packed.to_str().unwrap());
    assert!(sund(&["pack", from, "--to", to]).status.success());
    let told = String::from_utf8(sund(&["inspect", to]).stdout).unwrap();
    assert!(told.contains("compiled      locate for tensorrt-rtx 1.7.1 fp32: sm86, sm89"), "{told}");
    let told = String::from_utf8(
        sund(&["diff", to, &format!("{}/demo/models/brain-extraction", env!("CARGO_MANIFEST_DIR"))]).stdout,
    )
    .unwrap();
    assert!(
        told.contains("compiled.0.architectures") && told.contains("engines/locate.tensorrt-rtx-1.7.1.fp32.plan"),
        "{told}"
    );
    fs::write(package.join(&made[0].file), "another plan").unwrap();
    assert_eq!(Package::open(&package).unwrap_err().code, "package-altered");
}

#[test]
fn free_axes_are_compiled_for_the_lengths_that_the_steps_make() {
    let folder = tempfile::tempdir().unwrap();
    let package = package(folder.path(), "text-detection", &["fp32"]);
    let compiler = StandIn::default();
    compiled(&package, "fp32", &compiler).unwrap();
    let asked = compiler.asked.into_inner();
    let (_, architectures, bounds) = &asked[0];
    assert_eq!(architectures, &["sm86", "sm89"]);
    assert_eq!(bounds.as_ref().unwrap().longest, [1, 3, 736, 736]);
}

/// What is compiled on a box is what the node on it looks for.
#[test]
fn engines_that_are_kept_on_the_box_are_found_there_and_the_package_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = package(folder.path(), "brain-extraction", &["fp32"]);
    let before = contents(&path);
    let kept = folder.path().join("spool/engines");
    let (here, launcher) = (Engines::default(), Launcher::Child { program: SUND.into() });
    let proof = Proof { here: &here, launcher: &launcher };
    let target: Target = "rtx:sm89".parse().unwrap();
    let made = keep(&path, &kept, &target, "fp32", &StandIn::default(), proof, &mut |_| {}).unwrap();
    assert!(made.len() == 2 && contents(&path) == before);
    let gpu = Gpu { name: "NVIDIA L4".into(), capability: (8, 9), memory: 24 << 30, driver: "580.1".into() };
    let library = TensorRtLibrary { class: "tensorrt-rtx".into(), path: "/lib/rtx.so".into(), version: "1.7.1".into() };
    let here = Engines { gpu: Some(gpu), tensorrt: vec![library], kept: Some(kept), ..here };
    let choice = here.choose(&Package::open(&path).unwrap()).unwrap();
    assert_eq!(choice.engine.to_string(), "tensorrt-rtx fp32");
}

#[test]
fn where_one_network_cannot_be_compiled_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let package = package(folder.path(), "brain-extraction", &["fp32"]);
    let before = contents(&package);
    let compiler = StandIn { fails_after: Some(1), ..StandIn::default() };
    let fault = compiled(&package, "fp32", &compiler).unwrap_err();
    assert!(fault.code == "network-not-compiled" && fault.reason.contains("extract"), "{fault}");
    assert!(contents(&package) == before);
    let fault = compiled(&package, "fp16", &StandIn::default()).unwrap_err();
    assert!(fault.code == "engine-not-validated" && fault.reason.contains("precision = \"fp16\""), "{fault}");
    assert!(contents(&package) == before);
}

#[test]
fn sixteen_bits_are_compiled_where_the_golden_cases_hold_in_them_and_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    for model in ["text-detection", "brain-extraction"] {
        let package = package(folder.path(), model, &["fp16"]);
        let compiler = StandIn::default();
        compiled(&package, "fp16", &compiler).unwrap();
        let whole = fs::metadata(package.join(&Package::open(&package).unwrap().manifest.networks[0].file)).unwrap();
        let halved = compiler.asked.borrow()[0].0 as u64;
        // The weights of the brain model are stored in 16 bits already.
        assert!(halved < whole.len() + 20_000 && halved > whole.len() / 3, "{model}: {halved}");
    }
}

#[test]
fn a_precision_in_which_a_golden_case_is_missed_is_refused_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let package = package(folder.path(), "text-detection", &["fp16"]);
    // What 32 bits answer on ONNX Runtime, and nothing beside it.
    let manifest = fs::read_to_string(package.join("model.toml")).unwrap();
    let manifest = manifest.replace("tolerance_score = 0.005", "tolerance_score = 0.0");
    fs::write(package.join("model.toml"), manifest).unwrap();
    let before = contents(&package);
    let fault = compiled(&package, "fp16", &StandIn::default()).unwrap_err();
    assert!(fault.code == "precision-not-held" && fault.reason.contains("score of box 1"), "{fault}");
    assert!(contents(&package) == before);
}

#[test]
fn the_command_says_what_it_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let package = package(folder.path(), "text-detection", &["fp32"]);
    let sund = |arguments: &[&str]| {
        let command = ["model", "compile", package.to_str().unwrap(), "--precision", "fp32"];
        let output = Command::new(SUND).args(command).args(arguments).env_remove("SUND_TENSORRT_RTX").output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, told) = sund(&["--target", "rtx:sm86"]);
    assert!(code == Some(64) && told.contains("SUND_TENSORRT_RTX"), "{told}");
    let (code, told) = sund(&["--target", "rtx:86"]);
    assert!(code == Some(64) && told.contains("no GPU architecture"), "{told}");
    let (code, told) = sund(&["--target", "rtx:sm86", "--library", "/lib/absent.so"]);
    assert!(code == Some(64) && told.contains("engine-unavailable"), "{told}");
}

/// The packaged models, by the library itself: needs no GPU.
#[cfg(feature = "tensorrt")]
#[test]
fn tensorrt_rtx_compiles_the_packaged_models_in_both_precisions() {
    let library = std::env::var("SUND_TEST_TENSORRT_RTX").expect("SUND_TEST_TENSORRT_RTX names libtensorrt_rtx.so.1");
    let folder = tempfile::tempdir().unwrap();
    for model in ["text-detection", "brain-extraction"] {
        let package = package(folder.path(), model, &["fp32", "fp16"]);
        for precision in ["fp32", "fp16"] {
            let made = Command::new(SUND)
                .args(["model", "compile", package.to_str().unwrap(), "--target", "rtx:sm86,sm89,sm120"])
                .args(["--precision", precision, "--library", &library])
                .env("SUND_ONNXRUNTIME", onnxruntime())
                .output()
                .unwrap();
            assert!(made.status.success(), "{model} {precision}: {}", String::from_utf8_lossy(&made.stderr));
        }
        let opened = Package::inspect(&package).unwrap();
        assert_eq!(opened.manifest.compiled.len(), 2 * opened.manifest.networks.len());
    }
}

/// By the library itself, in a worker: needs no GPU.
#[cfg(feature = "tensorrt")]
#[test]
fn a_worker_compiles_what_it_is_ordered_to_and_nothing_else() {
    use std::os::fd::AsFd as _;
    use std::time::Duration;
    use sund_agent::compile::{Order, open};
    use sund_agent::worker::Bounds;
    let path = PathBuf::from(std::env::var("SUND_TEST_TENSORRT_RTX").expect("it names libtensorrt_rtx.so.1"));
    let version = open("tensorrt-rtx", &path).unwrap().version();
    let folder = tempfile::tempdir().unwrap();
    let package = Package::open(&package(folder.path(), "text-detection", &["fp32", "fp16"])).unwrap();
    let ordered = |change: &dyn Fn(&mut Order)| {
        let library = TensorRtLibrary { class: "tensorrt-rtx".into(), path: path.clone(), version: version.clone() };
        let (precision, architecture) = ("fp32".to_owned(), "sm89".to_owned());
        let package_digest = package.digest.clone();
        let mut order = Order { package_digest, library, precision, architecture, memory: 8 << 30 };
        change(&mut order);
        let (contents, place) = (package.contents.descriptor().unwrap(), tempfile::tempfile().unwrap());
        let worker = Launcher::Child { program: SUND.into() }.launch().unwrap();
        let bounds = Bounds { memory: 8 << 30, time: Duration::from_mins(10), wait: Duration::ZERO };
        let lengths = sund_agent::worker::compile(worker, &order, &[contents.as_fd(), place.as_fd()], bounds);
        lengths.map(|lengths| (lengths, place.metadata().unwrap().len())).map_err(|error| error.fault().code)
    };
    for precision in ["fp32", "fp16"] {
        let (lengths, written) = ordered(&|order| order.precision = precision.into()).unwrap();
        assert!(lengths == [written] && written > 100_000, "{precision}: {lengths:?}, {written}");
    }
    let refused = |change: &dyn Fn(&mut Order)| ordered(change).unwrap_err();
    assert_eq!(refused(&|order| order.package_digest.push('0')), "package-altered");
    assert_eq!(refused(&|order| order.library.version.push('0')), "engine-unavailable");
    assert_eq!(refused(&|order| order.library.path = "/no/such/library.so".into()), "engine-unavailable");
    assert_eq!(refused(&|order| order.precision = "int8".into()), "engine-not-validated");
}
