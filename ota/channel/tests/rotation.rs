//! The root changes hands, and boxes that have seen the old one go along.
use crate::region::{Region, TWO, frozen, text, words};
use std::collections::BTreeSet;
use tempfile::TempDir;

#[test]
fn a_box_of_the_first_root_follows_every_rotation() {
    let region = Region::new();
    let datastore = TempDir::new().unwrap();
    region.load_with(datastore.path()).unwrap();
    let newcomer = region.path("Hans.key");
    region.must(&["key", "new", text(&newcomer), "--person", "Hans Quist"]);
    region.must(&["root", "add-key", text(&newcomer.with_added_extension("pub"))]);
    // The old root wants two of its own; the new one has two of four.
    region.publish("root-2", &["Anna Holm", "Bo Krog"]);
    region.load_with(datastore.path()).unwrap();
    region.must(&["root", "remove-key", "--person", "Bo Krog"]);
    // Bo may sign for the root that still counts him, not for the one that does not.
    region.sign("root-3", &["Anna Holm", "Bo Krog"]);
    assert_eq!(region.run(&["approve", "root-3"]).code, Some(75));
    region.must(&["sign", "root-3", "--yes", "--key", text(&newcomer)]);
    assert_eq!(region.must(&["approve", "root-3"])["is_published"], true);
    region.load_with(datastore.path()).unwrap();
    region.load().unwrap();
    let status = region.must(&["status"]);
    assert!(status["roles"][0]["signers"].get("Bo Krog").is_none(), "{status:#}");
    // His key is worth nothing any more.
    region.must(&["root", "rotate"]);
    let ended = region.run(&["sign", "root-4", "--yes", "--key", text(&region.key("Bo Krog"))]);
    assert_eq!(ended.refusal(), "key-of-another-role");
}

#[test]
fn new_keys_at_the_server_make_those_of_the_thief_worthless() {
    let region = Region::new();
    let datastore = TempDir::new().unwrap();
    region.load_with(datastore.path()).unwrap();
    region.must(&["root", "rotate", "--online-keys"]);
    region.publish("root-2", &["Anna Holm", "Carla Lund"]);
    region.load_with(datastore.path()).unwrap();
    for old in ["timestamp.pem", "snapshot.pem"] {
        std::fs::remove_file(region.home().join("keys").join(old)).unwrap();
    }
    region.must(&["renew"]);
    region.load_with(datastore.path()).unwrap();
    for new in online_keys(&region) {
        std::fs::remove_file(region.home().join("keys").join(new)).unwrap();
    }
    assert_eq!(region.run(&["renew"]).refusal(), "online-key-missing");
}

#[test]
fn a_second_attempt_at_new_online_keys_makes_other_ones() {
    let region = Region::new();
    let first = online_keys(&region);
    let made = || online_keys(&region).difference(&first).cloned().collect::<BTreeSet<String>>();
    region.must(&["root", "rotate", "--online-keys"]);
    let given_up = made();
    assert_eq!(given_up.len(), 2, "{given_up:?}");
    // One that waits already is no reason to keep more keys, and its own stay.
    assert_eq!(region.run(&["root", "rotate", "--online-keys"]).refusal(), "proposal-waits");
    assert_eq!(made(), given_up);
    // The thief has read them meanwhile: they go with the proposal, and the next one seats others.
    region.must(&["discard", "root-2"]);
    assert!(made().is_empty());
    region.must(&["root", "rotate", "--online-keys"]);
    let second = made();
    assert!(second.len() == 2 && second.is_disjoint(&given_up), "{second:?}");
    region.must(&["root", "rotate", "--online-keys", "--with", "root-2"]);
    let third = made();
    assert!(third.len() == 2 && third.is_disjoint(&second), "{third:?}");
    region.publish("root-2", &["Anna Holm", "Carla Lund"]);
    region.must(&["renew"]);
    region.load().unwrap();
    // What a published root names stays, whatever is thrown away.
    region.must(&["root", "rotate"]);
    region.must(&["discard", "root-3"]);
    assert_eq!(made(), third);
    region.must(&["renew"]);
}

