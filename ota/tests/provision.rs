//! A box becomes its region's by a signed file, once, and at any instant it is nobody's or all of it.
use super::firmware::{OFF, ON};
use super::repository::Region;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::LazyLock;
use sund_ota::audit::Trail;
use sund_ota::config::{Config, Credentials, Key};
use sund_ota::provision::envelope::{self, Keys};
use sund_ota::provision::{Applied, FILE, Provision, Provisioned, finish};

const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The region's key for what is escrowed: it takes long to make.
static RECOVERY_KEY: LazyLock<String> = LazyLock::new(|| {
    let directory = tempfile::tempdir().expect("a directory");
    super::escrow::region_key(directory.path(), 3072)
});

/// Who signs for a region.
pub struct Signer {
    pair: Ed25519KeyPair,
    spki: Vec<u8>,
}

impl Signer {
    pub fn new() -> Self {
        let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
        let pair = Ed25519KeyPair::from_pkcs8(made.as_ref()).expect("a key");
        let spki = [&SPKI[..], pair.public_key().as_ref()].concat();
        Self { pair, spki }
    }

    pub fn pem(&self) -> String {
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(&self.spki))
    }

    fn keys(&self) -> Keys {
        Keys::of_pem(self.pem().as_bytes()).expect("keys")
    }

    fn sign(&self, document: &Value) -> Value {
        self.sign_as(envelope::PAYLOAD_TYPE, document)
    }

    pub fn sign_as(&self, payload_type: &str, document: &Value) -> Value {
        let payload = document.to_string().into_bytes();
        let sig = STANDARD.encode(self.pair.sign(&envelope::message(payload_type, &payload)).as_ref());
        json!({
            "payload": STANDARD.encode(&payload),
            "payloadType": payload_type,
            "signatures": [{"keyid": envelope::key_id(&self.spki), "sig": sig}],
        })
    }

    pub fn open(&self, document: &Value) -> Result<Provision, sund_ota::fault::Fault> {
        Provision::open(self.sign(document).to_string().as_bytes(), &self.keys(), Timestamp::now())
    }
}

pub fn document() -> Value {
    let key = rcgen::KeyPair::generate().expect("a key");
    let ca =
        rcgen::CertificateParams::new(Vec::new()).expect("parameters").self_signed(&key).expect("a certificate").pem();
    json!({
        "format": 1, "region": "north", "box": "north-1", "tenant": "DEFAULT",
        "created": "2026-01-01T00:00:00Z", "expires": "2100-01-01T00:00:00Z",
        "server": "https://channel.north.example:8443", "code": "AB1CD-2EF3G-4HJ5K-6MN7P",
        "root": String::from_utf8(Region::new().root()).expect("JSON"),
        "channel_ca": ca, "recovery_key": *RECOVERY_KEY, "vendors": {"acme": key.public_key_pem()},
        "attributes": {"site": "odense"},
        "site": "[node]\nae_title = \"SUND\"\nlisten = \"0.0.0.0:11112\"\n[console.tls]\ncertificate = \"/etc/sund/tls/console.pem\"\n",
        "network": {
            "clinical": {"address": "10.30.0.5/24", "gateway": "10.30.0.1"},
            "management": {"address": "10.20.0.5/24", "gateway": "10.20.0.1", "dns": ["10.20.0.2"]},
            "proxy": "http://proxy.north.example:3128",
            "ntp": [{"host": "time.north.example", "nts": true}],
        },
    })
}

/// All files below a directory, with what they hold.
fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    fn walk(top: &Path, at: &Path, found: &mut Vec<(String, Vec<u8>)>) {
        for entry in std::fs::read_dir(at).expect("a directory").flatten() {
            if entry.path().is_dir() {
                walk(top, &entry.path(), found);
            } else {
                let name = entry.path().strip_prefix(top).expect("below it").display().to_string();
                found.push((name, std::fs::read(entry.path()).expect("a file")));
            }
        }
    }
    let mut found = Vec::new();
    walk(directory, directory, &mut found);
    found.sort();
    found
}

