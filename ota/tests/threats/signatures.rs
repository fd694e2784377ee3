//! Nobody signs but who may.
use crate::region::{Key, REFUSALS, Region, code};
use serde_json::json;
use std::collections::BTreeSet;

/// The file of each role, and the code's prefix is the same for all: who signs is what counts.
const FILES: [&str; 5] = ["timestamp.json", "1.snapshot.json", "1.targets.json", "1.state.json", "1.models/acme.json"];

/// The region's list of what belongs together is made again, so that only the signature is wrong.
fn relist(region: &mut Region) {
    region.timestamp.version += 1;
    region.snapshot.version += 1;
    region.publish_online();
}

async fn refusal(region: &mut Region, file: &str) -> String {
    if !matches!(file, "timestamp.json" | "1.snapshot.json") {
        relist(region);
    }
    if file == "1.snapshot.json" {
        // The timestamp lists the hash of the snapshot; without a hash the signature alone stands in the way.
        let signers = region.timestamp.signers.clone();
        region.alter("timestamp.json", &signers, |signed| {
            signed["meta"]["snapshot.json"] = json!({"version": 1});
        });
    }
    let device = region.device();
    match device.load(region).await {
        Ok(trusted) => code(trusted.state(&region.state()).await),
        Err(fault) => fault.code.into_owned(),
    }
}

#[tokio::test]
async fn forged_signatures_are_refused() {
    for file in FILES {
        let mut region = Region::new();
        region.alter_signatures(file, |signatures| {
            for signature in signatures {
                let sig = signature["sig"].as_str().unwrap().to_owned();
                let digit = if sig.starts_with('0') { "1" } else { "0" };
                signature["sig"] = json!(format!("{digit}{}", &sig[1..]));
            }
        });
        assert_eq!(refusal(&mut region, file).await, "signature-forged", "{file}");
    }
}

#[tokio::test]
async fn metadata_without_a_signature_is_refused() {
    for file in FILES {
        let mut region = Region::new();
        region.alter_signatures(file, Vec::clear);
        assert_eq!(refusal(&mut region, file).await, "signature-missing", "{file}");
    }
}

#[tokio::test]
async fn a_strangers_signature_is_none() {
    for file in FILES {
        let mut region = Region::new();
        region.alter(file, &[Key::new(), Key::new()], |_| ());
        assert_eq!(refusal(&mut region, file).await, "signature-missing", "{file}");
    }
}

#[tokio::test]
async fn one_signature_where_two_are_needed_is_too_few() {
    for file in ["1.targets.json", "1.state.json", "1.models/acme.json"] {
        let mut region = Region::new();
        region.alter_signatures(file, |signatures| signatures.truncate(1));
        assert_eq!(refusal(&mut region, file).await, "signatures-too-few", "{file}");
    }
}

#[tokio::test]
async fn one_signature_beside_a_forged_one_is_too_few() {
    let mut region = Region::new();
    region.alter_signatures("1.state.json", |signatures| signatures[1]["sig"] = signatures[0]["sig"].clone());
    assert_eq!(refusal(&mut region, "1.state.json").await, "signature-forged");
}

#[tokio::test]
async fn one_key_that_signs_twice_counts_for_nothing() {
    let mut region = Region::new();
    region.alter_signatures("1.state.json", |signatures| signatures[1] = signatures[0].clone());
    assert_eq!(refusal(&mut region, "1.state.json").await, "signature-twice");
}

#[tokio::test]
async fn two_keys_of_one_person_are_not_two_persons() {
    let mut region = Region::new();
    let second = Key::new();
    region.persons.get_mut("Anna").unwrap().push(second.id());
    let anna = region.role("state").keys[0].clone();
    region.role("state").keys = vec![anna.clone(), second.clone()];
    region.role("state").signers = vec![anna, second];
    region.release("state");
    assert_eq!(refusal(&mut region, "2.state.json").await, "two-keys-of-one-person");
}

#[tokio::test]
async fn one_key_under_two_names_is_not_two_persons() {
    let mut region = Region::new();
    let anna = region.role("state").keys[0].clone();
    let again = anna.under_another_name();
    region.persons.insert("Dora".to_owned(), vec![again.id()]);
    region.role("state").keys = vec![anna.clone(), again.clone()];
    region.role("state").signers = vec![anna, again];
    region.release("state");
    assert_eq!(refusal(&mut region, "2.state.json").await, "two-keys-of-one-person");

    let mut region = Region::new();
    let person = region.root.keys[0].clone();
    region.root.keys = vec![person.clone(), person.under_another_name()];
    region.root.signers = region.root.keys.clone();
    region.publish();
    assert_eq!(code(region.device().load(&region).await), "root-invalid");
}

#[tokio::test]
async fn one_person_with_two_root_keys_is_refused() {
    let mut region = Region::new();
    region.persons.insert("Eva".to_owned(), region.root.keys.iter().map(Key::id).collect());
    region.release("targets");
    assert_eq!(refusal(&mut region, "1.state.json").await, "two-keys-of-one-person");
}

