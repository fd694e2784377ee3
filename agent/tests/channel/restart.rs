//! What was activated, over restarts and power cuts.
use super::fixture::{Hospital, id, one_worker, rest, signals};
use crate::hospital::until;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_activated_serves_after_a_power_cut_and_what_asks_for_a_restart_ends_in_order() {
    let hospital = Hospital::new().await;
    let daemon = hospital.serve().await;
    assert_eq!(hospital.activates(&hospital.offer("north-1", "5.0.0", "research")).await["state"]["name"], "north-1");
    daemon.signal(Signal::KILL);
    drop(daemon);
    let daemon = hospital.serve().await;
    let status = hospital.status();
    assert_eq!((&status["state"]["name"], &status["models"][0]["version"]), (&"north-1".into(), &"5.0.0".into()));

    // Another AE title is another node: the agent ends, and serves it from its next start on.
    let own = fs::read_to_string(hospital.site.config()).unwrap().split("[channel]").next().unwrap().to_owned();
    let text =
        format!("{own}{}", rest(&hospital.archive.address, "")).replace("ae_title = \"SUND\"", "ae_title = \"SUND2\"");
    let configuration = hospital.site.folder("offered.toml");
    fs::write(&configuration, &text).unwrap();
    let mut offer = hospital.offer("north-2", "5.0.0", "research");
    offer["try"]["configuration"] = configuration.to_str().unwrap().into();
    assert_eq!(hospital.activates(&offer).await, json!({ "state": id("north-2"), "restarts": true }));
    assert_eq!(tokio::task::block_in_place(|| daemon.exit_code()), Some(0));
    let daemon = hospital.serve().await;
    assert_eq!(hospital.site.status()["node"]["ae_title"], "SUND2");
    assert_eq!(hospital.status()["state"]["name"], "north-2");

    // The same, cut off between the answer and the end.
    assert_eq!(hospital.ask(&json!({ "revert": { "state": id("north-1") } }))["serves"]["restarts"], true);
    daemon.signal(Signal::KILL);
    drop(daemon);
    let daemon = hospital.serve().await;
    assert_eq!(
        (&hospital.site.status()["node"]["ae_title"], &hospital.status()["state"]["name"]),
        (&"SUND".into(), &"north-1".into())
    );
    daemon.signal(Signal::TERM);
    assert_eq!(tokio::task::block_in_place(|| daemon.exit_code()), Some(0));

    // Another file in the place of a package: the box's own configuration serves, and everybody is told.
    fs::copy(hospital.package("6.0.0"), hospital.package("5.0.0")).unwrap();
    let daemon = hospital.serve().await;
    let status = hospital.status();
    assert_eq!((&status["state"]["name"], &status["models"][0]["version"]), (&Value::Null, &"4.0.0".into()));
    let refused = hospital.ask(&json!({ "activate": { "state": id("north-1") } }));
    assert_eq!(refused["refused"]["code"], "state-not-tried", "it does not serve");
    let audit = hospital.site.audit();
    assert!(audit.contains("state-lost") && audit.contains("state-altered"), "{audit}");
    assert!(fs::read_to_string(hospital.site.folder("log")).unwrap().contains("the box's own configuration does"));
    drop(daemon);
    fs::remove_file(hospital.package("5.0.0")).unwrap();
    fs::write(hospital.site.folder("channel/serving.json"), "{").unwrap();
    let _daemon = hospital.serve().await;
    assert_eq!(hospital.status()["models"][0]["version"], "4.0.0");
    assert!(hospital.site.audit().contains("state-record-unreadable"));
    hospital.sends().await;
    hospital.archive.holds(2).await;
}

/// Its configuration holds, and says nothing of whether the port is free.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_state_that_cannot_start_leaves_the_box_its_own_configuration_and_can_be_taken_back() {
    let hospital = Hospital::new().await;
    let daemon = hospital.serve().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = hospital.site.status()["node"]["address"].as_str().unwrap().to_owned();
    let own = fs::read_to_string(hospital.site.config()).unwrap().split("[channel]").next().unwrap().to_owned();
    let line = own.lines().find(|line| line.starts_with("listen")).unwrap();
    let elsewhere = format!("listen = \"{}\"", taken.local_addr().unwrap());
    let text = format!("{}{}", own.replacen(line, &elsewhere, 1), rest(&hospital.archive.address, ""));
    let configuration = hospital.site.folder("offered.toml");
    fs::write(&configuration, text).unwrap();
    let mut offer = hospital.offer("north-1", "5.0.0", "research");
    offer["try"]["configuration"] = configuration.to_str().unwrap().into();
    assert_eq!(hospital.activates(&offer).await, json!({ "state": id("north-1"), "restarts": true }), "{address}");
    assert_eq!(tokio::task::block_in_place(|| daemon.exit_code()), Some(0));
    let daemon = hospital.serve().await;
    assert_eq!(hospital.status()["state"], Value::Null);
    let audit = hospital.site.audit();
    assert!(audit.contains("state-lost") && audit.contains("port-unavailable"), "{audit}");
    hospital.sends().await;
    hospital.archive.holds(2).await;
    // What cannot start is tried again at each start, until it is taken back.
    assert_eq!(hospital.ask(&json!({ "revert": { "state": null } }))["serves"]["state"], Value::Null);
    drop(daemon);
    drop(taken);
    let _daemon = hospital.serve().await;
    assert_eq!(hospital.status()["state"], Value::Null);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_spool_is_written_as_before_until_the_updater_says_that_the_system_stays() {
    let hospital = Hospital::new().await;
    let daemon = hospital.serve().await;
    let format = hospital.site.folder("spool/format");
    assert!(!format.exists(), "an agent before this one may have to read it");
    for _ in 0..2 {
        assert_eq!(hospital.ask(&json!("committed")), json!({ "committed": { "format": 2 } }));
    }
    assert!(fs::read(&format).unwrap().ends_with(&2_u32.to_le_bytes()));
    drop(daemon);
    let _daemon = hospital.serve().await;
    hospital.sends().await;
    hospital.archive.holds(2).await;
}

