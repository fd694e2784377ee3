//! A deployment on the box, by the real updater.
use super::appliance::Appliance;
use serde_json::json;
use sund_ota::ddi::{Execution, Finished};
use sund_ota::machine::record::End;

#[tokio::test(flavor = "multi_thread")]
async fn what_the_region_signed_is_fetched_tried_served_watched_and_reported_once() {
    let mut appliance = Appliance::new().await;
    appliance.configure("[attributes]\nsite = \"odense\"\n");
    let descriptor = appliance.state("north-1", &vec![7; 300_000], json!({}));
    appliance.channel.deploy("11", &descriptor);
    assert_eq!(appliance.once().await, Some(0));

    assert_eq!(appliance.agent.serving().activations, ["north-1"]);
    appliance.channel.action("11", |action| {
        let closed = action.closed();
        assert_eq!(closed.len(), 1, "reported once");
        assert_eq!(closed[0].status.result.finished, Finished::Success);
        assert!(action.last_words().contains("brain 1.0.0: active on tract"), "{}", action.last_words());
        assert!(action.feedback.iter().any(|feedback| feedback.status.execution == Execution::Proceeding));
        let never = |f: &&sund_ota::ddi::Feedback| {
            f.status.execution == Execution::Closed && f.status.result.finished == Finished::None
        };
        assert!(!action.feedback.iter().any(|feedback| never(&feedback)));
    });
    assert_eq!(appliance.record().good.len(), 1);
    assert_eq!(appliance.agent.serving().commits, 1, "the agent knows that the system stays");
    {
        let attributes = &appliance.channel.told().attributes;
        assert_eq!((attributes["state"].as_str(), attributes["site"].as_str()), ("north-1", "odense"));
    }

    // The next poll finds nothing to do, and does nothing.
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(appliance.agent.serving().trials, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_that_misses_changes_nothing_and_is_reported_with_the_agents_reason() {
    let mut appliance = Appliance::new().await;
    let good = appliance.state("north-1", b"model one", json!({}));
    appliance.channel.deploy("11", &good);
    assert_eq!(appliance.once().await, Some(0));
    let bad = appliance.state("north-2", b"model two", json!({}));
    appliance.channel.deploy("12", &bad);
    appliance.agent.serving().misses = true;
    assert_eq!(appliance.once().await, Some(1));

    assert_eq!(appliance.agent.serving().state.as_deref(), Some("north-1"));
    assert!(appliance.agent.serving().reverts.is_empty());
    appliance.channel.action("12", |action| {
        assert_eq!(action.closed()[0].status.result.finished, Finished::Failure);
        assert!(action.last_words().contains("a golden case is off by 3 mm"), "{}", action.last_words());
    });
    assert_eq!(appliance.record().good[0].descriptor, good);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_fails_while_it_is_watched_is_taken_back_to_the_one_before() {
    let mut appliance = Appliance::new().await;
    let good = appliance.state("north-1", b"model one", json!({}));
    appliance.channel.deploy("11", &good);
    assert_eq!(appliance.once().await, Some(0));
    let bad = appliance.state("north-2", b"model two", json!({"watch_seconds": 600}));
    appliance.channel.deploy("12", &bad);
    appliance.agent.serving().jobs = (6, 4);
    assert_eq!(appliance.once().await, Some(1));

    assert_eq!(appliance.agent.serving().reverts, [Some("north-1".to_owned())]);
    appliance.channel.action("12", |action| {
        assert_eq!(action.closed()[0].status.result.finished, Finished::Failure);
        let words = action.last_words();
        assert!(words.contains("4 of 10 jobs failed, 40 %") && words.contains("serves `north-1` again"), "{words}");
    });
    let last = appliance.record().last.expect("it was reported");
    assert!(matches!(last.step, sund_ota::machine::record::Step::Ended { outcome } if outcome.end == End::RolledBack));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_is_offered_beside_the_models_and_read_by_the_agents_group() {
    use std::os::unix::fs::PermissionsExt;
    let mut appliance = Appliance::new().await;
    let configuration = appliance.region.approve("config", "config/north.toml", b"[node]\n");
    let descriptor = appliance.state("north-1", b"model", json!({"configuration": configuration}));
    appliance.channel.deploy("11", &descriptor);
    assert_eq!(appliance.once().await, Some(0));
    let offer = appliance.agent.serving().kept.pop().expect("it was activated");
    let configuration = offer.configuration.expect("a configuration");
    assert_eq!(std::fs::read(&configuration).expect("a file"), b"[node]\n");
    for file in [&configuration, &offer.packages[0].file] {
        assert_eq!(std::fs::metadata(file).expect("a file").permissions().mode() & 0o777, 0o640);
    }
}
