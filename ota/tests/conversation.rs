//! What the channel can ask of the box while it works: confirm, wait, stop, do something else.
use super::appliance::Appliance;
use super::channel::ServerAction;
use serde_json::json;
use std::process::Child;
use std::time::{Duration, Instant};
use sund_ota::ddi::{Execution, Feedback, Finished, WAITS};

/// Ends with what it holds.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..600 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("not within 30 s: {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_asks_for_confirmation_is_confirmed_where_the_box_is_told_to() {
    let mut appliance = Appliance::new().await;
    let descriptor = appliance.state("north-1", b"model", json!({}));
    appliance.channel.deploy("1", &descriptor);
    appliance.channel.action("1", |action| action.needs_confirmation = true);
    assert_eq!(appliance.once().await, Some(0));
    appliance.channel.action("1", |action| assert_eq!(action.closed().len(), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_servers_window_is_closed_the_payload_is_fetched_and_nothing_is_changed() {
    let mut appliance = Appliance::new().await;
    let descriptor = appliance.state("north-1", b"model", json!({}));
    appliance.channel.deploy("1", &descriptor);
    appliance.channel.action("1", |action| action.update = "skip");
    assert_eq!(appliance.once().await, Some(75));
    assert_eq!(appliance.channel.told().sent, 5);
    assert_eq!(appliance.agent.serving().trials, 0);
    appliance.channel.action("1", |action| action.update = "attempt");
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(appliance.channel.told().sent, 5, "it was fetched once");
    assert_eq!(appliance.agent.serving().activations, ["north-1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_is_stopped_before_it_serves_and_not_afterwards() {
    let mut appliance = Appliance::new().await;
    let descriptor = appliance.state("north-1", b"model", json!({"watch_seconds": 6}));
    appliance.agent.serving().trial_polls = 1000;
    appliance.channel.deploy("1", &descriptor);
    let _running = Running(appliance.run());
    until("the trial begins", || appliance.agent.serving().trials > 0).await;
    appliance.channel.action("1", |action| action.is_canceling = true);
    until("it is stopped", || appliance.channel.action("1", |action| !action.is_open)).await;
    appliance.channel.action("1", |action| {
        let [answer] = &action.cancel_feedback[..] else { panic!("{:?}", action.cancel_feedback) };
        assert_eq!(answer.status.execution, Execution::Closed);
        assert_eq!(answer.status.result.finished, Finished::Success);
        assert!(action.closed().is_empty());
    });
    assert!(appliance.agent.serving().activations.is_empty());

    appliance.agent.serving().trial_polls = 1;
    appliance.channel.deploy("2", &descriptor);
    until("it serves", || !appliance.agent.serving().activations.is_empty()).await;
    appliance.channel.action("2", |action| action.is_canceling = true);
    until("it ends", || appliance.channel.action("2", |action| !action.is_open)).await;
    appliance.channel.action("2", |action| {
        assert_eq!(action.cancel_feedback[0].status.execution, Execution::Rejected);
        assert!(action.cancel_feedback[0].status.details[0].contains("serves already"));
        assert_eq!(action.closed()[0].status.result.finished, Finished::Success);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_action_takes_the_place_of_one_that_is_still_worked_on() {
    let mut appliance = Appliance::new().await;
    let older = appliance.state("north-1", b"model one", json!({}));
    let newer = appliance.state("north-2", b"model two", json!({}));
    appliance.agent.serving().trial_polls = 1000;
    appliance.channel.deploy("1", &older);
    let _running = Running(appliance.run());
    until("the trial begins", || appliance.agent.serving().trials > 0).await;
    appliance.agent.serving().trial_polls = 1;
    appliance.channel.deploy("2", &newer);
    until("the older one is left", || appliance.channel.action("1", |action| !action.is_open)).await;
    until("the newer one ends", || appliance.channel.action("2", |action| !action.is_open)).await;
    assert_eq!(appliance.agent.serving().activations, ["north-2"]);
    appliance.channel.action("1", |action| {
        assert!(action.closed().is_empty(), "half of it is no success and no failure");
        let last = action.feedback.last().map(|feedback| feedback.status.execution);
        assert_eq!(last, Some(Execution::Canceled));
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hotfix_that_comes_in_the_middle_of_a_trial_that_an_older_agent_does_not_leave_waits_for_its_end_and_serves()
{
    let mut appliance = Appliance::new().await;
    appliance.agent.serving().takes_no_leave = true;
    let faulty = appliance.state("north-1", b"model one", json!({}));
    let hotfix = appliance.state("north-2", b"model two", json!({}));
    let better = appliance.state("north-3", b"model three", json!({}));
    appliance.agent.serving().trial_polls = 1000;
    appliance.channel.deploy("1", &faulty);
    let _running = Running(appliance.run());
    until("the trial begins", || appliance.agent.serving().trials > 0).await;
    appliance.agent.serving().trial_polls = 1;
    appliance.channel.deploy("2", &hotfix);
    let waits = |feedback: &Feedback| feedback.status.details.iter().any(|line| line.contains("trial-under-way"));
    let told = |id| appliance.channel.action(id, |action| action.feedback.iter().filter(|told| waits(told)).count());
    until("it waits", || told("2") > 0).await;
    let polls = appliance.channel.told().polls;
    until("it is polled for meanwhile", || appliance.channel.told().polls > polls + 1).await;
    assert_eq!((told("2"), appliance.agent.serving().trials), (1, 1), "it is told once");
    appliance.channel.action("2", |action| assert!(action.is_open));
    appliance.channel.deploy("3", &better);
    until("the next one waits in its place", || told("3") > 0).await;

    appliance.agent.end_trial();
    until("it ends", || appliance.channel.action("3", |action| !action.is_open)).await;
    assert_eq!(appliance.agent.serving().activations, ["north-3"]);
    appliance.channel.action("3", |action| {
        assert_eq!(action.closed()[0].status.result.finished, Finished::Success);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_agent_whose_trial_never_ends_is_waited_for_as_long_as_a_trial_may_take_and_does_what_comes_after_it()
{
    let mut appliance = Appliance::new().await;
    let text = std::fs::read_to_string(appliance.configuration()).expect("updater.toml");
    let text = text.replace("[agent]", "[agent]\ntrial_seconds = 3");
    std::fs::write(appliance.configuration(), text).expect("updater.toml");
    appliance.agent.serving().trial_polls = 1000;
    appliance.agent.serving().takes_no_leave = true;
    for (id, name, code) in [("1", "north-1", "trial-too-long"), ("2", "north-2", "trial-under-way")] {
        let descriptor = appliance.state(name, name.as_bytes(), json!({}));
        appliance.channel.deploy(id, &descriptor);
        let begun = Instant::now();
        assert_eq!(appliance.once().await, Some(1));
        assert!(begun.elapsed() >= Duration::from_secs(3), "{:?}", begun.elapsed());
        appliance.channel.action(id, |action| assert!(action.last_words().contains(code), "{}", action.last_words()));
    }
    let descriptor = appliance.state("north-3", b"model three", json!({}));
    appliance.agent.serving().trial_polls = 1;
    appliance.agent.end_trial();
    appliance.channel.deploy("3", &descriptor);
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(appliance.agent.serving().activations, ["north-3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_was_left_half_watched_for_one_that_is_refused_does_not_stay() {
    let mut appliance = Appliance::serving().await;
    let watched = appliance.state("north-2", b"model two", json!({"watch_seconds": 600}));
    appliance.channel.deploy("2", &watched);
    let _running = Running(appliance.run());
    until("it serves", || appliance.agent.serving().state.as_deref() == Some("north-2")).await;
    appliance.channel.deploy_bytes("3", b"{}".to_vec());
    until("the newer one is refused", || appliance.channel.action("3", |action| !action.is_open)).await;
    // Nobody has more to do; the action in between is over at the server too.
    appliance.channel.action("2", |action| action.is_open = false);
    until("it goes back", || appliance.agent.serving().state.as_deref() == Some("north-1")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_is_tried_again_for_a_new_action_alone() {
    let mut appliance = Appliance::new().await;
    let descriptor = appliance.state("north-1", b"model", json!({}));
    appliance.agent.serving().misses = true;
    appliance.channel.deploy("1", &descriptor);
    assert_eq!(appliance.once().await, Some(1));
    // A server that has forgotten the answer gets it again, and nothing is tried.
    appliance.channel.action("1", |action| action.is_open = true);
    assert_eq!(appliance.once().await, Some(1));
    assert_eq!(appliance.agent.serving().trials, 1);
    appliance.channel.action("1", |action| assert_eq!(action.closed().len(), 2));

    appliance.agent.serving().misses = false;
    appliance.channel.deploy("2", &descriptor);
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(appliance.agent.serving().trials, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_busy_with_a_deployment_or_a_word_is_polled_no_sooner_than_it_asks() {
    for kind in ["deploymentBase", "artifacts", "feedback"] {
        let mut appliance = Appliance::new().await;
        let descriptor = appliance.state("north-1", b"model", json!({}));
        appliance.channel.deploy("1", &descriptor);
        appliance.channel.told().busy_with = Some((kind, 600));
        let _running = Running(appliance.run());
        until("it polls", || appliance.channel.told().polls > 0).await;
        // A word that can't be said holds up nothing.
        let activations = usize::from(kind == "feedback");
        until("it serves", || appliance.agent.serving().activations.len() == activations).await;
        // Its own bounds would have it poll each second or two.
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(appliance.channel.told().polls, 1, "{kind}");
        assert_eq!(appliance.agent.serving().activations.len(), activations, "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_server_is_left_alone_for_as_long_as_it_asks() {
    let appliance = Appliance::new().await;
    appliance.channel.told().busy = Some(600);
    let _running = Running(appliance.run());
    until("it polls", || appliance.channel.told().polls > 0).await;
    // Its own bounds would have it poll each second or two.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(appliance.channel.told().polls, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_goes_on_where_the_connection_broke_and_where_the_process_was_killed() {
    let mut appliance = Appliance::new().await;
    let descriptor = appliance.state("north-1", &vec![1; 2_000_000], json!({}));
    appliance.channel.told().breaks_after = Some(700_000);
    appliance.channel.deploy("1", &descriptor);
    assert_eq!(appliance.once().await, Some(0));
    assert!(appliance.channel.told().ranges.len() >= 2, "{:?}", appliance.channel.told().ranges);

    let descriptor = appliance.state("north-2", &vec![2; 2_000_000], json!({}));
    {
        let mut told = appliance.channel.told();
        (told.breaks_after, told.pause, told.sent) = (None, Some(Duration::from_millis(20)), 0);
        told.ranges.clear();
    }
    appliance.channel.deploy("2", &descriptor);
    let running = Running(appliance.run());
    until("half of it is there", || appliance.channel.told().sent > 1_000_000).await;
    drop(running);
    assert_eq!(appliance.once().await, Some(0));
    let told = appliance.channel.told();
    assert_eq!(told.ranges.len(), 1, "{:?}", told.ranges);
    let again = told.sent - 2_000_000;
    assert!(again < 400_000, "{again} bytes came twice");
}

/// The last word counts there: one that only says how far the download was would have the box counted as silent.
#[tokio::test(flavor = "multi_thread")]
async fn a_box_whose_download_breaks_again_and_again_says_each_time_that_it_waits() {
    let mut appliance = Appliance::new().await;
    let descriptor = appliance.state("north-1", &vec![1; 8_000_000], json!({}));
    {
        let mut told = appliance.channel.told();
        (told.breaks_after, told.pause) = (Some(50_000), Some(Duration::from_millis(100)));
    }
    appliance.channel.deploy("1", &descriptor);
    let _running = Running(appliance.run());
    let waits = |action: &mut ServerAction| {
        let lines = action.feedback.iter().flat_map(|feedback| &feedback.status.details);
        lines.filter(|line| line.starts_with(WAITS)).count()
    };
    until("it waits again", || appliance.channel.action("1", waits) > 1).await;
}
