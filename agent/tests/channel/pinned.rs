//! Whose packages a state may bring: what the region pins, and nothing that a configuration says.
use super::fixture::{Hospital, MODEL, SUND, id};
use crate::hospital::models;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs;
use std::process::Command;
use sund_agent::model::Package;

/// What the vendor of the text model calls itself.
fn vendor() -> String {
    Package::open(&models().join(MODEL)).unwrap().manifest.vendor
}

/// Makes a key pair of this name; the public one lies beside the configuration as `NAME.pub`.
fn key(hospital: &Hospital, name: &str) -> String {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    fs::write(hospital.site.folder(&format!("{name}.key")), pair.serialize_pem()).unwrap();
    fs::write(hospital.site.folder(&format!("{name}.pub")), pair.public_key_pem()).unwrap();
    pair.public_key_pem()
}

fn signs(hospital: &Hospital, version: &str, name: &str) {
    let key = hospital.site.folder(&format!("{name}.key"));
    let done = Command::new(SUND).args(["model", "sign", "--key"]).arg(key).arg(hospital.package(version)).output();
    let done = done.unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// An offer with what the region pins.
fn pinned(hospital: &Hospital, state: &str, version: &str, mode: &str, vendors: Value) -> Value {
    let mut offer = hospital.offer(state, version, mode);
    offer["try"]["vendors"] = vendors;
    offer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_package_that_the_configuration_would_take_and_the_region_pins_no_key_for_does_not_serve() {
    let own = format!("[[vendors]]\nname = \"{}\"\nkey = \"own.pub\"\n", vendor());
    let hospital = Hospital::with(&own).await;
    let (own, other) = (key(&hospital, "own"), key(&hospital, "other"));
    signs(&hospital, "5.0.0", "own");
    let _daemon = hospital.serve().await;
    assert_eq!(hospital.status()["takes_vendors"], true);
    // An older updater names no keys, and a region may have none: those of the configuration count.
    hospital.activates(&hospital.offer("north-1", "5.0.0", "clinical")).await;

    for (state, vendors) in [
        ("none", json!({})),
        ("taken-out", json!({ vendor(): [other] })),
        ("of-another", json!({ "Another vendor": [own], vendor(): [] })),
    ] {
        let trial = hospital.tries(&pinned(&hospital, state, "5.0.0", "clinical", vendors)).await;
        assert_eq!(trial["standing"]["missed"]["code"], "package-not-pinned", "{trial}");
        let last = trial["findings"].as_array().unwrap().last().unwrap();
        assert_eq!((&last["check"], &last["held"]), (&"signature".into(), &false.into()), "{trial}");
        let refused = hospital.ask(&json!({ "activate": { "state": id(state) } }));
        assert_eq!(refused["refused"]["code"], "state-not-tried", "{refused}");
    }
    assert_eq!(hospital.status()["state"], id("north-1"));
    hospital.sends().await;
    hospital.archive.holds(2).await;
    assert_eq!(hospital.versions(), ["5.0.0"], "what served goes on");
    assert!(hospital.site.audit().contains("package-not-pinned"));

    // A slip in one key is that key's alone, and research asks for no signature.
    let vendors = json!({ vendor(): ["no key", other, own], "Another vendor": ["no key"] });
    let trial = hospital.tries(&pinned(&hospital, "rotated", "5.0.0", "clinical", vendors)).await;
    assert_eq!(trial["standing"], "held", "{trial}");
    let trial = hospital.tries(&pinned(&hospital, "research", "5.0.0", "research", json!({}))).await;
    assert_eq!(trial["standing"], "held", "{trial}");
    let many = json!({ vendor(): vec![own; 17] });
    let refused = hospital.ask(&pinned(&hospital, "many", "5.0.0", "clinical", many));
    assert_eq!(refused["refused"]["code"], "offer-invalid", "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_load_of_a_state_is_held_to_the_keys_that_the_region_pinned_for_it() {
    // The box knows no vendor by itself.
    let hospital = Hospital::new().await;
    let (first, second) = (key(&hospital, "first"), key(&hospital, "second"));
    hospital.packs("5.1.0", &[]);
    signs(&hospital, "5.0.0", "first");
    signs(&hospital, "5.1.0", "second");
    let daemon = hospital.serve().await;
    let before = pinned(&hospital, "north-1", "5.0.0", "clinical", json!({ vendor(): [first] }));
    hospital.activates(&before).await;
    let after = pinned(&hospital, "north-2", "5.1.0", "clinical", json!({ vendor(): [second] }));
    hospital.activates(&after).await;
    let serves = |state: &str, version: &str| {
        let status = hospital.status();
        assert_eq!((&status["state"], &status["models"][0]["version"]), (&id(state), &version.into()));
    };
    daemon.signal(Signal::KILL);
    drop(daemon);
    let daemon = hospital.serve().await;
    serves("north-2", "5.1.0");
    // Its vendor's key was another one then.
    hospital.ask(&json!({ "revert": { "state": id("north-1") } }));
    serves("north-1", "5.0.0");
    drop(daemon);
    let daemon = hospital.serve().await;
    serves("north-1", "5.0.0");
    drop(daemon);

    let record = hospital.site.folder("channel/serving.json");
    let escaped = |key: &str| key.replace('\n', "\\n");
    let text = fs::read_to_string(&record).unwrap();
    assert!(text.contains(&escaped(&first)));
    fs::write(&record, text.replace(&escaped(&first), &escaped(&second))).unwrap();
    let _daemon = hospital.serve().await;
    assert_eq!(hospital.status()["models"][0]["version"], "4.0.0", "the box's own");
    let audit = hospital.site.audit();
    assert!(audit.contains("state-lost") && audit.contains("package-not-pinned"), "{audit}");
}
