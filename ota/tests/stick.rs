//! A bundle on a stick, brought by a technician to a box without a network.
use super::appliance::Appliance;
use super::conversation::{Running, until};
use super::repository::Region;
use super::switches::{suspend, suspended, withdraw};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;
use sund_ota::bundle::Writer;
use sund_ota::ddi::Finished;
use sund_ota::descriptor::Descriptor;
use sund_ota::documents::SUSPENSIONS;
use sund_ota::machine::record::{End, Origin, Outcome, Step};

pub const FAR: &str = "2050-01-01T00:00:00Z";

type Files = BTreeMap<String, Vec<u8>>;

pub fn write(directory: &Path, files: &Files) -> PathBuf {
    let mut writer = Writer::new(Vec::new());
    for (name, bytes) in files {
        writer.add(name, bytes.len() as u64, bytes.as_slice()).expect("a name of the repository");
    }
    let path = directory.join("north.bundle");
    std::fs::write(&path, writer.finish().expect("into memory")).expect("the stick");
    path
}

/// A box whose channel is away, and a stick with a state for it.
async fn remote(name: &str, more: Value) -> (Appliance, Files) {
    let mut appliance = Appliance::new().await;
    let descriptor = appliance.state(name, &vec![7; 300_000], more);
    let files = appliance.region.bundle(&descriptor, FAR);
    appliance.channel.told().is_away = true;
    (appliance, files)
}

async fn install(appliance: &Appliance, stick: &Path) -> (Option<i32>, String) {
    said(&appliance.updater(&["install", &stick.display().to_string()]).await)
}

fn said(output: &Output) -> (Option<i32>, String) {
    let words = [output.stdout.clone(), output.stderr.clone()].concat();
    (output.status.code(), String::from_utf8_lossy(&words).into_owned())
}

/// How the last action ended.
fn outcome(appliance: &Appliance) -> Outcome {
    let last = appliance.record().last.expect("something ended");
    let Step::Ended { outcome } = last.step else { panic!("{last:?}") };
    outcome
}

