//! No system is found good under which a unit does not run that a box cannot be without, or that is not in the networks that the box was in.
use super::rauc::System;
use std::path::Path;
use sund_ota::ddi::Finished;
use sund_ota::units::NEEDED;

/// It gives 2.0 up and restarts, and tells the region so in these words.
async fn goes_back(system: &System, words: [&str; 2]) {
    assert_eq!(system.appliance.once().await, Some(0), "gives it up, and restarts");
    assert_eq!(system.slots().runs(), "1.0");
    assert!(!system.slots().has_marked("good", "booted"));
    assert_eq!(system.appliance.once().await, Some(1));
    system.appliance.channel.action("1", |action| {
        let said = action.last_words();
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_system_under_which_a_unit_that_a_box_needs_has_failed_is_given_up_and_the_unit_named() {
    for (name, lacks) in NEEDED {
        let system = System::on_trial().await;
        system.slots().units.insert(name.to_owned(), vec!["failed"]);
        goes_back(&system, ["os-unit-failed", &format!("{name} is failed: {lacks}")]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_that_is_starting_is_waited_for_within_the_time_for_health() {
    let system = System::on_trial().await;
    let starts = vec!["inactive", "activating", "active"];
    system.slots().units.insert("chronyd.service".to_owned(), starts);
    assert_eq!(system.appliance.once().await, Some(0));
    assert!(system.slots().has_marked("good", "booted"));
    system.appliance.channel.action("1", |action| {
        assert_eq!(action.closed()[0].status.result.finished, Finished::Success);
    });

    let system = System::on_trial().await;
    system.slots().units.insert("chronyd.service".to_owned(), vec!["activating"]);
    goes_back(&system, ["os-unit-failed", "chronyd.service is activating"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_system_whose_systemd_does_not_say_what_runs_is_given_up() {
    let system = System::on_trial().await;
    system.without("org.freedesktop.systemd1").await;
    goes_back(&system, ["os-unit-failed", "systemd does not say which units run"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_that_nobody_here_has_started_is_not_called_good_where_a_unit_has_failed() {
    let system = System::new("").await;
    assert_eq!(system.appliance.once().await, Some(0));
    system.slots().active = 1;
    system.cut_power();
    system.slots().units.insert("nftables.service".to_owned(), vec!["failed"]);
    assert_eq!(system.appliance.once().await, Some(1));
    assert!(!system.slots().has_marked("good", "booted"));
    let trouble = system.appliance.channel.told().attributes.get("os.trouble").cloned();
    assert!(trouble.as_ref().is_some_and(|why| why.contains("nftables.service is failed")), "{trouble:?}");

    system.slots().units.clear();
    assert_eq!(system.appliance.once().await, Some(0));
    assert!(system.slots().has_marked("good", "booted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_system_that_is_not_in_a_network_that_the_box_was_in_is_given_up_and_the_network_named() {
    let system = System::on_trial().await;
    system.slots().networks = vec![vec!["clinical"]];
    goes_back(&system, ["os-without-network", "`management` has no address"]).await;

    let system = System::on_trial().await;
    system.without("org.freedesktop.network1").await;
    goes_back(&system, ["os-without-network", "systemd-networkd does not say whether `clinical`"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_comes_late_is_waited_for_and_one_more_is_none_too_many() {
    let system = System::on_trial().await;
    system.slots().networks = vec![vec![], vec!["clinical"], vec!["archive", "clinical", "management"]];
    assert_eq!(system.appliance.once().await, Some(0));
    assert!(system.slots().has_marked("good", "booted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_the_box_was_not_in_before_is_not_asked_of_a_new_system() {
    let mut system = System::new("").await;
    system.slots().networks = vec![vec!["clinical"]];
    let descriptor = system.state();
    system.appliance.channel.deploy("1", &descriptor);
    assert_eq!(system.appliance.once().await, Some(0));
    assert_eq!(system.appliance.once().await, Some(0));
    assert!(system.slots().runs() == "2.0" && system.slots().has_marked("good", "booted"));
}

#[test]
fn each_unit_that_is_asked_for_is_enabled_in_the_image() {
    let preset =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../image/root/usr/lib/systemd/system-preset/10-sund.preset");
    let preset = std::fs::read_to_string(preset).expect("the preset of the image");
    for (name, _) in NEEDED {
        assert!(preset.lines().any(|line| line == format!("enable {name}")), "{name} is not enabled");
    }
}
