//! A stolen server has the keys of timestamp and snapshot. It can freeze or mix what is listed until expiry, and nothing more.
use crate::region::{Key, Region, STATE, after, code, descriptor, pin, sha256, state_bytes};
use jiff::SignedDuration;
use serde_json::json;
use std::fs;
use sund_ota::descriptor::Descriptor;

/// A region whose server was stolen after it had released its state twice.
fn stolen() -> (Region, Vec<Key>, Descriptor) {
    let mut region = Region::new();
    let first = region.state();
    region
        .role("state")
        .list("state/north-2.json", &state_bytes("north-2", &pin(crate::region::MODEL, &crate::region::model_bytes())));
    region.release("state");
    let keys = [region.timestamp.signers.clone(), region.snapshot.signers.clone()].concat();
    (region, keys, first)
}

#[tokio::test]
async fn a_thief_can_freeze_until_expiry() {
    let (mut region, _, state) = stolen();
    let device = region.device();
    assert_eq!(code(device.load(&region).await), "");
    // He goes on showing what was listed when he came, with signatures of his own as fresh as he likes.
    region.timestamp.version += 1;
    region.timestamp.expires = after(SignedDuration::from_hours(24 * 365));
    region.publish_online();
    assert_eq!(code(device.load(&region).await.unwrap().state(&state).await), "");
    // The roles that he cannot sign end it.
    region.role("state").expires = after(SignedDuration::from_secs(-60));
    region.release("state");
    assert_eq!(code(device.load(&region).await.unwrap().state(&state).await), "role-expired");
}

#[tokio::test]
async fn a_thief_can_mix_what_is_listed() {
    let (mut region, _, state) = stolen();
    // A box that has not seen the second version is shown the first one of one role beside the newest of all others.
    let device = region.device();
    region.role("state").version = 1;
    region.snapshot.version += 1;
    region.timestamp.version += 1;
    region.publish_online();
    let trusted = device.load(&region).await.unwrap();
    assert_eq!(code(trusted.state(&state).await), "");
    let newer = pin("state/north-2.json", &region.role("state").targets["state/north-2.json"].bytes.clone());
    assert_eq!(code(trusted.listed(&newer)), "target-not-approved");
}

#[tokio::test]
async fn a_thief_lists_nothing_of_his_own() {
    let (mut region, keys, _) = stolen();
    let device = region.device();
    let evil = pin("models/acme/evil-1.sund", b"evil");
    let state = state_bytes("north-3", &evil);
    // His own list under the role's name, in the snapshot and the timestamp that he may sign.
    region.alter("2.state.json", &keys, |signed| {
        signed["targets"]["state/north-3.json"] = json!({"length": state.len(), "hashes": {"sha256": sha256(&state)}});
    });
    region.snapshot.version += 1;
    region.timestamp.version += 1;
    region.publish_online();
    let trusted = device.load(&region).await.unwrap();
    let named = descriptor(&pin("state/north-3.json", &state));
    assert_eq!(code(trusted.state(&named).await), "signature-missing");
    assert_eq!(code(trusted.listed(&evil)), "target-not-approved");
}

#[tokio::test]
async fn a_thief_brings_nothing_back_that_a_box_has_seen_replaced() {
    let (mut region, _, _) = stolen();
    let device = region.device();
    assert_eq!(code(device.load(&region).await), "");
    region.role("state").version = 1;
    region.snapshot.version += 1;
    region.timestamp.version += 1;
    region.publish_online();
    assert_eq!(code(device.load(&region).await), "role-rolled-back");
}

#[tokio::test]
async fn a_thief_cannot_alter_a_target() {
    let (mut region, _, state) = stolen();
    let device = region.device();
    let bytes = region.role("state").targets[STATE].bytes.clone();
    let altered = String::from_utf8(bytes.clone()).unwrap().replace("shadow", "clinic");
    assert_eq!(altered.len(), bytes.len());
    fs::write(region.payload(STATE, &bytes), altered).unwrap();
    let trusted = device.load(&region).await.unwrap();
    assert_eq!(code(trusted.state(&state).await), "target-altered");
}

#[tokio::test]
async fn files_that_do_not_belong_together_are_refused() {
    // The snapshot that is served is another one than the timestamp lists.
    let (mut region, keys, state) = stolen();
    let device = region.device();
    region.alter("2.snapshot.json", &keys[1..], |signed| signed["meta"]["os.json"]["version"] = json!(9));
    assert_eq!(code(device.load(&region).await), "metadata-mixed");
    region.alter("2.snapshot.json", &keys[1..], |signed| signed["more"] = json!("longer than the one that is listed"));
    assert_eq!(code(device.load(&region).await), "metadata-mixed");
    // The same, where it lists no hash and another version is inside.
    region.alter("timestamp.json", &keys[..1], |signed| signed["meta"]["snapshot.json"] = json!({"version": 2}));
    region.alter("2.snapshot.json", &keys[1..], |signed| signed["version"] = json!(3));
    assert_eq!(code(device.load(&region).await), "metadata-mixed");
    // A role in another version than the snapshot lists.
    region.publish();
    fs::copy(region.metadata().join("1.state.json"), region.metadata().join("2.state.json")).unwrap();
    assert_eq!(code(device.load(&region).await.unwrap().state(&state).await), "metadata-mixed");
    region.snapshot.version += 1;
    region.timestamp.version += 1;
    region.publish_online();
    assert_eq!(code(device.load(&region).await.unwrap().state(&state).await), "metadata-mixed");
    region.release("state");
    assert_eq!(code(device.load(&region).await.unwrap().state(&state).await), "");
}

/// The snapshot's key signs lengths. A length that no metadata has is no reason to take as much.
#[tokio::test]
async fn a_thief_makes_no_box_take_more_than_its_own_bound() {
    let (region, keys, _) = stolen();
    let device = region.device();
    let too_long = sund_ota::limits::metadata::MAX_TARGETS + 1;
    region.alter("2.snapshot.json", &keys[1..], |signed| {
        signed["meta"]["targets.json"] = json!({"version": 1, "length": too_long});
    });
    region.alter("timestamp.json", &keys[..1], |signed| signed["meta"]["snapshot.json"] = json!({"version": 2}));
    fs::write(region.metadata().join("1.targets.json"), vec![b' '; too_long as usize]).unwrap();
    assert_eq!(code(device.load(&region).await), "metadata-oversized");
}
