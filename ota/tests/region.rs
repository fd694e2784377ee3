//! A region that signs: a repository as the channel publishes it, and whatever a thief makes of it with the keys that he has.
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};
use sund_ota::descriptor::Descriptor;
use sund_ota::fault::Fault;
use sund_ota::hex::hex;
use sund_ota::provision::envelope;
use sund_ota::state::Pin;
use sund_ota::trust::{Source, Transport, Trusted};
use tempfile::TempDir;
use url::Url;

/// A key and its public half as TUF lists it.
#[derive(Clone)]
pub struct Key {
    pair: Arc<Ed25519KeyPair>,
    pub public: Value,
}

impl Key {
    pub fn new() -> Self {
        let pair = Ed25519KeyPair::generate().unwrap();
        let public =
            json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": hex(pair.public_key().as_ref())}});
        Self { pair: Arc::new(pair), public }
    }

    pub fn id(&self) -> String {
        hex(digest(&SHA256, &canonical(&self.public)).as_ref())
    }

    /// A signature of an envelope (DSSE).
    pub fn claim(&self, payload_type: &str, payload: &[u8]) -> Value {
        let spki = [&SPKI[..], self.pair.public_key().as_ref()].concat();
        let sig = self.pair.sign(&envelope::message(payload_type, payload));
        json!({"keyid": envelope::key_id(&spki), "sig": STANDARD.encode(sig.as_ref())})
    }

    /// The same key under another ID: a field beside it changes the ID and nothing else.
    pub fn under_another_name(&self) -> Self {
        let mut public = self.public.clone();
        public["more"] = json!("1");
        Self { pair: self.pair.clone(), public }
    }
}

/// SubjectPublicKeyInfo of Ed25519 (RFC 8410, 4) up to the key.
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A `rescue.json` that these have signed.
pub fn recovery(version: u64, expires: &str, signers: &[&Key]) -> Vec<u8> {
    let payload_type = "application/vnd.sund.rescue+json";
    let bundle = json!({"path": "os/1.sund.raucb", "length": 1, "sha256": "0".repeat(64)});
    let payload = json!({
        "format": 1, "version": version, "bundle": bundle, "created": "2026-11-01T00:00:00Z", "time": "2026-11-01T00:00:00Z",
        "expires": expires,
    });
    let payload = payload.to_string().into_bytes();
    let claims: Vec<Value> = signers.iter().map(|key| key.claim(payload_type, &payload)).collect();
    let envelope = json!({"payload": STANDARD.encode(&payload), "payloadType": payload_type, "signatures": claims});
    envelope.to_string().into_bytes()
}

/// A role: who may sign for it, and who does.
#[derive(Clone)]
pub struct Role {
    pub name: String,
    pub version: u64,
    pub expires: Timestamp,
    pub threshold: u64,
    pub keys: Vec<Key>,
    pub signers: Vec<Key>,
    pub targets: BTreeMap<String, Payload>,
}

/// A target and what stands beside it.
#[derive(Clone)]
pub struct Payload {
    pub bytes: Vec<u8>,
    pub custom: Value,
}

impl Role {
    fn new(name: &str, threshold: u64, keys: &[Key]) -> Self {
        let expires = after(SignedDuration::from_hours(24));
        let signers = keys[..threshold as usize].to_vec();
        Self {
            name: name.to_owned(),
            version: 1,
            expires,
            threshold,
            keys: keys.to_vec(),
            signers,
            targets: BTreeMap::new(),
        }
    }

    pub fn list(&mut self, path: &str, bytes: &[u8]) -> Pin {
        self.targets.insert(path.to_owned(), Payload { bytes: bytes.to_vec(), custom: Value::Null });
        pin(path, bytes)
    }

    fn head(&self, kind: &str) -> Value {
        json!({"_type": kind, "spec_version": "1.0.31", "version": self.version, "expires": self.expires})
    }
}

/// The region. Its three approvers sign by two; root and targets are two other persons'.
pub struct Region {
    directory: TempDir,
    pub root: Role,
    pub timestamp: Role,
    pub snapshot: Role,
    pub targets: Role,
    pub delegated: Vec<Role>,
    /// Whose each key is; listed as `trust/approvers.json` where there is anybody.
    pub persons: BTreeMap<String, Vec<String>>,
}

pub const STATE: &str = "state/north-1.json";
pub const MODEL: &str = "models/acme/brain-1.sund";

impl Region {
    /// A region that has published one state with one model.
    pub fn new() -> Self {
        log_refusals();
        let key = |count: usize| (0..count).map(|_| Key::new()).collect::<Vec<_>>();
        let (root, approvers) = (key(2), key(3));
        let delegated = ["os", "config", "state", "models/acme"].map(|name| Role::new(name, 2, &approvers));
        let names = ["Anna", "Bo", "Carl"].into_iter().zip(&approvers);
        let mut region = Self {
            directory: TempDir::new().unwrap(),
            root: Role::new("root", 2, &root),
            timestamp: Role::new("timestamp", 1, &key(1)),
            snapshot: Role::new("snapshot", 1, &key(1)),
            targets: Role::new("targets", 2, &root),
            delegated: delegated.to_vec(),
            persons: names.map(|(name, key)| (name.to_owned(), vec![key.id()])).collect(),
        };
        let model = region.role("models/acme").list(MODEL, &model_bytes());
        region.role("state").list(STATE, &state_bytes("north-1", &model));
        region.publish();
        region
    }

