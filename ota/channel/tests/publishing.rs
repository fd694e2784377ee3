//! From an empty directory to a state that a box reads.
use crate::region::{Region, TWO, block_on, ed25519, frozen, text};
use serde_json::json;
use std::path::Path;
use sund_ota::descriptor::Descriptor;
use sund_ota::state::Mode;

#[test]
fn what_enough_persons_have_signed_a_box_reads_and_nothing_before() {
    let region = Region::with_vendor();
    region.must(&["publish", "model", text(&frozen("format-1.sund")), "--vendor", "sund"]);
    region.publish("models.sund-2", &TWO);
    let config = region.file("north.toml", "ae_title = \"SUND\"\n");
    let config = region.must(&["publish", "config", text(&config), "--name", "north"])["target"].clone();
    region.publish("config-2", &TWO);
    let proposed = region.propose_state("north-1", config["target"].as_str().unwrap(), &[]);
    let pin = &proposed["target"];
    let descriptor = Descriptor {
        format: 1,
        target: pin["target"].as_str().unwrap().to_owned(),
        sha256: pin["sha256"].as_str().unwrap().to_owned(),
        length: pin["length"].as_u64().unwrap(),
    };
    let read = |region: &Region| block_on(region.load().unwrap().state(&descriptor));
    assert_eq!(read(&region).unwrap_err().code, "target-not-approved");
    region.publish("state-2", &TWO);
    let state = read(&region).unwrap();
    let state = state.get();
    assert_eq!((state.models[0].name.as_str(), state.models[0].version.as_str()), ("positive-values", "1.0.0"));
    assert_eq!(state.routes["neuro"].mode, Mode::Shadow);
    assert_eq!(region.must(&["verify"])["states"], 1);
}

#[test]
fn a_release_of_several_roles_is_one_proposal_and_one_signature_of_each_person() {
    let region = Region::with_state();
    let status = region.must(&["status"]);
    for target in ["models/sund/positive-values-1.0.0.sund", "state/north-1.json"] {
        assert_ne!(status["targets"][target], json!(null), "{status:#}");
    }
    assert_eq!(status["proposals"], json!([]));
}

#[test]
fn the_payload_is_the_file_in_the_layout_that_every_client_asks_for() {
    let region = Region::with_state();
    let status = region.must(&["status"]);
    let sha256 = status["targets"]["models/sund/positive-values-1.0.0.sund"]["sha256"].as_str().unwrap().to_owned();
    let path = region.home().join(format!("repository/targets/models/sund/{sha256}.positive-values-1.0.0.sund"));
    assert_eq!(std::fs::read(path).unwrap(), std::fs::read(frozen("format-1.sund")).unwrap());
    for name in ["2.models%2Fsund.json", "2.models/sund.json"] {
        assert_eq!(region.metadata(name)["signed"]["version"], 2);
    }
}

#[test]
fn a_package_that_another_vendor_answers_for_or_nobody_has_signed_is_not_proposed() {
    let region = Region::new();
    let public = ed25519(&region.path("other.pem"));
    let approvers = TWO.map(|person| region.public(person));
    let keys = ["--key", text(&approvers[0]), "--key", text(&approvers[1])];
    let delegate = |role: &str, name: &str, more: &[&str]| {
        let mut arguments = vec!["delegate", role, "--vendor-name", name, "--package-key", text(&public)];
        arguments.extend(keys);
        arguments.extend(more);
        region.must(&arguments);
    };
    delegate("models/sund", "Sund", &[]);
    delegate("models/acme", "Acme", &["--with", "targets-2"]);
    region.publish("targets-2", &["Anna Holm", "Carla Lund", "Dora Munk", "Emil Nord"]);
    let publish = |vendor: &str| region.run(&["publish", "model", text(&frozen("format-1.sund")), "--vendor", vendor]);
    assert_eq!(publish("acme").refusal(), "package-of-another-vendor");
    assert_eq!(publish("sund").refusal(), "package-not-signed");
    assert_eq!(publish("else").refusal(), "vendor-unknown");
    let text_file = region.file("no.sund", "no package");
    assert_eq!(region.run(&["publish", "model", text(&text_file), "--vendor", "sund"]).refusal(), "package-unreadable");
}

#[test]
fn what_is_no_package_key_is_not_pinned() {
    let region = Region::new();
    let approvers = TWO.map(|person| region.public(person));
    let delegate = |vendor: &str, keys: &[&Path]| {
        let mut arguments = vec!["delegate", vendor, "--vendor-name", "Acme"];
        for key in keys {
            arguments.extend(["--package-key", text(key)]);
        }
        for approver in &approvers {
            arguments.extend(["--key", text(approver)]);
        }
        let waiting = region.home().join("proposals/targets-2").exists();
        arguments.extend(if waiting { &["--with", "targets-2"][..] } else { &[] });
        region.run(&arguments)
    };
    let private = region.path("acme.pem");
    let public = ed25519(&private);
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    let (both, signers) = (region.file("both.pem", &(read(&private) + &read(&public))), region.public(TWO[0]));
    let words = region.file("words.pem", "not a key");
    let rsa = region.file("rsa.pem", &read(&public).replace("MCowBQYDK2Vw", "MCowBQYDK2Vx"));
    for wrong in [&words, &private, &both, &rsa, &signers] {
        let ended = delegate("models/acme", &[&public, wrong]);
        assert_eq!((ended.code, ended.refusal()), (Some(64), "package-key-invalid"), "{}", wrong.display());
    }
    // What the private key says lies nowhere in what is served.
    let secret = read(&private).lines().nth(1).unwrap().to_owned();
    let stored = std::process::Command::new("grep").args(["-r", &secret]).arg(region.home()).output().unwrap();
    assert!(stored.stdout.is_empty());
    // Boxes take sixteen keys of one name, whichever short names it has.
    let keys: Vec<_> = (0..9).map(|n| ed25519(&region.path(&format!("{n}.pem")))).collect();
    let (all, eight): (Vec<&Path>, Vec<&Path>) =
        (keys.iter().map(|key| &**key).collect(), keys[1..].iter().map(|key| &**key).collect());
    assert_eq!(delegate("models/acme", &eight).code, Some(0));
    assert_eq!(delegate("models/acme-2", &all).refusal(), "package-key-invalid");
    assert_eq!(delegate("models/acme-2", &eight).code, Some(0));
}

