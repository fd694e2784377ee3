//! Withdrawn, stopped, suspended: new metadata, signed like a release.
use crate::region::{Region, TWO, block_on, ed25519, frozen, text, words};
use serde_json::{Value, json};
use std::fs;
use sund_ota::descriptor::Descriptor;
use sund_ota::documents::{STOP, SUSPENSIONS, Stop, Suspensions};
use sund_ota::limits::MAX_STATE;

const MODEL: &str = "models/sund/positive-values-1.0.0.sund";

#[test]
fn a_withdrawn_release_is_gone_with_every_state_that_names_it() {
    let region = Region::with_state();
    let status = region.must(&["status"]);
    let pin = &status["targets"]["state/north-1.json"];
    let descriptor = Descriptor {
        format: 1,
        target: "state/north-1.json".to_owned(),
        sha256: pin["sha256"].as_str().unwrap().to_owned(),
        length: pin["length"].as_u64().unwrap(),
    };
    block_on(region.load().unwrap().state(&descriptor)).unwrap();
    let proposed = region.must(&["withdraw", MODEL, "--reason", "misses small bleeds"]);
    assert_eq!(proposed["withdrawn"], json!([MODEL, "state/north-1.json"]));
    region.publish("models.sund-3", &TWO);
    let refused = block_on(region.load().unwrap().state(&descriptor)).unwrap_err();
    assert_eq!(refused.code, "target-not-approved");
    assert_eq!(region.run(&["withdraw", MODEL, "--reason", "again"]).refusal(), "target-not-listed");
    assert_eq!(region.must(&["verify"])["states"], 0);
}

#[test]
fn all_rollouts_stop_and_go_on() {
    let region = Region::new();
    region.must(&["stop-all", "--reason", "wrong patients in the north"]);
    region.publish("state-2", &TWO);
    let stop = Stop::parse(&target(&region, STOP)).unwrap();
    assert_eq!(stop.reason, "wrong patients in the north");
    assert_eq!(region.run(&["stop-all", "--reason", "again"]).refusal(), "nothing-to-do");
    region.must(&["go-on"]);
    region.publish("state-3", &TWO);
    assert_eq!(region.must(&["status"])["stopped"], Value::Null);
}

#[test]
fn a_suspension_names_package_and_version_and_is_taken_back() {
    let region = Region::new();
    region.must(&["suspend", "brain", "--unlisted", "--version", "1.0.2", "--reason", "drift"]);
    region.must(&["suspend", "lung", "--unlisted", "--reason", "recall by the vendor", "--with", "state-2"]);
    region.publish("state-2", &TWO);
    let suspensions = Suspensions::parse(&target(&region, SUSPENSIONS)).unwrap();
    assert_eq!(suspensions.of("brain", "1.0.2").map(|it| it.reason.as_str()), Some("drift"));
    assert!(suspensions.of("brain", "1.0.3").is_none());
    assert!(suspensions.of("lung", "7.0.0").is_some());
    region.must(&["resume", "lung"]);
    region.publish("state-3", &TWO);
    let suspensions = Suspensions::parse(&target(&region, SUSPENSIONS)).unwrap();
    assert!(suspensions.of("lung", "7.0.0").is_none() && suspensions.of("brain", "1.0.2").is_some());
}

#[test]
fn a_suspension_of_what_no_vendor_has_published_is_refused_unless_said_so() {
    let region = Region::with_state();
    let suspend = |more: &[&str]| region.run(&[&["suspend", "--reason", "a test"], more].concat());
    let refused = |more: &[&str], near: &str| {
        let ended = suspend(more);
        assert_eq!((ended.code, ended.refusal()), (Some(64), "package-unknown"), "{more:?}");
        let reason = ended.json["error"]["reason"].as_str().unwrap();
        assert!(reason.contains(near) && reason.contains("--unlisted"), "{reason}");
    };
    refused(&["positive-valeus"], "nearest is `positive-values`");
    refused(&["positive-values", "--version", "1.0.O"], "nearest is `1.0.0`");
    assert_eq!(region.must(&["proposals"])["proposals"], json!([]));
    // A package that a box has of its own; whoever signs reads what it would be otherwise.
    let own = words(&suspend(&["positive-valeus", "--unlisted"]).json);
    assert!(own.contains("NO PACKAGE IS LISTED AS positive-valeus, every version"), "{own}");
    region.must(&["discard", "state-3"]);
    let listed = words(&suspend(&["positive-values", "--version", "1.0.0"]).json);
    assert!(listed.contains("SUSPENDED: positive-values, version 1.0.0") && !listed.contains("NO PACKAGE"), "{listed}");
    // Nobody makes one of the other by what he leaves out.
    let proposal = region.home().join("proposals/state-3");
    let mut cover: Value = serde_json::from_slice(&fs::read(proposal.join("proposal.json")).unwrap()).unwrap();
    cover["before"] = json!(["root", "state", "targets"]);
    fs::write(proposal.join("proposal.json"), cover.to_string()).unwrap();
    assert_eq!(region.run(&["show", "state-3"]).refusal(), "proposal-invalid");
    region.must(&["discard", "state-3"]);
    // What is withdrawn may be on a box still.
    region.must(&["withdraw", MODEL, "--reason", "misses small bleeds"]);
    region.publish("models.sund-3", &TWO);
    let withdrawn = words(&suspend(&["positive-values"]).json);
    assert!(withdrawn.contains("NO PACKAGE IS LISTED AS positive-values, every version: withdrawn"), "{withdrawn}");
    // One that comes with the same proposal is known as well.
    region.must(&["discard", "state-4"]);
    let package = frozen("format-1.sund");
    region.must(&["publish", "model", text(&package), "--vendor", "sund"]);
    assert_eq!(suspend(&["positive-values", "--version", "1.0.0", "--with", "models.sund-4"]).code, Some(0));
}

