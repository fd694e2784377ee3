//! The recovery role's signatures are the last word.
use crate::released::{envelope, key, payload, pem, person, signature, spki, to_sign};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::fs;
use std::process::Command;
use sund_rescue::descriptor::Admitted;
use sund_rescue::moment::Moment;
use sund_rescue::role::{PAYLOAD_TYPE, Person, Role};

fn role() -> Role {
    Role::new(vec![person("Ane", &key(1)), person("Bo", &key(2)), person("Carl", &key(3))], 2).expect("a role")
}

fn refusal(envelope: &[u8]) -> &'static str {
    role().verify(envelope).expect_err("it has to be refused").code
}

#[test]
fn two_of_three_persons_suffice_whoever_they_are() {
    for keys in [[&key(1), &key(2)], [&key(3), &key(1)], [&key(2), &key(3)]] {
        let signed = role().verify(&envelope(&payload(3, b"bundle"), &keys)).expect("it holds");
        assert_eq!(signed.get().version, 3);
    }
}

#[test]
fn one_signature_short_is_refused() {
    assert_eq!(refusal(&envelope(&payload(3, b"bundle"), &[&key(1)])), "too-few-signatures");
    assert_eq!(refusal(&envelope(&payload(3, b"bundle"), &[])), "too-few-signatures");
}

#[test]
fn the_same_person_twice_is_one_person() {
    assert_eq!(refusal(&envelope(&payload(3, b"bundle"), &[&key(1), &key(1)])), "too-few-signatures");
}

#[test]
fn the_same_key_under_another_name_is_no_second_person() {
    let persons = vec![person("Ane", &key(1)), person("Bo", &key(1))];
    assert_eq!(Role::new(persons, 2).map_err(|fault| fault.code).err(), Some("role-invalid"));
    let persons = vec![person("Ane", &key(1)), person("Ane", &key(2))];
    assert_eq!(Role::new(persons, 2).map_err(|fault| fault.code).err(), Some("role-invalid"));
}

#[test]
fn a_strangers_key_counts_nothing_also_under_a_persons_name() {
    assert_eq!(refusal(&envelope(&payload(3, b"bundle"), &[&key(1), &key(9)])), "too-few-signatures");
    let text = payload(3, b"bundle").to_string();
    let mut claimed = signature(&key(9), &text);
    claimed["keyid"] = signature(&key(2), &text)["keyid"].clone();
    let envelope = json!({
        "payload": STANDARD.encode(&text),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [signature(&key(1), &text), claimed],
    });
    assert_eq!(refusal(envelope.to_string().as_bytes()), "too-few-signatures");
}

#[test]
fn an_altered_payload_is_refused() {
    let envelope = envelope(&payload(3, b"bundle"), &[&key(1), &key(2)]);
    let mut altered: Value = serde_json::from_slice(&envelope).expect("JSON");
    altered["payload"] = STANDARD.encode(payload(4, b"bundle").to_string()).into();
    assert_eq!(refusal(altered.to_string().as_bytes()), "too-few-signatures");
}

#[test]
fn a_signature_for_something_else_is_none_here() {
    let envelope = envelope(&payload(3, b"bundle"), &[&key(1), &key(2)]);
    let other = String::from_utf8(envelope).expect("text").replace(PAYLOAD_TYPE, "application/vnd.in-toto+json");
    assert_eq!(refusal(other.as_bytes()), "envelope-invalid");
}

#[test]
fn what_is_no_envelope_is_refused_at_any_length() {
    let envelope = envelope(&payload(3, b"bundle"), &[&key(1), &key(2)]);
    for length in 0..envelope.len() {
        assert_eq!(refusal(&envelope[..length]), "envelope-invalid", "{length}");
    }
    let text = payload(3, b"bundle").to_string();
    let many = vec![signature(&key(1), &text); 33];
    let many = json!({"payload": STANDARD.encode(&text), "payloadType": PAYLOAD_TYPE, "signatures": many});
    assert_eq!(refusal(many.to_string().as_bytes()), "envelope-invalid", "a verification each");
    assert_eq!(refusal(&[envelope, vec![b' '; 16 * 1024]].concat()), "envelope-invalid");
}

