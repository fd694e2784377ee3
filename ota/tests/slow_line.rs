//! A channel that is slow to answer is heard all the same while a step works, and is asked no more often for that.
use super::appliance::Appliance;
use super::conversation::{Running, until};
use super::guard::word;
use super::rauc::System;
use super::stick;
use super::switches::suspend;
use serde_json::json;
use std::time::{Duration, Instant};
use sund_ota::machine::record::{Origin, Step};

/// Longer than a step waits between two looks at what it waits for.
const SLOW: Duration = Duration::from_millis(1500);

/// A box that serves `north-1` and works on `north-2`, which is on trial for as long as nobody ends that.
async fn on_trial() -> (Appliance, Running) {
    let mut appliance = Appliance::serving().await;
    let descriptor = appliance.state("north-2", b"model two", json!({"watch_seconds": 600}));
    appliance.agent.serving().trial_polls = 1000;
    appliance.channel.deploy("2", &descriptor);
    let running = Running(appliance.run());
    until("the trial begins", || appliance.agent.serving().trials > 1).await;
    (appliance, running)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspension_reaches_a_box_on_a_slow_line_while_a_state_is_tried() {
    let (mut appliance, _running) = on_trial().await;
    appliance.channel.told().answers_after = Duration::from_millis(500);
    suspend(&mut appliance, "brain", None);
    until("it is off", || appliance.agent.serving().suspended == ["brain"]).await;
    assert_eq!(appliance.agent.serving().state.as_deref(), Some("north-1"), "the trial goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspension_and_a_withdrawal_reach_a_box_on_a_slow_line_while_a_state_is_watched() {
    let (mut appliance, _running) = on_trial().await;
    appliance.agent.end_trial();
    until("it serves", || appliance.agent.serving().state.as_deref() == Some("north-2")).await;
    appliance.channel.told().answers_after = Duration::from_millis(500);
    suspend(&mut appliance, "brain", None);
    until("it is off", || appliance.agent.serving().suspended == ["brain"]).await;
    appliance.region.withdraw("state/north-2.json");
    appliance.publish();
    until("it is taken back", || appliance.agent.serving().state.as_deref() == Some("north-1")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_server_is_asked_no_more_often_than_a_quick_one_while_a_step_works() {
    let (appliance, _running) = on_trial().await;
    let polls = || appliance.channel.told().polls;
    appliance.channel.told().answers_after = SLOW;
    let before = polls();
    tokio::time::sleep(8 * SLOW).await;
    // Each is answered before the next, and what the region has signed is read in between.
    assert!((1..=3).contains(&(polls() - before)), "{} polls", polls() - before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_updater_whose_channel_is_slow_keeps_its_word_while_a_state_is_tried_in_a_new_system() {
    let mut system = System::new("").await;
    let descriptor = system.state();
    system.appliance.agent.serving().trial_polls = 1000;
    system.appliance.channel.deploy("1", &descriptor);
    assert_eq!(system.appliance.once().await, Some(0));
    assert_eq!(system.slots().runs(), "2.0");
    let _running = Running(system.appliance.run());
    until("the trial begins", || system.appliance.agent.serving().trials > 0).await;
    system.appliance.channel.told().answers_after = SLOW;
    // What was asked before that is answered.
    tokio::time::sleep(2 * SLOW).await;
    let said = word(&system).until;
    until("it is heard again", || word(&system).until > said).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stick_is_taken_up_at_once_also_while_the_channel_is_slow_to_answer() {
    let mut appliance = Appliance::new().await;
    let of_stick = appliance.state("north-1", &vec![7; 300_000], json!({}));
    let files = appliance.region.bundle(&of_stick, stick::FAR);
    let stick = stick::write(appliance.directory.path(), &files);
    let of_channel = appliance.state("north-2", b"model two", json!({}));
    appliance.agent.serving().trial_polls = 1000;
    appliance.channel.deploy("1", &of_channel);
    let _running = Running(appliance.run());
    until("the trial begins", || appliance.agent.serving().trials > 0).await;
    appliance.channel.told().answers_after = Duration::from_secs(20);
    tokio::time::sleep(2 * SLOW).await;
    let begun = Instant::now();
    let mut install = appliance.command(&["install", stick.to_str().expect("UTF-8")]);
    let _install = Running(install.spawn().expect("it starts"));
    let is_taken_up = || appliance.record().action.is_some_and(|action| action.origin == Origin::Stick);
    until("it is taken up", is_taken_up).await;
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_watched_is_kept_each_minute_also_where_a_switch_changes_in_between() {
    let (mut appliance, _running) = on_trial().await;
    appliance.agent.end_trial();
    tokio::time::sleep(Duration::from_mins(1)).await;
    until("a minute is kept", || watched(&appliance) >= 60).await;
    suspend(&mut appliance, "brain", None);
    until("it is off", || !appliance.record().switches.applied.is_empty()).await;
    assert!(watched(&appliance) >= 60, "{} s", watched(&appliance));
}

/// Seconds of watching that are kept.
fn watched(appliance: &Appliance) -> u64 {
    match appliance.record().action.map(|action| action.step) {
        Some(Step::Active { watched, .. }) => watched,
        _ => 0,
    }
}
