//! What the box does not take, whoever sends it.
use super::appliance::Appliance;
use serde_json::json;
use sund_ota::ddi::Finished;
use sund_ota::descriptor::Descriptor;

/// The box refused an action: it was told so, in these words, and serves what it served.
fn assert_refused(appliance: &Appliance, id: &str, code: &str) {
    appliance.channel.action(id, |action| {
        assert_eq!(action.closed().len(), 1, "it was not closed");
        assert_eq!(action.closed()[0].status.result.finished, Finished::Failure);
        assert!(action.last_words().contains(code), "{}", action.last_words());
    });
    assert!(appliance.agent.serving().activations.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_the_region_did_not_approve_is_refused() {
    let mut appliance = Appliance::new().await;
    let approved = appliance.state("north-1", b"model", json!({}));
    appliance.channel.deploy("1", &Descriptor { sha256: "0".repeat(64), ..approved.clone() });
    assert_eq!(appliance.once().await, Some(1));
    assert_refused(&appliance, "1", "target-not-approved");
    // A model that the state names, and that its own role does not list.
    appliance.region.withdraw("models/vendor/brain-north-1.sund");
    appliance.publish();
    appliance.channel.deploy("2", &approved);
    assert_eq!(appliance.once().await, Some(1));
    assert_refused(&appliance, "2", "target-not-approved");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_descriptor_that_is_too_long_or_something_else_is_refused() {
    let appliance = Appliance::new().await;
    appliance.channel.deploy_bytes("1", vec![b' '; 5000]);
    assert_eq!(appliance.once().await, Some(1));
    assert_refused(&appliance, "1", "channel-answer-invalid");
    appliance.channel.deploy_bytes("2", b"{}".to_vec());
    assert_eq!(appliance.once().await, Some(1));
    assert_refused(&appliance, "2", "descriptor-invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_not_followed() {
    let mut appliance = Appliance::new().await;
    let descriptor = appliance.state("north-1", b"model", json!({}));
    let elsewhere = serde_json::to_vec(&descriptor).expect("JSON");
    appliance.channel.told().files.insert("elsewhere.json".to_owned(), elsewhere);
    appliance.channel.told().redirects = true;
    appliance.channel.deploy("1", &descriptor);
    assert_eq!(appliance.once().await, Some(1));
    assert_refused(&appliance, "1", "channel-answer-invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_payload_is_refused() {
    let mut appliance = Appliance::new().await;
    let descriptor = appliance.state("north-1", b"model", json!({}));
    for (path, bytes) in &mut appliance.channel.told().files {
        if path.starts_with("targets/models") {
            bytes[0] ^= 1;
        }
    }
    appliance.channel.deploy("1", &descriptor);
    assert_eq!(appliance.once().await, Some(1));
    assert_refused(&appliance, "1", "target-altered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_that_was_altered_in_the_store_is_fetched_again() {
    let mut appliance = Appliance::new().await;
    let descriptor = appliance.state("north-1", b"model", json!({}));
    appliance.channel.deploy("1", &descriptor);
    assert_eq!(appliance.once().await, Some(0));
    let store = appliance.directory.path().join("updater/store");
    let files = std::fs::read_dir(store).expect("a store").flatten().map(|entry| entry.path());
    let files: Vec<_> = files.filter(|path| path.extension().is_some_and(|ending| ending == "sund")).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    std::fs::write(&files[0], b"rogue").expect("the file");
    appliance.channel.deploy("2", &descriptor);
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(std::fs::read(&files[0]).expect("the file"), b"model");
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_metadata_stops_updates_and_not_what_runs() {
    let mut appliance = Appliance::serving().await;
    appliance.region.expires = "2020-01-01T00:00:00Z".to_owned();
    let frozen = appliance.state("north-2", b"model two", json!({}));
    appliance.channel.deploy("2", &frozen);
    for _ in 0..2 {
        assert_eq!(appliance.once().await, Some(75));
    }
    let serving = appliance.agent.serving();
    assert_eq!(serving.state.as_deref(), Some("north-1"));
    assert!(serving.reverts.is_empty() && serving.suspended.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_on_the_disk_is_refused_before_it_is_fetched() {
    let mut appliance = Appliance::new().await;
    let huge = "models/vendor/huge.sund";
    let mut package = appliance.region.approve("models/vendor", huge, b"model");
    appliance.region.lengths.insert(huge.to_owned(), 1 << 50);
    package["length"] = json!(1_u64 << 50);
    package["name"] = json!("huge");
    package["version"] = json!("1.0.0");
    let descriptor = appliance.region.approve_state("north-1", json!({"models": [package]}));
    appliance.publish();
    appliance.channel.deploy("1", &descriptor);
    assert_eq!(appliance.once().await, Some(1));
    assert_refused(&appliance, "1", "disk-full");
    assert_eq!(appliance.channel.told().sent, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawn_state_is_left_for_one_that_is_listed_and_else_the_models_are_off() {
    let mut appliance = Appliance::new().await;
    for (id, name, model) in [("1", "north-1", b"model one"), ("2", "north-2", b"model two")] {
        let descriptor = appliance.state(name, model, json!({}));
        appliance.channel.deploy(id, &descriptor);
        assert_eq!(appliance.once().await, Some(0));
    }
    appliance.region.withdraw("state/north-2.json");
    appliance.publish();
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(appliance.agent.serving().state.as_deref(), Some("north-1"));
    assert!(appliance.agent.serving().suspended.is_empty());

    // The package, not the state: what it runs is no longer approved either.
    appliance.region.withdraw("models/vendor/brain-north-1.sund");
    appliance.publish();
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(appliance.agent.serving().state, None);
    assert_eq!(appliance.agent.serving().suspended, ["own-model"]);

    // A state that is approved brings the models back.
    let descriptor = appliance.state("north-3", b"model three", json!({}));
    appliance.channel.deploy("3", &descriptor);
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(appliance.agent.serving().state.as_deref(), Some("north-3"));
    assert!(appliance.agent.serving().suspended.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_missed_its_watch_takes_the_place_of_none_that_can_be_gone_back_to() {
    let mut appliance = Appliance::new().await;
    for (id, name, model) in [("1", "north-1", b"model one"), ("2", "north-2", b"model two")] {
        let descriptor = appliance.state(name, model, json!({}));
        appliance.channel.deploy(id, &descriptor);
        assert_eq!(appliance.once().await, Some(0));
    }
    let checks = appliance.agent.serving().checks;
    appliance.agent.serving().misses_check = Some(checks + 1);
    let descriptor = appliance.state("north-3", b"model three", json!({}));
    appliance.channel.deploy("3", &descriptor);
    assert_eq!(appliance.once().await, Some(1));
    appliance.agent.serving().misses_check = None;
    assert_eq!(appliance.agent.serving().state.as_deref(), Some("north-2"));

    appliance.region.withdraw("state/north-2.json");
    appliance.publish();
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(appliance.agent.serving().state.as_deref(), Some("north-1"), "it is listed still");
    assert!(appliance.agent.serving().suspended.is_empty());
}

/// As it is found where the updater was killed between the two: the agent serves the box's own configuration, and its models are on.
#[tokio::test]
async fn models_that_were_not_yet_suspended_on_the_way_back_are_suspended_at_the_next_start() {
    let mut appliance = Appliance::serving().await;
    appliance.region.withdraw("state/north-1.json");
    appliance.publish();
    appliance.agent.serving().state = None;
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(appliance.agent.serving().state, None);
    assert_eq!(appliance.agent.serving().suspended, ["own-model"]);
}
