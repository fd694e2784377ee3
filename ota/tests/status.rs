//! What people and scripts see of the updater.
use super::appliance::Appliance;
use serde_json::{Value, json};
use sund_ota::config::Config;
use sund_ota::status::Status;

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_configuration_is_refused_with_its_line_before_anything_is_asked() {
    let appliance = Appliance::new().await;
    assert_eq!(appliance.updater(&["check-config"]).await.status.code(), Some(0));
    let text = std::fs::read_to_string(appliance.configuration()).expect("updater.toml");
    let port = appliance.channel.address.port();
    for (altered, words) in [
        (text.replace("confirm = true", "confrim = true"), "line 3"),
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
    for pointer in ["/since", "/last/since", "/last/ended", "/now/poll/at", "/now/poll/next"] {
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
