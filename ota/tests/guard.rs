//! A system on trial whose own updater does not live is left.
use super::conversation::{Running, until};
use super::rauc::System;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use sund_ota::guard::Word;

fn file(system: &System) -> PathBuf {
    system.appliance.directory.path().join("updater/on-trial.json")
}

pub fn word(system: &System) -> Word {
    serde_json::from_slice(&std::fs::read(file(system)).expect("a system is on trial")).expect("JSON")
}

async fn guard(system: &System) -> (Option<i32>, String) {
    let path = system.appliance.directory.path().display();
    let (directory, release) = (format!("{path}/updater"), format!("{path}/os-release"));
    let output = system.appliance.updater(&["guard", "--directory", &directory, "--release", &release]).await;
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_on_trial_whose_updater_is_not_heard_of_any_more_is_left_once_and_the_one_before_never() {
    let system = System::on_trial().await;
    let said = word(&system);
    assert_eq!(said.good.as_str(), "1.0", "said before the restart");
    // It was up in this boot, and hangs since.
    let late = Word { boot: "boot-2".to_owned(), until: 0, ..said };
    std::fs::write(file(&system), serde_json::to_vec(&late).expect("JSON")).expect("the word");
    let (code, told) = guard(&system).await;
    assert_eq!(code, Some(1), "its unit restarts the box");
    assert!(told.contains("2.0 is on trial") && told.contains("[os-unattended]"), "{told}");
    assert_eq!(guard(&system).await.0, Some(0), "a boot loader that starts it again is not asked again and again");

    // The boot loader stays with the system before, where the trial comes to its end.
    std::fs::write(file(&system), serde_json::to_vec(&late).expect("JSON")).expect("the word");
    system.slots().active = 0;
    system.cut_power();
    assert_eq!(system.slots().runs(), "1.0");
    assert_eq!(guard(&system).await.0, Some(0));
    assert_eq!(system.appliance.once().await, Some(1));
    system.appliance.channel.action("1", |action| {
        assert!(action.last_words().contains("os-fell-back"), "{}", action.last_words());
    });
    assert!(!file(&system).exists());
    let audited = system.appliance.agent.serving().audited.clone();
    assert!(audited.iter().any(|event| event.by == "guard" && event.details["code"] == "os-unattended"), "{audited:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_updater_that_waits_for_the_channel_keeps_its_system_on_trial() {
    let system = System::on_trial().await;
    system.appliance.channel.told().is_away = true;
    assert_eq!(system.appliance.once().await, Some(75));
    assert_eq!((word(&system).boot.as_str(), word(&system).until > 1800), ("boot-2", true));
    assert_eq!(guard(&system).await.0, Some(0));
    system.appliance.channel.told().is_away = false;
    assert_eq!(system.appliance.once().await, Some(0));
    assert!(system.slots().has_marked("good", "booted"));
    assert!(!file(&system).exists(), "no system is on trial any more");
    assert_eq!(guard(&system).await.0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_updater_that_a_busy_server_sends_away_for_long_says_until_when_it_will_be_heard_again() {
    let system = System::on_trial().await;
    let before = word(&system).until;
    system.appliance.agent.serving().trial_polls = 100_000;
    // It is no poll that is answered so, but what the box asks of its action meanwhile.
    system.appliance.channel.told().busy_with = Some(("deploymentBase", 3000));
    let _running = Running(system.appliance.run());
    until("its word covers the wait", || word(&system).until >= before + 2900).await;
    assert_eq!(guard(&system).await.0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_whose_updater_does_not_even_read_its_configuration_fails_the_guard_once_and_the_good_one_never() {
    let system = System::on_trial().await;
    let said = word(&system);
    std::fs::write(system.appliance.configuration(), "id = 7").expect("updater.toml");
    assert_eq!(guard(&system).await.0, Some(64));
    assert_eq!(guard(&system).await.0, Some(0), "a boot loader that starts it again is not asked again and again");

    // As a box has it that went back by itself: its file is what was wrong, and no restart mends that.
    std::fs::write(file(&system), serde_json::to_vec(&said).expect("JSON")).expect("the word");
    system.slots().active = 0;
    system.cut_power();
    assert_eq!(system.slots().runs(), "1.0");
    assert_eq!(guard(&system).await.0, Some(0));
    std::fs::remove_file(file(&system)).expect("it was there");
    assert_eq!(guard(&system).await.0, Some(0), "no system is on trial");
}

#[tokio::test(flavor = "multi_thread")]
async fn also_the_way_back_to_an_earlier_system_is_guarded() {
    let mut system = super::leaving::on_its_second_system().await;
    system.appliance.region.withdraw("state/north-2.json");
    system.appliance.publish();
    assert_eq!(system.appliance.once().await, Some(0));
    assert_eq!((system.slots().runs().as_str(), word(&system).good.as_str()), ("1.0", "2.0"));
    assert_eq!(system.appliance.once().await, Some(0));
    assert!(system.slots().has_marked("good", "booted") && !file(&system).exists());
}

/// Its unit ends it after a minute: that the box restarts is known by then.
#[tokio::test(flavor = "multi_thread")]
async fn an_updater_that_hangs_while_it_writes_the_audit_trail_has_its_box_restarted_once_all_the_same() {
    let system = System::on_trial().await;
    let late = Word { boot: "boot-2".to_owned(), until: 0, ..word(&system) };
    std::fs::write(file(&system), serde_json::to_vec(&late).expect("JSON")).expect("the word");
    let path = system.appliance.directory.path();
    let held = std::fs::File::create(path.join("updater/audit.lock")).expect("a lock");
    held.lock().expect("nobody holds it");
    let mut command = system.appliance.command(&["guard"]);
    command.arg("--directory").arg(path.join("updater")).arg("--release").arg(path.join("os-release"));
    let _guard = Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("sund-updater starts"));
    until("it is known", || word(&system).restarted).await;
}

/// What it needs on the disk is there from before the restart; what changes lies in memory.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_takes_nothing_ends_no_trial_of_a_system_whose_updater_is_heard() {
    let system = System::on_trial().await;
    let said = word(&system);
    let memory = system.appliance.directory.path().join("run");
    std::fs::create_dir(&memory).expect("a directory");
    // Whatever is to take its place is written under this name first.
    std::fs::create_dir(file(&system).with_extension("json.new")).expect("a directory");
    system.appliance.channel.told().is_away = true;
    assert_eq!(system.appliance.once().await, Some(75));
    assert_eq!(word(&system), said, "nothing was written");
    let heard = std::fs::read(memory.join("on-trial.json")).expect("a word");
    let heard: Word = serde_json::from_slice(&heard).expect("JSON");
    assert_eq!((heard.good.as_str(), heard.boot.as_str(), heard.until > 1800), ("1.0", "boot-2", true));
    assert_eq!(guard(&system).await.0, Some(0));

    // The word of an updater that hangs is over as ever.
    let late = serde_json::to_vec(&Word { until: 0, ..heard }).expect("JSON");
    std::fs::write(memory.join("on-trial.json"), late).expect("the word");
    let (code, told) = guard(&system).await;
    assert!(code == Some(1) && told.contains("[os-unattended]"), "{told}");
    std::fs::remove_dir(file(&system).with_extension("json.new")).expect("it was there");
    system.appliance.channel.told().is_away = false;
    assert_eq!(system.appliance.once().await, Some(0));
    assert!(!file(&system).exists() && !memory.join("on-trial.json").exists(), "no system is on trial any more");
}

fn systemd_analyze(verb: &[&str], folder: &Path, units: &[&str]) -> Output {
    let mut command = Command::new("systemd-analyze");
    command.args(verb).args(units.iter().map(|unit| folder.join(unit))).env("SYSTEMD_LOG_COLOR", "0");
    command.output().expect("systemd-analyze, from Debian's systemd")
}

/// systemd ignores a key that it does not know: a misspelt one would restart nothing.
#[test]
fn systemd_knows_every_key_of_the_guards_units_and_calls_them_safe() {
    let folder = tempfile::tempdir().expect("a directory");
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("../image/root/usr/lib/systemd/system");
    for name in ["sund-guard.timer", "sund-guard.service"] {
        let text = std::fs::read_to_string(units.join(name)).expect("a unit");
        let text = text.replace("/usr/bin/sund-updater", env!("CARGO_BIN_EXE_sund-updater"));
        std::fs::write(folder.path().join(name), text).expect("a unit");
    }
    let verified = systemd_analyze(&["verify", "--man=no"], folder.path(), &["sund-guard.timer", "sund-guard.service"]);
    let said = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && !said.contains("sund-guard"), "{said}");
    // In tenths; below 2 is what systemd calls safe.
    let judged =
        systemd_analyze(&["security", "--offline=true", "--threshold=19"], folder.path(), &["sund-guard.service"]);
    assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stdout));
}
