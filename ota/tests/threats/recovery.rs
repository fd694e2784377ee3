//! What the region offers for a rescue counts by the signatures of its persons alone: a box counts its TPM up by it, and never down again.
use crate::region::{Device, Key, Region, code, recovery};
use sund_ota::fault::Fault;

const FAR: &str = "2050-01-01T00:00:00Z";

async fn offered(device: &Device, region: &Region) -> Result<Option<u64>, Fault> {
    let trusted = device.load(region).await.expect("the metadata holds");
    trusted.recovery().await.map(|recovery| recovery.map(|recovery| recovery.get().version))
}

fn offer(region: &Region, bytes: &[u8]) {
    std::fs::create_dir_all(region.targets().join("rescue")).expect("a directory");
    std::fs::write(region.targets().join("rescue/rescue.json"), bytes).expect("the store");
}

#[tokio::test]
async fn a_recovery_bundle_that_too_few_persons_have_signed_is_not_believed() {
    let mut region = Region::new();
    let device = region.device();
    assert_eq!(offered(&device, &region).await, Ok(None));
    let keys = region.role("os").keys.clone();
    let stranger = Key::new();
    let signed = |signers: &[&Key]| recovery(7, FAR, signers);
    let genuine = signed(&[&keys[0], &keys[2]]);
    offer(&region, &genuine);
    assert_eq!(offered(&device, &region).await, Ok(Some(7)));

    let altered = |from: &str, to: &str| {
        let text = String::from_utf8(genuine.clone()).expect("JSON");
        assert!(text.contains(from), "{text}");
        text.replace(from, to).into_bytes()
    };
    let payload = |version| {
        serde_json::from_slice::<serde_json::Value>(&recovery(version, FAR, &[])).expect("JSON")["payload"].to_string()
    };
    for (what, bytes) in [
        ("nobody", signed(&[])),
        ("one person", signed(&[&keys[0]])),
        ("one person twice", signed(&[&keys[0], &keys[0]])),
        ("a stranger", signed(&[&keys[0], &stranger])),
        ("another version", altered(&payload(7), &payload(8))),
        ("of another type", altered("sund.rescue", "sund.reset")),
        ("no envelope", b"{}".to_vec()),
    ] {
        offer(&region, &bytes);
        assert_eq!(code(offered(&device, &region).await), "recovery-invalid", "{what}");
    }
    offer(&region, &vec![b' '; 16 * 1024 + 1]);
    assert_eq!(code(offered(&device, &region).await), "metadata-oversized");
}