fn updater(site: &Path, arguments: &[&str]) -> Output {
    let (keys, own) = (site.with_extension("pem"), site.with_extension("updater"));
    let secure_boot = site.with_extension("secure-boot");
    if !secure_boot.exists() {
        std::fs::write(&secure_boot, ON).expect("a variable");
    }
    let output = Command::new(env!("CARGO_BIN_EXE_sund-updater"))
        .args(["provision", "--site", &site.display().to_string(), "--keys", &keys.display().to_string()])
        .args(["--directory", &own.display().to_string(), "--secure-boot", &secure_boot.display().to_string()])
        .args(arguments)
        .output()
        .expect("sund-updater starts");
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    output
}

#[test]
fn a_box_without_secure_boot_becomes_nobodys_and_one_that_is_its_regions_takes_a_newer_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let site = directory.path().join("site");
    let (stick, secure_boot) = (site.with_extension("json"), site.with_extension("secure-boot"));
    for path in [&site, &site.with_extension("updater")] {
        std::fs::create_dir(path).expect("a directory");
    }
    let region = Signer::new();
    std::fs::write(site.with_extension("pem"), region.pem()).expect("keys");
    let mut said = document();
    std::fs::write(&stick, region.sign(&said).to_string()).expect("a stick");
    std::fs::write(&secure_boot, OFF).expect("a variable");
    let refused = updater(&site, &[&stick.display().to_string()]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("[secure-boot-off]"));
    assert!(files(&site).is_empty());

    std::fs::write(&secure_boot, ON).expect("a variable");
    assert_eq!(updater(&site, &[&stick.display().to_string()]).status.code(), Some(0));
    std::fs::write(&secure_boot, OFF).expect("a variable");
    said["created"] = json!("2026-02-01T00:00:00Z");
    std::fs::write(&stick, region.sign(&said).to_string()).expect("a stick");
    assert_eq!(updater(&site, &[&stick.display().to_string()]).status.code(), Some(0));
}

