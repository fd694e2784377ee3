//! What is not signed by enough persons is refused, each by its name.
use crate::region::{APPROVERS, Region, TWO, block_on, text, words};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use sund_channel::repository::files;
use sund_channel::repository::keys::{FileSigner, Signer, key_id};
use sund_ota::descriptor::Descriptor;
use sund_ota::hex::hex;
use tough::TargetName;
use tough::schema::{Hashes, Metafile, Role, Signature, Signed, Snapshot, Targets, Timestamp};

#[test]
fn one_signature_too_few_publishes_nothing() {
    let region = Region::new();
    region.must(&["stop-all", "--reason", "a test"]);
    region.sign("state-2", &["Dora Munk"]);
    let ended = region.run(&["approve", "state-2"]);
    assert_eq!((ended.code, &ended.json["is_published"]), (Some(75), &json!(false)));
    let standing = &ended.json["standing"][0];
    assert_eq!(
        (&standing["signed"], &standing["open"]),
        (&json!(["Dora Munk"]), &json!(["Emil Nord", "Freja Ovesen"]))
    );
    assert_eq!(region.must(&["status"])["stopped"], Value::Null);
}

#[test]
fn a_person_who_signs_twice_counts_once() {
    let region = Region::new();
    region.must(&["stop-all", "--reason", "a test"]);
    region.sign("state-2", &["Dora Munk", "Dora Munk"]);
    assert_eq!(region.run(&["approve", "state-2"]).code, Some(75));
}

#[test]
fn two_keys_of_one_person_are_refused_where_they_are_delegated() {
    let region = Region::new();
    let second = region.path("second.key");
    region.must(&["key", "new", text(&second), "--person", "Dora Munk", "--scheme", "ecdsa-p256"]);
    let (first, second) = (region.public("Dora Munk"), second.with_added_extension("pub"));
    let ended = region.run(&["delegate", "os", "--key", text(&first), "--key", text(&second)]);
    assert_eq!((ended.code, ended.refusal()), (Some(64), "person-twice"));
    assert_eq!(region.run(&["delegate", "os", "--key", text(&first)]).refusal(), "threshold-unreachable");
    // The key of one under the name of another is no second person either.
    let mut stolen: Value = serde_json::from_slice(&fs::read(&first).unwrap()).unwrap();
    stolen["person"] = json!("Somebody Else");
    let stolen = region.file("stolen.pub", &stolen.to_string());
    let other = region.public("Emil Nord");
    let ended = region.run(&["delegate", "os", "--key", text(&stolen), "--key", text(&other)]);
    assert_eq!(ended.refusal(), "key-of-two-persons");
}

#[test]
fn a_key_of_another_role_does_not_sign() {
    let region = Region::new();
    region.must(&["stop-all", "--reason", "a test"]);
    let root_key = region.key("Anna Holm");
    let ended = region.run(&["sign", "state-2", "--yes", "--key", text(&root_key)]);
    assert_eq!((ended.code, ended.refusal()), (Some(65), "key-of-another-role"));
    // Nor does a signature file that was made up for it.
    region.sign("state-2", &["Dora Munk"]);
    let directory = region.home().join("proposals/state-2/signatures");
    let path = fs::read_dir(&directory).unwrap().next().unwrap().unwrap().path();
    let mut file: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let root = region.metadata("1.root.json");
    file["key"] = root["signed"]["roles"]["root"]["keyids"][0].clone();
    let made_up = region.file("made-up.json", &file.to_string());
    assert_eq!(region.run(&["approve", "state-2", text(&made_up)]).refusal(), "key-of-another-role");
    // What was refused is not kept: the others go on.
    region.publish("state-2", &["Emil Nord"]);
}

#[test]
fn a_proposal_that_is_altered_after_it_was_signed_is_not_published() {
    let region = Region::new();
    region.must(&["suspend", "brain", "--unlisted", "--reason", "a test"]);
    region.sign("state-2", &TWO);
    let path = region.home().join("proposals/state-2/documents/state.json");
    let mut document: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    document["signed"]["targets"]["state/suspensions.json"]["hashes"]["sha256"] = json!("0".repeat(64));
    fs::write(&path, document.to_string()).unwrap();
    let ended = region.run(&["approve", "state-2"]);
    assert_eq!((ended.code, ended.refusal()), (Some(65), "signature-invalid"));
}

