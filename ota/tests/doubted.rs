//! A box that can't tell how old the region's word is: its clock ran ahead and was put right, or the metadata has expired. What switches off
//! reaches it all the same; nothing is switched on by it, and nothing begun.
use super::appliance::Appliance;
use super::away::serves;
use super::conversation::{Running, until};
use super::repository::Region;
use super::switches::{stop_all, suspend, suspended, with_a_past, withdraw};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use sund_ota::audit::Event;
use sund_ota::documents::{STOP, SUSPENSIONS};

/// Metadata held so long after what the clock says now.
fn was(appliance: &Appliance, ahead: SignedDuration) {
    let path = appliance.directory.path().join("updater/tuf/seen.json");
    let mut seen: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    seen["latest"] = json!(Timestamp::now() + ahead);
    // An updater that runs reads what was there, or this.
    std::fs::write(path.with_extension("next"), seen.to_string()).unwrap();
    std::fs::rename(path.with_extension("next"), path).unwrap();
}

fn ran_ahead(appliance: &Appliance) {
    was(appliance, SignedDuration::from_hours(24));
}

/// The true time has passed.
fn is_right(appliance: &Appliance) {
    was(appliance, SignedDuration::from_secs(-1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspension_reaches_a_box_whose_clock_ran_ahead_and_nothing_is_begun_or_switched_on_by_it() {
    let mut appliance = Appliance::serving().await;
    ran_ahead(&appliance);
    suspend(&mut appliance, "brain", None);
    let descriptor = appliance.state("north-2", b"model two", json!({}));
    appliance.channel.deploy("2", &descriptor);
    assert_eq!(appliance.once().await, Some(75));
    assert_eq!((serves(&appliance).as_deref(), suspended(&appliance)), (Some("north-1"), vec!["brain".to_owned()]));
    assert_eq!(appliance.agent.serving().trials, 1, "the first state's");
    appliance.channel.action("2", |action| {
        let words = action.feedback.last().expect("it was told").status.details.join(" ");
        assert!(words.contains("clock-set-back"), "{words}");
    });

    // It is lifted, and that waits for a clock that is right.
    withdraw(&mut appliance, SUSPENSIONS);
    assert_eq!(appliance.once().await, Some(75));
    assert_eq!(suspended(&appliance), ["brain"]);
    is_right(&appliance);
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!((serves(&appliance).as_deref(), suspended(&appliance)), (Some("north-2"), Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_reaches_a_box_whose_clock_ran_ahead_and_rollouts_go_on_only_once_it_is_right() {
    let mut appliance = Appliance::serving().await;
    ran_ahead(&appliance);
    stop_all(&mut appliance);
    assert_eq!(appliance.once().await, Some(0));
    assert!(appliance.record().switches.stopped.is_some());
    withdraw(&mut appliance, STOP);
    assert_eq!(appliance.once().await, Some(0));
    assert!(appliance.record().switches.stopped.is_some());
    is_right(&appliance);
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(appliance.record().switches.stopped, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawn_state_is_off_while_the_clock_is_doubted_and_left_once_it_is_right() {
    let mut appliance = with_a_past().await;
    ran_ahead(&appliance);
    withdraw(&mut appliance, "state/north-2.json");
    for _ in 0..2 {
        assert_eq!(appliance.once().await, Some(0));
        let stands = (serves(&appliance), suspended(&appliance));
        assert_eq!(stands, (Some("north-2".to_owned()), vec!["brain".to_owned()]), "no other state is switched on");
    }
    let times = appliance.agent.serving().changes.iter().filter(|change| *change == "suspend brain").count();
    assert_eq!(times, 1);
    // Also where the channel is away meanwhile.
    let files = std::mem::take(&mut appliance.channel.told().files);
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(suspended(&appliance), ["brain"]);
    appliance.channel.serve(files);
    is_right(&appliance);
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!((serves(&appliance).as_deref(), suspended(&appliance)), (Some("north-1"), Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawn_state_that_is_listed_again_is_on_once_the_clock_is_right_and_no_sooner() {
    let mut appliance = Appliance::new().await;
    let descriptor = appliance.state("north-1", b"model one", json!({}));
    appliance.channel.deploy("1", &descriptor);
    assert_eq!(appliance.once().await, Some(0));
    let state = appliance.region.targets["state"]["state/north-1.json"].clone();
    ran_ahead(&appliance);
    withdraw(&mut appliance, "state/north-1.json");
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(suspended(&appliance), ["brain"]);
    appliance.region.approve("state", "state/north-1.json", &state);
    appliance.publish();
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(suspended(&appliance), ["brain"]);
    is_right(&appliance);
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!((serves(&appliance).as_deref(), suspended(&appliance)), (Some("north-1"), Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_is_withdrawn_while_it_is_watched_is_taken_back_also_while_the_clock_is_doubted() {
    let mut appliance = Appliance::serving().await;
    let descriptor = appliance.state("north-2", b"model two", json!({"watch_seconds": 600}));
    appliance.channel.deploy("2", &descriptor);
    let _running = Running(appliance.run());
    until("it serves", || serves(&appliance).as_deref() == Some("north-2")).await;
    ran_ahead(&appliance);
    withdraw(&mut appliance, "state/north-2.json");
    until("it is taken back", || appliance.channel.action("2", |action| !action.is_open)).await;
    appliance.channel.action("2", |action| {
        let words = action.last_words();
        assert!(words.contains("target-not-approved") && words.contains("serves `north-1` again"), "{words}");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_back_leads_to_no_state_that_is_known_to_be_withdrawn_while_the_clock_is_doubted() {
    let mut appliance = Appliance::serving().await;
    let descriptor = appliance.state("north-2", b"model two", json!({"watch_seconds": 600}));
    appliance.channel.deploy("2", &descriptor);
    let running = Running(appliance.run());
    until("it serves", || serves(&appliance).as_deref() == Some("north-2")).await;
    drop(running);
    ran_ahead(&appliance);
    appliance.region.withdraw("state/north-1.json");
    withdraw(&mut appliance, "state/north-2.json");
    assert_eq!(appliance.once().await, Some(1));
    assert_eq!((serves(&appliance), suspended(&appliance)), (None, vec!["own-model".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_is_withdrawn_on_trial_does_not_serve_while_the_clock_is_doubted() {
    let mut appliance = Appliance::serving().await;
    let descriptor = appliance.state("north-2", b"model two", json!({}));
    appliance.agent.serving().trial_polls = 1000;
    appliance.agent.serving().trials = 0;
    appliance.channel.deploy("2", &descriptor);
    let _running = Running(appliance.run());
    until("the trial begins", || appliance.agent.serving().trials > 0).await;
    ran_ahead(&appliance);
    withdraw(&mut appliance, "state/north-2.json");
    let waits = |appliance: &Appliance| {
        appliance.channel.action("2", |action| {
            action.feedback.iter().any(|told| told.status.details.iter().any(|line| line.contains("clock-set-back")))
        })
    };
    until("it waits", || waits(&appliance)).await;
    appliance.agent.end_trial();
    is_right(&appliance);
    until("it ends", || appliance.channel.action("2", |action| !action.is_open)).await;
    appliance.channel.action("2", |action| assert!(action.last_words().contains("target-not-approved")));
    assert_eq!(appliance.agent.serving().activations, ["north-1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_expired_metadata_switches_off_is_off_and_what_it_would_switch_on_is_not_on() {
    let mut appliance = with_a_past().await;
    suspend(&mut appliance, "own-model", None);
    assert_eq!(appliance.once().await, Some(0));
    appliance.region.expires = "2020-01-01T00:00:00Z".to_owned();
    suspend(&mut appliance, "brain", None);
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(suspended(&appliance), ["brain"]);
    let named: Vec<String> = appliance.record().switches.suspended.iter().map(|it| it.package.clone()).collect();
    assert_eq!(named, ["own-model", "brain"], "what was suspended before stays so");
    appliance.region.withdraw(SUSPENSIONS);
    withdraw(&mut appliance, "state/north-2.json");
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!((serves(&appliance).as_deref(), suspended(&appliance)), (Some("north-2"), vec!["brain".to_owned()]));

    appliance.region.expires = "2050-01-01T00:00:00Z".to_owned();
    appliance.publish();
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!((serves(&appliance).as_deref(), suspended(&appliance)), (Some("north-1"), Vec::new()));
}

/// Whoever sets a clock back shows what was signed once; what the box has seen replaced is not among it.
#[tokio::test(flavor = "multi_thread")]
async fn older_metadata_switches_nothing_off_while_the_clock_is_doubted() {
    let mut appliance = Appliance::serving().await;
    suspend(&mut appliance, "brain", None);
    let old = appliance.channel.told().files.clone();
    withdraw(&mut appliance, SUSPENSIONS);
    assert_eq!(appliance.once().await, Some(0));
    ran_ahead(&appliance);
    appliance.channel.serve(old);
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(suspended(&appliance), Vec::<String>::new());
    appliance.channel.serve(Region::new().publish());
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(serves(&appliance).as_deref(), Some("north-1"), "nor does what another region has signed");
    assert_eq!(suspended(&appliance), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_heeded_while_the_clock_was_doubted_is_taken_in_no_older_version_afterwards() {
    let mut appliance = Appliance::serving().await;
    let old = appliance.channel.told().files.clone();
    ran_ahead(&appliance);
    suspend(&mut appliance, "brain", None);
    assert_eq!(appliance.once().await, Some(0));
    is_right(&appliance);
    appliance.channel.serve(old);
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(suspended(&appliance), ["brain"]);
}

/// Each poll sees it again, and the audit trail has it once.
#[tokio::test(flavor = "multi_thread")]
async fn a_doubted_clock_is_one_event_of_the_audit_trail_for_as_long_as_it_lasts() {
    let mut appliance = Appliance::serving().await;
    ran_ahead(&appliance);
    suspend(&mut appliance, "brain", None);
    let running = Running(appliance.run());
    until("it is off", || suspended(&appliance) == ["brain"]).await;
    let polls = appliance.channel.told().polls;
    until("it polls on", || appliance.channel.told().polls > polls + 3).await;
    drop(running);
    let log = std::fs::read_to_string(appliance.log()).unwrap();
    let lines = |code: &str| log.lines().filter(|line| line.contains("\"audit\"") && line.contains(code)).count();
    assert_eq!(lines("clock-set-back"), 1, "{log}");
    assert_eq!(lines("a suspension of the region was applied"), 1, "{log}");
}

/// What waits for the clock, too, reaches the agent's audit log with the first poll and not with each.
#[tokio::test(flavor = "multi_thread")]
async fn an_action_that_waits_for_a_doubted_clock_is_one_event_of_the_audit_log_for_as_long_as_it_lasts() {
    let mut appliance = Appliance::serving().await;
    ran_ahead(&appliance);
    let descriptor = appliance.state("north-2", b"model two", json!({}));
    appliance.channel.deploy("2", &descriptor);
    let events = || {
        let audited = appliance.agent.serving().audited.clone();
        let is_of_clock = |event: &Event| event.details.values().any(|value| value.contains("clock-set-back"));
        audited.into_iter().filter(is_of_clock).map(|event| (event.text, event.details)).collect::<Vec<_>>()
    };
    let _running = Running(appliance.run());
    until("it waits", || events().iter().any(|(text, _)| text == "the action waits")).await;
    for hours in [24, 25, 26] {
        // What the reason tells, a time or how much of a disk is free, makes it no other event.
        was(&appliance, SignedDuration::from_hours(hours));
        let polls = appliance.channel.told().polls;
        until("it polls on", || appliance.channel.told().polls > polls + 2).await;
    }
    let events = events();
    let each: BTreeSet<_> = events.iter().map(|(text, details)| (text, details.get("what"))).collect();
    assert_eq!(events.len(), each.len(), "{events:#?}");
}
