//! The window of a rollout, in the box's local time.
use super::appliance::Appliance;
use super::conversation::{Running, until};
use super::leaving::on_its_second_system;
use super::rauc::{Stop, System};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sund_ota::ddi::{Finished, WAITS};

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
async fn a_window_of_the_server_that_closes_while_the_restart_waits_for_studies_is_closed_for_it() {
    let mut system = System::new("").await;
    system.appliance.agent.serving().running = 1;
    let descriptor = system.state();
    system.appliance.channel.deploy("1", &descriptor);
    let _updater = Running(system.appliance.run());
    until("no job begins", || !system.appliance.agent.serving().holds.is_empty()).await;
    system.appliance.channel.action("1", |action| action.update = "skip");
    // Jobs begin again: it knows.
    until("it waits for the window", || system.appliance.agent.serving().holds.last() == Some(&0)).await;
    system.appliance.agent.serving().running = 0;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert_eq!(system.slots().boots, 1);
    system.appliance.channel.action("1", |action| action.update = "attempt");
    until("it restarts", || system.slots().runs() == "2.0").await;
}

/// A server takes the last word of a box for what it does: after another step the same wait is news.
#[tokio::test(flavor = "multi_thread")]
async fn a_wait_for_the_next_window_is_told_though_the_one_for_the_window_before_was_told_too() {
    let mut appliance = Appliance::new().await;
    let descriptor = appliance.state("north-1", b"model", json!({}));
    appliance.agent.serving().trial_polls = 1000;
    appliance.channel.deploy("1", &descriptor);
    appliance.channel.action("1", |action| action.update = "skip");
    let _updater = Running(appliance.run());
    let waits = || {
        let words = appliance.channel.action("1", |action| action.feedback.clone());
        let is_wait = |line: &String| line.starts_with(WAITS) && line.contains("window-closed");
        words.iter().filter(|word| word.status.details.iter().any(is_wait)).count()
    };
    until("it waits", || waits() == 1).await;
    appliance.channel.action("1", |action| action.update = "attempt");
    until("the trial begins", || appliance.agent.serving().trials == 1).await;
    appliance.channel.action("1", |action| action.update = "skip");
    let polls = appliance.channel.told().polls;
    until("it knows that the window is closed", || appliance.channel.told().polls > polls + 1).await;
    appliance.agent.end_trial();
    until("it waits again", || waits() == 2).await;
}

/// The updater was killed right after it had told the boot loader to start the new system, or the order to restart got lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_system_of_which_the_restart_did_not_come_is_not_started_by_a_power_cut_outside_its_window() {
    for (stop, is_away) in [(Stop::AfterMark, false), (Stop::BeforeRestart, false), (Stop::BeforeRestart, true)] {
        let mut system = System::new("").await;
        system.slots().stops_at = Some(stop);
        let descriptor = system.state();
        system.appliance.channel.deploy("1", &descriptor);
        let updater = Running(system.appliance.run());
        until("it comes so far", || system.slots().has_stopped).await;
        drop(updater);
        system.slots().stops_at = None;
        assert_eq!(system.slots().active, 1, "the boot loader was told");
        system.appliance.channel.action("1", |action| action.update = "skip");
        system.appliance.channel.told().is_away = is_away;
        assert_eq!(system.appliance.once().await, Some(75), "{stop:?}");
        assert_eq!(system.slots().active, 0, "{stop:?}");
        system.cut_power();
        assert_eq!(system.slots().runs(), "1.0", "{stop:?}");
        // It goes on from there.
        system.appliance.channel.told().is_away = false;
        system.appliance.channel.action("1", |action| action.update = "attempt");
        assert_eq!(system.appliance.once().await, Some(0), "{stop:?}");
        let slots = system.slots();
        assert_eq!((slots.runs().as_str(), slots.installs.len()), ("2.0", 1), "{stop:?}");
    }
}

/// Services end one after the other, and the updater may poll once more meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_mark_is_not_taken_back_while_the_restart_that_was_asked_for_is_on_its_way() {
    let mut system = System::new("").await;
    system.slots().stops_at = Some(Stop::WhileServicesEnd);
    let descriptor = system.state();
    system.appliance.channel.deploy("1", &descriptor);
    let updater = Running(system.appliance.run());
    until("the restart is agreed to", || system.slots().has_stopped).await;
    let polls = system.appliance.channel.told().polls;
    until("it polls again", || system.appliance.channel.told().polls > polls + 1).await;
    drop(updater);
    let told = ("active".to_owned(), "rootfs.1".to_owned());
    assert!(system.slots().marks.iter().all(|mark| *mark == told), "{:?}", system.slots().marks);
    system.cut_power();
    assert_eq!(system.slots().runs(), "2.0");
    assert_eq!(system.appliance.once().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_that_was_to_leave_a_withdrawn_system_and_did_not_come_is_not_made_by_a_power_cut() {
    let mut system = on_its_second_system().await;
    system.slots().stops_at = Some(Stop::BeforeRestart);
    system.appliance.region.withdraw("state/north-2.json");
    system.appliance.publish();
    let updater = Running(system.appliance.run());
    until("it is to restart", || system.slots().has_stopped).await;
    drop(updater);
    system.slots().stops_at = None;
    assert_eq!(system.slots().active, 0, "the boot loader was told");
    system.appliance.agent.serving().running = 1;
    assert_eq!(system.appliance.once().await, Some(75));
    assert_eq!(system.slots().active, 1);
    system.appliance.agent.serving().running = 0;
    assert_eq!(system.appliance.once().await, Some(0));
    assert_eq!(system.slots().runs(), "1.0");
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
