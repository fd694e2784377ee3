//! What compiles without a GPU, and what does not.
use super::onnx::{Node, network, with_weights_in};
use super::stand_in::{Source, stand_in};
use super::{LOGGED, ada, input, rtx};
use std::sync::PoisonError;
use sund_kernels::tensorrt::{
    BuildOptions, Kind, Library, MAX_PROFILES, ProfileInput, RTX_TARGETS, Severity, TensorRtError, build,
};

fn demo(network: &str) -> Vec<u8> {
    let path = format!("{}/../agent/demo/models/{network}.onnx", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn compiled(network: &str, options: &BuildOptions) {
    let plan = build(&rtx(), &demo(network), options).unwrap_or_else(|error| panic!("{network}: {error}"));
    assert!(plan.starts_with(b"vtrt") && plan.len() > 1_000_000, "{network}: {} bytes", plan.len());
}

fn refused(onnx: &[u8], options: &BuildOptions) -> TensorRtError {
    build(&rtx(), onnx, options).map(|plan| plan.len()).expect_err("it is refused")
}

fn relu(shape: &[u64]) -> Vec<u8> {
    network(shape, &[Node("Relu", &["x"], "y")])
}

#[test]
fn the_networks_of_the_brain_compile_for_cards_since_ampere() {
    let options = BuildOptions { targets: vec![86, 89, 120], ..BuildOptions::default() };
    compiled("brain-extraction/locate", &options);
    compiled("brain-extraction/extract", &options);
}

#[test]
fn the_network_of_text_compiles_for_every_card_and_size() {
    let profile = vec![input("x", &[1, 3, 32, 32], &[1, 3, 640, 640], &[4, 3, 1280, 1280])];
    compiled(
        "text-detection/detect",
        &BuildOptions { targets: RTX_TARGETS.into(), profiles: vec![profile], ..BuildOptions::default() },
    );
}

#[test]
fn the_same_network_gives_the_same_plan() {
    let onnx = demo("text-detection/detect");
    let profiles = vec![vec![input("x", &[1, 3, 320, 320], &[1, 3, 320, 320], &[1, 3, 320, 320])]];
    let options = BuildOptions { profiles, ..ada() };
    let first = build(&rtx(), &onnx, &options).unwrap();
    assert!(first == build(&rtx(), &onnx, &options).unwrap());
}

#[test]
fn batches_and_several_profiles_compile() {
    let profiles = vec![vec![input("x", &[1, 4], &[4, 4], &[8, 4])], vec![input("x", &[1, 4], &[1, 4], &[1, 4])]];
    let plan = build(&rtx(), &relu(&[0, 4]), &BuildOptions { profiles, threads: Some(2), ..ada() }).unwrap();
    assert!(plan.starts_with(b"vtrt"));
}

#[test]
fn what_is_no_network_is_the_packages_fault() {
    let unknown = network(&[4], &[Node("NoSuchOperator", &["x"], "y")]);
    let unsupported = network(&[4, 4], &[Node("Det", &["x"], "y")]);
    for (onnx, says) in [
        (b"garbage".to_vec(), "Failed to parse"),
        (relu(&[4])[..40].to_vec(), "Failed to parse"),
        (Vec::new(), "no input or no output"),
        (unknown, "operator NoSuchOperator"),
        (unsupported, "operator Det"),
    ] {
        let error = refused(&onnx, &ada());
        assert!(matches!(&error, TensorRtError::Network { why, .. } if why.contains(says)), "{error}");
    }
}

#[test]
fn a_network_reads_no_other_file() {
    // A file that is there and of the right length, seen from the folder that the tests run in.
    let bytes = std::fs::metadata("Cargo.toml").unwrap().len();
    for file in
        ["Cargo.toml", "./Cargo.toml", "../kernels/Cargo.toml", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")]
    {
        let error = refused(&with_weights_in(file, bytes), &ada());
        assert!(matches!(error, TensorRtError::Network { .. }), "{file}: {error}");
    }
    assert!(logged(|line| line.contains("Failed to open file: /dev/null/")));
}

#[test]
fn a_card_that_tensorrt_rtx_does_not_serve_is_refused_in_our_words() {
    for (target, says) in [
        (90, "TensorRT-RTX does not compile for compute capability 9.0: it serves no data-centre cards of this kind"),
        (100, "compute capability 10.0: it serves no data-centre cards of this kind; enterprise TensorRT does"),
        (70, "compute capability 7.0: it serves 7.5, 8.0, 8.6, 8.9, 12.0 and 12.1"),
        (u32::MAX, "it serves 7.5"),
    ] {
        let error = refused(&relu(&[4]), &BuildOptions { targets: vec![89, target], ..ada() });
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn a_network_that_a_card_cannot_run_is_refused() {
    let error = refused(&demo("brain-extraction/locate"), &BuildOptions { targets: vec![75], ..ada() });
    assert!(matches!(&error, TensorRtError::Build { why, .. } if why.contains("SM75")), "{error}");
}

#[test]
fn for_the_gpu_of_this_machine_there_must_be_one() {
    let error = refused(&relu(&[4]), &BuildOptions::default());
    assert!(matches!(error, TensorRtError::Device { .. }), "{error}");
}

#[test]
fn profiles_that_do_not_fit_the_network_are_refused() {
    let wrong: [(Vec<Vec<ProfileInput>>, &str); 8] = [
        (vec![], "no profile gives the lengths of the dynamic axes of input x"),
        (vec![vec![]], "no profile gives"),
        (vec![vec![input("z", &[1, 4], &[1, 4], &[1, 4])]], "no profile gives"),
        (vec![vec![input("x", &[1, 4], &[1, 4], &[1, 4]), input("z", &[1], &[1], &[1])]], "there is no input z"),
        (vec![vec![input("x", &[1, 5], &[1, 5], &[1, 5])]], "a profile does not fit input x"),
        (vec![vec![input("x", &[1], &[1], &[1])]], "a profile does not fit input x"),
        (vec![vec![input("x", &[2, 4], &[1, 4], &[8, 4])]], "min <= opt <= max"),
        (vec![vec![input("x", &[0, 4], &[1, 4], &[8, 4])]], "each axis at least 1"),
    ];
    for (profiles, says) in wrong {
        let error = refused(&relu(&[0, 4]), &BuildOptions { profiles, ..ada() });
        assert!(matches!(&error, TensorRtError::Options { why } if why.contains(says)), "{error}");
    }
    for (name, rank) in [("x\0", 1), ("x", 9)] {
        let lengths = vec![1; rank];
        let profiles = vec![vec![input(name, &lengths, &lengths, &lengths)]];
        let error = refused(&relu(&[0, 4]), &BuildOptions { profiles, ..ada() });
        assert!(matches!(error, TensorRtError::Options { .. }), "{error}");
    }
}

#[test]
fn what_is_beyond_a_limit_is_refused() {
    let fixed = || vec![input("x", &[1, 4], &[1, 4], &[1, 4])];
    let long = vec![vec![input(&"x".repeat(256), &[1], &[1], &[1])]];
    for options in [
        BuildOptions { profiles: vec![fixed(); MAX_PROFILES + 1], ..ada() },
        BuildOptions { profiles: long, ..ada() },
        BuildOptions { threads: Some(1000), ..ada() },
        BuildOptions { targets: vec![89; 7], ..ada() },
    ] {
        let error = refused(&relu(&[0, 4]), &options);
        assert!(matches!(error, TensorRtError::TooLarge { .. }), "{error}");
    }
}

#[test]
fn enterprise_tensorrt_without_a_gpu_or_a_parser_is_refused() {
    let path = stand_in("no-gpu", &Source::of(Kind::Enterprise.built_for()));
    let library = Library::open(Kind::Enterprise, &path).unwrap();
    let refused = |options: &BuildOptions| build(&library, &relu(&[4]), options).unwrap_err();
    assert!(matches!(refused(&BuildOptions::default()), TensorRtError::Device { kind: Kind::Enterprise, .. }));
    assert!(matches!(refused(&ada()), TensorRtError::Target { kind: Kind::Enterprise, target: 89, .. }));

    let alone = path.parent().unwrap().parent().unwrap().join("alone.so");
    std::fs::copy(path, &alone).unwrap();
    let library = Library::open(Kind::Enterprise, &alone).unwrap();
    let error = build(&library, &relu(&[4]), &BuildOptions::default()).unwrap_err();
    assert!(error.to_string().contains("libnvonnxparser.so."), "{error}");
}

#[test]
fn an_exception_of_the_library_goes_no_further_than_the_shim() {
    let of = |builder| Source { builder: Some(builder), ..Source::of(Kind::Enterprise.built_for()) };
    let failure = |name, source| {
        let library = Library::open(Kind::Enterprise, &stand_in(name, &source)).unwrap();
        build(&library, &relu(&[4]), &BuildOptions::default()).unwrap_err()
    };
    let thrown = failure("throws", of("throw std::runtime_error(\"a\\nfault\");"));
    assert_eq!(thrown.to_string(), "enterprise TensorRT threw: a fault");
    assert!(matches!(failure("throws-number", of("throw 7;")), TensorRtError::Thrown { .. }));
    assert!(matches!(failure("no-memory", of("throw std::bad_alloc();")), TensorRtError::Memory { .. }));
}

#[test]
fn the_log_is_ours_in_single_lines() {
    refused(&network(&[4], &[Node("NoSuchOperator", &["x"], "y")]), &ada());
    assert!(logged(|line| line.contains("NoSuchOperator")));
    let logged = LOGGED.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(logged.iter().any(|(severity, _)| *severity == Severity::Error));
    assert!(logged.iter().all(|(_, line)| line.len() <= 1024 && !line.contains('\n')));
}

fn logged(what: impl Fn(&str) -> bool) -> bool {
    LOGGED.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|(_, line)| what(line))
}
