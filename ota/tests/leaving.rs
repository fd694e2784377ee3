//! A state that was withdrawn takes its operating system with it, as one does that did not hold.
use super::conversation::{Running, until};
use super::rauc::System;
use super::transitions::{Side, die_at_each};
use serde_json::json;
use std::time::Duration;

/// Deploys a state and sees it through, with the restart that it may need.
pub async fn deploy(system: &System, id: &str, descriptor: &sund_ota::descriptor::Descriptor) {
    system.appliance.channel.deploy(id, descriptor);
    for _ in 0..4 {
        system.appliance.once().await;
        if !system.appliance.channel.action(id, |action| action.is_open) {
            return;
        }
    }
    panic!("action {id} does not end");
}

pub fn withdraw(system: &mut System, name: &str) {
    system.appliance.region.withdraw(&format!("state/{name}.json"));
    system.appliance.publish();
}

pub fn serves(system: &System) -> Option<String> {
    system.appliance.agent.serving().state.clone()
}

/// A box that runs 1.0 with `north-1`, and then 2.0, which came with `north-2`.
pub async fn on_its_second_system() -> System {
    let mut system = System::new("").await;
    let first = system.appliance.state("north-1", b"model one", json!({}));
    deploy(&system, "1", &first).await;
    let second = system.state();
    deploy(&system, "2", &second).await;
    assert_eq!((system.slots().runs().as_str(), serves(&system).as_deref()), ("2.0", Some("north-2")));
    system.slots().marks.clear();
    system
}

