//! The shapes that agent and updater share.
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fs;
use std::path::Path;
use sund_agent::channel::{Answer, Request};

/// Reads a golden file as `T` and writes it again: nothing may get lost, and nothing may come but what an older side does not say.
fn holds<T: DeserializeOwned + Serialize>(path: &Path) {
    let text = fs::read_to_string(path).unwrap();
    let golden: Value = serde_json::from_str(&text).unwrap();
    let read: T = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let read = serde_json::to_value(&read).unwrap();
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