    pub fn role(&mut self, name: &str) -> &mut Role {
        match name {
            "root" => &mut self.root,
            "timestamp" => &mut self.timestamp,
            "snapshot" => &mut self.snapshot,
            "targets" => &mut self.targets,
            name => self.delegated.iter_mut().find(|role| role.name == name).unwrap(),
        }
    }

    pub fn metadata(&self) -> PathBuf {
        self.directory.path().join("metadata")
    }

    pub fn targets(&self) -> PathBuf {
        self.directory.path().join("targets")
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The next version of a role is published, with a snapshot and a timestamp that list it.
    pub fn release(&mut self, role: &str) {
        self.role(role).version += 1;
        if !matches!(role, "snapshot" | "timestamp") {
            self.snapshot.version += 1;
        }
        if role != "timestamp" {
            self.timestamp.version += 1;
        }
        self.publish();
    }

    /// Writes all that the region lists now.
    pub fn publish(&self) {
        let mut targets = self.targets.clone();
        if !self.persons.is_empty() {
            let approvers = json!({"format": 1, "persons": self.persons});
            targets.list("trust/approvers.json", approvers.to_string().as_bytes());
        }
        let mut signed = listing(&targets);
        signed["delegations"] = json!({
            "keys": keys(&self.delegated),
            "roles": self.delegated.iter().map(|role| json!({
                "name": role.name, "keyids": ids(&role.keys), "threshold": role.threshold, "terminating": true,
                "paths": [format!("{}/*", role.name)],
            })).collect::<Vec<_>>(),
        });
        self.write(&format!("{}.targets.json", targets.version), &sign(&signed, &targets.signers));
        self.store(&targets);
        for role in &self.delegated {
            self.write(&format!("{}.{}.json", role.version, role.name), &sign(&listing(role), &role.signers));
            self.store(role);
        }
        self.publish_root();
        self.publish_online();
    }

    /// Writes the root alone.
    pub fn publish_root(&self) {
        let all = [&self.root, &self.timestamp, &self.snapshot, &self.targets];
        let mut signed = self.root.head("root");
        signed["consistent_snapshot"] = json!(true);
        signed["keys"] = keys(all);
        let named = |role: &Role| (role.name.clone(), json!({"keyids": ids(&role.keys), "threshold": role.threshold}));
        signed["roles"] = all.map(named).into_iter().collect();
        self.write(&format!("{}.root.json", self.root.version), &sign(&signed, &self.root.signers));
    }

    /// Writes what the server signs by itself.
    pub fn publish_online(&self) {
        let mut signed = self.snapshot.head("snapshot");
        let listed = std::iter::once(&self.targets).chain(&self.delegated);
        let listed = listed.map(|role| (format!("{}.json", role.name), self.listed(&role.name, role.version)));
        signed["meta"] = listed.collect();
        self.write(&format!("{}.snapshot.json", self.snapshot.version), &sign(&signed, &self.snapshot.signers));
        let mut signed = self.timestamp.head("timestamp");
        signed["meta"] = json!({"snapshot.json": self.listed("snapshot", self.snapshot.version)});
        self.write("timestamp.json", &sign(&signed, &self.timestamp.signers));
    }

    fn listed(&self, role: &str, version: u64) -> Value {
        let bytes = fs::read(self.metadata().join(format!("{version}.{role}.json"))).unwrap();
        json!({"version": version, "length": bytes.len(), "hashes": {"sha256": sha256(&bytes)}})
    }

    fn write(&self, file: &str, bytes: &[u8]) {
        let path = self.metadata().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        // Under the escaped name as well, for a client that looks for that in a directory.
        fs::write(self.metadata().join(file.replace('/', "%2F")), bytes).unwrap();
    }

    fn store(&self, role: &Role) {
        for (path, payload) in &role.targets {
            let path = self.payload(path, &payload.bytes);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, &payload.bytes).unwrap();
        }
    }

    /// Where a target lies.
    pub fn payload(&self, path: &str, bytes: &[u8]) -> PathBuf {
        let (directory, file) = path.rsplit_once('/').unwrap();
        self.targets().join(directory).join(format!("{}.{file}", sha256(bytes)))
    }

    /// Somebody alters published metadata and signs it with the keys that he has.
    pub fn alter(&self, file: &str, signers: &[Key], alter: impl FnOnce(&mut Value)) {
        let path = self.metadata().join(file);
        let mut document: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        alter(&mut document["signed"]);
        fs::write(path, sign(&document["signed"], signers)).unwrap();
    }