#[tokio::test(flavor = "multi_thread")]
async fn the_system_before_is_started_again_and_looked_at() {
    let mut system = on_its_second_system().await;
    withdraw(&mut system, "north-2");
    assert_eq!(system.appliance.once().await, Some(0));
    assert_eq!((system.slots().runs().as_str(), serves(&system).as_deref()), ("1.0", Some("north-1")));
    assert_eq!(system.slots().marks, [("active".to_owned(), "rootfs.0".to_owned())], "not called good yet");
    assert_eq!(system.appliance.once().await, Some(0));
    assert!(system.slots().has_marked("good", "booted"));
    let record = system.appliance.record();
    assert_eq!((record.back, record.system.map(|system| system.version)), (None, Some("1.0".to_owned())));
    assert_eq!(system.slots().installs.len(), 1, "nothing was written for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_restart_waits_for_running_studies_and_the_models_do_not() {
    let mut system = on_its_second_system().await;
    system.appliance.agent.serving().running = 1;
    withdraw(&mut system, "north-2");
    assert_eq!(system.appliance.once().await, Some(75));
    assert_eq!((system.slots().runs().as_str(), serves(&system).as_deref()), ("2.0", Some("north-1")));
    let _updater = Running(system.appliance.run());
    system.appliance.agent.serving().running = 0;
    until("it restarts", || system.slots().runs() == "1.0").await;
}

/// Polls may be an hour apart, and the instants in which nothing runs are not.
#[tokio::test(flavor = "multi_thread")]
async fn a_system_that_is_left_is_left_at_the_first_instant_without_a_study_however_long_it_is_to_the_next_poll() {
    for is_withdrawn in [false, true] {
        let mut system = if is_withdrawn { on_its_second_system().await } else { System::new("").await };
        if is_withdrawn {
            withdraw(&mut system, "north-2");
        } else {
            let descriptor = system.state();
            system.appliance.channel.deploy("1", &descriptor);
            assert_eq!(system.appliance.once().await, Some(0));
            system.appliance.agent.serving().misses_check = Some(1);
        }
        assert_eq!(system.slots().runs(), "2.0");
        system.appliance.agent.serving().running = 1;
        let text = std::fs::read_to_string(system.appliance.configuration()).expect("updater.toml");
        let text = text.replace("min_seconds = 1\nmax_seconds = 2", "min_seconds = 3600\nmax_seconds = 3600");
        std::fs::write(system.appliance.configuration(), text).expect("updater.toml");
        let _updater = Running(system.appliance.run());
        let status = system.appliance.directory.path().join("updater/now.json");
        let says = |what: &str| std::fs::read_to_string(&status).is_ok_and(|text| text.contains(what));
        until("it waits for the study", || says("os-leaves")).await;
        assert_eq!(system.appliance.agent.serving().holds.last(), Some(&900), "no further job begins");
        let polls = system.appliance.channel.told().polls;
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!((system.slots().runs().as_str(), system.appliance.channel.told().polls), ("2.0", polls));
        system.appliance.agent.serving().running = 0;
        until("it restarts", || system.slots().runs() == "1.0").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_on_the_way_back_is_gone_on_from() {
    let mut system = on_its_second_system().await;
    system.appliance.agent.serving().running = 1;
    withdraw(&mut system, "north-2");
    assert_eq!(system.appliance.once().await, Some(75));
    system.cut_power();
    assert_eq!(system.slots().runs(), "2.0");
    system.appliance.agent.serving().running = 0;
    assert_eq!(system.appliance.once().await, Some(0));
    assert_eq!(system.slots().runs(), "1.0");
}

/// The boot loader was told to start the other slot, and the updater died before it had kept that: a power cut now would start it while
/// studies run.
#[tokio::test(flavor = "multi_thread")]
async fn a_mark_that_was_set_right_before_the_updater_died_is_taken_back() {
    let mut system = on_its_second_system().await;
    system.appliance.agent.serving().running = 1;
    withdraw(&mut system, "north-2");
    assert_eq!(system.appliance.once().await, Some(75));
    system.appliance.agent.serving().running = 0;
    let is_marked = || {
        let slots = system.slots();
        slots.active != slots.booted
    };
    die_at_each(&system.appliance, Side::Before, || (), is_marked).await;
    assert_eq!(system.appliance.record().back.expect("it is left").boot, None, "that is not kept");

    system.appliance.agent.serving().running = 1;
    assert_eq!(system.appliance.once().await, Some(75));
    assert!(!is_marked());
    assert_eq!(system.slots().runs(), "2.0");
    system.appliance.agent.serving().running = 0;
    assert_eq!(system.appliance.once().await, Some(0));
    assert_eq!(system.slots().runs(), "1.0");
}

/// A box that holds `north-1`, which names 2.0, and `north-2`, which brought 3.0. An update that failed has written over the other slot.
pub async fn without_its_first_system() -> System {
    let mut system = System::new("").await;
    for (id, name, version) in [("1", "north-1", "2.0"), ("2", "north-2", "3.0")] {
        let descriptor = system.state_with(name, version);
        deploy(&system, id, &descriptor).await;
    }
    "the disk is broken".clone_into(&mut system.slots().refusal);
    let third = system.state_with("north-3", "4.0");
    deploy(&system, "3", &third).await;
    {
        let mut slots = system.slots();
        slots.refusal.clear();
        slots.marks.clear();
        "4.0".clone_into(&mut slots.versions[1]);
    }
    assert_eq!(system.slots().runs(), "3.0");
    system
}

#[tokio::test(flavor = "multi_thread")]
async fn the_system_that_the_next_state_names_is_installed_where_it_is_not_there_any_more() {
    let mut system = without_its_first_system().await;
    withdraw(&mut system, "north-2");
    assert_eq!(system.appliance.once().await, Some(0));
    assert_eq!((system.slots().runs().as_str(), serves(&system).as_deref()), ("2.0", Some("north-1")));
    assert_eq!(system.slots().installs.len(), 4, "it was installed");
    assert_eq!(system.appliance.once().await, Some(0));
    assert_eq!(system.appliance.record().system.map(|system| system.version).as_deref(), Some("2.0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_there_is_nothing_to_go_back_to_it_is_told_and_a_new_state_ends_it() {
    let mut system = System::new("").await;
    // The box was provisioned with the system that the state names.
    let descriptor = system.state_with("north-1", "1.0");
    deploy(&system, "1", &descriptor).await;
    withdraw(&mut system, "north-1");
    assert_eq!(system.appliance.once().await, Some(1));
    assert_eq!((system.slots().boots, serves(&system)), (1, None));
    let trouble = system.appliance.channel.told().attributes.get("os.trouble").cloned();
    assert!(trouble.as_ref().is_some_and(|why| why.contains("no system before it")), "{trouble:?}");

    let descriptor = system.state();
    deploy(&system, "2", &descriptor).await;
    assert_eq!(system.slots().runs(), "2.0");
    assert_eq!(system.appliance.once().await, Some(0));
    assert!(!system.appliance.channel.told().attributes.contains_key("os.trouble"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_that_the_next_state_names_too_stays() {
    let mut system = System::new("").await;
    for (id, name) in [("1", "north-1"), ("2", "north-2")] {
        let descriptor = system.state_with(name, "2.0");
        deploy(&system, id, &descriptor).await;
    }
    let boots = system.slots().boots;
    withdraw(&mut system, "north-2");
    assert_eq!(system.appliance.once().await, Some(0));
    assert_eq!((system.slots().boots, serves(&system).as_deref()), (boots, Some("north-1")));
    assert_eq!(system.appliance.record().back, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_before_that_was_withdrawn_too_is_not_gone_back_to() {
    for os_too in [false, true] {
        let mut system = System::new("").await;
        for (id, name, version) in [("1", "north-1", "2.0"), ("2", "north-2", "3.0")] {
            let descriptor = system.state_with(name, version);
            deploy(&system, id, &descriptor).await;
        }
        assert_eq!(system.slots().runs(), "3.0");
        system.appliance.region.withdraw("state/north-1.json");
        if os_too {
            system.appliance.region.withdraw("os/sund-2.0.raucb");
        }
        withdraw(&mut system, "north-2");
        system.appliance.once().await;
        assert_eq!(system.slots().runs(), if os_too { "3.0" } else { "2.0" });
        let trouble = system.appliance.channel.told().attributes.get("os.trouble").cloned();
        assert_eq!(trouble.is_some_and(|why| why.contains("so was 2.0 before it")), os_too);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_format_that_a_power_cut_kept_from_the_record_is_learned_from_the_agent_at_the_next_start() {
    let mut system = on_its_second_system().await;
    assert_eq!(system.appliance.record().system.and_then(|system| system.other).as_deref(), Some("1.0"));
    // The agent was told that 2.0 stays, and went over to its format; the power failed before that was kept.
    system.appliance.agent.serving().spool_format = 3;
    withdraw(&mut system, "north-2");
    assert_eq!(system.appliance.once().await, Some(1));
    assert_eq!((system.slots().runs().as_str(), serves(&system).as_deref()), ("2.0", Some("north-1")));
    let record = system.appliance.record();
    assert_eq!((record.spool_format, record.spool_since.as_deref()), (3, Some("2.0")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_system_that_the_next_state_names_is_not_installed_where_it_cannot_read_the_spool() {
    let mut system = System::new("").await;
    for (id, name, version, format) in [("1", "north-1", "2.0", 2), ("2", "north-2", "3.0", 3)] {
        system.appliance.agent.serving().newest_format = format;
        let descriptor = system.state_with(name, version);
        deploy(&system, id, &descriptor).await;
    }
    withdraw(&mut system, "north-2");
    assert_eq!(system.appliance.once().await, Some(1));
    assert_eq!((system.slots().runs().as_str(), serves(&system).as_deref()), ("3.0", Some("north-1")));
    assert_eq!(system.slots().installs.len(), 2, "nothing was written");
    let trouble = system.appliance.channel.told().attributes.get("os.trouble").cloned();
    assert!(trouble.as_ref().is_some_and(|why| why.contains("2.0 is older than 3.0")), "{trouble:?}");
}
