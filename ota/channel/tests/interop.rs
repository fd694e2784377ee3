//! python-tuf, the reference implementation, reads what we publish.
use crate::region::{Region, TWO};
use std::path::Path;
use std::process::Command;

#[test]
fn python_tuf_verifies_what_is_published_and_fetches_a_target() {
    let region = Region::with_state();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/client.py");
    let python = std::env::var("SUND_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let client = |target: &str| {
        let output = Command::new(&python)
            .arg(&script)
            .arg(region.home().join("repository"))
            .arg(region.path("client"))
            .arg(target)
            .output();
        let output =
            output.unwrap_or_else(|error| panic!("{python}: {error}: install Python 3 and set SUND_TEST_PYTHON"));
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for target in ["models/sund/positive-values-1.0.0.sund", "state/north-1.json", "trust/approvers.json"] {
        let (held, why) = client(target);
        assert!(held, "{target}: {why}");
    }
    // The same client goes along with a rotation and a withdrawal.
    region.must(&["root", "rotate", "--online-keys"]);
    region.publish("root-2", &["Anna Holm", "Bo Krog"]);
    region.must(&["withdraw", "state/north-1.json", "--reason", "a test"]);
    region.publish("state-3", &TWO);
    let (held, why) = client("models/sund/positive-values-1.0.0.sund");
    assert!(held, "{why}");
    let (held, why) = client("state/north-1.json");
    assert!(!held && why.contains("is not listed"), "{why}");
}
