//! What the updater keeps, after a power cut: how each file is written is tried in `src/durable`, on a disk that loses what was not
//! synchronized. Here the updater starts on what such a cut leaves behind, and goes on or says what to do.
use super::appliance::Appliance;
use serde_json::json;
use std::path::{Path, PathBuf};

fn file(appliance: &Appliance, name: &str) -> PathBuf {
    appliance.directory.path().join("updater").join(name)
}

fn payloads(appliance: &Appliance) -> Vec<PathBuf> {
    let store = std::fs::read_dir(file(appliance, "store")).expect("a store").flatten().map(|entry| entry.path());
    store.filter(|path| path.extension().is_some_and(|ending| ending == "sund")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_half_written_beside_a_file_is_passed_over() {
    let mut appliance = Appliance::serving().await;
    for name in ["state.json.new", "now.json.new", "now.json", "tuf/seen.json.new"] {
        std::fs::write(file(&appliance, name), b"{\"format\": 1, \"act").expect("a torn file");
    }
    let descriptor = appliance.state("north-2", b"model two, and more of it", json!({}));
    // A download that was cut off: its length is there, its bytes are not.
    let digest = super::region::sha256(b"model two, and more of it");
    std::fs::write(file(&appliance, &format!("store/{digest}.part")), [0; 20]).expect("a torn file");
    appliance.channel.deploy("2", &descriptor);
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(appliance.agent.serving().state.as_deref(), Some("north-2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_step_that_was_not_written_down_is_done_again() {
    let mut appliance = Appliance::serving().await;
    let descriptor = appliance.state("north-2", b"model two", json!({}));
    appliance.channel.deploy("2", &descriptor);
    // The names of a directory that was not synchronized: each record is the one before, while the agent and the channel are further.
    let record = std::fs::read(file(&appliance, "state.json")).expect("the record");
    assert_eq!(appliance.once().await, Some(0));
    std::fs::write(file(&appliance, "state.json"), record).expect("the record before");
    appliance.channel.action("2", |action| action.is_open = true);
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(appliance.agent.serving().state.as_deref(), Some("north-2"));
    assert_eq!(appliance.record().good.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_damaged_says_what_to_do_and_a_box_that_begins_anew_keeps_what_the_agent_serves() {
    let mut appliance = Appliance::serving().await;
    let served = payloads(&appliance);
    assert_eq!(served.len(), 1);
    for damaged in [&b""[..], b"{\"format\": 1, \"act", &[0; 300]] {
        std::fs::write(file(&appliance, "state.json"), damaged).expect("the record");
        let output = appliance.updater(&["once"]).await;
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("record-unreadable") && said.contains("move it away to begin anew"), "{said}");
    }
    std::fs::rename(file(&appliance, "state.json"), file(&appliance, "state.json.damaged")).expect("it is moved");

    // The next state is fetched and waits: what serves stays where the agent reads it.
    let descriptor = appliance.state("north-2", b"model two", json!({}));
    appliance.channel.deploy("2", &descriptor);
    appliance.channel.action("2", |action| action.update = "skip");
    assert_eq!(appliance.once().await, Some(75));
    assert!(served[0].exists(), "the agent serves it");
    appliance.channel.action("2", |action| action.update = "forced");
    assert_eq!(appliance.once().await, Some(0));

    // What no state needs any more goes, once the agent serves what is known.
    for (id, name) in [("3", "north-3"), ("4", "north-4")] {
        let descriptor = appliance.state(name, name.as_bytes(), json!({}));
        appliance.channel.deploy(id, &descriptor);
        assert_eq!(appliance.once().await, Some(0));
    }
    assert!(!served[0].exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_removed_while_the_agent_does_not_answer() {
    let mut appliance = Appliance::serving().await;
    let stranger = file(&appliance, &format!("store/{}.sund", "0".repeat(64)));
    std::fs::write(&stranger, b"an old one").expect("a file");
    let descriptor = appliance.state("north-2", b"model two", json!({}));
    appliance.channel.deploy("2", &descriptor);
    appliance.channel.action("2", |action| action.update = "skip");
    let text = std::fs::read_to_string(appliance.configuration()).expect("updater.toml");
    std::fs::write(appliance.configuration(), text.replace("agent.sock", "nobody.sock")).expect("updater.toml");
    assert_eq!(appliance.once().await, Some(75));
    assert!(stranger.exists());
    std::fs::write(appliance.configuration(), text).expect("updater.toml");
    assert_eq!(appliance.once().await, Some(75));
    assert!(!stranger.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_memory_of_the_repository_says_what_to_do() {
    let appliance = Appliance::serving().await;
    for damaged in [&b""[..], b"{\"latest\"", &[0; 300]] {
        std::fs::write(file(&appliance, "tuf/seen.json"), damaged).expect("seen.json");
        let output = appliance.updater(&["once"]).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("seen-damaged") && said.contains("restore it, or provision the box again"), "{said}");
    }
    assert_eq!(appliance.agent.serving().state.as_deref(), Some("north-1"), "what runs goes on");
}

/// A file that is kept gets its name by `durable` alone: a second way would be one that was not tried.
#[test]
fn every_file_that_is_kept_is_written_in_the_one_way_that_was_tried() {
    let mut others = Vec::new();
    look(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")), &mut others);
    assert!(others.is_empty(), "{others:?}");
}

fn look(directory: &Path, others: &mut Vec<String>) {
    for entry in std::fs::read_dir(directory).expect("the source").flatten() {
        let path = entry.path();
        if path.is_dir() {
            // The tests' own disk, and the writer of bundles, which is the centre's.
            if !path.ends_with("durable") && !path.ends_with("bundle") {
                look(&path, others);
            }
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a source");
        let product = text.split("#[cfg(test)]").next().unwrap_or_default();
        for written in ["fs::write(", "fs::rename(", "fs::copy(", "OpenOptions::new()"] {
            if product.contains(written) {
                others.push(format!("{}: {written}", path.display()));
            }
        }
    }
}
