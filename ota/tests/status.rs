//! What people and scripts see of the updater.
use super::appliance::Appliance;
use super::conversation::{Running, until};
use super::switches::suspend;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use sund_ota::config::Config;
use sund_ota::ddi::Progress;
use sund_ota::escrow::{EscrowStatus, Standing};
use sund_ota::fault::{Blame, Fault};
use sund_ota::firmware::SecureBoot;
use sund_ota::machine::record::{End, Origin};
use sund_ota::recovery::RecoveryStatus;
use sund_ota::release::Variant;
use sund_ota::status::{ActionStatus, Now, Poll, Status, Trouble};
use sund_ota::trust::Heard;

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_configuration_is_refused_with_its_line_before_anything_is_asked() {
    let appliance = Appliance::new().await;
    assert_eq!(appliance.updater(&["check-config"]).await.status.code(), Some(0));
    let text = std::fs::read_to_string(appliance.configuration()).expect("updater.toml");
    let port = appliance.channel.address.port();
    for (altered, words) in [
        (text.replace("confirm = true", "confrim = true"), "line 4"),
        (text.replace(&format!("url = \"http://127.0.0.1:{port}\""), "url = \"http://channel.example\""), "https"),
        (text.replace("min_seconds = 1", "min_seconds = 0"), "min_seconds"),
        (text.replace("id = \"box-1\"", "id = \"../box\""), "`id`"),
        (format!("{text}\nmax_failed_share = 2.0\n"), "max_failed_share"),
    ] {
        std::fs::write(appliance.configuration(), altered).expect("updater.toml");
        for command in ["check-config", "run"] {
            let output = appliance.updater(&[command]).await;
            assert_eq!(output.status.code(), Some(64), "{words}");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(said.contains(words), "{said}");
        }
    }
    assert_eq!(appliance.channel.told().polls, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_in_the_readme_is_one() {
    let appliance = Appliance::new().await;
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).expect("README.md");
    let example = readme.split_once("```toml\n").and_then(|(_, rest)| rest.split_once("```")).expect("an example").0;
    std::fs::write(appliance.configuration(), example).expect("updater.toml");
    assert_eq!(appliance.updater(&["check-config"]).await.status.code(), Some(0));
    let config = Config::read(&appliance.configuration()).expect("it was checked");
    let os = config.os.expect("an operating system");
    assert_eq!((os.install.as_secs(), os.health.as_secs()), (7200, 600));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_says_all_that_the_updater_knows() {
    let mut appliance = Appliance::new().await;
    for (id, name, misses) in [("1", "north-1", false), ("2", "north-2", true)] {
        let descriptor = appliance.state(name, name.as_bytes(), json!({}));
        appliance.agent.serving().misses = misses;
        appliance.channel.deploy(id, &descriptor);
        appliance.once().await;
    }
    let output = appliance.updater(&["status", "--json"]).await;
    let mut status: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    serde_json::from_value::<Status>(status.clone()).expect("the type and the text agree");
    // What differs from run to run.
    for pointer in ["/since", "/last/since", "/last/ended", "/now/poll/at", "/now/poll/next", "/heard/at"] {
        let time = status.pointer_mut(pointer).expect(pointer);
        assert!(time.as_i64().is_some_and(|time| time > 1_700_000_000), "{pointer}: {time}");
        *time = json!(0);
    }
    *status.pointer_mut("/server").expect("a server") = json!("http://127.0.0.1:1/");
    let found = format!("{status:#}\n");
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens/status.json");
    if std::env::var_os("SUND_WRITE_GOLDENS").is_some() {
        std::fs::write(golden, &found).expect("the golden file");
    }
    assert_eq!(found, std::fs::read_to_string(golden).expect("the golden file"));

    let words = String::from_utf8_lossy(&appliance.updater(&["status"]).await.stdout).into_owned();
    assert!(words.contains("north-1, good since") && words.contains("action 2 (north-2): refused"), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspension_that_is_not_applied_is_told_by_the_status_until_it_is() {
    let mut appliance = Appliance::serving().await;
    suspend(&mut appliance, "brain", None);
    let socket = appliance.directory.path().join("agent.sock");
    std::fs::rename(&socket, socket.with_extension("aside")).expect("its socket");
    appliance.once().await;
    let troubles = async || -> Value {
        let status: Value =
            serde_json::from_slice(&appliance.updater(&["status", "--json"]).await.stdout).expect("JSON");
        status["now"]["troubles"].clone()
    };
    let told = troubles().await;
    let is_told = |one: &Value| one["what"] == "a suspension is not applied" && one["fault"]["code"] == "agent-away";
    assert!(told.as_array().is_some_and(|all| all.iter().any(is_told)), "{told}");
    let words = String::from_utf8_lossy(&appliance.updater(&["status"]).await.stdout).into_owned();
    assert!(words.contains("TROUBLE      a suspension is not applied: "), "{words}");
    std::fs::rename(socket.with_extension("aside"), &socket).expect("its socket");
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!((troubles().await, &appliance.agent.serving().suspended), (json!([]), &vec!["brain".to_owned()]));
}

/// What the agent's console reads; the same file lies among its own goldens.
#[test]
fn the_status_file_is_frozen_with_all_that_it_can_say() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/updater-status.json");
    let fault = |code: &'static str, reason: &str| Fault::new(code, Blame::Region, reason);
    let action = |id: &str, origin: Origin, state: &str, step: &str| ActionStatus {
        id: id.to_owned(),
        origin,
        state: Some(state.to_owned()),
        step: step.to_owned(),
        end: None,
        since: 1_795_000_000,
        ended: None,
        fault: None,
        details: vec!["brain-extraction: golden-cases held: 2 of 2 cases (1204 ms)".to_owned()],
    };
    let last = ActionStatus {
        end: Some(End::RolledBack),
        ended: Some(1_795_000_900),
        fault: Some(fault("watch-missed", "`brain-extraction`: 4 of 10 jobs failed, 40 % where 10 % may")),
        ..action("41", Origin::Channel, "north-2026-11-1", "ended")
    };
    let map = |pairs: &[(&str, i64)]| pairs.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect();
    let status = Status {
        format: 1,
        version: "0.1.0".to_owned(),
        id: "box-17".to_owned(),
        server: "https://channel.region.example/".to_owned(),
        tenant: "DEFAULT".to_owned(),
        certificate_until: Some(1_826_000_000),
        escrow: Some(EscrowStatus {
            standing: Standing::Kept,
            since: Some(1_794_000_100),
            recipient: Some("9b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90a".to_owned()),
            fault: None,
        }),
        recovery: Some(RecoveryStatus {
            least: Some(9),
            offered: Some(8),
            fault: Some(fault(
                "recovery-too-old",
                "the region offers version 8, and this box takes 9 and later: `sund-channel publish rescue OS --version 9`",
            )),
        }),
        secure_boot: Some(SecureBoot::Off),
        metadata_until: map(&[("root", 1_826_500_000), ("snapshot", 1_796_200_000), ("timestamp", 1_795_600_000)]),
        heard: Some(Heard { version: 41, at: Some(1_795_000_400) }),
        os: Some("2026.11".to_owned()),
        variant: Some(Variant { id: "debug".to_owned(), name: "DEBUG: not for patients".to_owned() }),
        state: Some("north-2026-10-3".to_owned()),
        since: Some(1_794_000_000),
        kept: vec!["north-2026-10-2".to_owned()],
        suspended: vec!["old-model".to_owned()],
        stopped: Some("since 2026-11-29T17:00:00Z: results of the wrong patient".to_owned()),
        suspended_by_region: [("bone-age".to_owned(), "drift at three sites".to_owned())].into(),
        action: Some(action("stick-1795984094924", Origin::Stick, "north-2026-11-2", "verified")),
        last: Some(last),
        now: Now {
            doing: "verified".to_owned(),
            poll: Some(Poll {
                at: 1_795_001_000,
                next: 1_795_001_300,
                interval_seconds: 300,
                trouble: Some("the server is away".to_owned()),
            }),
            progress: Some(Progress { cnt: 512, of: Some(2048) }),
            waits: Some(fault("rollouts-stopped", "the region has stopped all rollouts")),
            unheard: Some(fault("store-unreachable", "the mirror does not answer")),
            troubles: vec![Trouble {
                what: "a withdrawn state is not left".to_owned(),
                fault: Fault::new("agent-away", Blame::Agent, "the agent does not answer"),
            }],
        },
    };
    let found = format!("{:#}\n", serde_json::to_value(&status).expect("JSON"));
    if std::env::var_os("SUND_WRITE_GOLDENS").is_some() {
        std::fs::write(&golden, &found).expect("the golden file");
    }
    assert_eq!(found, std::fs::read_to_string(&golden).expect("the golden file"));
    assert_eq!(serde_json::from_str::<Status>(&found).expect("it is read as it is written"), status);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_knows_is_written_for_others_on_the_box_where_there_is_a_place_for_it() {
    use std::os::unix::fs::PermissionsExt;
    let mut appliance = Appliance::new().await;
    let descriptor = appliance.state("north-1", b"model", json!({}));
    appliance.channel.deploy("1", &descriptor);
    assert_eq!(appliance.once().await, Some(0));
    let file = appliance.directory.path().join("run/status.json");
    assert!(!file.exists());
    std::fs::create_dir(appliance.directory.path().join("run")).expect("a directory");
    assert_eq!(appliance.once().await, Some(0));
    let written: Status = serde_json::from_slice(&std::fs::read(&file).expect("the status")).expect("JSON");
    assert_eq!((written.state.as_deref(), written.now.doing.as_str()), (Some("north-1"), "idle"));
    assert!(written.now.poll.is_some());
    assert_eq!(std::fs::metadata(&file).expect("the status").permissions().mode() & 0o777, 0o640);

    // A suspension of a package that is not served any more, and that the region has lifted.
    let mut record = appliance.record();
    record.switches.applied.insert("gone".to_owned(), "suspended by the region: drift".to_owned());
    record.write(&appliance.directory.path().join("updater/state.json")).expect("the record");
    let _running = Running(appliance.run());
    let seen = || serde_json::from_slice::<Status>(&std::fs::read(&file).expect("the status")).expect("JSON");
    until("it polls", || seen().now.poll != written.now.poll).await;
    assert_eq!((seen().stopped, seen().suspended_by_region), (None, BTreeMap::new()));
    super::switches::stop_all(&mut appliance);
    suspend(&mut appliance, "brain", None);
    let is_told = |status: &Status| status.stopped.as_ref().is_some_and(|why| why.contains("wrong patients"));
    until("the stop is told", || is_told(&seen())).await;
    until("the suspension is told", || seen().suspended_by_region.keys().eq(["brain"])).await;
    appliance.region.withdraw(sund_ota::documents::STOP);
    appliance.region.withdraw(sund_ota::documents::SUSPENSIONS);
    appliance.publish();
    until("both are over", || seen().stopped.is_none() && seen().suspended_by_region.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_updaters_do_not_work_in_one_directory() {
    let appliance = Appliance::new().await;
    let mut running = appliance.run();
    while !appliance.directory.path().join("updater/now.json").exists() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let output = appliance.updater(&["once"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("already-running"));
    // SIGTERM ends it well.
    let pid = rustix::process::Pid::from_child(&running);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("a signal");
    assert!(running.wait().expect("it ended").success());
}

/// systemd ignores a key that it does not know: a misspelt limit would be none.
#[test]
fn systemd_knows_every_key_of_the_unit_and_calls_it_safe() {
    let folder = tempfile::tempdir().expect("a directory");
    let unit =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/units/sund-updater.service")).expect("the unit");
    let path = folder.path().join("sund-updater.service");
    std::fs::write(&path, unit.replace("/usr/bin/sund-updater", env!("CARGO_BIN_EXE_sund-updater"))).expect("a file");
    for verb in [&["verify", "--man=no"][..], &["security", "--offline=true", "--threshold=25"]] {
        let output = std::process::Command::new("systemd-analyze").args(verb).arg(&path).output();
        let output = output.expect("systemd-analyze, from Debian's systemd");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(output.status.success(), "{said}");
        assert!(verb[0] == "security" || !said.contains("sund-updater"), "{said}");
    }
}
