//! A region for tests: its keys, and the repository that they sign. Written by hand from the specification (TUF 1.0), so that what
//! the updater reads is not what its own library wrote.
use super::region::{self, Key, sha256, sign};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use sund_ota::descriptor::Descriptor;

/// The region: root and approvers (two persons), and the server's online keys.
pub struct Region {
    persons: [Key; 2],
    online: [Key; 2],
    /// Targets of the role `targets` beside its list of approvers.
    pub trust: BTreeMap<&'static str, Vec<u8>>,
    /// Targets by role.
    pub targets: BTreeMap<&'static str, BTreeMap<String, Vec<u8>>>,
    /// Version of all metadata but the root.
    pub version: u64,
    /// Lengths of targets that are listed as longer than they are.
    pub lengths: BTreeMap<String, u64>,
    /// What stands beside targets.
    pub custom: BTreeMap<String, Value>,
    /// When all metadata expires.
    pub expires: String,
}

const ROLES: [(&str, &[&str]); 4] = [
    ("os", &["os/*"]),
    ("config", &["config/*"]),
    ("models/vendor", &["models/vendor/*"]),
    ("state", &["state/*", "state/bundles/*"]),
];

impl Region {
    pub fn new() -> Self {
        Self {
            persons: [Key::new(), Key::new()],
            online: [Key::new(), Key::new()],
            trust: BTreeMap::new(),
            targets: ROLES.iter().map(|(role, _)| (*role, BTreeMap::new())).collect(),
            version: 0,
            lengths: BTreeMap::new(),
            custom: BTreeMap::new(),
            expires: "2050-01-01T00:00:00Z".to_owned(),
        }
    }

    /// Approves a target, and says how a state pins it.
    pub fn approve(&mut self, role: &'static str, target: &str, bytes: &[u8]) -> Value {
        self.targets.get_mut(role).expect("a role").insert(target.to_owned(), bytes.to_vec());
        json!({"target": target, "sha256": sha256(bytes), "length": bytes.len()})
    }

    /// Approves a state.
    pub fn approve_state(&mut self, name: &str, mut state: Value) -> Descriptor {
        state["format"] = json!(1);
        state["name"] = json!(name);
        let bytes = serde_json::to_vec(&state).expect("JSON");
        let target = format!("state/{name}.json");
        self.approve("state", &target, &bytes);
        Descriptor { format: 1, target, sha256: sha256(&bytes), length: bytes.len() as u64 }
    }

    /// Signs the terms of a bundle for a state, and all else as the next version: the files of that bundle, by their names in it.
    pub fn bundle(&mut self, state: &Descriptor, expires: &str) -> BTreeMap<String, Vec<u8>> {
        let Descriptor { target, sha256, length, .. } = state;
        let pin = json!({"target": target, "sha256": sha256, "length": length});
        let terms = serde_json::to_vec(&json!({"format": 1, "state": pin, "expires": expires})).expect("JSON");
        let mut pointer = self.approve("state", &target.replace("state/", "state/bundles/"), &terms);
        pointer["format"] = json!(1);
        let names = |(name, bytes): (String, Vec<u8>)| (name.replace("%2F", "/"), bytes);
        let mut files: BTreeMap<String, Vec<u8>> = self.publish().into_iter().map(names).collect();
        files.insert("bundle.json".to_owned(), serde_json::to_vec(&pointer).expect("JSON"));
        files
    }

    /// A descriptor of a recovery bundle, signed by both persons.
    pub fn recovery(&self, version: u64, expires: &str) -> Vec<u8> {
        let [first, second] = &self.persons;
        region::recovery(version, expires, &[first, second])
    }

    /// Takes a target back.
    pub fn withdraw(&mut self, target: &str) {
        self.targets.values_mut().for_each(|targets| {
            targets.remove(target);
        });
    }

