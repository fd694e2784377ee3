//! The channel is away, or shows what has expired: what has changed the box is brought to its end all the same, and nothing is begun.
use super::appliance::Appliance;
use super::conversation::{Running, until};
use super::transitions::{Side, die_at_each};
use serde_json::json;
use sund_ota::audit::Event;
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

fn starts_within_seconds(appliance: &Appliance) {
    let text = std::fs::read_to_string(appliance.configuration()).expect("updater.toml");
    let text = text.replace("start_seconds = 20", "start_seconds = 3");
    std::fs::write(appliance.configuration(), text).expect("updater.toml");
}

/// The port of its configuration is taken, or its address is not up: the agent comes up with its own configuration in place of the state.
#[tokio::test(flavor = "multi_thread")]
async fn a_state_under_which_the_agent_does_not_start_is_taken_back_also_while_the_channel_is_away_and_another_action_waits()
 {
    for is_away in [true, false] {
        let mut appliance = Appliance::serving().await;
        starts_within_seconds(&appliance);
        let second = appliance.state("north-2", b"model two", json!({}));
        let third = appliance.state("north-3", b"model three", json!({}));
        appliance.agent.serving().does_not_start_in = vec!["north-2".to_owned()];
        appliance.channel.deploy("2", &second);
        let _running = Running(appliance.run());
        until("it is activated", || appliance.agent.serving().activations.len() == 2).await;
        if is_away {
            appliance.channel.told().is_away = true;
        } else {
            // Nothing is done about it before its window.
            appliance.channel.deploy("3", &third);
            appliance.channel.action("3", |action| action.update = "skip");
        }
        until("it is taken back", || serves(&appliance).as_deref() == Some("north-1")).await;
        // What had kept it from coming up has passed.
        appliance.agent.serving().starts_again();
        assert_eq!(serves(&appliance).as_deref(), Some("north-1"));
        appliance.channel.told().is_away = false;
        until("it is told", || appliance.channel.action("2", |action| !action.closed().is_empty())).await;
        appliance.channel.action("2", |action| {
            let words = action.last_words();
            assert!(words.contains("agent-does-not-serve") && words.contains("serves `north-1` again"), "{words}");
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_that_never_had_a_state_leaves_its_first_one_where_the_agent_does_not_start_in_it() {
    let mut appliance = Appliance::new().await;
    starts_within_seconds(&appliance);
    let first = appliance.state("north-1", b"model", json!({}));
    appliance.agent.serving().does_not_start_in = vec!["north-1".to_owned()];
    appliance.channel.deploy("1", &first);
    assert_eq!(appliance.once().await, Some(1));
    let mut serving = appliance.agent.serving();
    assert!(serving.reverts == [None] && serving.suspended.is_empty(), "{:?}", serving.reverts);
    serving.starts_again();
    assert_eq!(serving.state, None);
}

/// The address of every configuration so far is gone: a state that names another one has to come through.
#[tokio::test(flavor = "multi_thread")]
async fn a_box_whose_agent_comes_up_under_nothing_that_held_is_told_and_takes_the_next_state() {
    let mut appliance = comes_up_under_nothing().await;
    assert_eq!(appliance.once().await, Some(1));
    appliance.channel.action("2", |action| {
        let words = action.last_words();
        assert!(words.contains("the agent was to serve `north-2`") && words.contains("to serve `north-1`"), "{words}");
    });
    assert_eq!(appliance.agent.serving().suspended, ["own-model"], "nothing is approved that it serves");
    let third = appliance.state("north-3", b"model three", json!({}));
    appliance.channel.deploy("3", &third);
    assert_eq!(appliance.once().await, Some(0));
    let serving = appliance.agent.serving();
    assert_eq!((serving.state.as_deref(), serving.suspended.len()), (Some("north-3"), 0));
}

/// The agent is to serve another state, and comes up under that and under what held no more.
async fn comes_up_under_nothing() -> Appliance {
    let mut appliance = Appliance::serving().await;
    starts_within_seconds(&appliance);
    let second = appliance.state("north-2", b"model two", json!({}));
    appliance.agent.serving().does_not_start_in = vec!["north-1".to_owned(), "north-2".to_owned()];
    appliance.channel.deploy("2", &second);
    appliance
}

fn starts_again_without_its_channel(appliance: &Appliance) {
    appliance.channel.told().is_away = true;
    appliance.agent.serving().starts_again();
    assert_eq!(serves(appliance).as_deref(), Some("north-1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_models_of_what_held_are_on_once_the_agent_starts_again_by_itself_also_while_the_channel_is_away() {
    let appliance = comes_up_under_nothing().await;
    assert_eq!(appliance.once().await, Some(1));
    assert_eq!(appliance.agent.serving().suspended, ["own-model"]);
    starts_again_without_its_channel(&appliance);
    assert_eq!(appliance.once().await, Some(75));
    assert!(appliance.agent.serving().suspended.is_empty() && appliance.record().suspended.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_on_also_where_the_updater_was_killed_on_the_way_back() {
    let appliance = comes_up_under_nothing().await;
    let is_off = || !appliance.record().suspended.is_empty();
    die_at_each(&appliance, Side::After, || (), is_off).await;
    assert_eq!(step(&appliance), "rolling-back");
    starts_again_without_its_channel(&appliance);
    assert_eq!(appliance.once().await, Some(75));
    assert_eq!((step(&appliance), appliance.record().suspended), ("ended", Vec::new()));
    assert!(appliance.agent.serving().suspended.is_empty());
}

/// A power cut, or a start that failed, has cost the agent what it served.
async fn lost_what_held() -> Appliance {
    let appliance = Appliance::serving().await;
    appliance.agent.serving().state = None;
    appliance
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_lost_what_held_is_put_back_also_while_the_channel_is_away() {
    let appliance = lost_what_held().await;
    appliance.channel.told().is_away = true;
    assert_eq!(appliance.once().await, Some(75));
    assert_eq!(serves(&appliance).as_deref(), Some("north-1"));
    assert!(appliance.agent.serving().suspended.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_lost_what_held_is_put_back_also_while_an_action_waits() {
    let mut appliance = lost_what_held().await;
    let second = appliance.state("north-2", b"model two", json!({}));
    appliance.channel.deploy("2", &second);
    appliance.channel.action("2", |action| action.update = "skip");
    assert_eq!(appliance.once().await, Some(75));
    assert_eq!(serves(&appliance).as_deref(), Some("north-1"));
    appliance.channel.action("2", |action| action.update = "forced");
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(serves(&appliance).as_deref(), Some("north-2"));
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
    let told = appliance.agent.serving().audited.clone();
    let is_told = |event: &Event| event.details.values().any(|text| text.contains("[target-not-kept]"));
    assert!(told.iter().any(is_told), "{told:?}");
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