fn inbox(appliance: &Appliance) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(appliance.directory.path().join("updater/inbox")).expect("the inbox");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.filter(|path| path.file_name().is_some_and(|name| name != "lock")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_without_a_network_comes_to_the_state_on_a_stick_and_tells_the_channel_later() {
    let (appliance, files) = remote("north-1", json!({})).await;
    let stick = write(appliance.directory.path(), &files);
    let (code, words) = install(&appliance, &stick).await;
    assert_eq!(code, Some(0), "{words}");
    for step in ["inbox", "names the state north-1", "done: this box serves north-1", "brain 1.0.0: active on tract"] {
        assert!(words.contains(step), "{step}: {words}");
    }
    assert!(words.contains("\"target\":\"audit\"") && words.contains("a state on a stick was taken up"), "{words}");
    assert_eq!(appliance.agent.serving().state.as_deref(), Some("north-1"));
    let record = appliance.record();
    assert_eq!((record.good.len(), record.action), (1, None));
    assert!(inbox(&appliance).is_empty());

    appliance.channel.told().is_away = false;
    assert_eq!(appliance.once().await, Some(0));
    let told = &appliance.channel.told().attributes;
    assert_eq!(told["state"], "north-1");
    assert!(told["stick"].starts_with("north-1: active 20"), "{}", told["stick"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_region_suspends_and_lifts_comes_on_a_stick_too() {
    let mut appliance = Appliance::serving().await;
    appliance.channel.told().is_away = true;
    suspend(&mut appliance, "brain", None);
    for is_off in [true, false] {
        if !is_off {
            withdraw(&mut appliance, SUSPENSIONS);
        }
        let name = if is_off { "north-2" } else { "north-3" };
        let descriptor = appliance.state(name, name.as_bytes(), json!({}));
        let stick = write(appliance.directory.path(), &appliance.region.bundle(&descriptor, FAR));
        let (code, words) = install(&appliance, &stick).await;
        assert_eq!(code, Some(0), "{words}");
        assert_eq!(suspended(&appliance).is_empty(), !is_off, "{words}");
        assert_eq!(appliance.agent.serving().region_suspends.is_empty(), !is_off);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_updater_takes_the_bundle_up_by_itself_and_its_end_is_told_as_json() {
    let (appliance, files) = remote("north-1", json!({})).await;
    let stick = write(appliance.directory.path(), &files);
    let _running = Running(appliance.run());
    until("it polls", || appliance.directory.path().join("updater/now.json").exists()).await;
    let output = appliance.updater(&["install", "--json", &stick.display().to_string()]).await;
    assert_eq!(output.status.code(), Some(0));
    let end: Value = serde_json::from_slice(&output.stdout).expect("JSON alone");
    assert_eq!((&end["origin"], &end["end"], &end["state"]), (&json!("stick"), &json!("active"), &json!("north-1")));
    until("the inbox is empty", || inbox(&appliance).is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_genuine_or_not_for_now_is_refused_and_changes_nothing() {
    let (mut appliance, files) = remote("north-1", json!({})).await;
    let directory = appliance.directory.path().to_owned();
    let state: Descriptor = serde_json::from_value(json!({
        "format": 1, "target": "state/north-1.json", "sha256": sha256_of(&files), "length": length_of(&files),
    }))
    .expect("a descriptor");
    let alter = |part: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut files = files.clone();
        files.iter_mut().filter(|(name, _)| name.contains(part)).for_each(|(_, bytes)| change(bytes));
        files
    };
    let flip = |bytes: &mut Vec<u8>| {
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
    };
    let mut stranger = Region::new();
    let model = b"a model of another region";
    let mut package = stranger.approve("models/vendor", "models/vendor/brain.sund", model);
    package["name"] = json!("brain");
    package["version"] = json!("1.0.0");
    let theirs = stranger.approve_state("north-1", json!({"models": [package]}));
    let expired = appliance.region.bundle(&state, "2026-11-02T00:00:00Z");
    let cases = [
        ("metadata-mixed", alter(".state.json", &flip)),
        ("target-altered", alter("targets/models/vendor", &flip)),
        ("target-altered", alter("targets/state/bundles", &flip)),
        ("target-truncated", alter("targets/models/vendor", &|bytes| bytes.truncate(100_000))),
        ("signature-missing", stranger.bundle(&theirs, FAR)),
        ("bundle-expired", expired),
    ];
    for (code, files) in cases {
        let (exit, words) = install(&appliance, &write(&directory, &files)).await;
        assert_eq!(exit, Some(1), "{code}: {words}");
        let is_told = words.contains(&format!("[{code}]")) && words.contains("refused: nothing was changed");
        assert!(is_told, "{code}: {words}");
        assert!(words.contains("\"target\":\"audit\""), "{words}");
        let ended = outcome(&appliance);
        assert_eq!((ended.end, ended.fault.expect("a reason").code.as_ref()), (End::Refused, code));
        assert!(inbox(&appliance).is_empty());
    }
    // Cut short on the stick, no bundle at all, and not there.
    let stick = write(&directory, &files);
    let whole = std::fs::read(&stick).expect("the stick");
    for (bytes, code) in [(&whole[..whole.len() - 5000], "bundle-invalid"), (&b"a letter"[..], "bundle-invalid")] {
        std::fs::write(&stick, bytes).expect("the stick");
        let (exit, words) = install(&appliance, &stick).await;
        assert!(exit == Some(1) && words.contains(code), "{words}");
    }
    let (exit, words) = install(&appliance, &directory.join("nothing")).await;
    assert!(exit == Some(1) && words.contains("bundle-unreadable"), "{words}");
    assert!(appliance.agent.serving().changes.is_empty());
    assert_eq!(appliance.agent.serving().trials, 0);
}

fn state_of(files: &Files) -> &[u8] {
    let is_state = |(name, _): &(&String, &Vec<u8>)| {
        name.starts_with("targets/state/") && !name.starts_with("targets/state/bundles/")
    };
    files.iter().find(is_state).expect("the state").1
}

fn sha256_of(files: &Files) -> String {
    super::region::sha256(state_of(files))
}

fn length_of(files: &Files) -> usize {
    state_of(files).len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stick_older_than_what_the_box_has_seen_is_refused() {
    let (mut appliance, old) = remote("north-1", json!({})).await;
    // The box meets the channel after the stick was made.
    appliance.channel.told().is_away = false;
    appliance.publish();
    assert_eq!(appliance.once().await, Some(0));
    appliance.channel.told().is_away = true;
    let (code, words) = install(&appliance, &write(appliance.directory.path(), &old)).await;
    assert!(code == Some(1) && words.contains("rolled-back]"), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_on_a_stick_is_refused_by_a_box_whose_updater_looks_after_none() {
    let mut appliance = Appliance::new().await;
    let mut os = appliance.region.approve("os", "os/sund-2.0.raucb", b"a bundle");
    let manifest = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d";
    appliance.region.custom.insert("os/sund-2.0.raucb".to_owned(), json!({"manifest_sha256": manifest}));
    os["version"] = json!("2.0");
    os["manifest_sha256"] = json!(manifest);
    let descriptor = appliance.state("north-2", b"model", json!({"os": os}));
    let files = appliance.region.bundle(&descriptor, FAR);
    let (code, words) = install(&appliance, &write(appliance.directory.path(), &files)).await;
    assert!(code == Some(1) && words.contains("[os-not-managed]"), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_on_a_stick_that_does_not_hold_is_taken_back() {
    let mut appliance = Appliance::serving().await;
    let descriptor = appliance.state("north-2", b"model two", json!({"watch_seconds": 600}));
    let files = appliance.region.bundle(&descriptor, FAR);
    appliance.channel.told().is_away = true;
    appliance.agent.serving().jobs = (6, 4);
    let (code, words) = install(&appliance, &write(appliance.directory.path(), &files)).await;
    assert_eq!(code, Some(1));
    assert!(words.contains("taken back: north-2 did not hold") && words.contains("[watch-missed]"), "{words}");
    assert_eq!(appliance.agent.serving().state.as_deref(), Some("north-1"));
    assert_eq!(appliance.agent.serving().commits, 1, "what was taken back commits nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_another_action_has_changed_the_box_the_stick_waits() {
    let mut appliance = Appliance::new().await;
    let watched = appliance.state("north-1", b"model one", json!({"watch_seconds": 600}));
    appliance.channel.deploy("1", &watched);
    let running = Running(appliance.run());
    until("it serves", || appliance.agent.serving().state.as_deref() == Some("north-1")).await;
    let descriptor = appliance.state("north-2", b"model two", json!({}));
    let files = appliance.region.bundle(&descriptor, FAR);
    let (code, words) = install(&appliance, &write(appliance.directory.path(), &files)).await;
    assert!(code == Some(75) && words.contains("[action-under-way]"), "{words}");
    assert!(inbox(&appliance).is_empty());
    drop(running);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_the_channel_is_left_for_a_stick_and_what_was_not_told_is_told_later() {
    let mut appliance = Appliance::new().await;
    let first = appliance.state("north-1", b"model one", json!({"watch_seconds": 2}));
    appliance.channel.deploy("1", &first);
    let running = Running(appliance.run());
    until("it serves", || appliance.agent.serving().state.as_deref() == Some("north-1")).await;
    appliance.channel.told().is_away = true;
    let is_over = |action: sund_ota::machine::record::Action| matches!(action.step, Step::Ended { .. });
    until("it is over and untold", || appliance.record().action.is_some_and(is_over)).await;
    let descriptor = appliance.state("north-2", b"model two", json!({}));
    let files = appliance.region.bundle(&descriptor, FAR);
    let (code, words) = install(&appliance, &write(appliance.directory.path(), &files)).await;
    assert_eq!(code, Some(0), "{words}");
    appliance.channel.action("1", |action| assert!(action.is_open));
    appliance.publish();
    appliance.channel.told().is_away = false;
    until("it is told", || appliance.channel.action("1", |action| !action.is_open)).await;
    appliance.channel.action("1", |action| {
        assert_eq!((action.closed().len(), action.late), (1, 0));
        assert_eq!(action.closed()[0].status.result.finished, Finished::Success);
    });
    assert_eq!(appliance.agent.serving().state.as_deref(), Some("north-2"));
    drop(running);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_channel_waits_for_what_was_begun_from_a_stick() {
    let mut appliance = Appliance::new().await;
    let on_stick = appliance.state("north-1", b"model one", json!({"watch_seconds": 4}));
    let files = appliance.region.bundle(&on_stick, FAR);
    let later = appliance.state("north-2", b"model two", json!({}));
    appliance.channel.told().is_away = true;
    let _running = Running(appliance.run());
    until("it polls", || appliance.directory.path().join("updater/now.json").exists()).await;
    let stick = write(appliance.directory.path(), &files);
    let arguments = ["install", stick.to_str().expect("UTF-8")];
    let installing = appliance.updater(&arguments);
    let meanwhile = async {
        until("it serves", || appliance.agent.serving().state.as_deref() == Some("north-1")).await;
        appliance.channel.told().is_away = false;
        appliance.channel.deploy("1", &later);
    };
    let (output, ()) = tokio::join!(installing, meanwhile);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output).1);
    until("the channel's state serves", || !appliance.channel.action("1", |action| action.is_open)).await;
    assert_eq!(appliance.agent.serving().activations, ["north-1", "north-2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_each_step_and_begun_again_it_ends_well_and_without_the_stick() {
    let (appliance, files) = remote("north-1", json!({"watch_seconds": 2})).await;
    let stick = write(appliance.directory.path(), &files);
    for rank in [0, 1, 3, 5] {
        let mut updater = appliance.command(&["install", stick.to_str().expect("UTF-8")]).spawn().expect("it starts");
        let has_come = || appliance.record().action.is_some_and(|action| action.step.rank() >= rank);
        until("the step", || has_come() || appliance.record().last.is_some()).await;
        updater.kill().expect("it is killed");
        updater.wait().expect("it ended");
    }
    // The stick was pulled out; what is in the inbox does, and the service goes on.
    std::fs::remove_file(&stick).expect("the stick");
    for _ in 0..3 {
        if appliance.record().last.is_none() {
            appliance.once().await;
        }
    }
    let last = appliance.record().last.expect("it ended");
    assert_eq!((last.origin, outcome(&appliance).end), (Origin::Stick, End::Active));
    assert_eq!(appliance.agent.serving().activations, ["north-1"]);
    assert!(inbox(&appliance).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_vanishes_in_the_middle_is_refused_before_it_serves_and_watched_to_its_end_after() {
    for serves in [false, true] {
        let (appliance, files) = remote("north-1", json!({"watch_seconds": 3})).await;
        let stick = write(appliance.directory.path(), &files);
        appliance.agent.serving().trial_polls = if serves { 1 } else { 1000 };
        let mut updater = appliance.command(&["install", stick.to_str().expect("UTF-8")]).spawn().expect("it starts");
        let rank = if serves { 5 } else { 3 };
        until("the step", || appliance.record().action.is_some_and(|action| action.step.rank() >= rank)).await;
        updater.kill().expect("it is killed");
        updater.wait().expect("it ended");
        for path in inbox(&appliance) {
            std::fs::remove_file(path).expect("the bundle");
        }
        assert_eq!(appliance.once().await, Some(i32::from(!serves)));
        let ended = outcome(&appliance);
        if serves {
            assert_eq!(ended.end, End::Active);
        } else {
            assert_eq!(ended.end, End::Refused);
            assert_eq!(ended.fault.expect("a reason").code, "bundle-unreadable");
            assert!(appliance.agent.serving().activations.is_empty());
        }
    }
}