/// Names of the keys at the server.
fn online_keys(region: &Region) -> BTreeSet<String> {
    let keys = std::fs::read_dir(region.home().join("keys")).unwrap();
    keys.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn another_threshold_counts_at_once_and_for_both_roots() {
    let region = Region::new();
    region.must(&["root", "threshold", "3"]);
    region.sign("root-2", &["Anna Holm", "Bo Krog"]);
    assert_eq!(region.run(&["approve", "root-2"]).code, Some(75));
    region.publish("root-2", &["Carla Lund"]);
    assert_eq!(region.run(&["root", "threshold", "4"]).refusal(), "threshold-unreachable");
    region.load().unwrap();
}

#[test]
fn approvers_of_a_role_are_replaced_and_what_the_old_ones_signed_stays() {
    let region = Region::with_state();
    let keys = ["Freja Ovesen", "Emil Nord"].map(|person| region.public(person));
    region.must(&["delegate", "state", "--key", text(&keys[0]), "--key", text(&keys[1])]);
    region.publish("targets-3", &["Anna Holm", "Bo Krog", "Freja Ovesen", "Emil Nord"]);
    assert_eq!(region.must(&["verify"])["states"], 1);
    region.must(&["stop-all", "--reason", "a test"]);
    let ended = region.run(&["sign", "state-4", "--yes", "--key", text(&region.key(TWO[0]))]);
    assert_eq!(ended.refusal(), "key-of-another-role");
}

#[test]
fn whose_key_was_stolen_leaves_every_role_in_one_proposal() {
    let region = Region::with_state();
    let datastore = TempDir::new().unwrap();
    region.load_with(datastore.path()).unwrap();
    let nobody = region.run(&["root", "remove-key", "--person", "Nobody"]);
    assert_eq!(nobody.refusal(), "person-unknown");
    // An approver has no key in the root: that stays as it is.
    let told = words(&region.must(&["root", "remove-key", "--person", TWO[0]]));
    for role in ["os", "config", "state", "models/sund"] {
        let goes = |line: &str| {
            line.contains(&format!("- {} (key", TWO[0])) && line.ends_with(&format!("may no longer sign {role}"))
        };
        assert!(told.lines().any(goes), "{role} in\n{told}");
    }
    assert!(!told.contains("may no longer sign root"), "{told}");
    // Each of those roles may hold by a signature of that key: it is signed anew.
    region.publish("targets-3", &["Anna Holm", "Bo Krog", "Emil Nord", "Freja Ovesen"]);
    region.load_with(datastore.path()).unwrap();
    region.load().unwrap();
    let status = region.must(&["status"]);
    let holds = |role: &serde_json::Value| role["signers"].get(TWO[0]).is_some();
    assert!(!status["roles"].as_array().unwrap().iter().any(holds), "{status:#}");
    region.must(&["stop-all", "--reason", "a test"]);
    let ended = region.run(&["sign", "state-4", "--yes", "--key", text(&region.key(TWO[0]))]);
    assert_eq!(ended.refusal(), "key-of-another-role");
    region.must(&["discard", "state-4"]);
    // Two are left, and two have to sign.
    let ended = region.run(&["root", "remove-key", "--person", "Emil Nord"]);
    assert_eq!(ended.refusal(), "threshold-unreachable");
    // Whoever comes in the place takes the seats first.
    let newcomer = region.path("Hans.key");
    region.must(&["key", "new", text(&newcomer), "--person", "Hans Quist"]);
    let keys = [newcomer.with_added_extension("pub"), region.public("Freja Ovesen")];
    let mut with: &[&str] = &[];
    for role in ["os", "config", "state"] {
        region.must(&[&["delegate", role, "--key", text(&keys[0]), "--key", text(&keys[1])], with].concat());
        with = &["--with", "targets-4"];
    }
    let package_key = frozen("format-1.pub");
    let vendor = ["delegate", "models/sund", "--vendor-name", "Sund", "--package-key", text(&package_key)];
    region.must(&[&vendor[..], &["--key", text(&keys[0]), "--key", text(&keys[1])], with].concat());
    let status = region.run(&["root", "remove-key", "--person", "Emil Nord", "--with", "targets-4"]);
    assert_eq!(status.refusal(), "person-unknown", "he sits nowhere any more");
}
