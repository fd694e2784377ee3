//! The window of a rollout, in the box's local time.
use super::appliance::Appliance;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sund_ota::ddi::Finished;

/// A window in UTC of two hours around a time that is so many hours away.
pub fn around(hours: i64) -> Value {
    let at = |hours: i64| (Timestamp::now() + SignedDuration::from_hours(hours)).strftime("%H:%M").to_string();
    json!({"from": at(hours - 1), "until": at(hours + 1)})
}

async fn appliance(zone: &str) -> Appliance {
    let appliance = Appliance::new().await;
    appliance.configure(&format!("[attributes]\ntimezone = \"{zone}\"\n"));
    appliance
}

#[tokio::test(flavor = "multi_thread")]
async fn outside_the_rollouts_window_the_payload_is_fetched_and_nothing_is_tried_or_served() {
    let mut appliance = appliance("UTC").await;
    let descriptor = appliance.state("north-1", b"model", json!({}));
    appliance.channel.deploy("1", &descriptor);
    appliance.channel.action("1", |action| action.maintenance = Some(around(12)));
    assert_eq!(appliance.once().await, Some(75));
    assert_eq!((appliance.channel.told().sent, appliance.agent.serving().trials), (5, 0));
    appliance.channel.action("1", |action| {
        let last = action.feedback.last().expect("it was told").status.details.join(" ");
        assert!(last.contains("window-closed") && last.contains("(UTC)"), "{last}");
        action.maintenance = Some(around(0));
    });
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(appliance.agent.serving().activations, ["north-1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rollouts_window_is_in_the_local_time_of_the_box_and_the_channel_knows_its_zone() {
    // Twelve hours ahead of UTC.
    let mut appliance = appliance("Etc/GMT-12").await;
    let descriptor = appliance.state("north-1", b"model", json!({}));
    appliance.channel.deploy("1", &descriptor);
    appliance.channel.action("1", |action| action.maintenance = Some(around(0)));
    assert_eq!(appliance.once().await, Some(75));
    assert_eq!(appliance.channel.told().attributes["timezone"], "Etc/GMT-12");
    appliance.channel.action("1", |action| action.maintenance = Some(around(12)));
    assert_eq!(appliance.once().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_that_outlasts_the_rollouts_window_serves_in_the_next_one() {
    let mut appliance = appliance("UTC").await;
    let descriptor = appliance.state("north-1", b"model", json!({}));
    // Ends in the minute after this one, or in the one after that.
    let until = Timestamp::now() + SignedDuration::from_secs(70);
    let from = Timestamp::now() - SignedDuration::from_hours(1);
    let time = |at: Timestamp| at.strftime("%H:%M").to_string();
    let window = json!({"from": time(from), "until": time(until)});
    appliance.agent.serving().trial_polls = 1000;
    appliance.channel.deploy("1", &descriptor);
    appliance.channel.action("1", |action| action.maintenance = Some(window));
    let held = async {
        while time(Timestamp::now()) != time(until) {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
        assert_eq!(appliance.agent.serving().trials, 1, "it was begun in time");
        appliance.agent.end_trial();
    };
    let (code, ()) = tokio::join!(appliance.once(), held);
    assert_eq!(code, Some(75));
    assert!(appliance.agent.serving().activations.is_empty());
    appliance.agent.serving().trial_polls = 1;
    appliance.channel.action("1", |action| action.maintenance = Some(around(0)));
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(appliance.agent.serving().activations, ["north-1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_is_none_ends_the_action_with_its_reason() {
    let mut appliance = appliance("UTC").await;
    let descriptor = appliance.state("north-1", b"model", json!({}));
    appliance.channel.deploy("1", &descriptor);
    appliance.channel.action("1", |action| action.maintenance = Some(json!({"from": "02:00", "until": "26:00"})));
    assert_eq!(appliance.once().await, Some(1));
    appliance.channel.action("1", |action| {
        assert_eq!(action.closed()[0].status.result.finished, Finished::Failure);
        assert!(action.last_words().contains("window-invalid"), "{}", action.last_words());
    });
}
