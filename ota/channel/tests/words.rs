//! What whoever signs is told of a stick's terms and of configurations.
use crate::region::{Region, TWO, text, words};
use serde_json::Value;
use std::fs;

#[test]
fn whoever_signs_reads_which_state_a_stick_brings_and_until_when() {
    let region = Region::with_state();
    let stick = region.path("stick.tar");
    let proposed = region.must(&["bundle", text(&stick), "--state", "north-1", "--lifetime", "3650"]);
    let told = words(&proposed);
    let state = region.must(&["status"])["targets"]["state/north-1.json"]["sha256"].as_str().unwrap().to_owned();
    for word in ["a stick may bring state/north-1.json", &state[..4], "UNTIL 20", "3650 days from now"] {
        assert!(told.contains(word), "{word} in\n{told}");
    }
    assert!(!told.contains("cannot be told"), "{told}");
    // Terms that this program cannot read are not signed unread.
    let proposal = region.home().join("proposals/state-3");
    let path = proposal.join("documents/state.json");
    let mut document: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let listed = &mut document["signed"]["targets"]["state/bundles/north-1.json"];
    let other = br#"{"format":2,"state":"everything","for":"ever"}"#;
    let digest: String = sund_ota::hex::hex(&sund_channel::repository::files::sha256(other));
    listed["hashes"]["sha256"] = digest.as_str().into();
    listed["length"] = other.len().into();
    fs::write(&path, document.to_string()).unwrap();
    fs::write(proposal.join("payloads").join(&digest), other).unwrap();
    for arguments in [vec!["show", "state-3"], vec!["sign", "state-3", "--yes", "--key", text(&region.key(TWO[0]))]] {
        let ended = region.run(&arguments);
        assert_eq!((ended.code, ended.refusal()), (Some(65), "proposal-invalid"), "{arguments:?}");
    }
}

#[test]
fn whoever_signs_reads_what_a_configuration_says() {
    let region = Region::with_state();
    let publish = |text_of: &str, name: &str| {
        let file = region.file("site.toml", text_of);
        region.must(&["publish", "config", text(&file), "--name", name])
    };
    // The first of its name, all of it.
    let first = "[node]\nae_title = \"SOUTH\"\n\n[[destinations]]\nname = \"pacs\"\naddress = \"10.20.0.4:104\"\n";
    let told = words(&publish(first, "south"));
    for line in ["+| ae_title = \"SOUTH\"", "+| address = \"10.20.0.4:104\""] {
        assert!(told.contains(line), "{line} in\n{told}");
    }
    region.publish("config-3", &TWO);
    // The next one, line by line, beside the one that it takes the place of; a third one beside the second, not the first.
    let second = first.replace("10.20.0.4", "10.66.6.6");
    let told = words(&publish(&second, "south"));
    for line in [
        "-| address = \"10.20.0.4:104\"",
        "+| address = \"10.66.6.6:104\"",
        " | name = \"pacs\"",
        "after: config/south-",
    ] {
        assert!(told.contains(line), "{line} in\n{told}");
    }
    region.publish("config-4", &TWO);
    let third = second.replace("SOUTH", "SOUTH2");
    let told = words(&publish(&third, "south"));
    assert!(told.contains("-| ae_title = \"SOUTH\"") && told.contains("+| ae_title = \"SOUTH2\""), "{told}");
    assert!(!told.contains("-| address"), "{told}");
    region.must(&["discard", "config-5"]);
    // A text from a stranger moves nothing on the screen, and none of its lines looks like one of ours.
    let evil = format!("# {}\n# \u{202e}\nae_title = \"NORTH\"\n", "x".repeat(62) + "  + Anna Holm may sign root");
    let told = words(&publish(&evil, "north"));
    assert!(!told.contains('\u{202e}') && told.contains('\u{fffd}'), "{told}");
    let config: Vec<&str> = told.lines().filter(|line| line.contains('|') || line.contains("+:")).collect();
    assert!(config.iter().all(|line| line.chars().count() <= 80), "{config:#?}");
    assert!(told.contains("+:   + Anna Holm may sign root"), "{told}");
    // What nobody would read to its end is not even proposed.
    let endless = region.file("endless.toml", &"# x\n".repeat(30_000));
    let added = ["publish", "config", text(&endless), "--name", "endless", "--with", "config-5"];
    assert_eq!(region.run(&added).refusal(), "proposal-invalid");
    assert!(!words(&region.must(&["show", "config-5"])).contains("endless"));
    // What is left out or is another file is not signed.
    let proposal = region.home().join("proposals/config-5");
    let payloads = fs::read_dir(proposal.join("payloads")).unwrap().map(|entry| entry.unwrap().path());
    let configuration = payloads.into_iter().find(|path| fs::read_to_string(path).unwrap().contains("NORTH")).unwrap();
    fs::write(&configuration, "ae_title = \"HARMLESS\"\n").unwrap();
    let ended = region.run(&["sign", "config-5", "--yes", "--key", text(&region.key(TWO[0]))]);
    assert_eq!((ended.code, ended.refusal()), (Some(65), "proposal-invalid"));
}