#[test]
fn a_stick_makes_a_box_its_regions_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let (site, stick) = (directory.path().join("site"), directory.path().join("stick"));
    let own = site.with_extension("updater");
    for path in [&site, &stick, &own] {
        std::fs::create_dir(path).expect("a directory");
    }
    let region = Signer::new();
    std::fs::write(site.with_extension("pem"), region.pem()).expect("keys");
    let stick_says = |signer: &Signer, document: &Value| {
        std::fs::write(stick.join(FILE), signer.sign(document).to_string()).expect("a stick");
        updater(&site, &[&stick.display().to_string()])
    };
    let first = document();
    assert_eq!(stick_says(&Signer::new(), &first).status.code(), Some(1), "a stranger's stick");
    assert!(files(&site).is_empty());

    assert_eq!(stick_says(&region, &first).status.code(), Some(0));
    let audited = Trail::new(&own).outstanding().expect("a trail").expect("events").events;
    let told = audited
        .iter()
        .map(|event| (event.by.as_str(), event.text.as_str(), event.details.get("code")))
        .collect::<Vec<_>>();
    let code = "provision-not-signed".to_owned();
    assert_eq!(
        told,
        [("provision", "the box was not provisioned", Some(&code)), ("provision", "the box was provisioned", None),]
    );
    let config = Config::read(&site.join("updater.toml")).expect("a configuration");
    assert_eq!(config.id, "north-1");
    assert_eq!(config.escrow.expect("the region gets the disk's key").key, Path::new("/etc/sund/escrow.pem"));
    assert_eq!(config.proxy.expect("a proxy").as_str(), "http://proxy.north.example:3128/");
    let Credentials::Certificate { key: Key::Tpm(place), .. } = config.credentials else {
        panic!("the key is in the TPM")
    };
    assert_eq!(place.handle.to_string(), "tpm:0x81010010");
    let text = |name: &str| std::fs::read_to_string(site.join(name)).expect("a file");
    assert_eq!(text("updater/code"), "AB1CD-2EF3G-4HJ5K-6MN7P\n");
    assert_eq!(text("chrony/site.sources"), "# Time servers of the site.\nserver time.north.example iburst nts\n");
    // networkd reads the same bytes in the image's tests.
    let [clinical, management] =
        [include_str!("goldens/network/clinical.conf"), include_str!("goldens/network/management.conf")];
    assert_eq!(text("network/50-clinical.network.d/10-site.conf"), clinical);
    assert_eq!(text("network/50-management.network.d/10-site.conf"), management);
    assert_eq!(text("root.json"), first["root"].as_str().expect("a root"));
    for name in ["keys/uid.key", "keys/audit.key", "tls/console.key", "updater/code"] {
        assert_eq!(std::fs::metadata(site.join(name)).expect("it is there").mode() & 0o777, 0o600, "{name}");
    }
    for name in ["tls/console.pem", "vendors/acme.pem", "escrow.pem", "channel-ca.pem", "sund.toml"] {
        assert!(site.join(name).exists(), "{name}");
    }
    assert!(files(&site).iter().all(|(name, _)| !name.starts_with("provision.")), "nothing is left of the way");

    // The same stick changes nothing; neither does one of another region, of another box, or an older one.
    let before = files(&site);
    assert_eq!(stick_says(&region, &first).status.code(), Some(0));
    let changed = |key: &str, value: &str| {
        let mut document = first.clone();
        document[key] = json!(value);
        document
    };
    for (document, code) in [
        (changed("region", "south"), "provision-other-region"),
        (changed("box", "north-2"), "provision-other-box"),
        (changed("created", "2025-12-31T23:59:59Z"), "provision-older"),
        (changed("server", "https://elsewhere.example"), "provision-older"),
        (changed("expires", "2026-02-01T00:00:00Z"), "provision-expired"),
    ] {
        let output = stick_says(&region, &document);
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(&format!("[{code}]")), "{said}");
    }
    assert_eq!(files(&site), before);

    // A newer one of its own region changes what it says, and leaves what is the box's.
    std::fs::write(site.join("updater/box.pem"), "a certificate").expect("it is enrolled");
    let mut newer = changed("created", "2026-02-01T00:00:00Z");
    newer["network"] = json!({});
    assert_eq!(stick_says(&region, &newer).status.code(), Some(0));
    assert_eq!(text("updater/box.pem"), "a certificate");
    for network in ["clinical", "management"] {
        let addresses = text(&format!("network/50-{network}.network.d/10-site.conf"));
        assert_eq!(addresses, "# Addresses come by DHCP.\n");
    }
    let own = |files: &[(String, Vec<u8>)]| {
        files
            .iter()
            .filter(|(name, _)| name.starts_with("keys/") || name.starts_with("tls/"))
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(own(&files(&site)), own(&before));
}

