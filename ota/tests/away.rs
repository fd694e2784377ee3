//! The channel is away, or shows what has expired: what has changed the box is brought to its end all the same, and nothing is begun.
use super::appliance::Appliance;
use super::conversation::{Running, until};
use serde_json::json;
use sund_ota::ddi::Finished;
use sund_ota::fault::{Blame, Fault};
use sund_ota::machine::record::{Action, Step};

/// A box that serves `north-1`, and whose updater was killed while it watched `north-2`.
pub async fn killed_while_it_watched(watch_seconds: u64) -> Appliance {
    let mut appliance = Appliance::serving().await;
    let watched = appliance.state("north-2", b"model two", json!({"watch_seconds": watch_seconds}));
    appliance.channel.deploy("2", &watched);
    let running = Running(appliance.run());
    until("it serves", || appliance.agent.serving().state.as_deref() == Some("north-2")).await;
    drop(running);
    assert_eq!(step(&appliance), "active");
    appliance
}

pub fn step(appliance: &Appliance) -> &'static str {
    appliance.record().action.map_or("none", |action| action.step.name())
}

pub fn serves(appliance: &Appliance) -> Option<String> {
    appliance.agent.serving().state.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_is_brought_to_its_end_and_told_once_the_channel_is_back() {
    let appliance = killed_while_it_watched(5).await;
    appliance.channel.told().is_away = true;
    assert_eq!(appliance.once().await, Some(75));
    assert_eq!(step(&appliance), "ended");
    assert_eq!(appliance.record().good.len(), 2);
    appliance.channel.action("2", |action| assert!(action.is_open));

    appliance.channel.told().is_away = false;
    assert_eq!(appliance.once().await, Some(0));
    appliance.channel.action("2", |action| assert_eq!(action.closed()[0].status.result.finished, Finished::Success));
    assert_eq!(serves(&appliance).as_deref(), Some("north-2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_miss_is_taken_back_and_told_with_all_that_is_known_once_the_channel_is_back() {
    let appliance = killed_while_it_watched(600).await;
    appliance.channel.told().is_away = true;
    appliance.agent.serving().jobs = (6, 4);
    assert_eq!(appliance.once().await, Some(75));
    assert_eq!((serves(&appliance).as_deref(), step(&appliance)), (Some("north-1"), "ended"));

    appliance.channel.told().is_away = false;
    assert_eq!(appliance.once().await, Some(1));
    appliance.channel.action("2", |action| {
        assert_eq!(action.closed()[0].status.result.finished, Finished::Failure);
        let words = action.last_words();
        for known in ["watch-missed", "2 of 2 cases", "6 answered, 4 failed", "serves `north-1` again"] {
            assert!(words.contains(known), "{known}: {words}");
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_miss_is_taken_back_also_where_the_metadata_has_expired() {
    let mut appliance = killed_while_it_watched(600).await;
    appliance.region.expires = "2020-01-01T00:00:00Z".to_owned();
    appliance.publish();
    appliance.agent.serving().jobs = (6, 4);
    assert_eq!(appliance.once().await, Some(1));
    assert_eq!(serves(&appliance).as_deref(), Some("north-1"));
    appliance.channel.action("2", |action| assert!(action.last_words().contains("watch-missed")));
}

/// The updater was killed right after it had written down that the state is taken back.
pub fn goes_back(appliance: &Appliance) {
    let mut record = appliance.record();
    let fault = Fault::new("watch-missed", Blame::Package, "`brain` is off");
    let rolling_back = Step::RollingBack { fault, boot: None, details: Vec::new() };
    record.action = record.action.map(|action| Action { step: rolling_back, ..action });
    record.write(&appliance.directory.path().join("updater/state.json")).expect("the record");
}

#[tokio::test(flavor = "multi_thread")]
async fn going_back_is_finished() {
    let appliance = killed_while_it_watched(600).await;
    appliance.channel.told().is_away = true;
    goes_back(&appliance);
    assert_eq!(appliance.once().await, Some(75));
    assert_eq!((serves(&appliance).as_deref(), step(&appliance)), (Some("north-1"), "ended"));
    appliance.channel.told().is_away = false;
    assert_eq!(appliance.once().await, Some(1));
    appliance.channel.action("2", |action| assert!(action.last_words().contains("`brain` is off")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_that_was_altered_meanwhile_is_not_believed() {
    let appliance = killed_while_it_watched(1).await;
    appliance.channel.told().is_away = true;
    let store = appliance.directory.path().join("updater/store");
    for entry in std::fs::read_dir(store).expect("a store").flatten() {
        std::fs::write(entry.path(), b"rogue").expect("the file");
    }
    assert_eq!(appliance.once().await, Some(75));
    assert_eq!(step(&appliance), "active");
    // With the channel they come again, and the watch ends.
    appliance.channel.told().is_away = false;
    assert_eq!(appliance.once().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_begun_by_what_was_verified_before() {
    let mut appliance = Appliance::new().await;
    let descriptor = appliance.state("north-1", b"model", json!({}));
    appliance.channel.deploy("1", &descriptor);
    appliance.channel.action("1", |action| action.update = "skip");
    assert_eq!(appliance.once().await, Some(75));
    assert_eq!(step(&appliance), "verified");
    appliance.channel.told().is_away = true;
    assert_eq!(appliance.once().await, Some(75));
    assert_eq!((step(&appliance), appliance.agent.serving().trials), ("verified", 0));
}
