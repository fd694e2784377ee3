//! Each role lists what is its own, and nothing that the region did not approve is taken.
use crate::region::{Region, code, descriptor, pin, state_bytes};
use serde_json::json;
use sund_ota::state::{Os, Pin};

#[tokio::test]
async fn a_target_listed_by_a_role_whose_path_it_is_not_is_refused() {
    let path = "models/acme/other-1.sund";
    for lister in ["targets", "os", "state"] {
        let mut region = Region::new();
        let device = region.device();
        let stray = region.role(lister).list(path, b"stray");
        region.release(lister);
        let trusted = device.load(&region).await.unwrap();
        assert_eq!(code(trusted.listed(&stray)), "wrong-role", "{lister}");
        assert_eq!(code(trusted.fetch(&stray, &device.store("stray")).await), "wrong-role", "{lister}");
        // The state that is right still is.
        assert_eq!(code(trusted.state(&region.state()).await), "");
    }
}

/// A `*` stands for no slash: a vendor's role does not list below a directory of its own making.
#[tokio::test]
async fn a_path_that_belongs_to_no_role_is_refused() {
    for path in ["models/acme/more/brain.sund", "models/acme/../../os/x", "models/brain.sund", "brain.sund"] {
        let mut region = Region::new();
        let device = region.device();
        let stray = region.role("models/acme").list("models/acme/x.sund", b"stray");
        region.release("models/acme");
        region.alter("2.models/acme.json", &[], |_| ());
        let device_pin = Pin { target: path.to_owned(), ..stray };
        region.publish();
        let trusted = device.load(&region).await.unwrap();
        assert_eq!(code(trusted.listed(&device_pin)), "target-not-approved", "{path}");
    }
}

#[tokio::test]
async fn a_role_lists_nothing_that_its_delegation_does_not_name() {
    let mut region = Region::new();
    let device = region.device();
    let signers = region.targets.signers.clone();
    region.targets.version = 2;
    region.publish();
    region.alter("2.targets.json", &signers, |signed| {
        for role in signed["delegations"]["roles"].as_array_mut().unwrap() {
            if role["name"] == "models/acme" {
                role["paths"] = json!(["models/acme/lungs-*"]);
            }
        }
    });
    region.snapshot.version = 2;
    region.timestamp.version = 2;
    region.publish_online();
    let trusted = device.load(&region).await.unwrap();
    assert_eq!(code(trusted.state(&region.state()).await), "wrong-role");
}

#[tokio::test]
async fn a_target_that_the_deployment_names_and_the_region_did_not_approve_is_refused() {
    let mut region = Region::new();
    let device = region.device();
    let trusted = device.load(&region).await.unwrap();
    let listed = region.state();
    // Another hash, another length, another name than the region lists.
    let mut other = listed.clone();
    other.sha256 = "0".repeat(64);
    assert_eq!(code(trusted.state(&other).await), "target-not-approved");
    let mut other = listed.clone();
    other.length += 1;
    assert_eq!(code(trusted.state(&other).await), "target-not-approved");
    let mut other = listed.clone();
    other.target = "state/north-2.json".to_owned();
    assert_eq!(code(trusted.state(&other).await), "target-not-approved");
    // A state that is signed, with a model that is not.
    let unsigned = pin("models/acme/unsigned-1.sund", b"unsigned");
    let bytes = state_bytes("north-2", &unsigned);
    let state = region.role("state").list("state/north-2.json", &bytes);
    region.release("state");
    let trusted = device.load(&region).await.unwrap();
    assert_eq!(code(trusted.state(&descriptor(&state)).await), "target-not-approved");
    assert_eq!(code(trusted.state(&listed).await), "");
}

#[tokio::test]
async fn a_role_without_metadata_stops_no_other_role() {
    let mut region = Region::new();
    let device = region.device();
    let mut other = region.role("models/acme").clone();
    other.name = "models/new".to_owned();
    region.delegated.insert(0, other);
    region.targets.version += 1;
    region.publish();
    region.delegated.remove(0);
    region.snapshot.version += 1;
    region.timestamp.version += 1;
    region.publish_online();
    let trusted = device.load(&region).await.unwrap();
    let unpublished = descriptor(&pin("models/new/x.sund", b"x"));
    assert_eq!(code(trusted.state(&unpublished).await), "role-not-published");
    assert_eq!(code(trusted.state(&region.state()).await), "");
}

#[tokio::test]
async fn a_state_names_no_other_manifest_than_the_role_os_lists() {
    let mut region = Region::new();
    let device = region.device();
    let bundle = region.role("os").list("os/sund-2.raucb", b"a bundle of RAUC");
    let os =
        |manifest: &str| Os { bundle: bundle.clone(), version: "2".to_owned(), manifest_sha256: manifest.repeat(64) };
    region.release("os");
    let trusted = device.load(&region).await.unwrap();
    assert_eq!(code(trusted.image(&os("a"))), "os-manifest-not-fixed");
    region.role("os").targets.get_mut("os/sund-2.raucb").unwrap().custom = json!({"manifest_sha256": "a".repeat(64)});
    region.release("os");
    let state = |name: &str, os: &Os| {
        json!({"format": 1, "name": name, "os": os, "models": [], "routes": {}}).to_string().into_bytes()
    };
    let right = region.role("state").list("state/right.json", &state("right", &os("a")));
    let wrong = region.role("state").list("state/wrong.json", &state("wrong", &os("b")));
    region.release("state");
    let trusted = device.load(&region).await.unwrap();
    assert_eq!(code(trusted.image(&os("b"))), "os-manifest-differs");
    assert_eq!(code(trusted.state(&descriptor(&wrong)).await), "os-manifest-differs");
    let held = trusted.state(&descriptor(&right)).await.unwrap();
    let image = trusted.image(held.get().os.as_ref().unwrap()).unwrap();
    assert_eq!(image.get().manifest_sha256, "a".repeat(64));
    assert!(image.get().url.path().ends_with(&format!("/targets/os/{}.sund-2.raucb", bundle.sha256)));
}

#[tokio::test]
async fn a_document_that_would_fill_the_memory_is_refused() {
    let mut region = Region::new();
    let device = region.device();
    let huge = vec![b' '; sund_ota::limits::MAX_STATE as usize + 1];
    let state = region.role("state").list("state/huge.json", &huge);
    region.release("state");
    let trusted = device.load(&region).await.unwrap();
    assert_eq!(code(trusted.state(&descriptor(&state)).await), "target-oversized");
}

#[tokio::test]
async fn a_document_is_taken_from_its_own_role_alone() {
    let mut region = Region::new();
    let device = region.device();
    region.role("os").list("state/stop.json", b"{}");
    region.release("os");
    let trusted = device.load(&region).await.unwrap();
    assert!(trusted.document("state/stop.json", 100).await.unwrap().is_none());
    region.role("state").list("state/stop.json", b"{\"format\":1}");
    region.release("state");
    let trusted = device.load(&region).await.unwrap();
    let stop = trusted.document("state/stop.json", 100).await.unwrap().unwrap();
    assert_eq!(stop.get().as_slice(), b"{\"format\":1}");
    assert!(trusted.document("trust/approvers.json", 10_000).await.unwrap().is_some());
    assert!(trusted.document("other/stop.json", 100).await.unwrap().is_none());
}
