//! What python-tuf publishes holds here.
use crate::region::{code, descriptor, pin};
use std::fs;
use std::path::Path;
use std::process::Command;
use sund_ota::trust::{Source, Transport, Trusted};
use url::Url;

/// A repository that python-tuf made and signed, one signature short where it is told to.
fn publish(into: &Path, signatures: &str) {
    let python = std::env::var("SUND_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/publish.py");
    let output = Command::new(&python).arg(script).arg(into).arg(signatures).output();
    let output = output.unwrap_or_else(|error| panic!("{python}: {error}; install what .ci/requirements.txt lists"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

async fn load(directory: &Path) -> Trusted {
    let base = Url::from_directory_path(directory).unwrap();
    let source = Source {
        metadata: base.join("metadata/").unwrap(),
        targets: base.join("targets/").unwrap(),
        root: fs::read(directory.join("metadata/1.root.json")).unwrap(),
        datastore: directory.join("seen"),
    };
    Trusted::load(&source, Transport::directory()).await.unwrap()
}

#[tokio::test]
async fn a_repository_of_python_tuf_with_delegations_and_thresholds_holds() {
    let directory = tempfile::tempdir().unwrap();
    publish(directory.path(), "2");
    let trusted = load(directory.path()).await;
    let state = fs::read(directory.path().join("state.json")).unwrap();
    let state = trusted.state(&descriptor(&pin("state/north-1.json", &state))).await.unwrap();
    let model = &state.get().models[0].package;
    let fetched = trusted.fetch(model, &directory.path().join("model.sund")).await.unwrap();
    assert_eq!(fs::read(fetched.get()).unwrap(), fs::read(directory.path().join("model")).unwrap());
}

#[tokio::test]
async fn a_repository_of_python_tuf_with_one_signature_short_does_not() {
    let directory = tempfile::tempdir().unwrap();
    publish(directory.path(), "1");
    let trusted = load(directory.path()).await;
    let state = fs::read(directory.path().join("state.json")).unwrap();
    assert_eq!(code(trusted.state(&descriptor(&pin("state/north-1.json", &state))).await), "signatures-too-few");
}