#[test]
fn a_proposal_is_signed_on_a_copy_that_says_in_words_what_it_does() {
    let region = Region::with_state();
    region.must(&["withdraw", "models/sund/positive-values-1.0.0.sund", "--reason", "misses small bleeds"]);
    let copy = region.path("stick");
    let copied = Command::new("cp").arg("-r").arg(region.home().join("proposals/models.sund-3")).arg(&copy).status();
    assert!(copied.unwrap().success());
    // The approver's own machine has no channel.
    let alone = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sund-channel"));
        command.current_dir(copy.parent().unwrap()).args(["--json", "--home", "/nowhere"]).args(arguments);
        let output = command.output().unwrap();
        (output.status.code(), serde_json::from_slice::<Value>(&output.stdout).unwrap_or_default())
    };
    let (_, shown) = alone(&["show", "stick"]);
    let words = words(&shown);
    for word in ["- models/sund/positive-values-1.0.0.sund", "- state/north-1.json", "from version 2"] {
        assert!(words.contains(word), "{word} in\n{words}");
    }
    assert_eq!(shown["reason"], "models/sund/positive-values-1.0.0.sund is withdrawn: misses small bleeds");
    let mut files = Vec::new();
    for person in TWO {
        let out = region.path(&format!("{person}.json"));
        // Nobody at the terminal says yes.
        assert_eq!(alone(&["sign", "stick", "--key", text(&region.key(person)), "--out", text(&out)]).0, Some(64));
        assert_eq!(
            alone(&["sign", "stick", "--yes", "--key", text(&region.key(person)), "--out", text(&out)]).0,
            Some(0)
        );
        files.push(out);
    }
    let approved = region.run(&["approve", "models.sund-3", text(&files[0]), text(&files[1])]);
    assert_eq!(approved.json["is_published"], true, "{:#}", approved.json);
}

#[test]
fn a_key_that_never_leaves_its_token_signs_what_is_written_for_it() {
    let region = Region::new();
    let (private, public, imported) =
        (region.path("token.pem"), region.path("token.pub.pem"), region.path("token.pub"));
    let openssl = |arguments: &[&str]| assert!(Command::new("openssl").args(arguments).status().unwrap().success());
    openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", text(&private)]);
    openssl(&["pkey", "-in", text(&private), "-pubout", "-out", text(&public)]);
    region.must(&["key", "import", text(&public), "--person", "Gerda Pihl", "--out", text(&imported)]);
    let other = region.public("Dora Munk");
    region.must(&["delegate", "state", "--key", text(&imported), "--key", text(&other)]);
    let (messages, id) = (region.path("messages"), "targets-2");
    let written = region.must(&["sign", id, "--public-key", text(&imported), "--write-messages", text(&messages)]);
    for message in written["messages"].as_array().unwrap() {
        let message = message.as_str().unwrap();
        let signature = message.replace(".message", ".sig");
        openssl(&["dgst", "-sha256", "-sign", text(&private), "-out", &signature, message]);
    }
    let sign = || region.run(&["sign", id, "--public-key", text(&imported), "--signatures", text(&messages)]);
    assert_eq!(sign().code, Some(0));
    region.publish(id, &["Anna Holm", "Bo Krog", "Dora Munk"]);
    region.load().unwrap();
    // A signature of something else.
    fs::write(messages.join("state.sig"), b"no signature").unwrap();
    region.must(&["stop-all", "--reason", "a test"]);
    let ended = region.run(&["sign", "state-3", "--public-key", text(&imported), "--signatures", text(&messages)]);
    assert_eq!(ended.refusal(), "signature-invalid");
}

