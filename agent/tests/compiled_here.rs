//! An engine that a package lacks is compiled on the box, by a worker, while the next choice serves; it serves once the golden cases hold
//! on it. No GPU is needed: the worker is the stand-in of recovery.rs.
use crate::hospital::{Archive, Node, destination, ends, frame, new_uid, until};
use crate::recovery::{BOUNDS, Card, Loss, Made, engines, package};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use sund_agent::config::Config;
use sund_agent::pipeline::Activation;
use sund_agent::status::{EngineStatus, ModelStatus};
use sund_agent::worker::Launcher;

/// A node whose model is validated for the GPU, and brings no engine for it along.
fn lacking(card: &Card, archive: &Archive) -> impl Fn(&mut Config) + use<> {
    let (socket, address) = (card.socket.clone(), archive.address.clone());
    move |config| {
        config.worker.launcher = Launcher::Unit { socket: socket.clone() };
        config.worker.bounds = BOUNDS;
        config.worker.engines = engines();
        config.worker.compiles = true;
        // The stand-in sees one conversation.
        config.worker.studies_per_gpu = 1;
        config.worker.activation = Activation::AtStart;
        let mut package = package(true);
        package.manifest.compiled.clear();
        config.packages = vec![package];
        config.destinations = vec![destination("archive", &address)];
    }
}

fn model(node: &Node) -> ModelStatus {
    node.status().models.remove(0)
}

fn compiled_here(node: &Node) -> EngineStatus {
    model(node).engines.into_iter().find(|engine| engine.name == "tensorrt-rtx fp32, compiled here").unwrap()
}

/// The engines that lie beside the spool.
fn kept(node: &Node) -> Vec<PathBuf> {
    let files = fs::read_dir(node.folder.path().join("spool/engines")).into_iter().flatten();
    files.map(|file| file.unwrap().path()).collect()
}

async fn serves(node: &Node, engine: &str) {
    let is_served = || model(node).engine.as_deref() == Some(engine) && model(node).state == "active";
    until(&format!("{engine} serves"), || is_served().then_some(())).await;
}

async fn is_told(node: &Node, reason: &str) {
    until(reason, || compiled_here(node).reason.contains(reason).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_engine_that_lacks_is_compiled_while_the_next_one_serves_and_serves_once_its_golden_cases_hold() {
    let folder = tempfile::tempdir().unwrap();
    let card = Card::new(folder.path(), Loss::Dies);
    card.is_well.store(true, Ordering::Relaxed);
    let archive = Archive::open().await;
    let node = Node::open(lacking(&card, &archive)).await;
    is_told(&node, "it is compiled now").await;
    serves(&node, "tract fp32").await;
    let study = async |count: usize| {
        node.receives(&[frame().in_study(&new_uid(), "1")]).await;
        let over = || node.status().studies.iter().filter(|study| ends(study) > 0).count() == count;
        until("the study ends", || over().then_some(())).await;
    };
    study(1).await;
    card.makes(Made::Plans);
    serves(&node, "tensorrt-rtx fp32").await;
    assert!(compiled_here(&node).serves);
    study(2).await;
    assert_eq!(card.tasks(), ["processor", "compile", "processor", "gpu", "gpu"], "golden cases come before jobs");
    let kept = kept(&node);
    assert!(kept.len() == 1 && fs::read(&kept[0]).unwrap() == b"a plan", "{kept:?}");
    let reports = until("both are reported", || Some(archive.reports()).filter(|all| all.len() == 2)).await;
    let by = |engine: &str| reports.iter().filter(|report| report.says(engine)).count();
    assert_eq!((by("tensorrt-rtx"), by("tract")), (1, 1), "each names what answered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_engine_that_cannot_be_compiled_is_told_and_not_tried_again() {
    for (made, code) in
        [(Made::Nothing, "network-not-compiled"), (Made::Death, "worker-died"), (Made::Claims, "worker-garbled")]
    {
        let folder = tempfile::tempdir().unwrap();
        let card = Card::new(folder.path(), Loss::Dies);
        card.makes(made);
        let archive = Archive::open().await;
        let mut node = Node::open(lacking(&card, &archive)).await;
        is_told(&node, code).await;
        serves(&node, "tract fp32").await;
        node.stop().await;
        node.start(lacking(&card, &archive)).await;
        is_told(&node, code).await;
        serves(&node, "tract fp32").await;
        // Why a worker was lost is not known: the next start tries once more.
        let tried = if made == Made::Nothing { 1 } else { 2 };
        assert_eq!(card.tasks()[1..], vec!["compile"; tried], "{made:?}");
        assert!(kept(&node).is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_engine_on_which_the_golden_cases_do_not_hold_does_not_serve() {
    let folder = tempfile::tempdir().unwrap();
    let card = Card::new(folder.path(), Loss::Dies);
    card.makes(Made::Plans);
    let archive = Archive::open().await;
    let node = Node::open(lacking(&card, &archive)).await;
    is_told(&node, "does not serve it").await;
    serves(&node, "tract fp32").await;
    assert_eq!(card.tasks(), ["processor", "compile", "gpu", "gpu"], "and it is not compiled again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_drain_does_not_wait_for_what_is_compiled_and_the_next_start_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    let card = Card::new(folder.path(), Loss::Dies);
    card.is_well.store(true, Ordering::Relaxed);
    let archive = Archive::open().await;
    let mut node = Node::open(lacking(&card, &archive)).await;
    is_told(&node, "it is compiled now").await;
    node.stop().await;
    card.makes(Made::Plans);
    node.start(lacking(&card, &archive)).await;
    serves(&node, "tensorrt-rtx fp32").await;
}
