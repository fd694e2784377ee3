//! Models that are switched off.
use super::fixture::{Hospital, MODEL, one_worker, signals};
use crate::hospital::until;
use rustix::process::Signal;
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_suspended_model_answers_nothing_from_that_moment_on_until_it_is_resumed() {
    let hospital = Hospital::new().await;
    let daemon = hospital.serve().await;
    let workers = one_worker(&daemon).await;
    signals(&workers, Signal::STOP);
    hospital.sends().await;
    until("a job runs", || (hospital.status()["running"] == 1).then_some(())).await;
    let mistyped = hospital.site.sund(&["suspend", "text-detektion", "--reason", "it errs"]);
    assert_eq!(mistyped.status.code(), Some(65));
    let told = String::from_utf8_lossy(&mistyped.stderr).into_owned();
    assert!(told.contains("package-unknown") && told.contains("there are: text-detection"), "{told}");
    let suspended = hospital.site.sund(&["suspend", MODEL, "--reason", "it errs on purpose"]);
    assert!(suspended.status.success(), "{}", String::from_utf8_lossy(&suspended.stderr));
    signals(&workers, Signal::CONT);
    // The job that ran then, and one after it.
    hospital.sends().await;
    for study in hospital.ended(2).await {
        let timeline = study["timeline"].to_string();
        assert!(study["state"] == "failed" && timeline.contains("model-suspended"), "{timeline}");
    }
    let told = hospital.archive.holds(2).await;
    assert!(
        told.iter().all(|held| held.says("it errs on purpose") && held.says("model-suspended")),
        "failure is reported"
    );
    let model = hospital.site.status()["models"][0].take();
    assert!(model["state"] == "suspended" && model["explanation"].as_str().unwrap().contains("it errs on purpose"));
    let metrics = tokio::task::block_in_place(|| hospital.site.metrics());
    assert!(metrics.contains("sund_model_suspended{model=\"text-detection\"} 1"), "{metrics}");
    let status = hospital.status();
    let model = &status["models"][0];
    assert_eq!((&model["standing"], &model["failed"]), (&"suspended".into(), &0.into()));

    // It holds over a restart, and over a state that brings another version.
    drop(daemon);
    let _daemon = tokio::task::block_in_place(|| hospital.site.serve());
    assert_eq!(hospital.status()["models"][0]["standing"], "suspended");
    assert_eq!(hospital.activates(&hospital.offer("north-1", "5.0.0", "research")).await["state"]["name"], "north-1");
    assert_eq!(hospital.status()["models"][0]["standing"], "suspended");
    let resumed = hospital.ask(&json!({ "resume": { "package": MODEL } }));
    assert_eq!(resumed, json!({ "suspended": { "package": MODEL, "off": false } }));
    hospital.sends().await;
    hospital.archive.holds(4).await;
    assert_eq!(hospital.versions().last(), Some(&"5.0.0"));
    // By the channel, before the model has come.
    let suspended = hospital.ask(&json!({ "suspend": { "package": "brain-extraction", "reason": "withdrawn" } }));
    assert_eq!(suspended["suspended"]["off"], true, "{suspended}");
    let unclear = hospital.ask(&json!({ "suspend": { "package": MODEL, "reason": " " } }));
    assert_eq!(unclear["refused"]["code"], "suspension-unclear");
    let audit = hospital.site.audit();
    for event in ["model-suspended", "model-resumed", "a person on this box", "the channel", "package-unknown"] {
        assert!(audit.contains(event), "{event} is not in {audit}");
    }
}
