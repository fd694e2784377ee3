//! The power is cut at each step of a new operating system: the box starts the system that it had, or one whose health is looked at.
use super::conversation::{Running, until};
use super::kill::{kills, random_below};
use super::rauc::{Stop, System};
use std::time::Duration;
use sund_ota::ddi::Finished;
use sund_ota::machine::record::Slot;

/// Where the power is cut, and whether the boot loader starts the new system then.
const CUTS: [(Option<Stop>, bool); 5] = [
    (Some(Stop::Writing), false),
    // It is written, and a study is worked on.
    (None, false),
    (Some(Stop::BeforeMark), false),
    (Some(Stop::AfterMark), true),
    (Some(Stop::BeforeRestart), true),
];

/// A box that was killed at a point of its way to 2.0; then its power was cut.
async fn cut_at(stop: Option<Stop>, activates: bool) -> System {
    let mut system = System::new("").await;
    "gpu".clone_into(&mut system.appliance.agent.serving().engine_class);
    system.appliance.agent.serving().running = u32::from(stop.is_none());
    (system.slots().stops_at, system.slots().activates) = (stop, activates);
    let descriptor = system.state();
    system.appliance.channel.deploy("1", &descriptor);
    let updater = Running(system.appliance.run());
    let slot = || system.appliance.record().action.and_then(|action| action.os).map(|os| os.slot);
    match stop {
        Some(_) => until("it comes so far", || system.slots().has_stopped).await,
        None => until("it is written", || slot() == Some(Slot::Written)).await,
    }
    assert!(slot().is_some(), "{stop:?}: it is on trial before its slot is touched");
    drop(updater);
    system.cut_power();
    system.appliance.agent.serving().running = 0;
    system
}

async fn to_its_end(system: &System) {
    for _ in 0..8 {
        if !system.appliance.channel.action("1", |action| action.is_open) {
            return;
        }
        system.appliance.once().await;
    }
    panic!("it does not end");
}

#[tokio::test(flavor = "multi_thread")]
async fn wherever_the_power_is_cut_a_new_system_that_is_not_healthy_is_given_up() {
    for (stop, starts) in CUTS {
        let system = cut_at(stop, false).await;
        assert_eq!(system.slots().runs(), if starts { "2.0" } else { "1.0" }, "{stop:?}");
        if !starts {
            system.appliance.once().await;
            assert_eq!(system.slots().runs(), "2.0", "{stop:?}: it goes on");
        }
        // The GPU is not there in the new one.
        system.appliance.agent.serving().engine_class = "cpu".to_owned();
        to_its_end(&system).await;
        system.appliance.channel.action("1", |action| {
            assert_eq!(action.closed()[0].status.result.finished, Finished::Failure, "{stop:?}");
            assert!(action.last_words().contains("os-unhealthy"), "{stop:?}: {}", action.last_words());
        });
        let slots = system.slots();
        assert_eq!((slots.runs().as_str(), slots.active), ("1.0", 0), "{stop:?}");
        assert!(!slots.has_marked("good", "booted"), "{stop:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wherever_the_power_is_cut_a_new_system_that_is_healthy_ends_well() {
    for (stop, _) in CUTS {
        let system = cut_at(stop, false).await;
        to_its_end(&system).await;
        system.appliance.channel.action("1", |action| {
            assert_eq!(
                action.closed()[0].status.result.finished,
                Finished::Success,
                "{stop:?}: {}",
                action.last_words()
            );
        });
        let slots = system.slots();
        assert_eq!((slots.runs().as_str(), slots.active), ("2.0", 1), "{stop:?}");
        assert!(slots.has_marked("good", "booted"), "{stop:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_that_rauc_has_activated_by_itself_is_on_trial_all_the_same() {
    let system = cut_at(None, true).await;
    assert_eq!(system.slots().runs(), "2.0");
    system.appliance.agent.serving().engine_class = "cpu".to_owned();
    to_its_end(&system).await;
    system.appliance.channel.action("1", |action| assert!(action.last_words().contains("os-unhealthy")));
    assert_eq!(system.slots().runs(), "1.0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_is_not_taken_for_a_boot_loader_that_gave_the_system_up() {
    for stop in [Some(Stop::Writing), None, Some(Stop::BeforeMark)] {
        let system = cut_at(stop, false).await;
        assert_eq!(system.appliance.once().await, Some(0), "{stop:?}");
        assert_eq!(system.slots().runs(), "2.0", "{stop:?}: it was started at the second go");
    }
}

/// Kills for each system; one without any takes about four seconds.
const KILLS_PER_SYSTEM: u32 = 10;

#[tokio::test(flavor = "multi_thread")]
async fn killed_and_cut_at_random_instants_each_new_system_ends_once_and_well() {
    for n in 0..kills().div_ceil(KILLS_PER_SYSTEM) {
        let mut system = System::new("").await;
        system.slots().writes_for = Duration::from_millis(600);
        system.slots().activates = n % 2 == 1;
        let descriptor = system.state();
        system.appliance.channel.deploy("1", &descriptor);
        for kill in 0..KILLS_PER_SYSTEM {
            let updater = Running(system.appliance.run());
            let alive = random_below(Duration::from_millis(1500));
            tokio::time::sleep(alive).await;
            drop(updater);
            let record = system.appliance.record();
            let step = record.action.as_ref().map_or("none", |action| action.step.name());
            let slot = record.action.as_ref().and_then(|action| action.os.as_ref()).map(|os| os.slot);
            // Every other time the power goes with it.
            let is_cut = kill % 2 == 1;
            if is_cut {
                system.cut_power();
            }
            let runs = system.slots().runs();
            eprintln!(
                "system {n} kill {kill} after {:4} ms at {step}, slot {slot:?}, power cut {is_cut}: runs {runs}",
                alive.as_millis()
            );
            // What runs was there before, was found good, or has a record by which it is looked at.
            let is_known = record.system.is_some_and(|system| system.version == runs);
            assert!(runs == "1.0" || is_known || slot.is_some(), "{runs} runs, and nobody looks at it");
        }
        to_its_end(&system).await;
        system.appliance.channel.action("1", |action| {
            assert_eq!((action.closed().len(), action.late), (1, 0), "told once");
            assert_eq!(action.closed()[0].status.result.finished, Finished::Success, "{}", action.last_words());
        });
        let slots = system.slots();
        assert_eq!((slots.runs().as_str(), slots.active), ("2.0", 1));
        assert!(slots.has_marked("good", "booted"));
    }
}