#[test]
fn a_signed_payload_is_read_strictly_all_the_same() {
    let good = payload(3, b"bundle");
    let with = |pointer: &str, value: Value| {
        let mut altered = good.clone();
        *altered.pointer_mut(pointer).expect("a place") = value;
        altered
    };
    for altered in [
        with("/format", json!(2)),
        with("/version", json!(-1)),
        with("/bundle/path", json!("../etc/shadow")),
        with("/bundle/path", json!("/rescue/bundle")),
        with("/bundle/path", json!("rescue/a b")),
        with("/bundle/path", json!("rescue/a\r\nHost: other")),
        with("/bundle/path", json!("a".repeat(300))),
        with("/bundle/length", json!(0)),
        with("/bundle/length", json!(u64::MAX)),
        with("/bundle/sha256", json!("AA".repeat(32))),
        with("/bundle/sha256", json!("aa")),
        with("/time", json!("2026-09-01T12:00:00Z")),
        with("/expires", json!("2026-11-01T12:00:00Z")),
        with("/expires", json!("never")),
        with("/bundle", json!({"path": "a", "length": 1, "sha256": "aa".repeat(32), "more": 1})),
    ] {
        assert_eq!(refusal(&envelope(&altered, &[&key(1), &key(2)])), "descriptor-invalid", "{altered}");
    }
}

#[test]
fn below_the_minimum_and_past_its_end_a_signed_descriptor_is_not_admitted() {
    let admitted = |minimum, known: &str| {
        let signed = role().verify(&envelope(&payload(3, b"bundle"), &[&key(1), &key(2)])).expect("it holds");
        Admitted::new(signed, minimum, Moment::parse(known).expect("a time")).map_err(|fault| fault.code)
    };
    assert!(admitted(3, "2027-11-01T11:59:59Z").is_ok());
    assert_eq!(admitted(4, "2027-01-01T00:00:00Z").err(), Some("version-too-old"));
    assert_eq!(admitted(3, "2027-11-01T12:00:00Z").err(), Some("descriptor-expired"));
}

#[test]
fn a_key_that_verifies_what_nobody_signed_is_no_key() {
    // The neutral element of the curve: each signature of it is easily made.
    let mut weak = spki(&key(1));
    weak.truncate(12);
    weak.push(1);
    weak.extend([0; 31]);
    let weak = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(weak));
    assert_eq!(Person::new("Ane", &weak).map_err(|fault| fault.code).err(), Some("key-invalid"));
    let private = pem(&key(1)).replace("PUBLIC", "PRIVATE");
    assert_eq!(Person::new("Ane", &private).map_err(|fault| fault.code).err(), Some("key-invalid"));
}

/// The ceremony of ota/README.md: OpenSSL and nothing of ours.
#[test]
fn a_descriptor_signed_with_openssl_holds() {
    let directory = tempfile::tempdir().expect("a directory");
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).current_dir(&directory).output();
        let output = output.unwrap_or_else(|error| panic!("openssl: {error}: install it"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let text = payload(3, b"bundle").to_string();
    fs::write(directory.path().join("to-sign"), to_sign(PAYLOAD_TYPE, &text)).expect("it is written");
    let (mut persons, mut signatures) = (Vec::new(), Vec::new());
    for name in ["ane", "bo"] {
        openssl(&["genpkey", "-algorithm", "ed25519", "-out", name]);
        let public = String::from_utf8(openssl(&["pkey", "-in", name, "-pubout"])).expect("PEM");
        let der = openssl(&["pkey", "-in", name, "-pubout", "-outform", "DER"]);
        fs::write(directory.path().join("der"), der).expect("it is written");
        let digest = String::from_utf8(openssl(&["dgst", "-sha256", "-r", "der"])).expect("text");
        openssl(&["pkeyutl", "-sign", "-rawin", "-inkey", name, "-in", "to-sign", "-out", "signature"]);
        let signature = STANDARD.encode(fs::read(directory.path().join("signature")).expect("a signature"));
        persons.push(Person::new(name, &public).expect("a key"));
        signatures.push(json!({"keyid": digest[..64], "sig": signature}));
    }
    let envelope = json!({"payload": STANDARD.encode(&text), "payloadType": PAYLOAD_TYPE, "signatures": signatures});
    let signed = Role::new(persons, 2).expect("a role").verify(envelope.to_string().as_bytes()).expect("it holds");
    assert_eq!(signed.get().version, 3);
}
