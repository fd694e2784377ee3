//! A new operating system: written, started, looked at, committed or given up.
use super::audit::codes;
use super::conversation::{Running, until};
use super::kill::finish;
use super::rauc::{MANIFEST, System};
use super::transitions::{Side, die_at_each, has_died_at};
use super::windows::around;
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;
use sund_ota::ddi::Finished;
use sund_ota::limits::transfer::MAX_STREAMS;
use sund_ota::status::Status;

#[tokio::test(flavor = "multi_thread")]
async fn a_system_on_a_stick_is_hashed_whole_before_rauc_gets_the_file() {
    let mut system = System::new("").await;
    let descriptor = system.state();
    let files = system.appliance.region.bundle(&descriptor, "2050-01-01T00:00:00Z");
    system.appliance.channel.told().is_away = true;
    let directory = system.appliance.directory.path().to_owned();

    let mut altered = files.clone();
    altered.iter_mut().filter(|(name, _)| name.contains("targets/os/")).for_each(|(_, bytes)| bytes[3] ^= 1);
    let stick = super::stick::write(&directory, &altered);
    let output = system.appliance.updater(&["install", stick.to_str().expect("UTF-8")]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("[target-altered]"));
    assert!(system.slots().installs.is_empty(), "RAUC was not asked");

    let stick = super::stick::write(&directory, &files);
    let output = system.appliance.updater(&["install", stick.to_str().expect("UTF-8")]).await;
    assert_eq!(output.status.code(), Some(75), "the box restarts");
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(words.contains("the new system is in the other slot") && words.contains("the box restarts"), "{words}");
    assert!(words.contains("systemctl start sund-updater"), "{words}");
    {
        let slots = system.slots();
        let [(source, args)] = &slots.installs[..] else { panic!("{:?}", slots.installs) };
        let file = PathBuf::from(source);
        assert!(file.starts_with(directory.join("updater/store")) && file.extension().is_some_and(|it| it == "raucb"));
        assert_eq!(std::fs::read(file).expect("the bundle"), b"a bundle of 2.0");
        assert!(args["require-manifest-hash"].contains(MANIFEST), "{args:?}");
        assert!(!args.keys().any(|key| key.starts_with("tls") || key.starts_with("http")), "{args:?}");
    }
    // In the new slot the service goes on, without the stick.
    std::fs::remove_file(stick).expect("the stick");
    assert_eq!(system.appliance.once().await, Some(0));
    let marks = [("active", "rootfs.1"), ("good", "booted")].map(|(state, slot)| (state.to_owned(), slot.to_owned()));
    assert_eq!(system.slots().marks, marks);
    assert_eq!(system.appliance.agent.serving().commits, 1);
    assert_eq!(system.appliance.agent.serving().state.as_deref(), Some("north-2"));
    let store = std::fs::read_dir(directory.join("updater/store")).expect("the store").flatten();
    let left = store.filter(|entry| entry.path().extension().is_some_and(|it| it == "raucb")).count();
    assert_eq!(left, 0, "the bundle is not kept once it is installed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_on_trial_whose_stick_has_run_out_or_is_gone_is_given_up() {
    let mut system = System::new("").await;
    let descriptor = system.state();
    let files = system.appliance.region.bundle(&descriptor, "2050-01-01T00:00:00Z");
    system.appliance.channel.told().is_away = true;
    let stick = super::stick::write(system.appliance.directory.path(), &files);
    let output = system.appliance.updater(&["install", stick.to_str().expect("UTF-8")]).await;
    assert_eq!(output.status.code(), Some(75));
    let inbox = system.appliance.directory.path().join("updater/inbox");
    for entry in std::fs::read_dir(inbox).expect("the inbox").flatten() {
        std::fs::remove_file(entry.path()).expect("the bundle");
    }
    // The slot is given up and the box restarts; then it is over, and the next stick can come.
    for _ in 0..3 {
        system.appliance.once().await;
    }
    let runs = {
        let slots = system.slots();
        slots.versions[slots.booted].clone()
    };
    assert_eq!(runs, "1.0");
    let record = system.appliance.record();
    assert_eq!(record.action, None);
    assert!(system.appliance.agent.serving().activations.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_system_is_streamed_by_its_manifests_hash_started_tried_and_then_committed() {
    let mut system = System::new("").await;
    let descriptor = system.state();
    system.appliance.channel.deploy("1", &descriptor);
    assert_eq!(system.appliance.once().await, Some(0));
    {
        let slots = system.slots();
        assert_eq!(slots.boots, 2);
        let started = [("active".to_owned(), "rootfs.1".to_owned())];
        assert_eq!(slots.marks, started, "nothing is committed before it has proved itself");
        let [(source, args)] = &slots.installs[..] else { panic!("{:?}", slots.installs) };
        assert!(source.starts_with("http://127.0.0.1:") && source.ends_with("/bundle.raucb"), "{source}");
        assert!(args.len() == 1 && args["require-manifest-hash"].contains(MANIFEST), "{args:?}");
    }
    assert_eq!(system.slots().runs(), "2.0", "it read the bundle through the updater");
    assert!(system.appliance.agent.serving().activations.is_empty());

    assert_eq!(system.appliance.once().await, Some(0));
    assert_eq!(system.slots().marks[1..], [("good".to_owned(), "booted".to_owned())]);
    assert_eq!(system.appliance.agent.serving().activations, ["north-2"]);
    system.appliance.channel.action("1", |action| {
        assert_eq!(action.closed()[0].status.result.finished, Finished::Success);
    });
    assert_eq!(system.appliance.channel.told().attributes["os"], "2.0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_debug_variant_says_so_to_the_channel_in_its_status_and_on_its_screen() {
    let system = System::new("").await;
    assert_eq!(system.appliance.once().await, Some(0));
    assert!(!system.appliance.channel.told().attributes.contains_key("variant"), "one for patients has none");
    let release = system.appliance.directory.path().join("os-release");
    let plain = std::fs::read_to_string(&release).expect("os-release");
    let debug = format!("{plain}VARIANT=\"DEBUG: not for patients\"\nVARIANT_ID=debug\n");
    std::fs::write(&release, debug).expect("os-release");

    assert_eq!(system.appliance.once().await, Some(0));
    assert_eq!(system.appliance.channel.told().attributes["variant"], "debug");
    let words = system.appliance.updater(&["status"]).await.stdout;
    assert!(words.starts_with(b"variant      DEBUG: not for patients\n"), "{}", String::from_utf8_lossy(&words));
    let status = system.appliance.updater(&["status", "--json"]).await.stdout;
    let status: Status = serde_json::from_slice(&status).expect("JSON");
    assert_eq!(status.variant.expect("a variant").id, "debug");
    let release = release.to_str().expect("UTF-8");
    let screen = system.appliance.updater(&["screen", "--once", "--release", release]).await.stdout;
    let screen = String::from_utf8_lossy(&screen).into_owned();
    assert!(screen.lines().next().is_some_and(|line| line.ends_with(" DEBUG: not for patients")), "{screen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_system_with_lesser_engines_or_a_failed_trial_is_given_up() {
    for (engine_class, misses, reason) in [("cpu", false, "os-unhealthy"), ("gpu", true, "trial-missed")] {
        let mut system = System::new("").await;
        system.appliance.agent.serving().engine_class = "gpu".to_owned();
        let descriptor = system.state();
        system.appliance.channel.deploy("1", &descriptor);
        assert_eq!(system.appliance.once().await, Some(0));
        {
            let mut serving = system.appliance.agent.serving();
            (serving.engine_class, serving.misses) = (engine_class.to_owned(), misses);
        }
        // Gives it up, and restarts.
        assert_eq!(system.appliance.once().await, Some(0));
        assert_eq!(system.slots().booted, 0, "{reason}");
        assert!(system.slots().marks.contains(&("bad".to_owned(), "booted".to_owned())));
        assert_eq!(system.appliance.once().await, Some(1));
        system.appliance.channel.action("1", |action| {
            assert_eq!(action.closed()[0].status.result.finished, Finished::Failure);
            let words = action.last_words();
            assert!(words.contains(reason) && words.contains("runs 1.0"), "{words}");
        });
        assert!(system.appliance.agent.serving().activations.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_did_not_hold_answers_nothing_while_the_restart_that_leaves_its_system_waits_for_running_studies() {
    let mut system = System::new("").await;
    let descriptor = system.state();
    system.appliance.channel.deploy("1", &descriptor);
    assert_eq!(system.appliance.once().await, Some(0));
    {
        let mut serving = system.appliance.agent.serving();
        (serving.misses_check, serving.running) = (Some(1), 1);
    }
    assert_eq!(system.appliance.once().await, Some(75), "a study is worked on");
    assert_eq!(system.slots().booted, 1);
    {
        let mut serving = system.appliance.agent.serving();
        assert_eq!((serving.activations.as_slice(), &serving.state), (&["north-2".to_owned()][..], &None));
        assert_eq!(serving.holds.last(), Some(&900), "no further job begins");
        serving.running = 0;
    }
    assert_eq!(system.appliance.once().await, Some(0), "restarts");
    assert_eq!(system.slots().booted, 0);
    assert_eq!(system.appliance.once().await, Some(1));
    system.appliance.channel.action("1", |action| {
        let words = action.last_words();
        assert!(words.contains("watch-missed") && words.contains("runs 1.0"), "{words}");
        assert!(words.contains("serves the box's own configuration"), "{words}");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_that_the_boot_loader_gave_up_is_reported() {
    let mut system = System::new("").await;
    system.slots().falls_back = true;
    let descriptor = system.state();
    system.appliance.channel.deploy("1", &descriptor);
    assert_eq!(system.appliance.once().await, Some(0));
    assert_eq!(system.appliance.once().await, Some(1));
    system.appliance.channel.action("1", |action| {
        assert!(action.last_words().contains("os-fell-back"), "{}", action.last_words());
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_that_calls_itself_otherwise_than_the_region_said_is_given_up() {
    let mut system = System::new("").await;
    system.slots().calls_itself = Some("2.0.1".to_owned());
    let descriptor = system.state();
    system.appliance.channel.deploy("1", &descriptor);
    assert_eq!(system.appliance.once().await, Some(0));
    assert_eq!(system.slots().booted, 1);
    assert_eq!(system.appliance.once().await, Some(0), "gives it up, and restarts");
    assert_eq!(system.slots().booted, 0);
    assert_eq!(system.appliance.once().await, Some(1));
    assert!(!system.slots().marks.contains(&("good".to_owned(), "booted".to_owned())));
    system.appliance.channel.action("1", |action| {
        let words = action.last_words();
        assert!(words.contains("os-version-differs") && words.contains("runs 1.0"), "{words}");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_system_whose_node_does_not_answer_is_given_up() {
    let mut system = System::new("").await;
    let descriptor = system.state();
    system.appliance.channel.deploy("1", &descriptor);
    assert_eq!(system.appliance.once().await, Some(0));
    system.appliance.agent.serving().is_silent = true;
    assert_eq!(system.appliance.once().await, Some(0), "gives it up, and restarts");
    assert_eq!(system.slots().booted, 0);
    system.appliance.agent.serving().is_silent = false;
    assert_eq!(system.appliance.once().await, Some(1));
    system.appliance.channel.action("1", |action| {
        let words = action.last_words();
        assert!(words.contains("os-unhealthy") && words.contains("the DICOM node does not answer"), "{words}");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_each_step_of_a_new_system_it_ends_once_and_well() {
    for side in [Side::Before, Side::After] {
        let mut system = System::new("").await;
        let descriptor = system.state();
        system.appliance.channel.deploy("1", &descriptor);
        let is_over = || system.appliance.record().last.is_some();
        let deaths = die_at_each(&system.appliance, side, || (), is_over).await;
        has_died_at(&deaths, &["candidate", "verified", "rebooting", "installed", "tested", "active", "ended"]);
        finish(&system.appliance, "1", "north-2").await;
        let slots = system.slots();
        assert_eq!((slots.runs().as_str(), slots.booted, slots.active), ("2.0", 1, 1));
        assert!(slots.has_marked("good", "booted"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_rauc_refuses_is_reported_in_its_words() {
    let mut system = System::new("").await;
    "manifest hash does not match".clone_into(&mut system.slots().refusal);
    let descriptor = system.state();
    system.appliance.channel.deploy("1", &descriptor);
    assert_eq!(system.appliance.once().await, Some(1));
    system.appliance.channel.action("1", |action| {
        let words = action.last_words();
        assert!(words.contains("os-refused") && words.contains("manifest hash does not match"), "{words}");
    });
    assert_eq!(system.slots().boots, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_restart_waits_for_running_studies_and_an_action_that_waits_can_be_stopped() {
    let mut system = System::new("").await;
    system.appliance.agent.serving().running = 1;
    let descriptor = system.state();
    system.appliance.channel.deploy("1", &descriptor);
    let waiting = system.appliance.once();
    let checked = async {
        while system.slots().installs.is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(system.slots().boots, 1, "a study is worked on");
        system.appliance.channel.action("1", |action| action.is_canceling = true);
    };
    let (code, ()) = tokio::join!(waiting, checked);
    assert_eq!(code, Some(0));
    assert_eq!(system.appliance.agent.serving().holds, [900, 0], "jobs begin again");
    let slots = system.slots();
    assert_eq!((slots.boots, slots.active), (1, 0), "the new slot is not started");
    assert_eq!(slots.marks, [("active".to_owned(), "booted".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_restart_waits_for_the_maintenance_window() {
    // A window of one minute that is twelve hours away, wherever the clock stands.
    let from = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(12);
    let time = |at: jiff::Timestamp| at.strftime("%H:%M").to_string();
    let until = from + jiff::SignedDuration::from_mins(1);
    let window = format!("[os.window]\nfrom = \"{}\"\nuntil = \"{}\"\ntime_zone = \"UTC\"\n", time(from), time(until));
    let mut system = System::new(&window).await;
    let descriptor = system.state();
    system.appliance.channel.deploy("1", &descriptor);
    let mut updater = system.appliance.run();
    while system.appliance.record().action.is_none_or(|action| action.step.name() != "rebooting") {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    updater.kill().expect("it is killed");
    updater.wait().expect("it ended");
    assert_eq!(system.slots().boots, 1);

    // With the window open the same action goes on.
    system.configure("");
    assert_eq!(system.appliance.once().await, Some(0));
    assert_eq!(system.slots().boots, 2);
    assert_eq!(system.slots().installs.len(), 1, "it was written once");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_system_is_written_or_started_outside_the_rollouts_window() {
    let mut system = System::new("[attributes]\ntimezone = \"UTC\"\n").await;
    let descriptor = system.state();
    system.appliance.channel.deploy("1", &descriptor);
    system.appliance.channel.action("1", |action| action.maintenance = Some(around(12)));
    assert_eq!(system.appliance.once().await, Some(75));
    assert_eq!(system.slots().installs.len(), 0);
    assert_eq!(system.slots().boots, 1);
    system.appliance.channel.action("1", |action| action.maintenance = Some(around(0)));
    assert_eq!(system.appliance.once().await, Some(0));
    assert_eq!(system.slots().installs.len(), 1);
    assert_eq!(system.slots().boots, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_system_that_is_not_healthy_is_given_up_also_while_the_channel_is_away() {
    let mut system = System::new("").await;
    system.appliance.agent.serving().engine_class = "gpu".to_owned();
    let descriptor = system.state();
    system.appliance.channel.deploy("1", &descriptor);
    assert_eq!(system.appliance.once().await, Some(0));
    system.appliance.channel.told().is_away = true;
    system.appliance.agent.serving().engine_class = "cpu".to_owned();
    // Gives it up, and restarts.
    assert_eq!(system.appliance.once().await, Some(0));
    assert_eq!(system.slots().booted, 0);
    assert!(system.slots().marks.contains(&("bad".to_owned(), "booted".to_owned())));
    assert_eq!(system.appliance.once().await, Some(75));
    system.appliance.channel.told().is_away = false;
    assert_eq!(system.appliance.once().await, Some(1));
    system.appliance.channel.action("1", |action| {
        let words = action.last_words();
        assert!(words.contains("os-unhealthy") && words.contains("runs 1.0"), "{words}");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_system_that_is_healthy_stays_on_trial_while_the_region_cannot_be_asked() {
    for expired in [false, true] {
        let mut system = System::new("").await;
        let descriptor = system.state();
        system.appliance.channel.deploy("1", &descriptor);
        assert_eq!(system.appliance.once().await, Some(0));
        if expired {
            system.appliance.region.expires = "2020-01-01T00:00:00Z".to_owned();
            system.appliance.publish();
        }
        system.appliance.channel.told().is_away = !expired;
        assert_eq!(system.appliance.once().await, Some(75));
        assert_eq!(system.slots().booted, 1, "it is not given up");
        assert!(!system.slots().has_marked("good", "booted"), "nor committed");
        assert_eq!(system.appliance.agent.serving().trials, 0);

        "2050-01-01T00:00:00Z".clone_into(&mut system.appliance.region.expires);
        system.appliance.publish();
        system.appliance.channel.told().is_away = false;
        assert_eq!(system.appliance.once().await, Some(0));
        assert_eq!(system.slots().marks[1..], [("good".to_owned(), "booted".to_owned())]);
        assert_eq!(system.appliance.agent.serving().activations, ["north-2"]);
    }
}

/// RFC 9110, 14.4: `*`. RAUC streams from no such store, and says less about it.
#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_of_which_the_store_does_not_say_how_long_it_is_is_not_streamed() {
    let mut system = System::new("").await;
    let descriptor = system.state();
    system.appliance.channel.told().hides_lengths = true;
    system.appliance.channel.deploy("1", &descriptor);
    assert_eq!(system.appliance.once().await, Some(1));
    system.appliance.channel.action("1", |action| {
        let words = action.last_words();
        assert!(words.contains("os-length-differs") && words.contains("without a length"), "{words}");
    });
    assert!(system.slots().installs.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_is_served_at_another_length_than_was_signed_is_not_streamed() {
    for longer in [true, false] {
        let mut system = System::new("").await;
        let descriptor = system.state();
        for (path, bytes) in &mut system.appliance.channel.told().files {
            if path.starts_with("targets/os") {
                if longer { bytes.push(0) } else { bytes.truncate(bytes.len() - 1) }
            }
        }
        system.appliance.channel.deploy("1", &descriptor);
        assert_eq!(system.appliance.once().await, Some(1));
        system.appliance.channel.action("1", |action| {
            assert!(action.last_words().contains("os-length-differs"), "{}", action.last_words());
        });
        let told = codes(&system.appliance.agent);
        assert!(told.iter().any(|code| code == "os-length-differs"), "{told:?}");
        assert!(system.slots().installs.is_empty());
        assert_eq!(system.slots().boots, 1);
        // Of an answer that goes on, megabytes come before it is given up.
        let told = system.appliance.channel.told();
        assert!(told.lengths_asked > 0 && told.whole_bundles == 0, "{} of one byte", told.lengths_asked);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_a_mirror_lists_and_does_not_have_yet_is_waited_for() {
    let mut system = System::new("").await;
    let descriptor = system.state();
    let all = system.appliance.channel.told().files.clone();
    system.appliance.channel.told().files.retain(|path, _| !path.starts_with("targets/os"));
    system.appliance.channel.deploy("1", &descriptor);
    for _ in 0..2 {
        assert_eq!(system.appliance.once().await, Some(75));
    }
    system.appliance.channel.action("1", |action| {
        let last = action.feedback.last().expect("it was told").status.details.join(" ");
        assert!(action.is_open && last.contains("store-incomplete"), "{last}");
    });
    assert!(system.slots().installs.is_empty());
    system.appliance.channel.told().files = all;
    system.appliance.once().await;
    assert_eq!(system.slots().installs.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_of_an_action_that_is_gone_is_not_started() {
    let mut system = System::new("").await;
    system.appliance.agent.serving().running = 1;
    let descriptor = system.state();
    system.appliance.channel.deploy("1", &descriptor);
    let updater = Running(system.appliance.run());
    until("it is written", || system.appliance.record().action.is_some_and(|a| a.step.name() == "rebooting")).await;
    drop(updater);
    system.appliance.channel.action("1", |action| action.is_open = false);
    system.appliance.agent.serving().running = 0;
    assert_eq!(system.appliance.once().await, Some(0));
    assert_eq!(system.appliance.record().action, None);
    let slots = system.slots();
    assert_eq!((slots.boots, slots.active), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stops_or_replaces_an_action_while_rauc_writes_waits_until_it_is_done() {
    for replaces in [false, true] {
        let mut system = System::new("").await;
        // Also where RAUC starts what it has written by itself.
        (system.slots().activates, system.slots().writes_for) = (true, Duration::from_secs(4));
        let descriptor = system.state();
        let newer = system.appliance.state("north-3", b"model three", json!({}));
        system.appliance.channel.deploy("1", &descriptor);
        let _updater = Running(system.appliance.run());
        until("RAUC writes", || !system.slots().installs.is_empty()).await;
        if replaces {
            system.appliance.channel.deploy("2", &newer);
            until("it serves", || system.appliance.channel.action("2", |action| !action.is_open)).await;
        } else {
            system.appliance.channel.action("1", |action| action.is_canceling = true);
            until("it is stopped", || system.appliance.channel.action("1", |action| !action.is_open)).await;
        }
        let slots = system.slots();
        assert!(!slots.marked_too_early, "RAUC would have undone it");
        assert_eq!((slots.boots, slots.active, slots.versions[1].as_str()), (1, 0, "2.0"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_that_nobody_here_has_started_is_looked_at_before_it_is_called_good() {
    let mut system = System::new("").await;
    let descriptor = system.appliance.state("north-1", b"model", json!({}));
    system.appliance.channel.deploy("1", &descriptor);
    assert_eq!(system.appliance.once().await, Some(0));
    // Somebody has installed another one by hand; its agent does not answer.
    system.slots().active = 1;
    system.cut_power();
    assert_eq!(system.slots().runs(), "0.9");
    let text = std::fs::read_to_string(system.appliance.configuration()).expect("updater.toml");
    let without = text.replace("agent.sock", "nobody.sock");
    std::fs::write(system.appliance.configuration(), without).expect("updater.toml");
    assert_eq!(system.appliance.once().await, Some(1));
    assert!(!system.slots().has_marked("good", "booted"));
    let trouble = system.appliance.channel.told().attributes.get("os.trouble").cloned();
    assert!(trouble.as_ref().is_some_and(|why| why.contains("runs 0.9 where 1.0 was found good")), "{trouble:?}");

    std::fs::write(system.appliance.configuration(), text).expect("updater.toml");
    assert_eq!(system.appliance.once().await, Some(0));
    assert!(system.slots().has_marked("good", "booted"));
    assert_eq!(system.appliance.record().system.expect("it was looked at").version, "0.9");
    assert!(!system.appliance.channel.told().attributes.contains_key("os.trouble"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_does_not_come_whole_is_streamed_again_and_says_nothing_of_itself() {
    let mut system = System::new("").await;
    let descriptor = system.state();
    system.appliance.channel.deploy("1", &descriptor);
    for _ in 0..2 {
        system.appliance.channel.told().streams_break = 1;
        assert_eq!(system.appliance.once().await, Some(75));
        let told = system.appliance.channel.action("1", |action| {
            assert!(action.is_open);
            let lines = action.feedback.iter().flat_map(|feedback| feedback.status.details.clone());
            lines.collect::<Vec<_>>().join("\n")
        });
        assert!(told.contains("[os-stream-failed]") && told.contains("503"), "{told}");
        assert_eq!(system.slots().boots, 1);
    }
    assert_eq!(system.appliance.once().await, Some(0));
    let slots = system.slots();
    assert_eq!((slots.runs().as_str(), slots.installs.len()), ("2.0", 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_never_holds_refuses_the_bundle_in_the_end() {
    let mut system = System::new("").await;
    let descriptor = system.state();
    system.appliance.channel.deploy("1", &descriptor);
    system.appliance.channel.told().streams_break = u32::MAX;
    for _ in 1..MAX_STREAMS {
        assert_eq!(system.appliance.once().await, Some(75));
    }
    assert_eq!(system.appliance.once().await, Some(1));
    system.appliance.channel.action("1", |action| {
        assert!(action.last_words().contains("os-stream-failed"), "{}", action.last_words());
    });
    let slots = system.slots();
    assert_eq!((slots.boots, slots.active), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_that_is_older_than_the_spools_format_is_not_installed() {
    let mut system = System::new("").await;
    let descriptor = system.state();
    system.appliance.channel.deploy("1", &descriptor);
    assert_eq!((system.appliance.once().await, system.appliance.once().await), (Some(0), Some(0)));
    assert_eq!(system.appliance.record().spool_since.as_deref(), Some("2.0"));
    let older = system.state_with("north-3", "1.9");
    system.appliance.channel.deploy("2", &older);
    assert_eq!(system.appliance.once().await, Some(1));
    system.appliance.channel.action("2", |action| {
        let words = action.last_words();
        assert!(words.contains("os-too-old") && words.contains("1.9 is older than 2.0"), "{words}");
    });
    let slots = system.slots();
    assert_eq!((slots.installs.len(), slots.runs().as_str()), (1, "2.0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_busy_box_no_job_begins_before_the_restart_and_an_agent_that_is_silent_is_not_taken_for_idle() {
    let mut system = System::new("").await;
    system.appliance.agent.serving().running = 1;
    let descriptor = system.state();
    system.appliance.channel.deploy("1", &descriptor);
    let _updater = Running(system.appliance.run());
    until("no job begins", || system.appliance.agent.serving().holds == [900]).await;
    {
        let mut serving = system.appliance.agent.serving();
        (serving.running, serving.says_nothing) = (0, true);
    }
    let status = system.appliance.directory.path().join("updater/now.json");
    let says = |what: &str| std::fs::read_to_string(&status).is_ok_and(|text| text.contains(what));
    until("it says so", || says("which is there and does not answer")).await;
    assert_eq!(system.slots().boots, 1);
    system.appliance.agent.serving().says_nothing = false;
    until("it restarts", || system.slots().runs() == "2.0").await;
}