    /// Somebody alters the signatures of published metadata.
    pub fn alter_signatures(&self, file: &str, alter: impl FnOnce(&mut Vec<Value>)) {
        let path = self.metadata().join(file);
        let mut document: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        alter(document["signatures"].as_array_mut().unwrap());
        fs::write(path, document.to_string()).unwrap();
    }

    pub fn state(&mut self) -> Descriptor {
        let bytes = self.role("state").targets[STATE].bytes.clone();
        descriptor(&pin(STATE, &bytes))
    }

    /// A box that was provisioned with the root that is valid now.
    pub fn device(&self) -> Device {
        Device::provisioned_with(fs::read(self.metadata().join(format!("{}.root.json", self.root.version))).unwrap())
    }
}

/// A box: what it was provisioned with, and its disk.
pub struct Device {
    pub root: Vec<u8>,
    path: PathBuf,
    /// Of the process that made it.
    _directory: Option<TempDir>,
}

impl Device {
    pub fn provisioned_with(root: Vec<u8>) -> Self {
        let directory = TempDir::new().unwrap();
        Self { root, path: directory.path().to_owned(), _directory: Some(directory) }
    }

    /// The box of another process, which left its root there.
    pub fn at(path: &Path) -> Self {
        let root = fs::read(path.join("root.json")).unwrap();
        Self { root, path: path.to_owned(), _directory: None }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn datastore(&self) -> PathBuf {
        self.path.join("tuf")
    }

    pub fn store(&self, file: &str) -> PathBuf {
        self.path.join("store").join(file)
    }

    pub async fn load(&self, region: &Region) -> Result<Trusted, Fault> {
        let base = Url::from_directory_path(region.path()).unwrap();
        self.load_from(&base, Transport::directory()).await
    }

    pub async fn load_from(&self, base: &Url, transport: Transport) -> Result<Trusted, Fault> {
        let at = |name: &str| base.join(name).unwrap();
        let source = Source {
            metadata: at("metadata/"),
            targets: at("targets/"),
            root: self.root.clone(),
            datastore: self.datastore(),
        };
        Trusted::load(&source, transport).await
    }
}

/// Names the file into which all refusals of a test's process go, a line each.
pub const REFUSALS: &str = "SUND_TEST_REFUSALS";

/// What the log takes is decided once for all threads.
fn log_refusals() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if let Some(path) = std::env::var_os(REFUSALS) {
            let file = fs::File::options().append(true).create(true).open(path).unwrap();
            tracing_subscriber::fmt().json().with_writer(Arc::new(file)).init();
        }
    });
}

/// The code of a refusal; empty where nothing was refused.
pub fn code<T>(result: Result<T, Fault>) -> String {
    result.err().map(|fault| fault.code.into_owned()).unwrap_or_default()
}

pub fn descriptor(pin: &Pin) -> Descriptor {
    Descriptor { format: 1, target: pin.target.clone(), sha256: pin.sha256.clone(), length: pin.length }
}

pub fn pin(path: &str, bytes: &[u8]) -> Pin {
    Pin { target: path.to_owned(), sha256: sha256(bytes), length: bytes.len() as u64 }
}

/// Something of the size of several network reads that is not the same anywhere.
pub fn model_bytes() -> Vec<u8> {
    (0..100_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

pub fn state_bytes(name: &str, model: &Pin) -> Vec<u8> {
    let mut package = serde_json::to_value(model).unwrap();
    package["name"] = json!("brain");
    package["version"] = json!("1");
    json!({"format": 1, "name": name, "models": [package], "routes": {"neuro": {"models": ["brain"], "mode": "shadow"}}})
        .to_string()
        .into_bytes()
}

/// Now and so much later (or earlier), in whole seconds as python-tuf wants them.
pub fn after(span: SignedDuration) -> Timestamp {
    Timestamp::from_second((Timestamp::now() + span).as_second()).unwrap()
}

pub fn sha256(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

pub fn sign(signed: &Value, signers: &[Key]) -> Vec<u8> {
    let message = canonical(signed);
    let signature = |key: &Key| json!({"keyid": key.id(), "sig": hex(key.pair.sign(&message).as_ref())});
    json!({"signed": signed, "signatures": signers.iter().map(signature).collect::<Vec<_>>()}).to_string().into_bytes()
}

fn listing(role: &Role) -> Value {
    let mut signed = role.head("targets");
    let target = |(path, payload): (&String, &Payload)| {
        let mut target = json!({"length": payload.bytes.len(), "hashes": {"sha256": sha256(&payload.bytes)}});
        if !payload.custom.is_null() {
            target["custom"] = payload.custom.clone();
        }
        (path.clone(), target)
    };
    signed["targets"] = role.targets.iter().map(target).collect();
    signed
}

fn keys<'a>(roles: impl IntoIterator<Item = &'a Role>) -> Value {
    roles.into_iter().flat_map(|role| &role.keys).map(|key| (key.id(), key.public.clone())).collect()
}

fn ids(keys: &[Key]) -> Vec<String> {
    keys.iter().map(Key::id).collect()
}

fn canonical(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    let formatter = olpc_cjson::CanonicalFormatter::new();
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, formatter)).unwrap();
    bytes
}