#[test]
fn a_file_that_is_altered_signed_by_nobody_or_says_what_no_box_can_be_is_refused() {
    let region = Signer::new();
    let refused = |bytes: &str| {
        Provision::open(bytes.as_bytes(), &region.keys(), Timestamp::now())
            .expect_err("it is refused")
            .code
            .into_owned()
    };
    let whole = region.sign(&document());
    let mut altered = whole.clone();
    altered["payload"] = json!(STANDARD.encode(document().to_string().replace("north-1", "north-2")));
    assert_eq!(refused(&altered.to_string()), "provision-not-signed");
    let mut unsigned = whole.clone();
    unsigned["signatures"] = json!([]);
    assert_eq!(refused(&unsigned.to_string()), "provision-not-signed");
    let mut other = whole.clone();
    other["payloadType"] = json!("application/vnd.sund.rescue+json");
    assert_eq!(refused(&other.to_string()), "provision-invalid");
    let text = whole.to_string();
    assert_eq!(refused(&text[..text.len() / 2]), "provision-invalid");

    for (pointer, value) in [
        ("/format", json!(2)),
        ("/box", json!("../../etc/passwd")),
        ("/box", json!("")),
        ("/server", json!("http://channel.north.example")),
        ("/server", json!("https://user:secret@channel.north.example")),
        ("/code", json!("A\nB=C")),
        ("/code", json!("A".repeat(65))),
        ("/root", json!("{}")),
        ("/channel_ca", json!("no certificate")),
        ("/recovery_key", json!("no key")),
        ("/recovery_key", json!(rcgen::KeyPair::generate().expect("a key").public_key_pem())),
        ("/vendors", json!({"../acme": document()["recovery_key"]})),
        ("/site", json!("this is = = no TOML")),
        ("/network/management/address", json!("10.20.0.5")),
        ("/network/management/address", json!("10.20.0.5/24\nDNS=1.1.1.1")),
        ("/network/clinical", json!({"address": "10.30.0.5/24", "dns": ["10.30.0.2"]})),
        ("/network/ntp/0/host", json!("time.example\ncmdallow all")),
        ("/network/proxy", json!("file:///etc/shadow")),
    ] {
        let mut document = document();
        *document.pointer_mut(pointer).expect("a place") = value.clone();
        assert_eq!(region.open(&document).expect_err("it is refused").code, "provision-invalid", "{pointer} {value}");
    }
    let mut more = document();
    more["run"] = json!("a command");
    assert_eq!(region.open(&more).expect_err("it is refused").code, "provision-invalid");
    // A root that too few persons have signed.
    let mut root: Value = serde_json::from_str(document()["root"].as_str().expect("a root")).expect("JSON");
    root["signatures"].as_array_mut().expect("signatures").truncate(1);
    let mut unsigned = document();
    unsigned["root"] = json!(root.to_string());
    assert_eq!(region.open(&unsigned).expect_err("it is refused").code, "provision-invalid");
}

#[test]
fn a_stick_of_a_strangers_making_fills_no_memory_and_leads_nowhere() {
    let directory = tempfile::tempdir().expect("a directory");
    let region = Signer::new();
    let read = || Provision::read(directory.path(), &region.keys(), Timestamp::now()).expect_err("it is refused").code;
    assert_eq!(read(), "provision-unreadable", "an empty stick");
    let file = directory.path().join(FILE);
    std::fs::File::create(&file).and_then(|file| file.set_len(1 << 40)).expect("a sparse file");
    assert_eq!(read(), "provision-invalid");
    std::fs::remove_file(&file).expect("it is there");
    std::os::unix::fs::symlink("/dev/zero", &file).expect("a link");
    assert_eq!(read(), "provision-unreadable");
}

#[test]
fn a_power_cut_leaves_a_box_that_is_nobodys_or_becomes_its_regions_at_the_next_start() {
    let region = Signer::new();
    let provision = region.open(&document()).expect("a document");
    let whole = tempfile::tempdir().expect("a directory");
    assert_eq!(provision.apply(whole.path()).expect("it is applied"), Applied::Now);
    let whole = files(whole.path());

    // Before it is valid: what was gathered counts for nothing, and is gathered anew.
    let site = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(site.path().join("provision.next")).expect("a directory");
    std::fs::write(site.path().join("provision.next/updater.toml"), "half of").expect("a file");
    assert!(!finish(site.path()).expect("nothing is to be done"));
    assert_eq!(Provisioned::read(site.path()).expect("none"), None);
    assert_eq!(provision.apply(site.path()).expect("it is applied"), Applied::Now);
    assert!(files(site.path()).iter().all(|(_, bytes)| bytes != b"half of"));

    // Once it is valid, at each instant of the moves.
    for moved in 0..whole.len() {
        let site = tempfile::tempdir().expect("a directory");
        let valid = site.path().join("provision.valid");
        for (n, (name, bytes)) in whole.iter().enumerate() {
            let path = if n < moved && name != "provisioned.json" { site.path().join(name) } else { valid.join(name) };
            std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
            std::fs::write(path, bytes).expect("a file");
        }
        assert_eq!(Provisioned::read(site.path()).expect("not yet"), None);
        assert_eq!(updater(site.path(), &["--finish"]).status.code(), Some(0));
        assert_eq!(files(site.path()), whole, "{moved}");
        assert_eq!(provision.apply(site.path()).expect("it is"), Applied::Already);
    }
}

