//! What a real hawkBit 1.0.4 answered, byte for byte but for addresses and numbers, is read by our types.
use std::path::PathBuf;
use sund_ota::ddi::{Base, Cancel, DeploymentBase, Handling};
use sund_ota::descriptor::FILE_NAME;
use sund_ota::limits::MAX_DESCRIPTOR;

fn answer<T: serde::de::DeserializeOwned>(name: &str) -> T {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/goldens/ddi/hawkbit-{name}.json"));
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn a_poll_of_hawkbit_names_one_thing_to_do() {
    for (name, links) in [
        ("base-idle", vec!["configData"]),
        ("base-deployment", vec!["deploymentBase"]),
        ("base-installed", vec!["configData", "installedBase"]),
        ("base-confirmation", vec!["configData", "confirmationBase"]),
        // While something is to be cancelled, nothing else is offered.
        ("base-cancel", vec!["cancelAction", "configData"]),
    ] {
        let base: Base = answer(name);
        assert_eq!(base.config.polling.sleep, "00:05:00", "{name}");
        assert_eq!(base.links.keys().collect::<Vec<_>>(), links, "{name}");
    }
}

#[test]
fn a_deployment_of_hawkbit_carries_one_descriptor_however_it_is_handled() {
    use Handling::{Attempt, Forced, Skip};
    for (name, download, update, window) in [
        ("deployment", Forced, Forced, None),
        ("deployment-soft", Attempt, Attempt, None),
        ("deployment-window-closed", Forced, Skip, Some("unavailable")),
        ("deployment-window-open", Forced, Forced, Some("available")),
        ("deployment-download-only", Forced, Skip, None),
        ("confirmation", Forced, Forced, None),
        ("installed", Forced, Forced, None),
    ] {
        let deployment = answer::<DeploymentBase>(name).deployment;
        assert_eq!((deployment.download, deployment.update), (download, update), "{name}");
        assert_eq!(deployment.maintenance_window.as_deref(), window, "{name}");
        let [chunk] = deployment.chunks.as_slice() else { panic!("{name}: one module") };
        let [artifact] = chunk.artifacts.as_slice() else { panic!("{name}: one artifact") };
        assert_eq!(artifact.filename, FILE_NAME, "{name}");
        assert!(artifact.size <= MAX_DESCRIPTOR && artifact.hashes.sha256.is_some(), "{name}");
        // Without TLS there is no `download`, only `download-http`.
        assert_eq!(artifact.links.keys().collect::<Vec<_>>(), ["download-http", "md5sum-http"], "{name}");
    }
}

#[test]
fn a_cancel_of_hawkbit_names_the_action_that_it_stops() {
    let cancel: Cancel = answer("cancel");
    assert_eq!(cancel.id, cancel.cancel_action.stop_id);
}
