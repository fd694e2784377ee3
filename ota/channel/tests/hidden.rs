//! What whoever has the server tries to have signed unseen, and what honest people have to do where it looks the same.
use crate::region::{Region, TWO, text};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const DORA: &str = "Dora Munk";
const EMIL: &str = "Emil Nord";
const FREJA: &str = "Freja Ovesen";

/// A region in which the state `bad-1` was published as state 3 and withdrawn as state 4; the approvers of it are `TWO`.
fn with_a_withdrawn_state() -> Region {
    let region = Region::with_state();
    let config =
        region.must(&["status"])["targets"].as_object().unwrap().keys().find(|it| it.starts_with("config/")).cloned();
    region.propose_state("bad-1", &config.unwrap(), &[]);
    region.publish("state-3", &TWO);
    region.must(&["withdraw", "state/bad-1.json", "--reason", "misses small bleeds"]);
    region.publish("state-4", &TWO);
    region
}

/// The thief's hand in a proposal: `state` 3 is called published, and what was withdrawn after it is listed under `version`.
fn list_again(region: &Region, id: &str, version: u64) {
    let proposal = region.home().join("proposals").join(id);
    let published = region.home().join("repository/metadata/3.state.json");
    fs::copy(&published, proposal.join("before/state.json")).unwrap();
    let bad = read(&published)["signed"]["targets"]["state/bad-1.json"].take();
    let path = proposal.join("documents/state.json");
    let mut document = read(&path);
    document["signed"]["version"] = version.into();
    document["signed"]["targets"]["state/bad-1.json"] = bad;
    fs::write(&path, document.to_string()).unwrap();
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn sign(region: &Region, id: &str, person: &str, more: &[&str]) -> crate::region::Ended {
    let key = region.key(person);
    region.run(&[&["sign", id, "--yes", "--key", text(&key)], more].concat())
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

/// What is kept beside a person's key.
fn seen(region: &Region, person: &str) -> PathBuf {
    region.key(person).with_added_extension("seen.json")
}

#[test]
fn a_withdrawn_release_is_not_signed_back_in_by_calling_an_older_version_published() {
    let region = with_a_withdrawn_state();
    region.must(&["suspend", "brain", "--unlisted", "--reason", "a test"]);
    list_again(&region, "state-5", 5);
    // Nobody has to know anything for this one: a version is missing. Neither words nor a signature are to be had.
    for arguments in [vec!["show", "state-5"], vec!["approve", "state-5"]] {
        let ended = region.run(&arguments);
        assert_eq!((ended.code, ended.refusal()), (Some(65), "history-withheld"), "{arguments:?}");
    }
    assert_eq!(sign(&region, "state-5", FREJA, &["--anew"]).refusal(), "history-withheld");
    // Under the number of the withdrawal: who has signed that one knows.
    list_again(&region, "state-5", 4);
    for person in TWO {
        let ended = sign(&region, "state-5", person, &[]);
        assert_eq!((ended.code, ended.refusal()), (Some(65), "known-otherwise"), "{person}");
    }
    // And so does who was shown it as published.
    region.must(&["discard", "state-5"]);
    region.must(&["suspend", "brain", "--unlisted", "--reason", "a test"]);
    region.sign("state-5", &[FREJA]);
    list_again(&region, "state-5", 4);
    let ended = sign(&region, "state-5", FREJA, &[]);
    assert_eq!((ended.code, ended.refusal()), (Some(65), "history-older"));
}

#[test]
fn a_role_that_was_there_is_not_called_new() {
    let region = with_a_withdrawn_state();
    region.must(&["suspend", "brain", "--unlisted", "--reason", "a test"]);
    let proposal = region.home().join("proposals/state-5");
    list_again(&region, "state-5", 1);
    let mut cover = read(&proposal.join("proposal.json"));
    cover["before"] = serde_json::json!(["root", "targets"]);
    fs::write(proposal.join("proposal.json"), cover.to_string()).unwrap();
    assert_eq!(sign(&region, "state-5", DORA, &[]).refusal(), "history-older");
}

#[test]
fn what_a_proposal_lets_go_or_leaves_out_is_not_signed_unread() {
    let region = Region::new();
    region.must(&["suspend", "brain", "--unlisted", "--reason", "drift"]);
    region.publish("state-2", &TWO);
    region.must(&["stop-all", "--reason", "a test"]);
    let proposal = region.home().join("proposals/state-3");
    // The thief unlists what is suspended.
    let path = proposal.join("documents/state.json");
    let mut document = read(&path);
    document["signed"]["targets"].as_object_mut().unwrap().remove("state/suspensions.json");
    fs::write(&path, document.to_string()).unwrap();
    let suspensions = read(&region.home().join("repository/metadata/2.state.json"));
    let suspensions = suspensions["signed"]["targets"]["state/suspensions.json"].clone();
    let sha256 = suspensions["hashes"]["sha256"].as_str().unwrap().to_owned();
    let kept = fs::read_dir(region.home().join("repository/targets/state")).unwrap().map(|it| it.unwrap().path());
    let kept = kept.into_iter().find(|it| text(it).contains(&sha256)).unwrap();
    fs::copy(&kept, proposal.join("payloads").join(&sha256)).unwrap();
    let shown = region.must(&["show", "state-3"])["words"].to_string();
    assert!(shown.contains("SERVES AGAIN: brain, every version"), "{shown}");
    // He leaves out what it was, or what is new.
    let stop = document["signed"]["targets"]["state/stop.json"]["hashes"]["sha256"].as_str().unwrap();
    for payload in [stop, &sha256].map(|sha256| proposal.join("payloads").join(sha256)) {
        let bytes = fs::read(&payload).unwrap();
        fs::remove_file(&payload).unwrap();
        let ended = region.run(&["show", "state-3"]);
        assert_eq!(ended.refusal(), "proposal-invalid", "{}", payload.display());
        // So it is of one that an older sund-channel has made, which enclosed less.
        assert!(ended.json.to_string().contains("or propose it again"), "{:#}", ended.json);
        // Nor is it signed, in whichever way.
        assert_eq!(sign(&region, "state-3", DORA, &[]).refusal(), "proposal-invalid");
        let (public, messages) = (region.public(DORA), region.path("messages"));
        for step in ["--write-messages", "--signatures"] {
            let ended = region.run(&["sign", "state-3", "--public-key", text(&public), step, text(&messages)]);
            assert_eq!((ended.code, ended.refusal()), (Some(65), "proposal-invalid"), "{step}");
        }
        assert!(!messages.exists() && !proposal.join("signatures").exists());
        fs::write(&payload, bytes).unwrap();
    }
}

#[test]
fn what_was_changed_after_it_was_read_is_not_signed_by_its_fingerprint() {
    let region = Region::new();
    region.must(&["stop-all", "--reason", "a test"]);
    let read = region.must(&["show", "state-2"])["fingerprint"].as_str().unwrap().to_owned();
    region.must(&["suspend", "brain", "--unlisted", "--reason", "a test", "--with", "state-2"]);
    let ended = sign(&region, "state-2", DORA, &["--fingerprint", &read]);
    assert_eq!((ended.code, ended.refusal()), (Some(65), "fingerprint-differs"));
    let read = region.must(&["show", "state-2"])["fingerprint"].as_str().unwrap().replace(' ', "").to_uppercase();
    assert_eq!(sign(&region, "state-2", DORA, &["--fingerprint", &read]).code, Some(0));
}

#[test]
fn boxes_are_not_left_without_word_of_whose_a_key_is() {
    let region = Region::new();
    region.must(&["refresh", "targets"]);
    let path = region.home().join("proposals/targets-2/documents/targets.json");
    let mut document = read(&path);
    document["signed"]["targets"].as_object_mut().unwrap().remove("trust/approvers.json");
    fs::write(&path, document.to_string()).unwrap();
    region.sign("targets-2", &["Anna Holm", "Bo Krog"]);
    let ended = region.run(&["approve", "targets-2"]);
    assert_eq!((ended.code, ended.refusal()), (Some(65), "would-not-be-valid"));
    region.load().unwrap();
}

#[test]
fn what_was_given_up_under_a_number_is_replaced_when_the_signers_say_so() {
    let region = Region::new();
    region.must(&["stop-all", "--reason", "a mistake"]);
    region.sign("state-2", &[DORA, EMIL]);
    region.must(&["discard", "state-2"]);
    region.must(&["suspend", "brain", "--unlisted", "--reason", "what was meant"]);
    let ended = sign(&region, "state-2", DORA, &[]);
    assert_eq!((ended.code, ended.refusal()), (Some(65), "known-otherwise"));
    assert!(ended.json["error"]["reason"].as_str().unwrap().contains("--anew"), "{:#}", ended.json);
    // Whoever is asked reads what is passed over.
    let asked = region.command(&["sign", "state-2", "--anew", "--key", text(&region.key(DORA))]).output().unwrap();
    let asked = String::from_utf8_lossy(&asked.stderr).into_owned();
    assert!(asked.contains("SIGNED ANEW: this key has signed another version 2 of state"), "{asked}");
    assert_eq!(sign(&region, "state-2", DORA, &["--anew"]).code, Some(0));
    // It is what this key knows from now on, and one who has signed nothing of it is asked nothing.
    region.publish("state-2", &[DORA, FREJA]);
    region.must(&["suspend", "lung", "--unlisted", "--reason", "a test"]);
    region.sign("state-3", &[DORA, FREJA]);
    // Emil has signed the one that was given up; another was published in its place, and that is said once.
    assert_eq!(sign(&region, "state-3", EMIL, &[]).refusal(), "known-otherwise");
    assert_eq!(sign(&region, "state-3", EMIL, &["--anew"]).code, Some(0));
    region.publish("state-3", &[EMIL]);
    // What is added to a proposal is another proposal under the same number.
    region.must(&["resume", "lung"]);
    region.sign("state-4", &[DORA]);
    region.must(&["resume", "brain", "--with", "state-4"]);
    assert_eq!(sign(&region, "state-4", DORA, &[]).refusal(), "known-otherwise");
    region.sign_anew("state-4", &[DORA]);
    region.publish("state-4", &[EMIL]);
}

#[test]
fn after_a_server_was_restored_from_an_older_copy_people_sign_when_they_know_it() {
    let region = Region::new();
    let older = region.path("older");
    copy(&region.home(), &older);
    region.must(&["stop-all", "--reason", "a test"]);
    region.publish("state-2", &TWO);
    region.must(&["go-on"]);
    region.publish("state-3", &TWO);
    fs::remove_dir_all(region.home()).unwrap();
    copy(&older, &region.home());
    region.must(&["suspend", "brain", "--unlisted", "--reason", "a test"]);
    for person in TWO {
        assert_eq!(sign(&region, "state-2", person, &[]).refusal(), "history-older", "{person}");
    }
    region.sign_anew("state-2", &TWO);
    region.publish("state-2", &[]);
    region.must(&["resume", "brain"]);
    region.publish("state-3", &TWO);
}

#[test]
fn a_new_machine_signs_and_knows_from_then_on() {
    let region = with_a_withdrawn_state();
    // The key alone is on the new machine.
    fs::remove_file(seen(&region, DORA)).unwrap();
    region.must(&["suspend", "brain", "--unlisted", "--reason", "a test"]);
    let asked = region.command(&["sign", "state-5", "--key", text(&region.key(DORA))]).output().unwrap();
    let asked = String::from_utf8_lossy(&asked.stderr).into_owned();
    assert!(asked.contains("this key knows no earlier version of state"), "{asked}");
    region.publish("state-5", &TWO);
    let known = read(&seen(&region, DORA));
    let version = |which: &str, role: &str| known[which][role]["version"].as_u64();
    assert_eq!((version("published", "state"), version("signed", "state")), (Some(4), Some(5)), "{known:#}");
    assert_eq!((version("published", "targets"), version("signed", "targets")), (Some(2), None), "{known:#}");
    // A record that cannot be read is no new machine.
    fs::write(seen(&region, DORA), "{}").unwrap();
    region.must(&["resume", "brain"]);
    assert_eq!(sign(&region, "state-6", DORA, &["--anew"]).refusal(), "seen-unreadable");
}

#[test]
fn a_proposal_that_cannot_be_read_can_be_thrown_away() {
    let region = with_a_withdrawn_state();
    region.must(&["suspend", "brain", "--unlisted", "--reason", "a test"]);
    list_again(&region, "state-5", 5);
    assert_eq!(region.must(&["proposals"])["proposals"][0]["error"]["code"], "history-withheld");
    assert_eq!(region.run(&["show", "state-5"]).refusal(), "history-withheld");
    region.must(&["discard", "state-5"]);
    region.must(&["suspend", "brain", "--unlisted", "--reason", "a test"]);
}