    /// The root metadata that boxes are provisioned with.
    pub fn root(&self) -> Vec<u8> {
        let [timestamp, snapshot] = &self.online;
        let persons = self.persons.iter().map(Key::id).collect::<Vec<_>>();
        let keys = self.persons.iter().chain(&self.online).map(|signer| (signer.id(), signer.public.clone()));
        let root = json!({
            "_type": "root", "spec_version": "1.0.0", "version": 1, "expires": "2050-01-01T00:00:00Z",
            "consistent_snapshot": true,
            "keys": keys.collect::<serde_json::Map<_, _>>(),
            "roles": {
                "root": {"keyids": persons, "threshold": 2},
                "targets": {"keyids": persons, "threshold": 2},
                "timestamp": {"keyids": [timestamp.id()], "threshold": 1},
                "snapshot": {"keyids": [snapshot.id()], "threshold": 1},
            },
        });
        sign(&root, &self.persons)
    }

    /// Signs all of it as the next version. The static tree: paths below `/repository/`, and what lies there.
    pub fn publish(&mut self) -> BTreeMap<String, Vec<u8>> {
        self.version += 1;
        let version = self.version;
        let head =
            |kind: &str| json!({"_type": kind, "spec_version": "1.0.0", "version": version, "expires": self.expires});
        let mut files = BTreeMap::from([("metadata/1.root.json".to_owned(), self.root())]);
        let mut meta = serde_json::Map::new();
        let mut add = |name: &str, bytes: Vec<u8>| {
            meta.insert(
                format!("{name}.json"),
                json!({"version": version, "length": bytes.len(), "hashes": {"sha256": sha256(&bytes)}}),
            );
            files.insert(format!("metadata/{version}.{}.json", name.replace('/', "%2F")), bytes);
        };
        for (role, targets) in &self.targets {
            let listed = targets.iter().map(|(name, bytes)| {
                let length = self.lengths.get(name).copied().unwrap_or(bytes.len() as u64);
                let mut listed = json!({"length": length, "hashes": {"sha256": sha256(bytes)}});
                if let Some(custom) = self.custom.get(name) {
                    listed["custom"] = custom.clone();
                }
                (name.clone(), listed)
            });
            let mut signed = head("targets");
            signed["targets"] = Value::Object(listed.collect());
            add(role, sign(&signed, &self.persons));
        }
        let keyids = self.persons.iter().map(Key::id).collect::<Vec<_>>();
        let roles = ROLES.iter().map(|(name, paths)| {
            json!({"name": name, "keyids": keyids, "threshold": 2, "terminating": true, "paths": paths})
        });
        let keys = self.persons.iter().map(|signer| (signer.id(), signer.public.clone()));
        let mut signed = head("targets");
        // Whose each key is: a threshold counts persons.
        let [first, second] = &self.persons;
        let approvers = json!({"format": 1, "persons": {"Anna Berg": [first.id()], "Bo Dahl": [second.id()]}});
        let approvers = serde_json::to_vec(&approvers).expect("JSON");
        let mut trust = self.trust.clone();
        trust.insert("trust/approvers.json", approvers);
        let listed = trust.iter().map(|(name, bytes)| {
            ((*name).to_owned(), json!({"length": bytes.len(), "hashes": {"sha256": sha256(bytes)}}))
        });
        signed["targets"] = Value::Object(listed.collect());
        signed["delegations"] = json!({
            "keys": keys.collect::<serde_json::Map<_, _>>(), "roles": roles.collect::<Vec<_>>(),
        });
        add("targets", sign(&signed, &self.persons));

        let mut snapshot = head("snapshot");
        snapshot["meta"] = Value::Object(meta);
        let snapshot = sign(&snapshot, &self.online[1..]);
        let mut timestamp = head("timestamp");
        timestamp["meta"] = json!({"snapshot.json": {
            "version": version, "length": snapshot.len(), "hashes": {"sha256": sha256(&snapshot)},
        }});
        files.insert(format!("metadata/{version}.snapshot.json"), snapshot);
        files.insert("metadata/timestamp.json".to_owned(), sign(&timestamp, &self.online[..1]));
        let trust = trust.iter().map(|(target, bytes)| (*target, bytes));
        let delegated = self.targets.values().flatten().map(|(target, bytes)| (target.as_str(), bytes));
        for (target, bytes) in trust.chain(delegated) {
            let (directory, name) = target.rsplit_once('/').expect("targets lie in directories");
            files.insert(format!("targets/{directory}/{}.{name}", sha256(bytes)), bytes.clone());
        }
        files
    }
}