#[tokio::test]
async fn a_key_of_nobody_is_refused_where_persons_count() {
    let mut region = Region::new();
    region.persons.remove("Carl");
    region.release("targets");
    assert_eq!(refusal(&mut region, "1.state.json").await, "key-of-nobody");
}

#[tokio::test]
async fn a_key_of_two_persons_is_refused() {
    let mut region = Region::new();
    let annas = region.persons["Anna"].clone();
    region.persons.insert("Dora".to_owned(), annas);
    region.release("targets");
    assert_eq!(refusal(&mut region, "1.state.json").await, "approvers-invalid");
}

#[tokio::test]
async fn a_region_that_says_of_no_key_whose_it_is_has_no_two_persons() {
    let mut region = Region::new();
    region.persons.clear();
    region.release("targets");
    assert_eq!(refusal(&mut region, "1.state.json").await, "approvers-missing");
}

#[tokio::test]
async fn a_root_that_the_old_roots_persons_did_not_sign_is_refused() {
    let mut region = Region::new();
    let device = region.device();
    let (old, usurpers) = (region.root.keys.clone(), vec![Key::new(), Key::new()]);
    region.root.keys = usurpers.clone();
    region.root.signers = usurpers.clone();
    region.targets.keys = usurpers.clone();
    region.targets.signers = usurpers.clone();
    region.release("root");
    assert_eq!(code(device.load(&region).await), "signature-missing");
    region.alter("2.root.json", &[old[0].clone(), usurpers[0].clone(), usurpers[1].clone()], |_| ());
    assert_eq!(code(device.load(&region).await), "signatures-too-few");
    // Signed by the old threshold and the new one it is what rotation is.
    region.alter("2.root.json", &[old, usurpers].concat(), |_| ());
    assert_eq!(code(device.load(&region).await), "");
}

#[tokio::test]
async fn a_root_that_its_own_persons_did_not_sign_is_refused() {
    let mut region = Region::new();
    let device = region.device();
    region.root.keys = vec![Key::new(), Key::new()];
    region.release("root");
    assert_eq!(code(device.load(&region).await), "signature-missing");
}

#[tokio::test]
async fn what_was_trusted_before_a_refusal_is_trusted_after_it() {
    let mut region = Region::new();
    let device = region.device();
    assert_eq!(code(device.load(&region).await), "");
    region.release("state");
    region.alter_signatures("timestamp.json", Vec::clear);
    assert_eq!(code(device.load(&region).await), "signature-missing");
    region.publish();
    let trusted = device.load(&region).await.unwrap();
    assert_eq!(code(trusted.state(&region.state()).await), "");
}

/// Lines of the log, as they are written.
#[derive(Clone, Default)]
struct Lines(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

const CHILD: &str = "SUND_TEST_AUDIT";

/// In a process of its own: what the log takes is decided once for all threads.
#[tokio::test]
async fn each_refusal_leaves_one_audit_line_with_its_code() {
    if std::env::var_os(CHILD).is_none() {
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "threats::signatures::each_refusal_leaves_one_audit_line_with_its_code"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
        return;
    }
    let lines = Lines::default();
    let of = lines.clone();
    let subscriber = tracing_subscriber::fmt().json().with_writer(move || of.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let mut region = Region::new();
    let device = region.device();
    let trusted = device.load(&region).await.unwrap();
    let mut unlisted = region.state();
    unlisted.length += 1;
    assert_eq!(code(trusted.state(&unlisted).await), "target-not-approved");
    region.alter_signatures("timestamp.json", Vec::clear);
    assert_eq!(code(device.load(&region).await), "signature-missing");
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let audited: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|line| line["target"] == "audit")
        .map(|line| line["fields"]["code"].clone())
        .collect();
    assert_eq!(audited, ["target-not-approved", "signature-missing"]);
}

/// Codes of which nothing reaches the log of this process: a clock can't be set before the build here, and the tests of the others run the
/// updater as a program of its own, and look into the agent's audit log themselves.
const APART: [&str; 4] = ["os-length-differs", "clock-before-build", "target-not-kept", "inbox-taken"];

/// The tests of the table, once more in a process of their own: each of its codes stands in the audit log.
#[test]
fn every_code_of_the_table_but_four_leaves_an_audit_line() {
    let rows = crate::documents::rows();
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("refusals");
    let tests: BTreeSet<String> = rows.iter().flat_map(|(_, _, tests)| tests.clone()).collect();
    let child = std::process::Command::new(std::env::current_exe().unwrap()).args(&tests).env(REFUSALS, &log).output();
    let child = child.unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
    let told: BTreeSet<String> = std::fs::read_to_string(&log)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|line| line["target"] == "audit")
        .filter_map(|line| line["fields"]["code"].as_str().map(str::to_owned))
        .collect();
    let missing: Vec<&str> =
        rows.iter().map(|(code, _, _)| code.as_str()).filter(|code| !told.contains(*code)).collect();
    assert_eq!(missing, APART, "no audit line");
}
