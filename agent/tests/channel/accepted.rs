//! The engine that the site's acceptance cohort was run on serves until another one was tried by it as well. The GPU is the stand-in of
//! recovery.rs.
use super::fixture::{Hospital, MODEL, id};
use crate::hospital::until;
use crate::recovery::{BOUNDS, Card, Loss, Made, engines};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use sund_agent::agent::Agent;
use sund_agent::channel::Served;
use sund_agent::config::check;
use sund_agent::status::ModelStatus;
use sund_agent::worker::Launcher;

/// A version that is validated for the GPU as well, and brings no engine for it along.
const FOR_GPU: &str = "7.0.0";
const WAITS: &str = "waits for the next trial: the site's acceptance cohort was run on tract fp32";

/// A site with a card that is well, and with a cohort where that is asked for.
async fn site(folder: &tempfile::TempDir, has_cohort: bool) -> (Hospital, Card) {
    let card = Card::new(folder.path(), Loss::Dies);
    card.is_well.store(true, Ordering::Relaxed);
    let hospital = Hospital::with(if has_cohort { "acceptance = \"cohort\"\n" } else { "" }).await;
    let validated = ("engines = [", "engines = [{ class = \"tensorrt-rtx\", precision = \"fp32\" }, ");
    tokio::task::block_in_place(|| hospital.packs(FOR_GPU, &[validated]));
    hospital.has_study("0001", false);
    hospital.expects("1.0", MODEL, &[("0001", "outcome = \"finding\"")]);
    (hospital, card)
}

async fn start(hospital: &Hospital, card: &Card) -> Agent {
    let mut served = Served::from(check(&hospital.site.config()).unwrap());
    let worker = &mut served.config.worker;
    worker.launcher = Launcher::Unit { socket: card.socket.clone() };
    (worker.bounds, worker.engines) = (BOUNDS, engines());
    (worker.compiles, worker.watches_gpus, worker.studies_per_gpu) = (true, false, 1);
    Agent::start(served).await.unwrap()
}

fn model(agent: &Agent) -> ModelStatus {
    agent.status().models.remove(0)
}

async fn serves(agent: &Agent, engine: &str) {
    let is_served = || model(agent).engine.as_deref() == Some(engine) && model(agent).state == "active";
    until(&format!("{engine} serves"), || is_served().then_some(())).await;
}

/// What is told of the engine that was compiled on the box, once it is this.
async fn is_told(agent: &Agent, reason: &str) {
    let told = || model(agent).engines.into_iter().find(|engine| engine.name == "tensorrt-rtx fp32, compiled here");
    until(reason, || told().filter(|engine| engine.reason == reason).map(drop)).await;
}

fn engine_of(trial: &Value) -> &str {
    let findings = trial["findings"].as_array().unwrap();
    findings.iter().find(|one| one["check"] == "engine").unwrap()["text"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_engine_that_is_compiled_after_the_cohort_was_run_serves_once_the_next_trial_has_run_it_there_too() {
    let folder = tempfile::tempdir().unwrap();
    let (hospital, card) = site(&folder, true).await;
    let agent = start(&hospital, &card).await;
    hospital.activates(&hospital.offer("north-1", FOR_GPU, "research")).await;
    is_told(&agent, "it is compiled now").await;
    card.makes(Made::Plans);
    is_told(&agent, WAITS).await;
    serves(&agent, "tract fp32").await;
    agent.stop().await.unwrap();

    let agent = start(&hospital, &card).await;
    serves(&agent, "tract fp32").await;
    is_told(&agent, WAITS).await;
    assert_eq!(model(&agent).explanation, format!("tensorrt-rtx fp32, compiled here {WAITS}"), "the console says it");
    let on_gpu = || card.tasks().iter().filter(|task| **task == "gpu").count();
    assert_eq!(on_gpu(), 0, "nothing was asked of it");

    let trial = hospital.tries(&hospital.offer("north-2", FOR_GPU, "research")).await;
    assert_eq!(trial["standing"], "held", "{trial}");
    assert!(engine_of(&trial).starts_with("tensorrt-rtx fp32 would serve"), "{trial}");
    assert!(on_gpu() >= 2, "its golden case, and the study of the cohort: {:?}", card.tasks());
    serves(&agent, "tract fp32").await;
    hospital.ask(&json!({ "activate": { "state": id("north-2") } }));
    serves(&agent, "tensorrt-rtx fp32").await;
    agent.stop().await.unwrap();

    let agent = start(&hospital, &card).await;
    serves(&agent, "tensorrt-rtx fp32").await;
    // Who goes back goes back to what was accepted then.
    hospital.ask(&json!({ "revert": { "state": id("north-1") } }));
    serves(&agent, "tract fp32").await;
    is_told(&agent, WAITS).await;
    agent.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_no_cohort_is_asked_about_goes_over_to_the_engine_that_is_compiled_here_by_itself() {
    for has_cohort in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let (hospital, card) = site(&folder, has_cohort).await;
        hospital.expects("1.0", "lung-nodules", &[("0001", "outcome = \"finding\"")]);
        card.makes(Made::Plans);
        let agent = start(&hospital, &card).await;
        hospital.activates(&hospital.offer("north-1", FOR_GPU, "research")).await;
        serves(&agent, "tensorrt-rtx fp32").await;
        agent.stop().await.unwrap();
    }
}
