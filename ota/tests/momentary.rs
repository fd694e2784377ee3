//! What passes by itself, or is set right by somebody, ends no action: it waits, the channel is told why, and it goes on.
use super::appliance::Appliance;
use super::channel::ServerAction;
use super::conversation::{Running, until};
use super::switches::suspend;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use sund_ota::ddi::{Execution, Finished};
use sund_ota::descriptor::Descriptor;

/// A box that serves `north-1` and is to serve `north-2`.
async fn appliance() -> (Appliance, Descriptor) {
    let mut appliance = Appliance::serving().await;
    let descriptor = appliance.state("north-2", b"model two", json!({}));
    appliance.channel.deploy("2", &descriptor);
    (appliance, descriptor)
}

/// The action waits and the channel knows why; once it is set right, it ends well.
async fn waits_and_goes_on(appliance: &mut Appliance, code: &str, set_right: impl FnOnce(&mut Appliance)) {
    for _ in 0..2 {
        assert_eq!(appliance.once().await, Some(75), "{code}");
    }
    appliance.channel.action("2", |action| {
        assert!(action.is_open, "{code}");
        let last = &action.feedback.last().expect("it was told").status;
        assert_eq!((last.execution, last.result.finished), (Execution::Proceeding, Finished::None), "{code}");
        assert!(last.details.join(" ").contains(code), "{:?} does not name {code}", last.details);
    });
    assert_eq!(appliance.agent.serving().state.as_deref(), Some("north-1"));
    set_right(appliance);
    assert_eq!(appliance.once().await, Some(0), "{code}");
    assert_eq!(appliance.agent.serving().state.as_deref(), Some("north-2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_not_set_yet() {
    let (mut appliance, _) = appliance().await;
    let seen = appliance.directory.path().join("updater/tuf/seen.json");
    let text = std::fs::read_to_string(&seen).expect("seen.json");
    // It was later already, by what the box has seen.
    let mut later: Value = serde_json::from_str(&text).expect("JSON");
    later["latest"] = json!("2049-01-01T00:00:00Z");
    std::fs::write(&seen, later.to_string()).expect("seen.json");
    waits_and_goes_on(&mut appliance, "clock-set-back", |_| std::fs::write(&seen, text).expect("seen.json")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_is_behind_what_the_box_has_seen() {
    let (mut appliance, _) = appliance().await;
    let old: BTreeMap<String, Vec<u8>> = appliance.channel.told().files.clone();
    appliance.publish();
    // The box sees the newest once, and then the mirror as it was.
    appliance.channel.action("2", |action| action.update = "skip");
    assert_eq!(appliance.once().await, Some(75));
    let new = std::mem::replace(&mut appliance.channel.told().files, old);
    appliance.channel.action("2", |action| action.update = "forced");
    waits_and_goes_on(&mut appliance, "timestamp-rolled-back", |appliance| appliance.channel.told().files = new).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_lacks_a_file_for_now() {
    let (mut appliance, _) = appliance().await;
    let all = appliance.channel.told().files.clone();
    appliance.channel.told().files.retain(|path, _| !path.ends_with("brain-north-2.sund"));
    waits_and_goes_on(&mut appliance, "store-incomplete", |appliance| appliance.channel.told().files = all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_store_lacks_of_other_states_and_of_the_one_that_serves_holds_nothing_up() {
    let (mut appliance, _) = appliance().await;
    appliance.state("north-3", b"model three", json!({}));
    suspend(&mut appliance, "lung", None);
    let files = ["brain-north-1.sund", ".north-1.json", "brain-north-3.sund", ".north-3.json"];
    appliance.channel.told().files.retain(|path, _| !files.iter().any(|file| path.ends_with(file)));
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(appliance.agent.serving().state.as_deref(), Some("north-2"));
    assert_eq!(appliance.record().switches.suspended.len(), 1, "and the region is heeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails() {
    let (mut appliance, _) = appliance().await;
    appliance.channel.told().fails = Some("metadata/timestamp.json");
    waits_and_goes_on(&mut appliance, "store-failed", |appliance| appliance.channel.told().fails = None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_that_has_expired() {
    let (mut appliance, _) = appliance().await;
    appliance.region.expires = "2020-01-01T00:00:00Z".to_owned();
    appliance.publish();
    waits_and_goes_on(&mut appliance, "-expired", |appliance| {
        appliance.region.expires = "2050-01-01T00:00:00Z".to_owned();
        appliance.publish();
    })
    .await;
}

/// The repository lies at another address than the server.
fn behind_a_mirror(appliance: &Appliance) {
    let text = std::fs::read_to_string(appliance.configuration()).expect("updater.toml");
    let mirror = text.replace("etadata = \"http://127.0.0.1", "etadata = \"http://localhost");
    std::fs::write(appliance.configuration(), mirror).expect("updater.toml");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_a_mirror_does_not_list_at_a_poll_in_the_middle_of_its_download_is_waited_for() {
    let (mut appliance, _) = appliance().await;
    behind_a_mirror(&appliance);
    appliance.channel.told().pause = Some(Duration::from_secs(3));
    let _updater = Running(appliance.run());
    until("it is taken up", || appliance.record().action.is_some()).await;
    appliance.region.withdraw("state/north-2.json");
    appliance.publish();
    let says_why = |action: &mut ServerAction| {
        assert!(action.is_open, "{:?}", action.last_words());
        let mut lines = action.feedback.iter().flat_map(|feedback| &feedback.status.details);
        lines.any(|line| line.contains("waits: ") && line.contains("target-not-approved"))
    };
    until("it waits", || appliance.channel.action("2", says_why)).await;
    appliance.channel.told().pause = None;
    appliance.state("north-2", b"model two", json!({}));
    until("it serves", || appliance.agent.serving().state.as_deref() == Some("north-2")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_a_mirror_does_not_list_yet_is_waited_for_and_not_for_ever() {
    for comes in [true, false] {
        let (mut appliance, _) = appliance().await;
        behind_a_mirror(&appliance);
        appliance.region.withdraw("state/north-2.json");
        appliance.publish();
        if comes {
            waits_and_goes_on(&mut appliance, "target-not-approved", |appliance| {
                appliance.state("north-2", b"model two", json!({}));
            })
            .await;
            continue;
        }
        assert_eq!(appliance.once().await, Some(75));
        let mut record = appliance.record();
        record.action.iter_mut().for_each(|action| action.since -= 24 * 3600);
        record.write(&appliance.directory.path().join("updater/state.json")).expect("the record");
        assert_eq!(appliance.once().await, Some(1));
        appliance.channel.action("2", |action| assert!(action.last_words().contains("target-not-approved")));
    }
}