#[test]
fn what_holds_back_or_says_who_may_sign_is_not_withdrawn_like_a_release() {
    let region = Region::new();
    region.must(&["suspend", "brain", "--unlisted", "--reason", "a test"]);
    region.must(&["stop-all", "--reason", "a test", "--with", "state-2"]);
    region.publish("state-2", &TWO);
    for target in [STOP, SUSPENSIONS, "trust/approvers.json", "trust/vendors.json"] {
        let ended = region.run(&["withdraw", target, "--reason", "a mistake"]);
        assert_eq!((ended.code, ended.refusal()), (Some(64), "not-a-release"), "{target}");
    }
    assert_eq!(region.must(&["proposals"])["proposals"], json!([]));
}

#[test]
fn whoever_signs_reads_which_model_serves_again() {
    let region = Region::new();
    region.must(&["suspend", "brain", "--unlisted", "--reason", "drift"]);
    region.must(&["suspend", "lung", "--unlisted", "--reason", "recall by the vendor", "--with", "state-2"]);
    region.publish("state-2", &TWO);
    let proposed = words(&region.must(&["resume", "brain"]));
    assert!(proposed.contains("SUSPENDED: lung, every version: recall by the vendor"), "{proposed}");
    assert!(proposed.contains("SERVES AGAIN: brain, every version"), "{proposed}");
    region.publish("state-3", &TWO);
    // One version stays off; it is not said to serve.
    region.must(&["suspend", "lung", "--unlisted", "--version", "1.0.2", "--reason", "drift"]);
    let proposed = words(&region.must(&["resume", "lung", "--with", "state-4"]));
    assert!(proposed.contains("SERVES AGAIN: lung, every version but those that are named"), "{proposed}");
    region.publish("state-4", &TWO);
    let proposed = words(&region.must(&["resume", "lung", "--version", "1.0.2"]));
    assert!(proposed.contains("SERVES AGAIN: lung, version 1.0.2"), "{proposed}");
}

#[test]
fn whoever_signs_reads_which_key_of_a_vendor_is_gone() {
    let region = Region::with_vendor();
    let (another, dora) = (ed25519(&region.path("another.pem")), region.public(TWO[0]));
    let emil = region.public(TWO[1]);
    let delegate = ["delegate", "models/sund", "--vendor-name", "Sund", "--package-key", text(&another)];
    let proposed = region.must(&[&delegate[..], &["--key", text(&dora), "--key", text(&emil)]].concat());
    assert!(words(&proposed).contains("GONE: a package key of vendor sund"), "{proposed:#}");
}

/// The bytes of a small target, as a box reads it.
fn target(region: &Region, name: &str) -> Vec<u8> {
    let read = block_on(region.load().unwrap().document(name, MAX_STATE)).unwrap();
    read.unwrap().get().clone()
}

#[test]
fn a_state_that_is_lost_at_the_centre_keeps_no_release_from_being_withdrawn() {
    let region = Region::with_state();
    let config =
        region.must(&["status"])["targets"].as_object().unwrap().keys().find(|it| it.starts_with("config/")).cloned();
    region.propose_state("north-2", &config.unwrap(), &[]);
    region.publish("state-3", &TWO);
    let place = |state: &str| {
        let sha256 = region.must(&["status"])["targets"][format!("state/{state}.json")]["sha256"].take();
        region.home().join(format!("repository/targets/state/{}.{state}.json", sha256.as_str().unwrap()))
    };
    let (lost, damaged) = (place("north-2"), place("north-1"));
    let kept = fs::read(&damaged).unwrap();
    fs::remove_file(&lost).unwrap();
    let model = "models/sund/positive-values-1.0.0.sund";
    let withdrawn = region.must(&["withdraw", model, "--reason", "a defect"]);
    assert_eq!(withdrawn["withdrawn"], json!([model, "state/north-1.json"]));
    assert!(withdrawn["unread"]["state/north-2.json"].is_string(), "{withdrawn:#}");
    region.must(&["discard", withdrawn["proposal"].as_str().unwrap()]);

    // Also where none can be read; and a state that is lost goes by its own name.
    fs::write(&damaged, &kept[..kept.len() / 2]).unwrap();
    let withdrawn = region.must(&["withdraw", model, "--reason", "a defect"]);
    assert_eq!((&withdrawn["withdrawn"], withdrawn["unread"].as_object().unwrap().len()), (&json!([model]), 2));
    let waits = withdrawn["proposal"].as_str().unwrap();
    region.must(&["withdraw", "state/north-2.json", "--reason", "it is lost", "--with", waits]);
    region.publish(waits, &TWO);
    let listed = region.must(&["status"])["targets"].take();
    assert!(
        listed[model].is_null() && listed["state/north-2.json"].is_null() && listed["state/north-1.json"].is_object()
    );
}
