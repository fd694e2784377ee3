//! A trial that nobody wants any more is left by the agent: its action was stopped, has ended, or a newer one has come. What serves is untouched.
use super::appliance::Appliance;
use super::conversation::{Running, until};
use super::switches::suspend;
use serde_json::json;
use std::time::{Duration, Instant};
use sund_ota::ddi::{Execution, Finished};

/// Longer than any test waits: such a trial does not end by itself.
const ENDLESS: u32 = 100_000;

/// A box that serves `north-1`, and whose agent tries `north-2`, which the action 2 brought.
async fn trying() -> (Appliance, Running) {
    let mut appliance = Appliance::serving().await;
    let descriptor = appliance.state("north-2", b"model two", json!({}));
    (appliance.agent.serving().trial_polls, appliance.agent.serving().trials) = (ENDLESS, 0);
    appliance.channel.deploy("2", &descriptor);
    let running = Running(appliance.run());
    until("the trial begins", || appliance.agent.serving().trials == 1).await;
    (appliance, running)
}

fn left(appliance: &Appliance) -> Vec<String> {
    appliance.agent.serving().left.clone()
}

fn assert_untouched(appliance: &Appliance) {
    let serving = appliance.agent.serving();
    assert_eq!((serving.state.as_deref(), &serving.activations[..]), (Some("north-1"), &["north-1".to_owned()][..]));
    assert_eq!((serving.reverts.len(), serving.suspended.len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_ends_the_trial_and_what_serves_is_untouched() {
    let (appliance, running) = trying().await;
    appliance.channel.action("2", |action| action.is_canceling = true);
    until("the trial is left", || left(&appliance) == ["north-2"]).await;
    until("it is stopped", || appliance.channel.action("2", |action| !action.is_open)).await;
    appliance.channel.action("2", |action| {
        let [answer] = &action.cancel_feedback[..] else { panic!("{:?}", action.cancel_feedback) };
        assert_eq!((answer.status.execution, answer.status.result.finished), (Execution::Closed, Finished::Success));
    });
    let polls = appliance.channel.told().polls;
    until("it polls on", || appliance.channel.told().polls > polls + 2).await;
    drop(running);
    assert_eq!(left(&appliance), ["north-2"], "it is asked once");
    assert_untouched(&appliance);
    let log = std::fs::read_to_string(appliance.log()).unwrap();
    assert!(log.contains("the agent leaves the trial of a state"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_action_ends_the_trial_of_the_older_one_and_is_tried_soon() {
    let (mut appliance, _running) = trying().await;
    let hotfix = appliance.state("north-3", b"model three", json!({}));
    appliance.agent.serving().trial_polls = 1;
    let begun = Instant::now();
    appliance.channel.deploy("3", &hotfix);
    until("it serves", || appliance.channel.action("3", |action| !action.is_open)).await;
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(left(&appliance), ["north-2"]);
    assert_eq!(appliance.agent.serving().activations, ["north-1", "north-3"]);
}

/// The action is stopped, and nothing was said to the agent yet.
#[tokio::test(flavor = "multi_thread")]
async fn an_updater_that_is_killed_before_it_has_the_trial_left_has_it_left_after_its_next_start() {
    let (appliance, running) = trying().await;
    // It would not hear it.
    appliance.agent.serving().takes_no_leave = true;
    appliance.channel.action("2", |action| action.is_canceling = true);
    until("it is stopped", || appliance.channel.action("2", |action| !action.is_open)).await;
    drop(running);
    assert!(left(&appliance).is_empty());
    appliance.agent.serving().takes_no_leave = false;
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(left(&appliance), ["north-2"]);
    assert_untouched(&appliance);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_that_is_wanted_still_is_not_left_by_an_updater_that_was_killed_and_comes_back() {
    let (appliance, running) = trying().await;
    drop(running);
    let _running = Running(appliance.run());
    let polls = appliance.channel.told().polls;
    until("it goes on", || appliance.channel.told().polls > polls + 2).await;
    appliance.agent.end_trial();
    until("it serves", || appliance.channel.action("2", |action| !action.is_open)).await;
    let serving = appliance.agent.serving();
    assert_eq!((serving.trials, &serving.left[..], serving.state.as_deref()), (1, &[][..], Some("north-2")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_for_a_trial_that_has_ended_stops_the_action_and_nothing_serves_by_it() {
    let mut appliance = Appliance::new().await;
    let descriptor = appliance.state("north-1", b"model one", json!({}));
    suspend(&mut appliance, "brain", Some("1.0.0"));
    // What the region suspends can't be switched off: the state waits after a trial that held.
    appliance.agent.serving().refuses_suspensions = true;
    appliance.channel.deploy("1", &descriptor);
    assert_eq!(appliance.once().await, Some(75));
    assert_eq!(appliance.agent.serving().trials, 1);
    appliance.channel.action("1", |action| action.is_canceling = true);
    appliance.agent.serving().refuses_suspensions = false;
    assert_eq!(appliance.once().await, Some(0));
    appliance.channel.action("1", |action| assert!(!action.is_open && action.closed().is_empty()));
    assert!(left(&appliance).is_empty() && appliance.agent.serving().activations.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_that_takes_too_long_is_left_and_the_next_action_is_tried() {
    let mut appliance = Appliance::new().await;
    let text = std::fs::read_to_string(appliance.configuration()).expect("updater.toml");
    std::fs::write(appliance.configuration(), text.replace("[agent]", "[agent]\ntrial_seconds = 3")).unwrap();
    appliance.agent.serving().trial_polls = ENDLESS;
    let descriptor = appliance.state("north-1", b"model one", json!({}));
    appliance.channel.deploy("1", &descriptor);
    assert_eq!(appliance.once().await, Some(1));
    appliance.channel.action("1", |action| assert!(action.last_words().contains("trial-too-long")));
    appliance.agent.serving().trial_polls = 1;
    let descriptor = appliance.state("north-2", b"model two", json!({}));
    appliance.channel.deploy("2", &descriptor);
    assert_eq!(appliance.once().await, Some(0));
    let serving = appliance.agent.serving();
    assert_eq!(
        (&serving.left[..], &serving.activations[..]),
        (&["north-1".to_owned()][..], &["north-2".to_owned()][..])
    );
}
