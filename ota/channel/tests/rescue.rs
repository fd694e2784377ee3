//! From an approved operating system to a box that is made anew with it: the real `sund-channel serve`, and the real
//! `sund-rescue` as it lies in the initramfs, which has neither certificate nor token.
use crate::fixture::{Channel, client};
use crate::json::Serving;
use crate::region::{APPROVERS, Region, TWO, block_on, text};
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use sund_channel::repository::rescue::payload_of;

const BUNDLE: &str = "an operating system that starts";

/// The static program, or the one of this build; see `.ci/test`.
fn program() -> PathBuf {
    let path = std::env::var_os("SUND_TEST_RESCUE").map(PathBuf::from);
    let path = path.unwrap_or_else(|| Path::new(env!("CARGO_BIN_EXE_sund-channel")).with_file_name("sund-rescue"));
    assert!(path.exists(), "SUND_TEST_RESCUE names the rescue program: cargo build -p sund-rescue makes it");
    path
}

/// A region that lists an operating system and one more.
pub fn region() -> Region {
    let region = Region::new();
    let digest = "a".repeat(64);
    for (version, contents) in [("1.2.0", BUNDLE), ("1.3.0", "another")] {
        let os = region.file(&format!("{version}.raucb"), contents);
        region.must(&["publish", "os", text(&os), "--version", version, "--manifest-sha256", &digest]);
        let waiting = region.must(&["proposals"])["proposals"][0]["proposal"].take();
        region.publish(waiting.as_str().unwrap(), &TWO);
    }
    region
}

/// Runs the rescue in a directory of its own, against a server of the channel.
pub fn rescued(directory: &Path, authority: &Path, port: u16, persons: &[(String, String)], minimum: u64) -> Output {
    let path = |name: &str| directory.join(name).display().to_string();
    fs::write(path("minimum"), minimum.to_string()).unwrap();
    let head = format!(
        "sources = [\"https://localhost:{port}/repository/targets/\"]\nauthorities = \"{}\"\n\
         built = \"2026-01-01T00:00:00Z\"\ndestination = \"{}\"\nrounds = 1\n[minimum]\nfile = \"{}\"\n",
        authority.display(),
        path("bundle"),
        path("minimum"),
    );
    let person = |(name, pem): &(String, String)| format!("[[person]]\nname = \"{name}\"\nkey = \"\"\"\n{pem}\"\"\"\n");
    let config: String = std::iter::once(head).chain(persons.iter().map(person)).collect();
    fs::write(path("rescue.toml"), config).unwrap();
    Command::new(program()).args(["--config", &path("rescue.toml")]).env_clear().output().unwrap()
}