/// A second document that leaves out a vendor, the key for what is escrowed and the code.
fn shorter(first: &Value) -> Value {
    let mut second = first.clone();
    second["created"] = json!("2026-03-01T00:00:00Z");
    second["vendors"] = json!({"bolt": first["vendors"]["acme"]});
    for key in ["recovery_key", "code"] {
        second.as_object_mut().expect("an object").remove(key);
    }
    second
}

#[test]
fn a_box_that_is_provisioned_again_has_what_the_newest_file_says_and_nothing_of_the_one_before() {
    let region = Signer::new();
    let first = document();
    let site = tempfile::tempdir().expect("a directory");
    region.open(&first).and_then(|first| first.apply(site.path())).expect("it is applied");
    // What an updater of before has left under its own names, and what is the box's.
    for (name, bytes) in [("recovery.pem", "a key"), ("enrol.env", "a code"), ("updater/box.pem", "a certificate")] {
        std::fs::write(site.path().join(name), bytes).expect("a file");
    }
    let before = files(site.path());
    region.open(&shorter(&first)).and_then(|second| second.apply(site.path())).expect("it is applied");
    let names = |files: &[(String, Vec<u8>)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let gone = ["enrol.env", "escrow.pem", "recovery.pem", "updater/code", "vendors/acme.pem"];
    let mut wanted: Vec<String> = names(&before).into_iter().filter(|name| !gone.contains(&name.as_str())).collect();
    wanted.push("vendors/bolt.pem".to_owned());
    wanted.sort();
    assert_eq!(names(&files(site.path())), wanted);
}

#[test]
fn a_power_cut_at_any_step_of_a_second_provisioning_leaves_nothing_of_the_first_in_the_end() {
    let region = Signer::new();
    let (first, second) = (document(), shorter(&document()));
    let site = tempfile::tempdir().expect("a directory");
    region.open(&first).and_then(|first| first.apply(site.path())).expect("it is applied");
    let before = files(site.path());
    let second = region.open(&second).expect("a document");
    second.apply(site.path()).expect("it is applied");
    let whole = files(site.path());
    let stale = ["escrow.pem", "updater/code", "vendors/acme.pem"];
    // What the box has made once is in neither.
    let own = |name: &str| name.starts_with("keys/") || name.starts_with("tls/");
    let moves: Vec<_> = whole.iter().filter(|(name, _)| !own(name)).collect();

    let put = |path: &Path, bytes: &[u8]| {
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        std::fs::write(path, bytes).expect("a file");
    };
    for steps in 0..=stale.len() + moves.len() {
        let site = tempfile::tempdir().expect("a directory");
        for (name, bytes) in &before {
            put(&site.path().join(name), bytes);
        }
        let valid = site.path().join("provision.valid");
        put(&valid.join("stale.json"), json!(stale).to_string().as_bytes());
        stale.iter().take(steps).for_each(|name| std::fs::remove_file(site.path().join(name)).expect("it was there"));
        for (n, (name, bytes)) in moves.iter().enumerate() {
            // The record comes last, whatever its name.
            let at = if name == "provisioned.json" { moves.len() - 1 } else { n };
            let is_moved = steps > stale.len() + at;
            put(&if is_moved { site.path().join(name) } else { valid.join(name) }, bytes);
        }
        assert_eq!(updater(site.path(), &["--finish"]).status.code(), Some(0));
        assert_eq!(files(site.path()), whole, "{steps}");
        assert_eq!(second.apply(site.path()).expect("it is"), Applied::Already);
    }
}
