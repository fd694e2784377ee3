//! A server that was taken over answers every poll, and would keep a box from bringing to its end what it has begun: a state that does not
//! hold would serve on, a system would stay on trial. It can freeze the box where it is, and no worse.
use crate::appliance::Appliance;
use crate::away::{goes_back, killed_while_it_watched, serves, step};
use crate::channel::Misdeed;
use crate::conversation::{Running, until};
use crate::rauc::System;
use serde_json::json;
use std::time::Duration;
use sund_ota::ddi::Finished;

const ANSWERS: [Misdeed; 4] = [Misdeed::Withholds, Misdeed::Cancels, Misdeed::Confirms, Misdeed::NamesAnother];

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_server_answers_going_back_is_finished() {
    for misdeed in ANSWERS {
        let appliance = killed_while_it_watched(600).await;
        goes_back(&appliance);
        appliance.channel.told().misdeed = Some(misdeed);
        appliance.once().await;
        assert_eq!((serves(&appliance).as_deref(), step(&appliance)), (Some("north-1"), "none"), "{misdeed:?}");
        appliance.channel.action("2", |action| {
            assert_eq!(action.closed()[0].status.result.finished, Finished::Failure, "{misdeed:?}");
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_server_answers_a_watch_is_gone_on_with_and_a_miss_taken_back() {
    for misdeed in ANSWERS {
        let appliance = killed_while_it_watched(600).await;
        appliance.channel.told().misdeed = Some(misdeed);
        appliance.agent.serving().jobs = (6, 4);
        appliance.once().await;
        assert_eq!((serves(&appliance).as_deref(), step(&appliance)), (Some("north-1"), "none"), "{misdeed:?}");
        // One for which it is left has not missed.
        let words = appliance.channel.action("2", |action| action.last_words());
        assert!(words.contains("watch-missed") || misdeed == Misdeed::NamesAnother, "{misdeed:?}: {words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_names_an_action_and_never_gives_it_keeps_no_state_that_nobody_watches() {
    let appliance = killed_while_it_watched(600).await;
    let before = appliance.agent.serving().checks;
    let _running = Running(appliance.run());
    until("it watches again", || appliance.agent.serving().checks > before).await;
    appliance.channel.told().misdeed = Some(Misdeed::NamesAnother);
    until("it goes back", || serves(&appliance).as_deref() == Some("north-1")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_was_left_half_watched_does_not_serve_while_the_one_after_it_waits_for_its_window() {
    let mut appliance = killed_while_it_watched(600).await;
    let newer = appliance.state("north-3", b"model three", json!({}));
    appliance.channel.deploy("3", &newer);
    appliance.channel.action("3", |action| action.update = "skip");
    let _running = Running(appliance.run());
    until("it goes back", || serves(&appliance).as_deref() == Some("north-1")).await;
    appliance.channel.action("3", |action| action.update = "attempt");
    until("the newer one serves", || serves(&appliance).as_deref() == Some("north-3")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_server_answers_a_new_system_is_tried_to_its_end() {
    for (misdeed, is_healthy) in ANSWERS.into_iter().zip([true, false, true, false]) {
        let system = started(misdeed).await;
        system.appliance.agent.serving().is_silent = !is_healthy;
        system.appliance.once().await;
        let slots = system.slots();
        assert_eq!(slots.runs(), if is_healthy { "2.0" } else { "1.0" }, "{misdeed:?}");
        assert_eq!(slots.has_marked("good", "booted"), is_healthy, "{misdeed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_shows_a_page_for_people_gives_up_no_system_on_trial() {
    let mut system = started(Misdeed::MaintenancePage).await;
    for _ in 0..2 {
        assert_eq!(system.appliance.once().await, Some(75));
        let slots = system.slots();
        assert_eq!((slots.runs().as_str(), slots.has_marked("bad", "booted")), ("2.0", false), "it is not given up");
        assert!(!slots.has_marked("good", "booted"), "nor committed");
    }
    system.appliance.channel.told().misdeed = None;
    assert_eq!(system.appliance.once().await, Some(0));
    assert_eq!(serves(&system.appliance).as_deref(), Some("north-2"));
    assert!(system.slots().has_marked("good", "booted"));
    // What the region takes back is another matter.
    system = started(Misdeed::Withholds).await;
    system.appliance.region.withdraw("state/north-2.json");
    system.appliance.publish();
    system.appliance.once().await;
    assert_eq!(system.slots().runs(), "1.0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_wants_to_be_asked_again_at_once_is_not_flooded_with_polls() {
    let appliance = Appliance::new().await;
    appliance.channel.told().busy = Some(0);
    let _running = Running(appliance.run());
    until("it polls", || appliance.channel.told().polls > 0).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    let polls = appliance.channel.told().polls;
    assert!(polls <= 5, "{polls} polls in six seconds, where each second one is due at most");
}

/// A box that was started into 2.0 with `north-2`, and then meets such a server.
async fn started(misdeed: Misdeed) -> System {
    let mut system = System::new("").await;
    let descriptor = system.state();
    system.appliance.channel.deploy("1", &descriptor);
    assert_eq!(system.appliance.once().await, Some(0));
    assert_eq!(system.slots().runs(), "2.0");
    system.appliance.channel.told().misdeed = Some(misdeed);
    system
}
