//! The shapes that agent and updater share.
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fs;
use std::path::Path;
use sund_agent::channel::{Answer, Request};

fn holds<T: DeserializeOwned + Serialize>(path: &Path) {
    let text = fs::read_to_string(path).unwrap();
    let golden: Value = serde_json::from_str(&text).unwrap();
    let read: T = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(serde_json::to_value(&read).unwrap(), golden, "{}", path.display());
}

#[test]
fn the_agent_is_asked_and_answers_as_the_golden_files_have_it_on_both_sides() {
    let agent = Path::new(env!("CARGO_MANIFEST_DIR"));
    let updater = agent.join("../ota/tests/goldens/agent");
    let mut names = Vec::new();
    for entry in fs::read_dir(agent.join("tests/goldens/channel")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.starts_with("request-") {
            holds::<Request>(&path);
        } else {
            holds::<Answer>(&path);
        }
        assert_eq!(fs::read(&path).unwrap(), fs::read(updater.join(&name)).unwrap(), "{name}");
        names.push(name);
    }
    assert!(names.len() >= 22, "{names:?}");
    assert_eq!(fs::read_dir(updater).unwrap().count(), names.len());
}
