//! The updater dies at each transition on a way back, and every other time the power goes with it: what held before serves in the end, and
//! nothing of what did not hold. `SUND_TEST_KILLS` of 200 has it die in all four ways.
use super::appliance::Appliance;
use super::conversation::{Running, until};
use super::kill::kills;
use super::leaving::{deploy, on_its_second_system, serves, withdraw, without_its_first_system};
use super::rauc::System;
use super::transitions::{Side, die_at_each, has_died_at};
use serde_json::json;
use std::collections::BTreeSet;
use sund_ota::ddi::Finished;
use sund_ota::machine::record::{End, Step};

/// On which side it dies, and whether the power is cut then.
fn ways() -> Vec<(Side, bool)> {
    let all = [(Side::Before, false), (Side::After, true), (Side::Before, true), (Side::After, false)];
    all[..if kills() < 200 { 2 } else { 4 }].to_vec()
}

/// It dies at each transition until it is over, at these steps among others.
async fn die(system: &System, (side, cuts): (Side, bool), steps: &[&str], is_over: impl Fn() -> bool) {
    let then = || {
        if cuts {
            system.cut_power();
        }
    };
    let deaths = die_at_each(&system.appliance, side, then, is_over).await;
    // With the power it goes where it was to be restarted to, and the record of that is never written.
    let is_reached = |step: &&&str| (side, cuts) != (Side::Before, true) || !RESTARTS.contains(*step);
    let steps: Vec<&str> = steps.iter().filter(is_reached).copied().collect();
    has_died_at(&deaths, &steps);
}

/// What is recorded right before a restart.
const RESTARTS: [&str; 2] = ["given-up", "none, leaves: started"];

/// A box that holds `north-1` on 1.0, and has 2.0 on trial for `north-2`.
pub async fn on_trial() -> System {
    let mut system = System::new("").await;
    let first = system.appliance.state("north-1", b"model one", json!({}));
    deploy(&system, "1", &first).await;
    let second = system.state();
    system.appliance.channel.deploy("2", &second);
    assert_eq!(system.appliance.once().await, Some(0));
    assert_eq!(system.slots().runs(), "2.0");
    system
}

fn is_reported(appliance: &Appliance) -> bool {
    appliance.channel.action("2", |action| !action.is_open) && appliance.record().action.is_none()
}

/// `north-2` was taken back for this reason, and the channel knows it once.
fn is_taken_back(appliance: &Appliance, code: &str) {
    appliance.channel.action("2", |action| {
        assert_eq!((action.closed().len(), action.late), (1, 0), "told once");
        assert_eq!(action.closed()[0].status.result.finished, Finished::Failure);
        let words = action.last_words();
        assert!(words.contains(code), "{words}");
        let lines: BTreeSet<&str> = words.lines().collect();
        assert_eq!(lines.len(), words.lines().count(), "told twice: {words}");
    });
    let record = appliance.record();
    let last = record.last.expect("it was reported");
    assert!(last.id == "2" && matches!(&last.step, Step::Ended { outcome } if outcome.end == End::RolledBack));
    assert_eq!(record.good.len(), 1);
    let serving = appliance.agent.serving();
    assert_eq!(serving.state.as_deref(), Some("north-1"));
    assert!(serving.activations.iter().filter(|state| *state == "north-2").count() <= 1, "it serves once more");
    assert!(serving.suspended.is_empty(), "{:?}", serving.suspended);
}

/// The system that is gone back to was looked at and found good.
fn is_left(system: &System, version: &str) -> bool {
    let record = system.appliance.record();
    let is_good = record.system.is_some_and(|system| system.version == version);
    is_good && record.back.is_none() && system.slots().has_marked("good", "booted")
}

/// The box runs this system, the next start is into it, and nobody guards a trial.
fn is_on(system: &System, version: &str) {
    let slots = system.slots();
    assert_eq!((slots.runs().as_str(), slots.active), (version, slots.booted));
    assert!(!slots.marked_too_early);
    let record = system.appliance.record();
    assert_eq!((record.back, record.system.map(|system| system.version)), (None, Some(version.to_owned())));
    assert!(!system.appliance.directory.path().join("updater/on-trial.json").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_each_transition_a_state_that_misses_its_watch_is_taken_back_once() {
    for side in [Side::Before, Side::After] {
        let mut appliance = Appliance::serving().await;
        let second = appliance.state("north-2", b"model two", json!({"watch_seconds": 600}));
        appliance.channel.deploy("2", &second);
        let updater = Running(appliance.run());
        until("it is watched", || appliance.record().action.is_some_and(|it| it.step.name() == "active")).await;
        until("it serves", || appliance.agent.serving().state.as_deref() == Some("north-2")).await;
        drop(updater);
        appliance.agent.serving().misses_check = Some(1);
        let deaths = die_at_each(&appliance, side, || (), || is_reported(&appliance)).await;
        has_died_at(&deaths, &["rolling-back", "ended"]);
        is_taken_back(&appliance, "watch-missed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_and_cut_at_each_transition_a_system_whose_trial_misses_is_left() {
    for way in ways() {
        let system = on_trial().await;
        system.appliance.agent.serving().misses = true;
        die(&system, way, &["rolling-back", "given-up", "ended"], || is_reported(&system.appliance)).await;
        is_taken_back(&system.appliance, "trial-missed");
        is_on(&system, "1.0");
        assert!(!system.slots().has_marked("good", "booted"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_and_cut_at_each_transition_a_system_whose_watch_misses_is_left_with_its_state() {
    for way in ways() {
        let system = on_trial().await;
        system.appliance.agent.serving().misses_check = Some(3);
        die(&system, way, &["installed", "tested", "active", "rolling-back", "given-up", "ended"], || {
            is_reported(&system.appliance)
        })
        .await;
        is_taken_back(&system.appliance, "watch-missed");
        is_on(&system, "1.0");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_and_cut_at_each_transition_a_withdrawn_system_is_left() {
    for way in ways() {
        let mut system = on_its_second_system().await;
        withdraw(&mut system, "north-2");
        die(&system, way, &["none, leaves", "none, leaves: started"], || is_left(&system, "1.0")).await;
        is_on(&system, "1.0");
        assert_eq!((serves(&system).as_deref(), system.slots().installs.len()), (Some("north-1"), 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_and_cut_at_each_transition_the_system_that_the_next_state_names_is_written_and_started() {
    for way in ways() {
        let mut system = without_its_first_system().await;
        withdraw(&mut system, "north-2");
        die(&system, way, &["none, leaves", "none, leaves: written", "none, leaves: started"], || {
            is_left(&system, "2.0")
        })
        .await;
        is_on(&system, "2.0");
        assert_eq!(serves(&system).as_deref(), Some("north-1"));
    }
}
