//! The store on a disk that is full, that has lost something, or that keeps what nobody needs.
use crate::region::{Region, TWO, frozen, room, text};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use sund_channel::repository::in_days;

const MODEL: &str = "models/sund/positive-values-1.0.0.sund";

/// Proposes an operating system.
fn propose_os(region: &Region, version: &str) -> Value {
    let (file, digest) = (region.file(version, &format!("operating system {version}")), "a".repeat(64));
    region.must(&["publish", "os", text(&file), "--version", version, "--manifest-sha256", &digest])
}

fn targets(region: &Region) -> PathBuf {
    region.home().join("repository/targets")
}

/// Each file below a directory, with its length.
fn tree(directory: &Path) -> Vec<(PathBuf, u64)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        match entry.metadata().unwrap() {
            about if about.is_dir() => files.extend(tree(&entry.path())),
            about => files.push((entry.path(), about.len())),
        }
    }
    files.sort();
    files
}

fn has_part(region: &Region) -> bool {
    tree(&targets(region)).iter().any(|(path, _)| path.extension().is_some_and(|extension| extension == "part"))
}

#[test]
fn a_publish_that_does_not_fit_leaves_the_disk_as_it_was() {
    let region = Region::new();
    let file = region.path("os.raucb");
    fs::write(&file, vec![7; 1024 * 1024]).unwrap();
    let digest = "a".repeat(64);
    let publish = ["publish", "os", text(&file), "--version", "1.0.0", "--manifest-sha256", &digest];
    let before = tree(&region.home().join("repository"));
    // 64 MiB are kept for the metadata.
    let ended = region.run_with(&room(65 * 1024 * 1024 - 1), None, &publish);
    assert_eq!((ended.code, ended.refusal()), (Some(74), "disk-full"), "{:#}", ended.json);
    assert_eq!(tree(&region.home().join("repository")), before);
    for takes_all_the_same in [&["suspend", "brain", "--unlisted", "--reason", "drift"][..], &["renew"]] {
        let ended = region.run_with(&room(0), None, takes_all_the_same);
        assert_eq!(ended.code, Some(0), "{:#}", ended.json);
    }
    assert_eq!(region.run_with(&room(65 * 1024 * 1024), None, &publish).code, Some(0));
}

#[test]
fn what_cannot_be_cleared_stops_a_release_and_neither_a_renewal_nor_a_suspension() {
    let region = Region::new();
    fs::create_dir(targets(&region).join(".left.part")).unwrap();
    region.must(&["renew"]);
    region.must(&["suspend", "brain", "--unlisted", "--reason", "drift"]);
    let (file, digest) = (region.file("os.raucb", "an operating system"), "a".repeat(64));
    let ended = region.run(&["publish", "os", text(&file), "--version", "1.0.0", "--manifest-sha256", &digest]);
    assert_eq!(ended.refusal(), "disk-failed", "{:#}", ended.json);
}

#[test]
fn what_a_publish_has_written_goes_where_the_disk_takes_no_more_or_the_command_is_killed() {
    let region = Region::new();
    let file = region.path("os.raucb");
    fs::write(&file, vec![7; 1024 * 1024]).unwrap();
    let digest = "a".repeat(64);
    let publish = ["publish", "os", text(&file), "--version", "1.0.0", "--manifest-sha256", &digest];
    let before = tree(&targets(&region));
    let mut failures = 0;
    while !region.home().join("proposals/os-2").exists() {
        region.run_with(&format!("write:error=ENOSPC:when={}", failures + 1), None, &publish);
        let is_written = tree(&targets(&region)).iter().any(|(path, _)| text(path).ends_with("1.0.0.raucb"));
        assert!(is_written || tree(&targets(&region)) == before, "{:?}", tree(&targets(&region)));
        failures += 1;
        assert!(failures < 100, "it never comes to an end");
    }
    assert!(failures > 4, "a write of the payload failed");
    region.must(&["discard", "os-2"]);
    for clears in [&["renew"][..], &publish] {
        assert_ne!(region.run_with("fsync:signal=KILL:when=1", None, &publish).code, Some(0));
        assert!(has_part(&region));
        region.must(clears);
        assert!(!has_part(&region));
    }
}

