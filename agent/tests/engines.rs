//! A model serves once its golden cases hold, on the engine that they hold on, and not before.
use crate::hospital::copy_of;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use sund_agent::agent::Agent;
use sund_agent::association::{ObjectToSend, Peer, send};
use sund_agent::config::Config;
use sund_agent::dataset::part10;
use sund_agent::model::{Floors, Package};
use sund_agent::outcome::Outcome;
use sund_agent::pipeline::Activation;
use sund_agent::route::{Mode, Route, Selection};
use sund_agent::status::{ModelStatus, Status};
use sund_agent::worker::Launcher;

/// What does not happen within this time does not happen.
const PATIENCE: Duration = Duration::from_mins(1);

/// The engines of the text model, in its manifest.
const BOTH: &str =
    r#"engines = [{ class = "tract", precision = "fp32" }, { class = "onnxruntime", precision = "fp32" }]"#;

fn text_detection() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/models/text-detection")
}

/// A copy of the text model whose manifest was changed.
fn altered(folder: &Path, from: &str, to: &str) -> PathBuf {
    let copy = folder.join("model");
    fs::create_dir_all(folder).unwrap();
    copy_of("text-detection", &copy);
    let manifest = fs::read_to_string(text_detection().join("model.toml")).unwrap();
    assert!(manifest.contains(from));
    fs::write(copy.join("model.toml"), manifest.replace(from, to)).unwrap();
    copy
}

/// A node in `folder` with one model, which is checked before its first job.
async fn node(folder: &Path, model: &Path, change: impl FnOnce(&mut Config)) -> Agent {
    let mut config = Config::embedded(folder).unwrap();
    config.worker.launcher = Launcher::Child { program: env!("CARGO_BIN_EXE_sund").into() };
    config.worker.watches_gpus = false;
    config.worker.activation = Activation::AtStart;
    config.assembly.complete_on_association_end = true;
    config.packages.push(Package::open(model).unwrap());
    config.routes.push(Route {
        name: "all".to_owned(),
        called_ae: Vec::new(),
        callers: Vec::new(),
        selection: Selection::default(),
        models: config.packages.iter().map(|package| package.manifest.name.clone()).collect(),
        mode: Mode::Research,
        destinations: Vec::new(),
        outcome_reports: vec![Outcome::Failed],
        deadline: None,
    });
    change(&mut config);
    Agent::start(config).await.unwrap()
}

/// Waits until the state is as it should be.
async fn until(agent: &Agent, what: &str, holds: impl Fn(&Status) -> bool) -> Status {
    let begun = Instant::now();
    let source = agent.source();
    let mut changes = Arc::clone(&source).changes();
    loop {
        changes.borrow_and_update();
        let status = source.snapshot();
        if holds(&status) {
            return status;
        }
        let left = PATIENCE.saturating_sub(begun.elapsed());
        let changed = tokio::time::timeout(left, changes.changed()).await;
        assert!(changed.is_ok(), "{what} did not happen; {:?}", status.models);
    }
}

/// The model, once it is checked.
async fn checked(agent: &Agent) -> ModelStatus {
    until(agent, "the check", |status| status.models[0].state != "checking").await.models.remove(0)
}

async fn send_frame(agent: &Agent) {
    let image = part10::read_file(&text_detection().join("golden/ultrasound/frame.dcm")).unwrap();
    let object = ObjectToSend {
        sop_class: image.sop_class,
        sop_instance: image.sop_instance,
        transfer_syntax: image.header.transfer_syntax,
        dataset: image.dataset,
    };
    let address = agent.node().to_string();
    let peer = Peer { calling_ae: "MODALITY".to_owned(), called_ae: "SUND".to_owned(), address, tls: None };
    send(&peer, &[object], |_, _| {}).await.unwrap();
}

