//! Golden cases of what serves, run again where it serves.
use super::fixture::{Hospital, id, one_worker, signals};
use crate::hospital::until;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs;

impl Hospital {
    /// Has the golden cases run again, to the end.
    async fn checks(&self, state: &str) -> Value {
        let begun = self.ask(&json!({ "check": { "state": id(state) } }));
        assert_eq!(begun["check"]["standing"], "running", "{begun}");
        until("the check ends", || {
            let check = self.ask(&json!("checked"))["check"].take();
            (check["standing"] != "running").then_some(check)
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn golden_cases_run_again_where_they_serve_and_a_miss_is_told() {
    let hospital = Hospital::new().await;
    let daemon = hospital.serve().await;
    assert_eq!(hospital.ask(&json!("checked"))["refused"]["code"], "state-not-checked");
    let own = hospital.ask(&json!({ "check": { "state": id("north-1") } }));
    assert_eq!(own["refused"]["code"], "state-not-serving", "{own}");
    hospital.activates(&hospital.offer("north-1", "5.0.0", "research")).await;
    let held = hospital.checks("north-1").await;
    assert_eq!((&held["standing"], &held["findings"][0]["held"]), (&"held".into(), &true.into()), "{held}");
    assert!(held["findings"][0]["text"].as_str().unwrap().contains("score of box 3"), "{held}");
    let other = hospital.ask(&json!({ "check": { "state": id("north-1@again") } }));
    assert_eq!(other["refused"]["code"], "state-not-serving", "{other}");

    // A worker that finds another file in the place of the package answers nothing.
    let workers = one_worker(&daemon).await;
    fs::write(hospital.package("5.0.0"), "damaged").unwrap();
    signals(&workers, Signal::KILL);
    let missed = hospital.checks("north-1").await;
    assert!(missed["standing"]["missed"]["code"].is_string(), "{missed}");
    assert_eq!(missed["findings"][0]["held"], false);
}

/// The trial has its worker, and those that serve have not seen the model yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_worker_that_serves_is_warm_before_the_first_study_comes() {
    let hospital = Hospital::new().await;
    let _daemon = hospital.serve().await;
    hospital.activates(&hospital.offer("north-1", "5.0.0", "research")).await;
    let log = || fs::read_to_string(hospital.site.folder("log")).unwrap();
    let warm = |line: &str| line.contains("a worker is warm") && line.contains("5.0.0");
    until("the worker is warm", || log().lines().any(warm).then_some(())).await;
    assert_eq!(hospital.status()["models"][0]["answered"], 0, "a golden case is no study");
}
