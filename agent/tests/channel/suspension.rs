//! Models that are switched off.
use super::fixture::{Hospital, MODEL, one_worker, signals};
use crate::hospital::until;
use crate::serve::Daemon;
use rustix::process::{Pid, Signal};
use serde_json::{Value, json};
use std::fs;

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
    assert_eq!(model["by"], json!(["person"]));

    // It holds over a restart, and over a state that brings another version.
    drop(daemon);
    let _daemon = tokio::task::block_in_place(|| hospital.site.serve());
    assert_eq!(hospital.status()["models"][0]["standing"], "suspended");
    assert_eq!(hospital.activates(&hospital.offer("north-1", "5.0.0", "research")).await["state"]["name"], "north-1");
    assert_eq!(hospital.status()["models"][0]["standing"], "suspended");
    // The channel takes back nobody's word but its own.
    let resumed = hospital.ask(&json!({ "resume": { "package": MODEL } }));
    assert_eq!(resumed, json!({ "suspended": { "package": MODEL, "off": false } }));
    assert_eq!(hospital.status()["models"][0]["standing"], "suspended");
    let resumed = hospital.site.sund(&["resume", MODEL]);
    assert!(resumed.status.success(), "{}", String::from_utf8_lossy(&resumed.stderr));
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

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_the_region_has_switched_off_no_person_switches_on_also_after_a_restart() {
    let hospital = Hospital::new().await;
    let daemon = hospital.serve().await;
    let standing = || hospital.status()["models"][0]["standing"].as_str().unwrap().to_owned();
    let says = |arguments: &[&str]| {
        let output = hospital.site.sund(arguments);
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let is_refused = || {
        let (done, said) = says(&["resume", MODEL]);
        !done && said.contains("suspended-by-region") && said.contains("ask the region") && standing() == "suspended"
    };
    let by = || {
        let (by, told) =
            (hospital.status()["models"][0]["by"].take(), hospital.site.status()["models"][0]["by"].take());
        assert_eq!(by, told, "the updater is told what `sund status` tells");
        by
    };
    let by_region = json!({ "suspend": { "package": MODEL, "reason": "drift", "by": "region" } });
    let lifted = json!({ "resume": { "package": MODEL } });
    hospital.ask(&by_region);
    assert!(is_refused(), "{:?}", says(&["resume", MODEL]));
    drop(daemon);
    let daemon = tokio::task::block_in_place(|| hospital.site.serve());
    assert!(is_refused());
    assert_eq!(by(), json!(["region"]));
    let told = hospital.site.status()["models"][0]["explanation"].to_string();
    assert!(told.contains("sund-channel resume") && !told.contains("`sund resume"), "{told}");

    // A person's own word beside it takes nothing back, and stays when the region lifts its own.
    assert!(says(&["suspend", MODEL, "--reason", "Dr. Holm does not trust it"]).0);
    assert!(is_refused());
    assert_eq!(by(), json!(["region", "person"]));
    let reason = hospital.status()["models"][0]["reason"].to_string();
    assert!(reason.contains("drift") && reason.contains("Dr. Holm"), "{reason}");
    hospital.ask(&lifted);
    assert_eq!(standing(), "suspended");
    assert!(says(&["resume", MODEL]).0 && standing() == "active");

    // A person's word that was there before the region's, whatever it says, and the updater's own.
    assert!(says(&["suspend", MODEL, "--reason", "suspended by the region: they said so on the telephone"]).0);
    assert_eq!(by(), json!(["person"]));
    assert!(says(&["resume", MODEL]).0 && standing() == "active");
    assert_eq!(by(), json!(null));
    assert!(says(&["suspend", MODEL, "--reason", "suspended by the region: they said so on the telephone"]).0);
    hospital.ask(&json!({ "suspend": { "package": MODEL, "reason": "nothing is approved", "by": "updater" } }));
    assert_eq!(by(), json!(["updater", "person"]));
    assert!(is_refused());
    hospital.ask(&by_region);
    assert!(is_refused());
    let audit = hospital.site.audit();
    assert!(audit.contains("operation-refused") && audit.contains("suspended-by-region"), "{audit}");

    // The box leaves its channel for good.
    drop(daemon);
    leaves_the_channel(&hospital);
    let _daemon = tokio::task::block_in_place(|| hospital.site.serve());
    let state = || hospital.site.status()["models"][0]["state"].as_str().unwrap().to_owned();
    assert_eq!(state(), "suspended");
    assert!(says(&["resume", MODEL]).0, "{:?}", says(&["resume", MODEL]));
    until("it serves", || (state() == "active").then_some(())).await;
}

/// The region has put 5.0.0 in its place, and then found what 4.0.0 does to patients.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_study_under_way_on_a_version_that_is_suspended_has_no_answer_and_the_version_that_serves_goes_on() {
    let hospital = Hospital::new().await;
    let daemon = hospital.serve().await;
    assert_eq!(hospital.status()["region_suspends"], json!([]));
    let workers = under_way(&hospital, &daemon, &hospital.offer("north-1", "5.0.0", "research")).await;
    let all = json!([{ "package": MODEL, "version": "4.0.0", "reason": "it takes left for right" }]);
    let told = hospital.ask(&json!({ "region-suspends": { "all": all } }));
    assert_eq!(told, json!({ "region-suspended": { "count": 1 } }));
    assert_eq!(hospital.status()["region_suspends"], all);
    let model = hospital.status()["models"][0].take();
    assert_eq!((&model["version"], &model["standing"]), (&"5.0.0".into(), &"active".into()));
    signals(&workers, Signal::CONT);
    let study = hospital.ended(1).await.remove(0);
    let timeline = study["timeline"].to_string();
    assert!(study["state"] == "failed" && timeline.contains("it takes left for right"), "{timeline}");
    hospital.sends().await;
    let ended = hospital.ended(2).await;
    assert_eq!(ended.iter().filter(|study| study["state"] == "failed").count(), 1, "{ended:#?}");

    // The version that serves: it says so, and no person on the box takes it back.
    let all = json!([{ "package": MODEL, "version": "5.0.0", "reason": "it does so too" }]);
    hospital.ask(&json!({ "region-suspends": { "all": all } }));
    let model = hospital.status()["models"][0].take();
    assert_eq!((&model["standing"], &model["by"]), (&"suspended".into(), &json!(["region"])));
    let refused = hospital.site.sund(&["resume", MODEL]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("suspended-by-region"), "{said}");
    // The region lifts it.
    hospital.ask(&json!({ "region-suspends": { "all": [] } }));
    assert_eq!(hospital.status()["models"][0]["standing"], "active");
    let audit = hospital.site.audit();
    for said in ["text-detection 4.0.0", "text-detection 5.0.0", "model-suspended", "model-resumed"] {
        assert!(audit.contains(said), "{said} is not in {audit}");
    }
}

