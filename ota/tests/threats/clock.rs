//! A clock that is set back makes old metadata new.
use crate::region::{Region, after, code};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::fs;

fn seen(path: &std::path::Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[tokio::test]
async fn a_clock_that_was_set_back_is_refused() {
    let mut region = Region::new();
    let device = region.device();
    let before = Timestamp::now();
    let trusted = device.load(&region).await.unwrap();
    assert_eq!(code(trusted.state(&region.state()).await), "");
    let path = device.datastore().join("seen.json");
    let mut kept = seen(&path);
    let latest: Timestamp = kept["latest"].as_str().unwrap().parse().unwrap();
    assert!(latest >= before, "the time at which metadata held is kept");
    // The box has been a day ahead of what its clock says now.
    kept["latest"] = json!(after(SignedDuration::from_hours(24)));
    fs::write(&path, kept.to_string()).unwrap();
    assert_eq!(code(device.load(&region).await), "clock-set-back");
    assert_eq!(code(trusted.state(&region.state()).await), "", "what was loaded before has its own proof");
}

/// A clock that was years ahead for a moment must not end all updates for as many years.
#[tokio::test]
async fn a_clock_that_finds_all_expired_leaves_no_trace() {
    let mut region = Region::new();
    let device = region.device();
    assert_eq!(code(device.load(&region).await), "");
    let path = device.datastore().join("seen.json");
    let latest = seen(&path)["latest"].clone();
    region.timestamp.expires = after(SignedDuration::from_secs(-60));
    region.release("timestamp");
    assert_eq!(code(device.load(&region).await), "timestamp-expired");
    assert_eq!(seen(&path)["latest"], latest);
}
