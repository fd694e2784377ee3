//! A region's signed repository: two persons sign, and states are listed by a role of their own.
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::Ed25519KeyPair;
use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tough::TargetName;
use tough::editor::RepositoryEditor;
use tough::editor::signed::SignedRole;
use tough::key_source::{KeySource, LocalKeySource};
use tough::schema::{KeyHolder, PathPattern, PathSet, RoleKeys, RoleType, Root, Target};

pub(super) struct Region {
    folder: TempDir,
}

impl Region {
    /// States by name, each of which says its name and no more, or `NAME for BOXES`; metadata that is good until `expires`.
    pub(super) async fn signed(states: &[&str], expires: Timestamp) -> Self {
        let region = Self { folder: TempDir::new().expect("a folder") };
        for key in ["anna", "bo", "online"] {
            let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
            std::fs::write(region.folder.path().join(key), pkcs8.as_ref()).expect("written");
        }
        let (persons, online) = (region.keys(&["anna", "bo"]), region.keys(&["online"]));
        let root = region.root(&persons, &online).await;
        let mut editor = RepositoryEditor::new(&root).await.expect("a root");
        editor.targets_version(one()).expect("targets").targets_expires(expires).expect("targets");
        editor.snapshot_version(one()).snapshot_expires(expires).timestamp_version(one()).timestamp_expires(expires);
        let paths = PathSet::Paths(vec![PathPattern::new("state/*").expect("a pattern")]);
        editor.delegate_role("state", &persons, paths, true, two(), expires, one()).await.expect("delegated");
        editor.sign_targets_editor(&persons).await.expect("signed").change_delegated_targets("state").expect("state");
        editor.targets_version(one()).expect("state").targets_expires(expires).expect("state");
        for name in states {
            let (path, target) = region.state(name).await;
            editor.add_target(path, target).expect("listed");
        }
        editor.sign_targets_editor(&persons).await.expect("signed by both");
        let keys = region.keys(&["anna", "bo", "online"]);
        editor.sign(&keys).await.expect("signed").write(region.path().join("metadata")).await.expect("written");
        region
    }

    /// One that is good for a day.
    pub(super) async fn new(states: &[&str]) -> Self {
        Self::signed(states, whole_seconds(Timestamp::now() + SignedDuration::from_hours(24))).await
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The file of a state, as it lies in the store.
    pub(super) fn file_of(&self, name: &str) -> PathBuf {
        let folder = std::fs::read_dir(self.path().join("targets/state")).expect("states");
        let mut files = folder.map(|entry| entry.expect("an entry").path());
        files.find(|path| path.to_string_lossy().ends_with(&format!(".{name}.json"))).expect("the state's file")
    }

    fn keys(&self, names: &[&str]) -> Vec<Box<dyn KeySource>> {
        let key = |name: &&str| LocalKeySource { path: self.folder.path().join(name) };
        names.iter().map(|name| Box::new(key(name)) as Box<dyn KeySource>).collect()
    }

    async fn root(&self, persons: &[Box<dyn KeySource>], online: &[Box<dyn KeySource>]) -> PathBuf {
        let mut root = Root {
            spec_version: "1.0.0".to_owned(),
            consistent_snapshot: true,
            version: one(),
            expires: whole_seconds(Timestamp::now() + SignedDuration::from_hours(24)),
            keys: HashMap::new(),
            roles: HashMap::new(),
            _extra: HashMap::new(),
        };
        for (keys, threshold, roles) in [
            (persons, two(), [RoleType::Root, RoleType::Targets]),
            (online, one(), [RoleType::Snapshot, RoleType::Timestamp]),
        ] {
            let mut keyids = Vec::new();
            for key in keys {
                let key = key.as_sign().await.expect("a key").tuf_key();
                keyids.push(key.key_id().expect("an identifier"));
                root.keys.insert(key.key_id().expect("an identifier"), key);
            }
            for role in roles {
                root.roles.insert(role, RoleKeys { keyids: keyids.clone(), threshold, _extra: HashMap::new() });
            }
        }
        let holder = KeyHolder::Root(root.clone());
        let signed = SignedRole::new(root, &holder, persons, &SystemRandom::new()).await.expect("signed by both");
        let path = self.path().join("metadata/1.root.json");
        std::fs::create_dir(self.path().join("metadata")).expect("a folder");
        std::fs::write(&path, signed.buffer()).expect("written");
        path
    }

    async fn state(&self, state: &str) -> (TargetName, Target) {
        let (name, boxes) = state.split_once(" for ").map_or((state, None), |(name, boxes)| (name, Some(boxes)));
        let boxes = boxes.map(|boxes| format!(r#","boxes":["{boxes}"]"#)).unwrap_or_default();
        let folder = self.path().join("targets/state");
        std::fs::create_dir_all(&folder).expect("a folder");
        let file = folder.join("new");
        std::fs::write(&file, format!(r#"{{"format":1,"name":"{name}"{boxes}}}"#)).expect("written");
        let target = Target::from_path(&file).await.expect("a target");
        let listed = serde_json::to_value(&target).expect("JSON");
        let digest = listed["hashes"]["sha256"].as_str().expect("hexadecimal digits");
        std::fs::rename(&file, folder.join(format!("{digest}.{name}.json"))).expect("renamed");
        (TargetName::new(format!("state/{name}.json")).expect("a name"), target)
    }
}

/// python-tuf takes no fractions of a second.
fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).expect("a time")
}

fn one() -> NonZeroU64 {
    NonZeroU64::MIN
}

fn two() -> NonZeroU64 {
    NonZeroU64::MIN.saturating_add(1)
}
