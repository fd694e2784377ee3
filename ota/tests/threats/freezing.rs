//! Expiry stops updates, and nothing else.
use crate::region::{Region, after, code, model_bytes, pin};
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;
use sund_ota::trust::Trusted;

#[tokio::test]
async fn frozen_metadata_of_each_role_is_refused_and_says_since_when() {
    let past = after(SignedDuration::from_secs(-60));
    for (role, expected) in [
        ("root", "root-expired"),
        ("timestamp", "timestamp-expired"),
        ("snapshot", "snapshot-expired"),
        ("targets", "targets-expired"),
        ("state", "role-expired"),
    ] {
        let mut region = Region::new();
        let device = region.device();
        assert_eq!(code(device.load(&region).await), "");
        region.role(role).expires = past;
        region.release(role);
        let state = region.state();
        let fault = match device.load(&region).await {
            Ok(trusted) => trusted.state(&state).await.unwrap_err(),
            Err(fault) => fault,
        };
        assert_eq!((fault.code.as_ref(), fault.updates_stopped_since), (expected, Some(past)), "{role}");
        region.role(role).expires = after(SignedDuration::from_hours(1));
        region.release(role);
        assert_eq!(code(device.load(&region).await.unwrap().state(&state).await), "", "{role}");
    }
}

/// Whoever shows the same metadata for ever stops updates on the day that it expires.
#[tokio::test]
async fn metadata_that_expires_while_it_is_shown_opens_nothing_more() {
    let mut region = Region::new();
    let device = region.device();
    let expires = after(SignedDuration::from_secs(6));
    region.timestamp.expires = expires;
    region.release("timestamp");
    let trusted = device.load(&region).await.unwrap();
    assert_eq!(trusted.expires(), expires);
    let state = region.state();
    let model = pin(crate::region::MODEL, &model_bytes());
    assert_eq!(code(trusted.state(&state).await), "");
    assert_eq!(code(trusted.fetch(&model, &device.store("a.sund")).await), "");
    while Timestamp::now() < expires {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(code(trusted.state(&state).await), "timestamp-expired");
    assert_eq!(code(trusted.fetch(&model, &device.store("b.sund")).await), "timestamp-expired");
    assert_eq!(code(device.load(&region).await), "timestamp-expired");
    // What was fetched lies where it lay.
    assert_eq!(std::fs::read(device.store("a.sund")).unwrap(), model_bytes());
}

#[tokio::test]
async fn one_vendors_expired_role_stops_no_other_vendor() {
    let mut region = Region::new();
    let device = region.device();
    let mut other = region.role("models/acme").clone();
    other.name = "models/other".to_owned();
    other.targets.clear();
    other.expires = after(SignedDuration::from_secs(-60));
    let lungs = other.list("models/other/lungs-1.sund", b"lungs");
    region.delegated.push(other);
    region.release("targets");
    let trusted: Trusted = device.load(&region).await.unwrap();
    assert_eq!(code(trusted.state(&region.state()).await), "");
    assert_eq!(code(trusted.listed(&lungs)), "role-expired");
}
