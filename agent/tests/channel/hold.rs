//! Jobs that are held back before the machine is started anew.
use super::fixture::{Hospital, one_worker, signals};
use crate::hospital::until;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::time::SystemTime;

impl Hospital {
    fn holds(&self, seconds: u64) -> Value {
        let answer = self.ask(&json!({ "hold": { "seconds": seconds } }));
        assert!(answer["held"].is_object(), "{answer}");
        answer["held"].clone()
    }

    /// Jobs that wait, once there are so many.
    async fn waiting(&self, count: usize) {
        until("jobs wait", || {
            let queue = self.site.status()["queue"].as_array().unwrap().clone();
            (queue.iter().filter(|job| job["state"] == "waiting").count() == count).then_some(())
        })
        .await;
    }
}

fn instant(text: &Value) -> SystemTime {
    humantime::parse_rfc3339(text.as_str().unwrap_or_else(|| panic!("{text}"))).unwrap()
}

/// When a job of the study began.
fn began(study: &Value) -> SystemTime {
    let timeline = study["timeline"].as_array().unwrap();
    instant(&timeline.iter().find(|moment| moment["step"] == "running").unwrap_or_else(|| panic!("{study:#}"))["at"])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn while_jobs_are_held_those_that_run_end_none_begins_and_studies_are_taken_in() {
    let hospital = Hospital::new().await;
    let daemon = hospital.serve().await;
    assert_eq!(hospital.status()["held_until"], Value::Null);
    let workers = one_worker(&daemon).await;
    signals(&workers, Signal::STOP);
    hospital.sends().await;
    until("a job runs", || (hospital.status()["running"] == 1).then_some(())).await;
    let held = hospital.holds(3600);
    assert_eq!(held["running"], 1);
    hospital.sends().await;
    hospital.waiting(1).await;
    signals(&workers, Signal::CONT);
    until("nothing runs", || (hospital.status()["running"] == 0).then_some(())).await;
    let status = hospital.status();
    assert_eq!((&status["held_until"], &status["node_answers"]), (&held["until"], &true.into()));
    assert_eq!(hospital.site.status()["held_until"], held["until"]);
    let shown = String::from_utf8(hospital.site.sund(&["status"]).stdout).unwrap();
    assert!(shown.contains("none begins before"), "{shown}");
    // A state is still tried, and golden cases of what serves run: neither is a study's.
    hospital.activates(&hospital.offer("north-1", "5.0.0", "research")).await;
    hospital.waiting(1).await;

    // Asked again, it ends sooner, by itself.
    let over = instant(&hospital.holds(2)["until"]);
    assert!(over < instant(&held["until"]));
    let studies = hospital.ended(2).await;
    assert!(began(&studies[0]) >= over && began(&studies[1]) < over, "{studies:#?}");
    assert_eq!(hospital.status()["held_until"], Value::Null);

    // And it is taken back.
    hospital.holds(3600);
    hospital.sends().await;
    hospital.waiting(1).await;
    assert_eq!(hospital.holds(0), json!({ "until": null, "running": 0 }));
    hospital.ended(3).await;

    let refused = hospital.ask(&json!({ "hold": { "seconds": 3601 } }));
    assert_eq!(refused["refused"]["code"], "hold-too-long", "{refused}");
    assert!(hospital.site.audit().contains("hold-too-long"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn after_a_restart_no_job_is_held_any_more() {
    let hospital = Hospital::new().await;
    let daemon = hospital.serve().await;
    hospital.holds(3600);
    hospital.sends().await;
    hospital.waiting(1).await;
    drop(daemon);
    let _daemon = hospital.serve().await;
    assert_eq!(hospital.status()["held_until"], Value::Null);
    hospital.ended(1).await;
}
