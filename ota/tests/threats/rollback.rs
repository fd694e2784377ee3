//! Nothing old comes back, over restarts neither.
use crate::region::{Device, Key, MODEL, Region, code};
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Copies what is published now, to be shown again later.
fn keep(region: &Region) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let files = fs::read_dir(region.metadata()).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.is_file()).map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

fn show_again(files: &[(std::path::PathBuf, Vec<u8>)]) {
    for (path, bytes) in files {
        fs::write(path, bytes).unwrap();
    }
}

#[tokio::test]
async fn an_older_timestamp_is_refused_after_a_restart() {
    let mut region = Region::new();
    let (device, old) = (region.device(), keep(&region));
    region.release("state");
    assert_eq!(code(device.load(&region).await), "");
    show_again(&old);
    // Each load reads what the box has seen from its disk: it is a restart.
    assert_eq!(code(device.load(&region).await), "timestamp-rolled-back");
    region.publish();
    assert_eq!(code(device.load(&region).await), "");
}

#[tokio::test]
async fn an_older_snapshot_under_a_newer_timestamp_is_refused() {
    let mut region = Region::new();
    let device = region.device();
    region.release("state");
    assert_eq!(code(device.load(&region).await), "");
    region.snapshot.version = 1;
    region.timestamp.version += 1;
    region.publish_online();
    assert_eq!(code(device.load(&region).await), "snapshot-rolled-back");
}

#[tokio::test]
async fn an_older_role_under_a_newer_snapshot_is_refused() {
    for (role, expected) in
        [("targets", "targets-rolled-back"), ("state", "role-rolled-back"), ("models/acme", "role-rolled-back")]
    {
        let mut region = Region::new();
        let device = region.device();
        region.release(role);
        assert_eq!(code(device.load(&region).await), "");
        region.role(role).version = 1;
        region.snapshot.version += 1;
        region.timestamp.version += 1;
        region.publish_online();
        assert_eq!(code(device.load(&region).await), expected, "{role}");
    }
}

#[tokio::test]
async fn a_role_that_the_snapshot_lists_no_more_is_refused() {
    let mut region = Region::new();
    let device = region.device();
    assert_eq!(code(device.load(&region).await), "");
    let all = std::mem::take(&mut region.delegated);
    region.delegated = all.iter().filter(|role| role.name != "state").cloned().collect();
    region.snapshot.version += 1;
    region.timestamp.version += 1;
    region.publish_online();
    assert_eq!(code(device.load(&region).await), "role-rolled-back");
}

#[tokio::test]
async fn an_older_root_under_the_next_number_is_refused() {
    let mut region = Region::new();
    let device = region.device();
    let first = fs::read(region.metadata().join("1.root.json")).unwrap();
    fs::write(region.metadata().join("2.root.json"), first).unwrap();
    assert_eq!(code(device.load(&region).await), "root-rolled-back");
    region.release("root");
    assert_eq!(code(device.load(&region).await), "");
}

/// The key was revoked because it was stolen. The thief withholds the root that says so.
#[tokio::test]
async fn a_root_that_was_seen_cannot_be_withheld_afterwards() {
    let mut region = Region::new();
    let device = region.device();
    let stolen = region.timestamp.keys.clone();
    region.timestamp.keys = vec![Key::new()];
    region.timestamp.signers = region.timestamp.keys.clone();
    region.release("root");
    assert_eq!(code(device.load(&region).await), "");
    fs::remove_file(region.metadata().join("2.root.json")).unwrap();
    region.timestamp.version += 1;
    region.timestamp.signers = stolen;
    region.publish_online();
    assert_eq!(code(device.load(&region).await), "signature-missing");
}

#[tokio::test]
async fn versions_that_a_thief_drove_up_are_forgotten_with_his_keys() {
    let mut region = Region::new();
    let device = region.device();
    region.timestamp.version = 1_000_000;
    region.snapshot.version = 1_000_000;
    region.publish_online();
    assert_eq!(code(device.load(&region).await), "");
    region.timestamp.version = 3;
    region.snapshot.version = 3;
    region.publish_online();
    assert_eq!(code(device.load(&region).await), "timestamp-rolled-back");
    for role in [&mut region.timestamp, &mut region.snapshot] {
        role.keys = vec![Key::new()];
        role.signers = role.keys.clone();
    }
    region.release("root");
    assert_eq!(code(device.load(&region).await), "");
}

#[tokio::test]
async fn a_withdrawn_target_is_not_approved_any_more() {
    let mut region = Region::new();
    let device = region.device();
    let state = region.state();
    let trusted = device.load(&region).await.unwrap();
    assert_eq!(code(trusted.state(&state).await), "");
    region.role("models/acme").targets.remove(MODEL);
    region.release("models/acme");
    let trusted = device.load(&region).await.unwrap();
    assert_eq!(code(trusted.state(&state).await), "target-not-approved");
}

#[tokio::test]
async fn a_box_that_lost_what_it_had_seen_says_so() {
    let region = Region::new();
    let device = region.device();
    assert_eq!(code(device.load(&region).await), "");
    for damage in ["", "{", r#"{"latest":null,"root":"{}","timestamp":null,"snapshot":null}"#] {
        fs::write(device.datastore().join("seen.json"), damage).unwrap();
        assert_eq!(code(device.load(&region).await), "seen-damaged");
    }
}

#[tokio::test]
async fn too_long_a_chain_of_roots_is_refused() {
    let mut region = Region::new();
    let device = region.device();
    for _ in 0..sund_ota::limits::metadata::MAX_ROOT_UPDATES {
        region.root.version += 1;
        region.publish_root();
    }
    assert_eq!(code(device.load(&region).await), "");
    let device = Device::provisioned_with(device.root);
    region.root.version += 1;
    region.publish_root();
    assert_eq!(code(device.load(&region).await), "root-chain-too-long");
}

const CHILD: &str = "SUND_TEST_LOAD_FROM";

/// The test runs itself once more as the process that is killed, at another moment each time.
#[tokio::test]
async fn a_box_that_is_killed_while_it_loads_still_knows_what_it_has_seen() {
    if let Ok(told) = std::env::var(CHILD) {
        let (base, device) = told.split_once(' ').unwrap();
        let device = Device::at(device.as_ref());
        let base = url::Url::parse(base).unwrap();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_mins(1) {
            device.load_from(&base, sund_ota::trust::Transport::directory()).await.unwrap();
            fs::write(device.path().join("loaded"), "").unwrap();
        }
        return;
    }
    let mut region = Region::new();
    let (device, old) = (region.device(), keep(&region));
    fs::write(device.path().join("root.json"), &device.root).unwrap();
    region.release("state");
    let new = keep(&region);
    let base = url::Url::from_directory_path(region.path()).unwrap();
    for round in 0..20 {
        show_again(&new);
        let _ = fs::remove_file(device.path().join("loaded"));
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "threats::rollback::a_box_that_is_killed_while_it_loads_still_knows_what_it_has_seen"])
            .env(CHILD, format!("{base} {}", device.path().display()))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while !device.path().join("loaded").exists() {
            assert!(begun.elapsed() < Duration::from_mins(1), "it does not load");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        // It loads over and over: the moments of the kills spread over one load.
        tokio::time::sleep(Duration::from_micros(1700 * round)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        show_again(&old);
        assert_eq!(code(device.load(&region).await), "timestamp-rolled-back");
    }
}