/// The approvers as they stand in an initramfs.
pub fn persons(region: &Region) -> Vec<(String, String)> {
    let pem = |person: &str| region.must(&["key", "show", text(&region.public(person))])["pem"].take();
    APPROVERS.iter().map(|person| ((*person).to_owned(), pem(person).as_str().unwrap().to_owned())).collect()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_box_of_which_no_slot_starts_gets_what_the_region_has_approved_and_nothing_else_without_a_certificate() {
    let region = region();
    let proposed = region.must(&["publish", "rescue", "1.2.0"]);
    assert_eq!((&proposed["proposal"], &proposed["rescue"]["version"]), (&json!("rescue-1"), &json!(1)));
    assert_eq!(region.must(&["proposals"])["proposals"][0]["proposal"], "rescue-1");
    // One person releases nothing.
    region.sign("rescue-1", &["Dora Munk", "Dora Munk"]);
    let ended = region.run(&["approve", "rescue-1"]);
    assert_eq!((ended.code, &ended.json["standing"][0]["open"]), (Some(75), &json!(["Emil Nord", "Freja Ovesen"])));
    assert!(region.must(&["status"])["rescue"].is_null());
    region.publish("rescue-1", &["Emil Nord"]);
    assert_eq!(region.must(&["status"])["rescue"]["version"], 1);

    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let settings = format!("[server]\nlisten = ['127.0.0.1:{port}']\nnames = ['localhost']\n");
    fs::write(region.home().join("channel.toml"), settings).unwrap();
    let _serving = Serving::as_configured(&region);
    let stranger = client(&region.home(), None);
    let ask = |path: &str| {
        let url = format!("https://localhost:{port}/repository/{path}");
        block_on(async { stranger.get(url).send().await.unwrap() })
    };
    assert_eq!(ask("targets/rescue/rescue.json").headers()["cache-control"], "no-cache");
    let place = proposed["rescue"]["bundle"]["path"].as_str().unwrap();
    assert_eq!(ask(&format!("targets/{place}")).status(), StatusCode::OK);
    let status = region.must(&["status"]);
    let other = status["targets"]["os/sund-1.3.0.raucb"]["sha256"].as_str().unwrap();
    for closed in
        [&format!("targets/os/{other}.sund-1.3.0.raucb"), "targets/rescue/other.json", "metadata/timestamp.json"]
    {
        assert_eq!(ask(closed).status(), StatusCode::UNAUTHORIZED, "{closed}");
    }

    let directory = tempfile::tempdir().unwrap();
    let (authority, persons) = (region.home().join("ca/ca.pem"), persons(&region));
    let rescue = |minimum: u64| rescued(directory.path(), &authority, port, &persons, minimum);
    let output = rescue(1);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&told["version"], &told["length"]), (&json!(1), &json!(BUNDLE.len())));
    assert_eq!(fs::read_to_string(directory.path().join("bundle")).unwrap(), BUNDLE);
    // A box whose minimum has gone up takes no older one.
    let output = rescue(2);
    assert_eq!(output.status.code(), Some(65), "{}", said(&output));
    // Nor is there one where the system was withdrawn.
    region.must(&["withdraw", "os/sund-1.2.0.raucb", "--reason", "does not start"]);
    region.publish("os-4", &TWO);
    let output = rescue(1);
    assert_eq!(output.status.code(), Some(69), "{}", said(&output));
    assert_eq!(ask(&format!("targets/{place}")).status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_may_close_the_rescue_to_strangers() {
    let region = region();
    region.must(&["publish", "rescue", "1.2.0"]);
    region.publish("rescue-1", &TWO);
    let channel = Channel::start_on(region.into_home(), "open_rescue = false").await;
    let answer = channel.client(None).get(channel.url("/repository/targets/rescue/rescue.json")).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    channel.stop().await;
}

#[test]
fn a_recovery_bundle_goes_up_by_one_with_each_other_system_and_is_signed_for_longer_under_its_own() {
    let region = region();
    region.must(&["publish", "rescue", "1.2.0", "--version", "7"]);
    assert_eq!(region.run(&["publish", "rescue", "1.2.0", "--version", "7"]).refusal(), "proposal-waits");
    region.publish("rescue-7", &TWO);
    assert_eq!(region.must(&["publish", "rescue", "1.2.0", "--lifetime", "10"])["proposal"], "rescue-7");
    region.publish("rescue-7", &["Freja Ovesen", "Dora Munk"]);
    assert_eq!(region.must(&["publish", "rescue", "1.3.0"])["proposal"], "rescue-8");
    region.must(&["discard", "rescue-8"]);
    for version in ["6", "7"] {
        let ended = region.run(&["publish", "rescue", "1.3.0", "--version", version]);
        assert_eq!((ended.code, ended.refusal()), (Some(64), "version-there-already"));
    }
    assert_eq!(region.run(&["publish", "rescue", "9.9.9"]).refusal(), "target-not-listed");
}

#[test]
fn a_recovery_bundle_that_somebody_else_has_signed_or_that_was_altered_is_not_shown() {
    let region = region();
    region.must(&["publish", "rescue", "1.2.0"]);
    let stranger = region.path("stranger.json");
    let root = region.key("Anna Holm");
    region.must(&["sign", "rescue-1", "--yes", "--key", text(&root), "--out", text(&stranger)]);
    assert_eq!(region.run(&["approve", "rescue-1", text(&stranger)]).refusal(), "key-of-another-role");
    let key = region.key(TWO[0]);
    let other = ["sign", "rescue-1", "--yes", "--fingerprint", "0000 0000", "--key", text(&key)];
    assert_eq!(region.run(&other).refusal(), "fingerprint-differs");
    region.sign("rescue-1", &TWO);
    let payload = region.home().join("proposals/rescue-1/payload.json");
    let text = fs::read_to_string(&payload).unwrap();
    fs::write(&payload, text.replace("\"version\": 1", "\"version\": 1 ")).unwrap();
    assert_eq!(region.run(&["approve", "rescue-1"]).refusal(), "signature-invalid");
    assert!(!region.home().join("repository/targets/rescue/rescue.json").exists());
}

#[test]
fn a_withdrawn_system_rescues_no_box() {
    let region = region();
    region.must(&["publish", "rescue", "1.2.0"]);
    region.publish("rescue-1", &TWO);
    region.must(&["publish", "rescue", "1.3.0"]);
    region.sign("rescue-2", &TWO);
    let withdraw = |version: &str, id: &str| {
        region.must(&["withdraw", &format!("os/sund-{version}.raucb"), "--reason", "does not start"]);
        region.publish(id, &TWO);
    };
    withdraw("1.2.0", "os-4");
    assert!(region.must(&["status"])["rescue"].is_null());
    // Nor does one that is withdrawn while its signatures are gathered.
    withdraw("1.3.0", "os-5");
    assert_eq!(region.run(&["approve", "rescue-2"]).refusal(), "target-not-listed");
}

#[test]
fn a_withdrawn_system_that_was_left_as_the_rescue_goes_with_the_next_renewal() {
    let region = region();
    region.must(&["publish", "rescue", "1.2.0"]);
    region.publish("rescue-1", &TWO);
    region.must(&["renew"]);
    let place = region.home().join("repository/targets/rescue/rescue.json");
    let left = fs::read(&place).unwrap();
    region.must(&["withdraw", "os/sund-1.2.0.raucb", "--reason", "does not start"]);
    region.publish("os-4", &TWO);
    fs::write(&place, left).unwrap();
    region.must(&["renew"]);
    assert!(!place.exists());
}

#[test]
fn a_mirror_rescues_with_the_bundle_before_until_the_new_one_has_come() {
    let region = region();
    let rescue_with = |os: &str, id: &str| {
        region.must(&["publish", "rescue", os]);
        region.publish(id, &TWO);
    };
    rescue_with("1.2.0", "rescue-1");
    let root = region.home().join("repository/metadata/1.root.json");
    let site = crate::copies::serve(region.home().join("repository"));
    let mirror = region.path("mirror");
    let copy = || region.run(&["mirror", text(&mirror), "--from", &site, "--root", text(&root)]).code;
    let offered = || {
        let descriptor = fs::read(mirror.join("targets/rescue/rescue.json")).ok()?;
        Some(payload_of(&descriptor).unwrap().version)
    };
    assert_eq!((copy(), offered()), (Some(0), Some(1)));
    let os = region.file("1.4.0.raucb", "a newer one");
    let digest = "a".repeat(64);
    region.must(&["publish", "os", text(&os), "--version", "1.4.0", "--manifest-sha256", &digest]);
    region.publish("os-4", &TWO);
    rescue_with("1.4.0", "rescue-2");
    let names = fs::read_dir(region.home().join("repository/targets/os")).unwrap().flatten();
    let bundle = names.map(|entry| entry.path()).find(|path| text(path).ends_with("1.4.0.raucb")).unwrap();
    fs::write(&bundle, "a newer 0ne").unwrap();
    assert_eq!((copy(), offered()), (Some(65), Some(1)));
    region.must(&["withdraw", "os/sund-1.2.0.raucb", "--reason", "does not start"]);
    region.publish("os-5", &TWO);
    assert_eq!((copy(), offered()), (Some(65), None), "what is withdrawn rescues nobody");
    fs::write(&bundle, "a newer one").unwrap();
    assert_eq!((copy(), offered()), (Some(0), Some(2)));
}

#[test]
fn a_mirror_has_the_recovery_bundle_of_its_origin_or_none() {
    let region = region();
    region.must(&["publish", "rescue", "1.2.0"]);
    region.publish("rescue-1", &TWO);
    let root = region.home().join("repository/metadata/1.root.json");
    let site = crate::copies::serve(region.home().join("repository"));
    let mirror = region.path("mirror");
    let copy = || region.must(&["mirror", text(&mirror), "--from", &site, "--root", text(&root)]);
    assert_eq!(copy()["rescue"], true);
    let [ours, theirs] = [region.home().join("repository/targets"), mirror.join("targets")]
        .map(|targets| fs::read(targets.join("rescue/rescue.json")).unwrap());
    assert_eq!(ours, theirs);
    region.must(&["withdraw", "os/sund-1.2.0.raucb", "--reason", "does not start"]);
    region.publish("os-4", &TWO);
    assert_eq!(copy()["rescue"], false);
    assert!(!mirror.join("targets/rescue/rescue.json").exists());
}
