//! What updater and agent say to each other: the same bytes on both sides.
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs;
use std::path::Path;
use sund_ota::agent::{Answer, Request};

/// Reads a golden file as `T` and writes it again: nothing may get lost, and nothing may come.
fn holds<T: DeserializeOwned + Serialize>(path: &Path) {
    let text = fs::read_to_string(path).expect("a golden file");
    let golden: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let read: T = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(serde_json::to_value(&read).expect("JSON"), golden, "{}", path.display());
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