/// The state that came since has the model no more: its name serves nowhere, and the study ends on it all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_study_under_way_on_a_model_that_no_longer_serves_has_no_answer_where_the_region_suspends_the_model() {
    let hospital = Hospital::new().await;
    let daemon = hospital.serve().await;
    let mut offer = hospital.offer("north-1", "5.0.0", "research");
    offer["try"]["packages"] = json!([]);
    for plan in offer["try"]["routes"].as_object_mut().unwrap().values_mut() {
        plan["models"] = json!([]);
    }
    let workers = under_way(&hospital, &daemon, &offer).await;
    assert_eq!(hospital.status()["models"], json!([]));
    let suspends = |all| hospital.ask(&json!({ "region-suspends": { "all": all } }));
    suspends(json!([{ "package": MODEL, "version": "4.0.0", "reason": "it takes left for right" }]));
    // Wider, before the study ends: what was off stays so.
    suspends(json!([{ "package": MODEL, "reason": "it takes left for right" }]));
    signals(&workers, Signal::CONT);
    let study = hospital.ended(1).await.remove(0);
    let timeline = study["timeline"].to_string();
    assert!(study["state"] == "failed" && timeline.contains("it takes left for right"), "{timeline}");
    assert!(!hospital.site.audit().contains("model-resumed"), "{}", hospital.site.audit());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_region_said_that_the_box_has_left_a_person_takes_back_also_of_a_model_that_does_not_serve() {
    let hospital = Hospital::new().await;
    let daemon = hospital.serve().await;
    let all =
        json!([{ "package": MODEL, "version": "4.0.0", "reason": "drift" }, { "package": "lung", "reason": "drift" }]);
    hospital.ask(&json!({ "region-suspends": { "all": all } }));
    drop(daemon);
    leaves_the_channel(&hospital);
    let _daemon = tokio::task::block_in_place(|| hospital.site.serve());
    let model = || hospital.site.status()["models"][0].take();
    let told = model()["explanation"].to_string();
    assert!(
        model()["state"] == "suspended" && told.contains("`sund resume") && !told.contains("sund-channel"),
        "{told}"
    );
    for package in [MODEL, "lung"] {
        let resumed = hospital.site.sund(&["resume", package]);
        assert!(resumed.status.success(), "{}", String::from_utf8_lossy(&resumed.stderr));
    }
    until("it serves", || (model()["state"] == "active").then_some(())).await;
    let audit = hospital.site.audit();
    let resumed: Vec<&str> = audit.lines().filter(|line| line.contains("model-resumed")).collect();
    assert!(resumed.len() == 2 && resumed.iter().all(|line| line.contains("a person on this box")), "{resumed:#?}");
}

/// Has a study begin on what serves, and this offer take its place meanwhile. The workers are stopped.
async fn under_way(hospital: &Hospital, daemon: &Daemon, offer: &Value) -> Vec<Pid> {
    let trial = hospital.tries(offer).await;
    assert_eq!(trial["standing"], "held", "{trial}");
    let workers = one_worker(daemon).await;
    signals(&workers, Signal::STOP);
    hospital.sends().await;
    until("a job runs", || (hospital.status()["running"] == 1).then_some(())).await;
    let serves = hospital.ask(&json!({ "activate": { "state": offer["try"]["state"] } }));
    assert_eq!(serves["serves"]["state"], offer["try"]["state"], "{serves}");
    workers
}

fn leaves_the_channel(hospital: &Hospital) {
    let text = fs::read_to_string(hospital.site.config()).unwrap();
    let (before, rest) = text.split_once("[channel]\n").unwrap();
    let after = rest.split_once("\n[[models]]").unwrap().1;
    fs::write(hospital.site.config(), format!("{before}\n[[models]]{after}")).unwrap();
}