#[test]
fn whoever_has_the_server_alone_makes_nothing_that_a_box_takes() {
    let region = Region::with_state();
    let base = region.home().join("repository/metadata");
    // The thief lists a state of his own, and signs snapshot and timestamp with the keys that lie at the server.
    let mut state: Signed<Targets> = read(&base.join("2.state.json"));
    let genuine = TargetName::new("state/north-1.json").unwrap();
    let listed = state.signed.targets[&genuine].clone();
    state.signed.targets.insert(TargetName::new("state/thief.json").unwrap(), listed.clone());
    let bytes = serde_json::to_vec(&state).unwrap();
    fs::write(base.join("2.state.json"), &bytes).unwrap();
    let mut timestamp: Signed<Timestamp> = read(&base.join("timestamp.json"));
    let version = timestamp.signed.meta["snapshot.json"].version;
    let path = base.join(format!("{version}.snapshot.json"));
    let mut snapshot: Signed<Snapshot> = read(&path);
    relist(snapshot.signed.meta.get_mut("state.json").unwrap(), &bytes);
    resign(&region, "snapshot", &mut snapshot);
    let bytes = serde_json::to_vec(&snapshot).unwrap();
    fs::write(&path, &bytes).unwrap();
    relist(timestamp.signed.meta.get_mut("snapshot.json").unwrap(), &bytes);
    resign(&region, "timestamp", &mut timestamp);
    fs::write(base.join("timestamp.json"), serde_json::to_vec(&timestamp).unwrap()).unwrap();
    // A box refuses the role, whether at once or when the state is asked for.
    let sha256 = hex(listed.hashes.sha256.as_ref());
    let descriptor = Descriptor { format: 1, target: "state/thief.json".to_owned(), sha256, length: listed.length };
    let taken = region.load().and_then(|trusted| block_on(trusted.state(&descriptor)).map(|_| ()));
    assert!(taken.is_err());
    // Nor does he get approvers to sign it as something that is published already.
    region.must(&["refresh", "state"]);
    let ended = region.run(&["sign", "state-3", "--yes", "--key", text(&region.key("Dora Munk"))]);
    assert_eq!(ended.refusal(), "history-not-signed");
}

#[test]
fn a_key_signs_nothing_under_a_root_that_does_not_follow_from_its_own() {
    let (region, thief) = (Region::new(), Region::new());
    region.must(&["stop-all", "--reason", "a test"]);
    region.publish("state-2", &TWO);
    // The thief's channel has the same persons' public keys, and root keys of his own.
    let keys = TWO.map(|person| region.public(person));
    thief.must(&["delegate", "state", "--key", text(&keys[0]), "--key", text(&keys[1])]);
    thief.sign("targets-2", &["Anna Holm", "Bo Krog"]);
    let copied = thief.home().join("proposals/targets-2");
    let ended = region.run(&["sign", text(&copied), "--yes", "--key", text(&region.key("Dora Munk"))]);
    assert_eq!((ended.code, ended.refusal()), (Some(65), "another-root"));
    // Rotations of the own root are followed.
    region.must(&["root", "rotate"]);
    region.publish("root-2", &["Anna Holm", "Bo Krog"]);
    region.must(&["go-on"]);
    region.publish("state-3", &TWO);
}

#[test]
fn what_a_proposal_says_cannot_move_or_hide_text_on_the_signers_screen() {
    let region = Region::new();
    region.must(&["stop-all", "--reason", "a \u{1b}[2J\u{1b}[1;1Hharmless \u{202e}test"]);
    let output = region.command(&["show", "state-2"]).output().unwrap();
    let words = words(&serde_json::from_slice(&output.stdout).unwrap());
    assert!(words.contains("STOPS ALL ROLLOUTS"), "{words}");
    assert!(!words.contains(['\u{1b}', '\u{202e}']), "{words:?}");
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> T {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn relist(listed: &mut Metafile, bytes: &[u8]) {
    listed.length = Some(bytes.len() as u64);
    listed.hashes = Some(Hashes { sha256: files::sha256(bytes).into(), _extra: HashMap::new() });
}

/// Signs with a key that lies at the server.
fn resign<T: Role>(region: &Region, role: &str, document: &mut Signed<T>) {
    let signer = FileSigner::open(&region.home().join(format!("keys/{role}.pem"))).unwrap();
    let signature = signer.sign(&document.signed.canonical_form().unwrap()).unwrap();
    document.signatures = vec![Signature { keyid: key_id(&signer.key()).unwrap(), sig: signature.into() }];
}

#[test]
fn what_something_else_has_overtaken_is_proposed_again() {
    let region = Region::new();
    region.must(&["stop-all", "--reason", "first"]);
    let waits = region.run(&["suspend", "brain", "--unlisted", "--reason", "second"]);
    assert_eq!(waits.refusal(), "proposal-waits");
    // Two proposals for one version, as after a restore from a copy.
    let home = region.home();
    let (waiting, aside) = (home.join("proposals/state-2"), region.path("aside"));
    region.sign("state-2", &APPROVERS);
    fs::rename(&waiting, &aside).unwrap();
    region.must(&["suspend", "brain", "--unlisted", "--reason", "second"]);
    region.sign_anew("state-2", &TWO);
    region.publish("state-2", &[]);
    fs::rename(&aside, &waiting).unwrap();
    assert_eq!(region.run(&["approve", "state-2"]).refusal(), "proposal-outdated");
    region.must(&["discard", "state-2"]);
}
