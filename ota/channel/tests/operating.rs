//! What those who look after a channel rely on: why a box has failed, a copy of the database, units that systemd knows.
use crate::fixture::{Channel, PLAIN, configure};
use serde_json::json;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use sund_channel::rollout::orders::Order;
use sund_channel::server::control::{Answer, Request};
use tokio::task::block_in_place;

/// The real program beside a server that runs.
fn run(home: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sund-channel"));
    block_in_place(|| command.arg("--home").arg(home).args(arguments).output().unwrap())
}

fn say(home: &Path, arguments: &[&str]) -> String {
    let output = run(home, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn why_a_box_has_failed_is_told_wherever_an_operator_looks() {
    let channel = Channel::start(PLAIN).await;
    let device = channel.device("odense-1", &[]).await;
    channel.rollout("spring", "north-1", &["100%"]).await.unwrap();
    channel.order("spring", Order::Start).await.unwrap();
    device.install("failure", &["golden case 3: dice 0.41,\u{1b}[2J at least 0.90 is asked for"]).await;
    channel.until("spring", |rollout| rollout.status.word() == "paused").await;
    let home = channel.home.path();
    let line = "odense-1 failed in spring: golden case 3: dice 0.41,\u{fffd}[2J at least 0.90 is asked for";
    for arguments in [&["fleet"][..], &["rollout", "status"], &["rollout", "status", "spring"]] {
        let said = say(home, arguments);
        assert!(said.contains(line), "{arguments:?}: {said}");
    }
    channel.rollout("summer", "north-2", &["100%"]).await.unwrap();
    assert!(!say(home, &["rollout", "status", "summer"]).contains("odense-1"), "it failed in another one");
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_the_database_has_all_that_a_running_server_has_said_was_done() {
    let channel = Channel::start(PLAIN).await;
    let copies = tempfile::tempdir().unwrap();
    let copy = copies.path().join("channel.db");
    for n in 0..3 {
        channel.device(&format!("odense-{n}"), &[("site", "odense")]).await;
        // The one before is replaced.
        say(channel.home.path(), &["backup", copy.to_str().unwrap()]);
    }
    assert_eq!(fs::read_dir(copies.path()).unwrap().count(), 1, "one file, whole by itself");
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&copy).unwrap().permissions());
    assert_eq!(mode & 0o077, 0, "{mode:o}");
    let home = channel.stop().await;
    // A server of another machine goes on from it.
    for gone in ["channel.db", "channel.db-wal", "channel.db-shm"] {
        let _ = fs::remove_file(home.path().join(gone));
    }
    let none = run(home.path(), &["backup", copy.to_str().unwrap()]);
    assert!(!none.status.success() && copy.exists(), "what is there stays");
    fs::copy(&copy, home.path().join("channel.db")).unwrap();
    configure(home.path(), PLAIN);
    let restored = Channel::start_on(home, PLAIN).await;
    let all = Request::Devices { search: "site".into(), page: 0 };
    let Answer::Devices(devices, _) = restored.ask(all).await.unwrap() else { panic!() };
    let names: Vec<&str> = devices.iter().map(|device| device.name.as_str()).collect();
    assert_eq!(json!(names), json!(["odense-0", "odense-1", "odense-2"]));
    restored.stop().await;
}

/// systemd ignores a key that it does not know: a misspelt limit would be none.
#[test]
fn systemd_knows_every_key_of_the_centres_units_and_calls_them_safe() {
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("units");
    let folder = tempfile::tempdir().unwrap();
    let (verify, safe) = (&["verify", "--man=no"][..], &["security", "--offline=true", "--threshold=19"][..]);
    let all: [(&str, &[&[&str]]); 3] = [
        ("sund-channel.service", &[verify, safe]),
        ("sund-mirror@.service", &[verify, safe]),
        ("sund-mirror@.timer", &[verify]),
    ];
    for (name, _) in all {
        let unit = fs::read_to_string(units.join(name)).unwrap();
        let unit = unit.replace("/usr/bin/sund-channel", env!("CARGO_BIN_EXE_sund-channel"));
        fs::write(folder.path().join(name), unit).unwrap();
    }
    for (name, verbs) in all {
        for verb in verbs {
            let output = Command::new("systemd-analyze").args(*verb).arg(folder.path().join(name)).output();
            let output = output.expect("systemd-analyze, from Debian's systemd");
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            assert!(output.status.success(), "{name}: {said}");
            assert!(verb[0] == "security" || !said.contains("sund-"), "{name}: {said}");
        }
    }
}