fn audit(folder: &Path) -> String {
    let files = fs::read_dir(folder.join("audit")).unwrap();
    files.filter_map(|file| fs::read_to_string(file.unwrap().path()).ok()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_active_once_its_golden_cases_hold_and_the_next_start_remembers_it() {
    let folder = tempfile::tempdir().unwrap();
    let agent = node(folder.path(), &text_detection(), |_| {}).await;
    let model = checked(&agent).await;
    assert_eq!((model.state.as_str(), model.engine.as_deref()), ("active", Some("tract fp32")), "{model:?}");
    agent.stop().await.unwrap();
    assert!(audit(folder.path()).contains("package-loaded"));

    // No worker can be started: what is active now needed none.
    let nothing = Launcher::Child { program: folder.path().join("nothing") };
    let agent = node(folder.path(), &text_detection(), |config| config.worker.launcher = nothing).await;
    assert_eq!(agent.status().models[0].state, "active");
    agent.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_golden_case_that_does_not_hold_turns_the_model_off_and_its_jobs_end_as_failed() {
    let folder = tempfile::tempdir().unwrap();
    let model = altered(folder.path(), "[20.0, 17.0, 189.0, 32.0]", "[20.0, 217.0, 189.0, 232.0]");
    let agent = node(folder.path(), &model, |_| {}).await;
    // The study may come before the check has ended: its job waits.
    send_frame(&agent).await;
    let status = until(&agent, "the end of the job", |status| {
        status.studies.first().is_some_and(|study| study.state == "failed")
    })
    .await;
    let model = &status.models[0];
    assert_eq!((model.state.as_str(), model.engine.as_deref()), ("off", None));
    assert!(
        model.explanation.contains("tract fp32 does not serve it") && model.explanation.contains("golden-case-missed")
    );
    let study = &status.studies[0];
    assert!(study.timeline.iter().any(|moment| moment.code.as_deref() == Some("golden-case-missed")), "{study:?}");
    assert_eq!(study.results[0].outcome, Outcome::Failed);
    agent.stop().await.unwrap();
    assert!(audit(folder.path()).contains("package-refused"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_that_is_validated_for_no_engine_here_is_off_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let model = altered(folder.path(), BOTH, r#"engines = [{ class = "tensorrt", precision = "fp16" }]"#);
    let agent = node(folder.path(), &model, |_| {}).await;
    let model = agent.status().models.remove(0);
    assert_eq!(model.state, "off");
    assert!(model.explanation.contains("validated for tensorrt fp16"), "{}", model.explanation);
    // Every engine is told with the reason against it: the two ways to one that is validated, and what is here.
    let told: Vec<&str> = model.engines.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(told, ["tensorrt fp16, packaged", "tensorrt fp16, compiled here", "tract fp32"]);
    assert!(model.engines[0].reason.contains("is named") && model.engines[2].reason.contains("not validated"));
    agent.stop().await.unwrap();
    assert!(audit(folder.path()).contains("engine-not-validated"));
}

/// Its golden cases would hold whatever it answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_package_whose_tolerances_are_wider_than_the_regions_is_off_and_audited() {
    let folder = tempfile::tempdir().unwrap();
    let floors = Floors { least_overlap: Some(0.8), most_tolerance_score: Some(0.01), ..Floors::default() };
    let agent = node(folder.path(), &text_detection(), |config| config.floors = floors).await;
    let model = agent.status().models.remove(0);
    assert_eq!((model.state.as_str(), model.engine), ("off", None));
    assert!(model.explanation.contains("overlap of 0.5, at least 0.8"), "{}", model.explanation);
    assert!(!model.explanation.contains("scores"), "that bound is kept: {}", model.explanation);
    // A job that would want it fails visibly.
    send_frame(&agent).await;
    let status = until(&agent, "the end of the job", |status| {
        status.studies.first().is_some_and(|study| study.state == "failed")
    })
    .await;
    let study = &status.studies[0];
    assert!(study.timeline.iter().any(|moment| moment.code.as_deref() == Some("golden-case-lax")), "{study:?}");
    agent.stop().await.unwrap();
    assert!(audit(folder.path()).contains("golden-case-lax"));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_first_engine_cannot_be_had_the_next_one_is_checked_and_serves() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("libonnxruntime.so");
    fs::write(&library, "no library").unwrap();
    let agent =
        node(folder.path(), &text_detection(), |config| config.worker.engines.onnxruntime = Some(library)).await;
    let model = checked(&agent).await;
    assert_eq!((model.state.as_str(), model.engine.as_deref()), ("active", Some("tract fp32")), "{model:?}");
    assert!(model.explanation.contains("onnxruntime fp32 does not serve it"), "{}", model.explanation);
    let told: Vec<(&str, bool)> = model.engines.iter().map(|one| (one.name.as_str(), one.serves)).collect();
    assert_eq!(told, [("onnxruntime fp32", false), ("tract fp32", true)]);
    assert!(model.engines[0].reason.contains("engine-unavailable"), "{:?}", model.engines);
    agent.stop().await.unwrap();
}

/// What is named as TensorRT is opened by a worker, never by the agent; where it is of no use the CPU serves, and it says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_library_of_tensorrt_that_is_none_is_told_and_the_cpu_serves() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("libtensorrt_rtx.so.1");
    fs::write(&library, "no library").unwrap();
    let engines = BOTH.replace("engines = [", "engines = [{ class = \"tensorrt-rtx\", precision = \"fp16\" }, ");
    let model = altered(folder.path(), BOTH, &engines);
    let name =
        |config: &mut Config| config.worker.engines.libraries = vec![("tensorrt-rtx".to_owned(), library.clone())];
    let agent = node(folder.path(), &model, name).await;
    let status = checked(&agent).await;
    assert_eq!((status.state.as_str(), status.engine.as_deref()), ("active", Some("tract fp32")), "{status:?}");
    let against = &status.engines[0];
    assert_eq!(against.name, "tensorrt-rtx fp16, packaged");
    let trouble = if cfg!(feature = "tensorrt") { "libtensorrt_rtx.so.1" } else { "built without TensorRT" };
    assert!(!against.serves && against.reason.contains(trouble), "{against:?}");
    agent.stop().await.unwrap();
    // The next start asks a worker again, and has no golden case to run.
    let agent = node(folder.path(), &model, name).await;
    assert_eq!(checked(&agent).await.state, "active");
    agent.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn onnx_runtime_serves_from_the_worker_where_it_is_named() {
    let folder = tempfile::tempdir().unwrap();
    // One worker goes from ONNX Runtime to tract and back.
    let tract = r#"engines = [{ class = "tract", precision = "fp32" }]"#;
    let second = altered(&folder.path().join("second"), BOTH, tract);
    let third = altered(&folder.path().join("third"), "\"4.0.0\"", "\"4.0.1\"");
    let agent = node(folder.path(), &text_detection(), |config| {
        config.worker.engines.onnxruntime = Some(crate::model::onnxruntime());
        config.packages.extend([second, third].map(|model| Package::open(&model).unwrap()));
    })
    .await;
    let status =
        until(&agent, "the checks", |status| status.models.iter().all(|model| model.state != "checking")).await;
    let serve = status.models.iter().map(|model| (model.state.as_str(), model.engine.as_deref().unwrap_or("none")));
    let expected = ["onnxruntime fp32", "tract fp32", "onnxruntime fp32"].map(|engine| ("active", engine));
    assert_eq!(serve.collect::<Vec<_>>(), expected, "{:?}", status.models);
    send_frame(&agent).await;
    let status = until(&agent, "the end of the job", |status| {
        status.studies.first().is_some_and(|study| !study.results.is_empty())
    })
    .await;
    assert_eq!(status.studies[0].results[0].outcome, Outcome::Finding);
    agent.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_hangs_does_not_hold_up_the_drain() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("hangs");
    let pid = folder.path().join("pid");
    fs::write(&program, format!("#!/bin/sh\necho $$ > {}\nexec sleep 1000\n", pid.display())).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    let agent =
        node(folder.path(), &text_detection(), |config| config.worker.launcher = Launcher::Child { program }).await;
    assert_eq!(agent.status().models[0].state, "checking");
    let pid = until_file(&folder.path().join("pid")).await;
    // The program would sleep for longer than anybody waits here.
    tokio::time::timeout(PATIENCE, agent.stop()).await.expect("the drain ends").unwrap();
    assert!(!Path::new(&format!("/proc/{pid}")).exists(), "and the check's worker with it");
}

/// The process number in a file, once it is there.
async fn until_file(path: &Path) -> u32 {
    let begun = Instant::now();
    loop {
        if let Some(pid) = fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()) {
            return pid;
        }
        assert!(begun.elapsed() < PATIENCE, "the check did not begin");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
