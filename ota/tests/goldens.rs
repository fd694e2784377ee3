//! What updater and agent say to each other: the same bytes on both sides.
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fs;
use std::path::Path;
use sund_ota::agent::{Answer, Request};
use sund_ota::machine::record::Record;

/// Reads a golden file as `T` and writes it again: nothing may get lost, and nothing may come but what an older side does not say.
fn holds<T: DeserializeOwned + Serialize>(path: &Path) {
    let text = fs::read_to_string(path).expect("a golden file");
    let golden: Value = serde_json::from_str(&text).expect("JSON");
    let read: T = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let read = serde_json::to_value(&read).expect("JSON");
    let is_older = path.to_string_lossy().contains("-of-an-older-");
    assert!(read == golden || is_older && contains(&read, &golden), "{}: {read}", path.display());
}

fn contains(all: &Value, some: &Value) -> bool {
    match (all, some) {
        (Value::Object(all), Value::Object(some)) => {
            some.iter().all(|(key, some)| all.get(key).is_some_and(|all| contains(all, some)))
        }
        (Value::Array(all), Value::Array(some)) => {
            all.len() == some.len() && all.iter().zip(some).all(|(all, some)| contains(all, some))
        }
        _ => all == some,
    }
}

#[test]
fn the_agent_is_asked_and_answers_as_the_golden_files_have_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/agent");
    let (mut requests, mut answers) = (0, 0);
    for entry in fs::read_dir(folder).expect("golden files") {
        let path = entry.expect("a golden file").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        if name.starts_with("request-") {
            holds::<Request>(&path);
            requests += 1;
        } else {
            holds::<Answer>(&path);
            answers += 1;
        }
    }
    assert!(requests >= 9 && answers >= 8, "{requests} requests, {answers} answers");
}

#[test]
fn a_box_that_is_updated_in_the_middle_of_a_watch_reads_what_the_updater_before_has_kept() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/record");
    for name in ["watched.json", "watched-of-an-older-updater.json"] {
        holds::<Record>(&folder.join(name));
    }
}
