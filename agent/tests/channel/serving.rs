//! A state takes the place of another as a whole, and studies go on.
use super::fixture::{Hospital, MODEL, id, one_worker, rest, signals};
use crate::hospital::{Archive, frame, new_uid, signed, until};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs;
use sund_agent::association::{Peer, Sent, send};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_job_under_way_ends_on_the_version_that_it_began_with_and_the_next_ones_run_on_the_new() {
    let hospital = Hospital::new().await;
    let daemon = hospital.serve().await;
    let before = hospital.status();
    assert_eq!(
        (&before["state"], &before["node_answers"], &before["engine_class"]),
        (&Value::Null, &true.into(), &"cpu".into())
    );
    assert_eq!(before["models"][0]["version"], "4.0.0");

    let trial = hospital.tries(&hospital.offer("north-1", "5.0.0", "research")).await;
    assert_eq!(trial["standing"], "held", "{trial}");
    let found = |check: &str| trial["findings"].as_array().unwrap().iter().find(|one| one["check"] == check).cloned();
    assert!(found("golden-cases").unwrap()["text"].as_str().unwrap().contains("score of box 3"), "{trial}");
    assert!(found("engine").unwrap()["text"].as_str().unwrap().contains("tract fp32"), "{trial}");
    assert!(found("configuration").is_some() && found("opened").unwrap()["ms"].as_f64().unwrap() > 0.0);
    assert_eq!(hospital.status()["models"][0]["version"], "4.0.0", "nothing is changed by a trial");

    let workers = one_worker(&daemon).await;
    signals(&workers, Signal::STOP);
    hospital.sends().await;
    until("a job runs", || (hospital.status()["running"] == 1).then_some(())).await;
    hospital.sends().await;
    until("a job waits", || (hospital.site.status()["queue"].as_array().unwrap().len() == 2).then_some(())).await;
    let serves = hospital.ask(&json!({ "activate": { "state": id("north-1") } }));
    assert_eq!(serves, json!({ "serves": { "state": id("north-1"), "restarts": false } }));
    let again = hospital.ask(&json!({ "activate": { "state": id("north-1") } }));
    assert_eq!(again, serves, "an answer that got lost is given again");
    signals(&workers, Signal::CONT);
    let studies = hospital.ended(2).await;
    hospital.archive.holds(4).await;
    let mut versions = hospital.versions();
    versions.sort_unstable();
    assert_eq!(versions, ["4.0.0", "5.0.0"], "{studies:#?}");
    assert!(studies[0]["timeline"].to_string().contains("5.0.0 answers in place of 4.0.0"), "{:#}", studies[0]);

    hospital.sends().await;
    hospital.ended(3).await;
    until("nothing runs", || (hospital.status()["running"] == 0).then_some(())).await;
    let after = hospital.status();
    assert_eq!(after["state"], id("north-1"));
    let model = &after["models"][0];
    assert_eq!(
        (&model["version"], &model["standing"], &model["answered"]),
        (&"5.0.0".into(), &"active".into(), &2.into())
    );
    assert!(model["median_ms"].as_f64().unwrap() > 0.0 && model["failed"] == 0, "{model}");
    assert_eq!(hospital.site.status()["state"], "north-1");
    let audit = hospital.site.audit();
    assert!(audit.contains("state-tried") && audit.contains("state-activated") && audit.contains("north-1"), "{audit}");

    let serves = hospital.ask(&json!({ "revert": { "state": null } }));
    assert_eq!(serves, json!({ "serves": { "state": null, "restarts": false } }));
    hospital.sends().await;
    hospital.ended(4).await;
    hospital.archive.holds(8).await;
    assert_eq!(hospital.versions().last(), Some(&"4.0.0"));
    let serves = hospital.ask(&json!({ "revert": { "state": id("north-1") } }));
    assert_eq!(serves["serves"]["state"]["name"], "north-1");
    assert_eq!(hospital.status()["models"][0]["version"], "5.0.0");
    assert_eq!(
        hospital.ask(&json!({ "revert": { "state": id("north-0") } }))["refused"]["code"],
        "state-not-kept-here"
    );
    assert!(hospital.site.audit().contains("state-reverted"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_calls_where_results_go_and_what_runs_change_while_the_agent_runs() {
    let hospital = Hospital::new().await;
    let _daemon = hospital.serve().await;
    let other = Archive::open().await;
    let own = fs::read_to_string(hospital.site.config()).unwrap().split("[channel]").next().unwrap().to_owned();
    let text = format!(
        "{own}[[callers]]\nae_title = \"CT1\"\n{}called_ae = [\"SUND_US\"]\n[[routes]]\nname = \"rest\"\nmodels = [\"none\"]\n",
        rest(&other.address, "")
    );
    let configuration = hospital.site.folder("offered.toml");
    fs::write(&configuration, text).unwrap();
    let mut offer = hospital.offer("north-2", "5.0.0", "research");
    offer["try"]["configuration"] = configuration.to_str().unwrap().into();
    assert_eq!(hospital.activates(&offer).await, json!({ "state": id("north-2"), "restarts": false }));

    let address = hospital.site.status()["node"]["address"].as_str().unwrap().to_owned();
    let node = |calling: &str, called: &str| Peer {
        calling_ae: calling.into(),
        called_ae: called.into(),
        address: address.clone(),
        tls: None,
    };
    let image = || frame().rows(64).in_study(&new_uid(), "1").object();
    send(&node("MODALITY", "SUND"), &[image()], |_, _| {}).await.unwrap_err();
    let stored = |_, sent| assert_eq!(sent, Sent::Stored { status: 0 });
    send(&node("CT1", "SUND_US"), &[image()], stored).await.unwrap();
    let held = other.holds(2).await;
    assert!(held.iter().any(|held| held.says("5.0.0")));
    // The node answers itself, whoever may call it.
    assert_eq!(hospital.status()["node_answers"], true);
    // A route that the state does not name runs nothing.
    send(&node("CT1", "SUND"), &[image()], stored).await.unwrap();
    until("it is not routed", || {
        hospital.site.status()["studies"][0]["timeline"].to_string().contains("no-route").then_some(())
    })
    .await;
    assert_eq!(hospital.archive.count(), 0);
    assert!(!hospital.site.audit().contains("state-lost"));
}

/// A package that its vendor has signed is what a route in clinical use takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_signed_package_comes_into_clinical_use_by_the_channel() {
    let hospital = Hospital::new().await;
    let packed = tempfile::tempdir().unwrap();
    let model = tokio::task::block_in_place(|| signed(MODEL, packed.path()));
    let text = fs::read_to_string(hospital.site.config()).unwrap();
    let vendor = model.configured().split("[[models]]").next().unwrap().to_owned();
    fs::write(hospital.site.config(), format!("{text}{vendor}")).unwrap();
    fs::copy(&model.package, hospital.package("signed")).unwrap();
    let _daemon = hospital.serve().await;
    assert_eq!(hospital.activates(&hospital.offer("north-1", "signed", "clinical")).await["state"]["name"], "north-1");
    assert_eq!(hospital.site.status()["models"][0]["mode"], "clinical");
}

/// A study is not answered by two versions of a model: what waits of it stays with the version that it began with.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_study_ends_on_the_version_that_it_began_with_also_the_jobs_of_it_that_still_wait() {
    let hospital = Hospital::new().await;
    let daemon = hospital.serve().await;
    let trial = hospital.tries(&hospital.offer("north-1", "5.0.0", "research")).await;
    assert_eq!(trial["standing"], "held", "{trial}");
    let workers = one_worker(&daemon).await;
    signals(&workers, Signal::STOP);
    hospital.sends_series(2).await;
    let queued = |count: usize| {
        let is_so = || (hospital.site.status()["queue"].as_array().unwrap().len() == count).then_some(());
        (hospital.status()["running"] == 1).then(is_so).flatten()
    };
    until("a job runs and one waits", || queued(2)).await;
    hospital.sends().await;
    until("another study waits", || queued(3)).await;
    assert_eq!(hospital.ask(&json!({ "activate": { "state": id("north-1") } }))["serves"]["restarts"], false);
    signals(&workers, Signal::CONT);
    hospital.ended(2).await;
    hospital.archive.holds(6).await;
    assert_eq!(hospital.versions(), ["4.0.0", "4.0.0", "5.0.0"]);

    // What is taken back answers nothing more but what it is at. A golden case that warms the worker comes before its jobs.
    let log = || fs::read_to_string(hospital.site.folder("log")).unwrap();
    until("the worker is warm", || log().contains("a worker is warm").then_some(())).await;
    let workers = one_worker(&daemon).await;
    signals(&workers, Signal::STOP);
    hospital.sends_series(2).await;
    until("a job runs and one waits", || queued(2)).await;
    assert_eq!(hospital.ask(&json!({ "revert": { "state": null } }))["serves"]["restarts"], false);
    signals(&workers, Signal::CONT);
    hospital.ended(3).await;
    hospital.archive.holds(10).await;
    assert_eq!(hospital.versions()[3..], ["5.0.0", "4.0.0"]);
}

/// Sets that take each other's place while a job finds its engine leave no job behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_job_is_left_open_by_sets_that_take_each_others_place_again_and_again() {
    let hospital = Hospital::new().await;
    let _daemon = hospital.serve().await;
    hospital.activates(&hospital.offer("north-1", "5.0.0", "research")).await;
    for n in 0..6 {
        hospital.sends().await;
        let back = if n % 2 == 0 { Value::Null } else { id("north-1") };
        assert!(hospital.ask(&json!({ "revert": { "state": back } }))["serves"].is_object());
    }
    hospital.ended(6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_state_under_an_old_name_with_other_bytes_is_another_state() {
    let hospital = Hospital::new().await;
    let _daemon = hospital.serve().await;
    assert_eq!(hospital.activates(&hospital.offer("north-1", "5.0.0", "research")).await["state"], id("north-1"));
    tokio::task::block_in_place(|| hospital.packs("7.0.0", &[]));
    let trial = hospital.tries(&hospital.offer("north-1@again", "7.0.0", "research")).await;
    assert_eq!((&trial["state"], &trial["standing"]), (&id("north-1@again"), &"held".into()), "{trial}");
    let other = hospital.ask(&json!({ "activate": { "state": id("north-1@third") } }));
    assert_eq!(other["refused"]["code"], "state-not-tried", "{other}");
    let serves = hospital.ask(&json!({ "activate": { "state": id("north-1@again") } }));
    assert_eq!(serves["serves"]["state"], id("north-1@again"));
    let status = hospital.status();
    assert_eq!((&status["state"], &status["models"][0]["version"]), (&id("north-1@again"), &"7.0.0".into()));
    // Both are kept, and told apart.
    assert_eq!(hospital.ask(&json!({ "revert": { "state": id("north-1") } }))["serves"]["state"], id("north-1"));
    assert_eq!(hospital.status()["models"][0]["version"], "5.0.0");
    let third = hospital.ask(&json!({ "revert": { "state": id("north-1@third") } }));
    assert_eq!(third["refused"]["code"], "state-not-kept-here");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_report_of_a_trial_tells_which_routes_run_nothing_and_which_destinations_go() {
    let hospital = Hospital::new().await;
    let _daemon = hospital.serve().await;
    let gone = |trial: &Value| {
        let findings = trial["findings"].as_array().unwrap();
        let found = findings.iter().find(|finding| finding["check"] == "what-goes");
        found.map(|finding| (finding["held"].clone(), finding["text"].as_str().unwrap().to_owned()))
    };
    let trial = hospital.tries(&hospital.offer("north-1", "5.0.0", "research")).await;
    assert_eq!(gone(&trial), None, "nothing goes");

    let own = fs::read_to_string(hospital.site.config()).unwrap().split("[channel]").next().unwrap().to_owned();
    let there = rest(&hospital.archive.address, "").replace("\"archive\"", "\"other\"");
    let text = format!("{own}{there}[[routes]]\nname = \"bones\"\n[[routes]]\nname = \"chests\"\n");
    let configuration = hospital.site.folder("offered.toml");
    fs::write(&configuration, &text).unwrap();
    let mut offer = hospital.offer("north-2", "5.0.0", "research");
    offer["try"]["configuration"] = configuration.to_str().unwrap().into();
    let trial = hospital.tries(&offer).await;
    assert_eq!(trial["standing"], "held", "{trial}");
    let words = "route `bones` runs nothing; route `chests` runs nothing; destination `archive` goes";
    assert_eq!(gone(&trial), Some((true.into(), words.to_owned())));

    fs::write(&configuration, text.replace("\"everything\"", "\"all\"")).unwrap();
    offer["try"]["routes"] = json!({ "all": { "models": [MODEL], "mode": "research" } });
    offer["try"]["state"] = id("north-3");
    let (_, told) = gone(&hospital.tries(&offer).await).unwrap();
    assert!(told.contains("route `everything` goes"), "{told}");
}