#[test]
fn what_nothing_lists_is_swept_and_what_a_box_or_a_proposal_may_need_is_not() {
    let region = Region::with_state();
    propose_os(&region, "1.0.0");
    region.publish("os-2", &TWO);
    propose_os(&region, "2.0.0");
    region.must(&["discard", "os-3"]);
    propose_os(&region, "3.0.0");
    region.must(&["withdraw", MODEL, "--reason", "a test"]);
    region.publish("models.sund-3", &TWO);
    let sweep = |arguments: &[&str]| {
        let swept = region.must(&[&["sweep"], arguments].concat());
        let removed = swept["removed"].as_array().unwrap().iter();
        let names = removed.map(|it| it["place"].as_str().unwrap().split_once('.').unwrap().1.to_owned());
        names.collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    };
    let before = tree(&targets(&region));
    assert_eq!(sweep(&["--dry-run"]), ["sund-2.0.0.raucb"]);
    assert_eq!(tree(&targets(&region)), before, "it is named alone");
    assert_eq!(sweep(&[]), ["sund-2.0.0.raucb"]);
    assert_eq!(tree(&targets(&region)).len(), before.len() - 1);
    assert_eq!(region.must(&["verify"])["holds"], true);

    // What a box may have read before has ended: a snapshot lives fourteen days.
    let newest = region.must(&["status"])["roles"][2]["version"].as_u64().unwrap();
    for version in 1..newest {
        let path = region.home().join(format!("repository/metadata/{version}.snapshot.json"));
        let mut snapshot: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        snapshot["signed"]["expires"] = in_days(-1).unwrap().to_string().into();
        fs::write(&path, snapshot.to_string()).unwrap();
    }
    assert_eq!(sweep(&[]), ["north-1.json", "positive-values-1.0.0.sund", "vendors.json"]);
    assert_eq!(sweep(&[]), [""; 0]);
    // One that nobody can read may list anything.
    let documents = region.home().join("proposals/os-3/documents/os.json");
    let document = fs::read(&documents).unwrap();
    fs::write(&documents, "{").unwrap();
    assert_eq!(region.run(&["sweep"]).refusal(), "metadata-unreadable");
    fs::write(&documents, document).unwrap();
    region.publish("os-3", &TWO);
    assert_eq!(region.must(&["verify"])["holds"], true);
}

#[test]
fn a_payload_that_the_store_has_lost_keeps_nothing_else_from_being_taken_back() {
    let region = Region::with_state();
    for (version, id) in [("1.0.0", "os-2"), ("2.0.0", "os-3")] {
        propose_os(&region, version);
        region.publish(id, &TWO);
    }
    let place = |name: &str| {
        let all = tree(&targets(&region)).into_iter().map(|(path, _)| path);
        all.into_iter().find(|path| text(path).ends_with(name)).unwrap()
    };
    fs::remove_file(place("sund-1.0.0.raucb")).unwrap();
    let (state, away) = (place(".north-1.json"), region.path("away"));
    fs::rename(&state, &away).unwrap();
    region.must(&["suspend", "brain", "--unlisted", "--reason", "drift"]);
    region.publish("state-3", &TWO);
    fs::rename(&away, &state).unwrap();
    region.must(&["withdraw", "os/sund-2.0.0.raucb", "--reason", "does not start"]);
    region.publish("os-4", &TWO);
    let new = propose_os(&region, "3.0.0");
    fs::remove_file(place("sund-3.0.0.raucb")).unwrap();
    let id = new["proposal"].as_str().unwrap();
    region.sign(id, &TWO);
    assert_eq!(region.run(&["approve", id]).refusal(), "payload-missing", "nothing new is listed without its payload");
}

#[test]
fn verify_names_a_payload_that_is_missing_or_altered() {
    let region = Region::with_state();
    let held = region.must(&["verify"]);
    assert_eq!((&held["holds"], &held["states"], &held["bad"]), (&json!(true), &json!(1), &json!({})));
    let model = fs::read_dir(targets(&region).join("models/sund")).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(frozen("format-1.sund")).unwrap();
    let mut altered = whole.clone();
    altered[1000] ^= 1;
    fs::write(&model, altered).unwrap();
    let ended = region.run(&["verify"]);
    let told = |ended: &crate::region::Ended| (ended.code, ended.json["holds"].clone(), ended.json["bad"].clone());
    assert_eq!(told(&ended), (Some(1), json!(false), json!({ MODEL: "altered" })));
    assert_eq!(told(&region.run(&["verify", "--quick"])), (Some(0), json!(true), json!({})));
    fs::rename(&model, region.path("away")).unwrap();
    let state = fs::read_dir(targets(&region).join("state")).unwrap().next().unwrap().unwrap().path();
    fs::write(state, "{}").unwrap();
    for arguments in [&["verify"][..], &["verify", "--quick"]] {
        let bad = json!({ MODEL: "missing", "state/north-1.json": "altered" });
        assert_eq!(told(&region.run(arguments)), (Some(1), json!(false), bad));
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_sund-channel"));
    let said = command.args(["--home", text(&region.home()), "verify"]).output().unwrap().stdout;
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains(&format!("{MODEL} is missing")) && said.contains("DOES NOT HOLD"), "{said}");
}