/// A study is not answered by two versions of a model, also where its first job ran before a restart and the rest after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_study_under_way_ends_on_its_version_also_where_the_next_state_restarts_the_agent() {
    let hospital = Hospital::new().await;
    // The timeline of a study says that its job runs: what it began on is in the spool.
    let queued = |count: usize| {
        let status = hospital.site.status();
        let is_begun = |study: &Value| {
            let mut steps = study["timeline"].as_array().unwrap().iter();
            study["state"] == "running" && steps.any(|moment| moment["step"] == "running")
        };
        let begun = status["studies"].as_array().unwrap().iter().any(is_begun);
        (begun && status["queue"].as_array().unwrap().len() == count).then_some(())
    };
    // Cut off while its first job runs: nothing of it was answered yet, and what serves is another set by then.
    let daemon = hospital.serve().await;
    let trial = hospital.tries(&hospital.offer("north-1", "5.0.0", "research")).await;
    assert_eq!(trial["standing"], "held", "{trial}");
    let workers = one_worker(&daemon).await;
    signals(&workers, Signal::STOP);
    hospital.sends_series(2).await;
    until("a job runs and one waits", || queued(2)).await;
    let serves = hospital.ask(&json!({ "activate": { "state": id("north-1") } }));
    assert_eq!(serves["serves"]["restarts"], false, "{serves}");
    daemon.signal(Signal::KILL);
    signals(&workers, Signal::CONT);
    drop(daemon);
    let daemon = hospital.serve().await;
    hospital.ended(1).await;
    hospital.archive.holds(4).await;
    assert_eq!(hospital.versions(), ["4.0.0", "4.0.0"]);

    // Ended in order, for a state that asks for it: one job of a study was answered before, one is left, and another study waits.
    let own = fs::read_to_string(hospital.site.config()).unwrap().split("[channel]").next().unwrap().to_owned();
    let text =
        format!("{own}{}", rest(&hospital.archive.address, "")).replace("ae_title = \"SUND\"", "ae_title = \"SUND2\"");
    let configuration = hospital.site.folder("offered.toml");
    fs::write(&configuration, &text).unwrap();
    let mut offer = hospital.offer("north-2", "4.0.0", "research");
    offer["try"]["configuration"] = configuration.to_str().unwrap().into();
    let trial = hospital.tries(&offer).await;
    assert_eq!(trial["standing"], "held", "{trial}");
    let workers = one_worker(&daemon).await;
    signals(&workers, Signal::STOP);
    hospital.sends_series(2).await;
    until("a job runs and one waits", || queued(2)).await;
    hospital.sends().await;
    until("another study waits", || queued(3)).await;
    let serves = hospital.ask(&json!({ "activate": { "state": id("north-2") } }));
    assert_eq!(serves["serves"]["restarts"], true, "{serves}");
    until("it drains", || (hospital.site.status()["draining"] == true).then_some(())).await;
    signals(&workers, Signal::CONT);
    assert_eq!(tokio::task::block_in_place(|| daemon.exit_code()), Some(0));
    let daemon = hospital.serve().await;
    assert_eq!(hospital.status()["models"][0]["version"], "4.0.0");
    hospital.ended(3).await;
    hospital.archive.holds(10).await;
    let mut versions = hospital.versions().split_off(2);
    assert_eq!(versions[0], "5.0.0", "{versions:?}");
    versions.sort_unstable();
    assert_eq!(versions, ["4.0.0", "5.0.0", "5.0.0"]);

    // What is taken back answers nothing more, also after a restart.
    let workers = one_worker(&daemon).await;
    signals(&workers, Signal::STOP);
    let address = hospital.site.status()["node"]["address"].as_str().unwrap().to_owned();
    hospital.sends_series_to("SUND2", &address, 2).await;
    until("a job runs and one waits", || queued(2)).await;
    assert_eq!(hospital.ask(&json!({ "revert": { "state": id("north-1") } }))["serves"]["restarts"], true);
    until("it drains", || (hospital.site.status()["draining"] == true).then_some(())).await;
    signals(&workers, Signal::CONT);
    assert_eq!(tokio::task::block_in_place(|| daemon.exit_code()), Some(0));
    let _daemon = hospital.serve().await;
    hospital.ended(4).await;
    hospital.archive.holds(14).await;
    assert_eq!(hospital.versions()[5..], ["4.0.0", "5.0.0"]);
}