#[test]
fn a_version_that_is_out_never_becomes_another() {
    let region = Region::new();
    let os = region.file("os.raucb", "first");
    let digest = "a".repeat(64);
    let publish = || region.run(&["publish", "os", text(&os), "--version", "1.2.0", "--manifest-sha256", &digest]);
    assert_eq!(publish().code, Some(0));
    region.publish("os-2", &TWO);
    assert_eq!(publish().refusal(), "nothing-to-do");
    region.file("os.raucb", "second");
    assert_eq!(publish().refusal(), "version-there-already");
}

#[test]
fn a_name_that_was_withdrawn_never_means_other_bytes() {
    let region = Region::new();
    let os = region.file("os.raucb", "first");
    let digest = "a".repeat(64);
    let publish = || region.run(&["publish", "os", text(&os), "--version", "1.2.0", "--manifest-sha256", &digest]);
    assert_eq!(publish().code, Some(0));
    region.publish("os-2", &TWO);
    region.must(&["withdraw", "os/sund-1.2.0.raucb", "--reason", "does not start"]);
    region.publish("os-3", &TWO);
    region.file("os.raucb", "second");
    let ended = publish();
    assert_eq!((ended.code, ended.refusal()), (Some(64), "version-there-already"));
    let reason = ended.json["error"]["reason"].as_str().unwrap();
    assert!(reason.contains("version 2 of os"), "{reason}");
    // The same bytes are the same release: two persons may bring it back.
    region.file("os.raucb", "first");
    assert_eq!(publish().code, Some(0));
    region.must(&["discard", "os-4"]);
    // Where the past cannot be read, nothing is taken for new.
    std::fs::remove_file(region.home().join("repository/metadata/2.os.json")).unwrap();
    region.file("os.raucb", "second");
    assert_eq!(publish().refusal(), "repository-damaged");
}

#[test]
fn a_withdrawn_state_gives_its_name_to_no_other() {
    let region = Region::with_state();
    region.must(&["withdraw", "state/north-1.json", "--reason", "a test"]);
    region.publish("state-3", &TWO);
    let other = region.file("other.json", r#"{"name":"north-1","watch_seconds":61}"#);
    assert_eq!(region.run(&["publish", "state", text(&other)]).refusal(), "version-there-already");
    let next = region.file("next.json", r#"{"name":"north-2","watch_seconds":61}"#);
    assert_eq!(region.run(&["publish", "state", text(&next)]).code, Some(0));
}

#[test]
fn a_state_that_names_what_is_not_listed_is_not_proposed() {
    let region = Region::with_vendor();
    let file = region.file("s.json", r#"{"name":"north-1","models":[{"target":"models/sund/x.sund","sha256":"aa","length":1,"name":"x","version":"1"}],"watch_seconds":60}"#);
    let ended = region.run(&["publish", "state", text(&file)]);
    assert_eq!((ended.code, ended.refusal()), (Some(64), "target-not-listed"));
    // Also where its hash is to be filled in.
    let file =
        region.file("s.json", r#"{"name":"north-1","models":[{"target":"models/sund/x.sund"}],"watch_seconds":60}"#);
    let ended = region.run(&["publish", "state", text(&file)]);
    assert_eq!((ended.code, ended.refusal()), (Some(64), "target-not-listed"));
    let file = region.file("s.json", r#"{"name":"stop"}"#);
    assert_eq!(region.run(&["publish", "state", text(&file)]).refusal(), "state-invalid");
}

#[test]
fn timestamp_and_snapshot_are_renewed_and_what_is_past_half_of_its_life_is_alarming() {
    let region = Region::new();
    let renewed = region.run(&["renew"]);
    assert_eq!((renewed.code, &renewed.json["timestamp"], &renewed.json["snapshot"]), (Some(0), &json!(2), &json!(1)));
    region.load().unwrap();
    // Metadata that was made with half a year and less to go.
    let path = region.home().join("repository/metadata/1.os.json");
    let bytes = std::fs::read_to_string(&path).unwrap();
    let expires = region.metadata("1.os.json")["signed"]["expires"].as_str().unwrap().to_owned();
    let soon = sund_channel::repository::in_days(100).unwrap().to_string();
    std::fs::write(&path, bytes.replace(&expires, &soon)).unwrap();
    let renewed = region.run(&["renew"]);
    assert_eq!(renewed.code, Some(1));
    let alarm = &renewed.json["alarms"][0];
    assert_eq!(alarm["role"], "os");
    assert!(matches!(alarm["days_left"].as_i64(), Some(99 | 100)), "{alarm:#}");
}

#[test]
fn a_directory_that_is_no_channel_and_a_command_line_that_is_none_exit_64() {
    let region = Region::bare();
    assert_eq!(region.run(&["status"]).refusal(), "nothing-published");
    assert_eq!(region.run(&["--home", "/nowhere", "status"]).code, Some(64));
    assert_eq!(region.run(&["publish", "nothing"]).code, Some(64));
}
