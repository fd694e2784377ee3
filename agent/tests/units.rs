//! The units under which systemd runs the daemon and its workers.
use crate::hospital::SUND;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use sund_agent::worker::Launcher;

fn systemd_analyze(verb: &[&str], folder: &Path, units: &[&str]) -> Output {
    let mut command = Command::new("systemd-analyze");
    command.args(verb).args(units.iter().map(|unit| folder.join(unit))).env("SYSTEMD_LOG_COLOR", "0");
    command.output().expect("systemd-analyze, from Debian's systemd")
}

/// systemd ignores a key that it does not know: a misspelt limit would be none.
#[test]
fn systemd_knows_every_key_of_the_units_and_calls_them_safe() {
    let folder = tempfile::tempdir().unwrap();
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("units");
    for entry in fs::read_dir(units).unwrap().map(Result::unwrap) {
        let text = fs::read_to_string(entry.path()).unwrap().replace("/usr/bin/sund", SUND);
        fs::write(folder.path().join(entry.file_name()), text).unwrap();
    }
    let all = ["sund.service", "sund-worker.socket", "sund-worker@.service"];
    let verified = systemd_analyze(&["verify", "--man=no"], folder.path(), &all);
    let said = String::from_utf8(verified.stderr).unwrap();
    assert!(verified.status.success() && !said.contains("sund"), "{said}");

    // An exposure of 0 to 10, in tenths; below 2 is what systemd calls safe.
    let judged = systemd_analyze(&["security", "--offline=true", "--threshold=19"], folder.path(), &[all[0], all[2]]);
    assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stdout));
}

/// A unit's worker runs one vendor's model after another's: a place that outlives it would carry the code of one to the other.
#[test]
fn a_worker_leaves_nothing_that_the_worker_of_another_vendors_model_believes() {
    let unit = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("units/sund-worker@.service")).unwrap();
    let settings: Vec<_> = unit.lines().filter_map(|line| line.split_once('=')).collect();
    for kept in ["Cache", "State", "Logs", "Configuration", "Runtime"].map(|kind| format!("{kind}Directory")) {
        assert!(settings.iter().all(|(key, _)| *key != kept), "{kept}");
    }
    for shared in ["User", "ReadWritePaths", "BindPaths", "ExecPaths", "TemporaryFileSystem", "JoinsNamespaceOf"] {
        assert!(settings.iter().all(|(key, _)| *key != shared), "{shared}");
    }
    for alone in [("DynamicUser", "yes"), ("ProtectSystem", "strict"), ("ProtectHome", "yes"), ("PrivateTmp", "yes")] {
        assert!(settings.contains(&alone), "{alone:?}");
    }
    // Nor is it told of a folder, by its unit or by the agent.
    let unit = Launcher::Unit { socket: "/run/sund/worker.sock".into() };
    assert!(!unit.keeps_kernels());
}

/// What a driver opens, a defect in whoever reads peers' bytes must not reach.
#[test]
fn device_nodes_of_nvidia_are_the_workers_alone() {
    let unit = |name: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("units").join(name)).unwrap();
    let agent = unit("sund.service");
    assert!(agent.contains("\nPrivateDevices=yes\n") && !agent.contains("nvidia"), "{agent}");
    assert!(unit("sund-worker@.service").contains("\nDeviceAllow=char-nvidia rw\n"));
}
