//! A region for tests: a channel in a temporary directory, persons with keys of their own, the real program.
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use sund_channel::repository::local;
use sund_ota::fault::Fault;
use sund_ota::trust::Trusted;
use tempfile::TempDir;

/// Holds of the root.
pub const ROOT: [&str; 3] = ["Anna Holm", "Bo Krog", "Carla Lund"];
/// Approvers of os, config, state and the vendor's models.
pub const APPROVERS: [&str; 3] = ["Dora Munk", "Emil Nord", "Freja Ovesen"];
/// Those who sign the first root.
pub const FIRST: [&str; 4] = ["Anna Holm", "Bo Krog", "Dora Munk", "Emil Nord"];
/// Two approvers.
pub const TWO: [&str; 2] = ["Dora Munk", "Emil Nord"];

/// A region.
pub struct Region {
    directory: TempDir,
}

/// For [`Region::run_with`]: a disk that has so many bytes left. What `statfs` fills in, up to the size of a block.
pub fn room(bytes: u64) -> String {
    let (kind, block, all, files, id, longest_name) = (0xef53, 1, u64::MAX, u64::MAX, 0, 255);
    let about = [kind, block, all, bytes, bytes, files, files, id, longest_name, block];
    format!("statfs:poke_exit=@arg2={}", sund_ota::hex::hex(&about.map(u64::to_ne_bytes).concat()))
}

/// How a command ended.
pub struct Ended {
    /// Exit code; nothing where it was killed.
    pub code: Option<i32>,
    /// Standard output, as JSON.
    pub json: Value,
}

impl Ended {
    /// The code of its fault.
    pub fn refusal(&self) -> &str {
        self.json["error"]["code"].as_str().unwrap_or_default()
    }
}

impl Region {
    /// Nothing but a home and everybody's key.
    pub fn bare() -> Self {
        let region = Self { directory: TempDir::new().unwrap() };
        region.must(&["init", text(&region.home())]);
        for person in ROOT.iter().chain(&APPROVERS) {
            region.must(&["key", "new", text(&region.key(person)), "--person", person]);
        }
        region
    }

    /// With a published root.
    pub fn new() -> Self {
        let region = Self::bare();
        region.propose_root();
        region.publish("root-1", &FIRST);
        region
    }

    /// With a vendor whose packages it knows.
    pub fn with_vendor() -> Self {
        let region = Self::new();
        let keys: Vec<PathBuf> = APPROVERS.iter().map(|person| region.public(person)).collect();
        let package_key = frozen("format-1.pub");
        let mut arguments =
            vec!["delegate", "models/sund", "--vendor-name", "Sund", "--package-key", text(&package_key)];
        for key in &keys {
            arguments.extend(["--key", text(key)]);
        }
        region.must(&arguments);
        region.publish("targets-2", &FIRST);
        region
    }

    /// With a model, a configuration and a state `north-1` that names both.
    pub fn with_state() -> Self {
        let region = Self::with_vendor();
        region.must(&["publish", "model", text(&frozen("format-1.sund")), "--vendor", "sund"]);
        let config = region.file("north.toml", "ae_title = \"SUND\"\n");
        let proposed = region.must(&["publish", "config", text(&config), "--name", "north", "--with", "models.sund-2"]);
        let config = proposed["target"]["target"].as_str().unwrap().to_owned();
        region.propose_state("north-1", &config, &["--with", "models.sund-2"]);
        region.publish("models.sund-2", &TWO);
        region
    }

    pub fn propose_state(&self, name: &str, config: &str, more: &[&str]) -> Value {
        let state = format!(
            r#"{{"name":"{name}","boxes":["*"],"configuration":{{"target":"{config}"}},
                "models":[{{"target":"models/sund/positive-values-1.0.0.sund"}}],
                "routes":{{"neuro":{{"models":["positive-values"],"mode":"shadow"}}}},"watch_seconds":60}}"#
        );
        let file = self.file(&format!("{name}.json"), &state);
        let mut arguments = vec!["publish", "state", text(&file)];
        arguments.extend(more);
        self.must(&arguments)
    }

    pub fn propose_root(&self) -> Value {
        let (root, approvers) = (ROOT.map(|it| self.public(it)), APPROVERS.map(|it| self.public(it)));
        let mut arguments = vec!["root", "new"];
        for key in &root {
            arguments.extend(["--key", text(key)]);
        }
        for key in &approvers {
            arguments.extend(["--approver", text(key)]);
        }
        self.must(&arguments)
    }

    pub fn home(&self) -> PathBuf {
        self.directory.path().join("channel")
    }

    /// The home alone, for a server; the persons and their keys are gone.
    pub fn into_home(self) -> TempDir {
        let home = TempDir::new().unwrap();
        fs::remove_dir(home.path()).unwrap();
        fs::rename(self.home(), home.path()).unwrap();
        home
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn file(&self, name: &str, contents: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, contents).unwrap();
        path
    }

    /// A person's private key.
    pub fn key(&self, person: &str) -> PathBuf {
        self.path(&format!("{}.key", person.replace(' ', "-")))
    }

    /// A person's public key.
    pub fn public(&self, person: &str) -> PathBuf {
        self.key(person).with_added_extension("pub")
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sund-channel"));
        command.arg("--json").arg("--home").arg(self.home()).args(arguments);
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Ended {
        Self::end(self.command(arguments))
    }

    /// Runs the program with a disk on which calls of one kind go wrong (strace's `inject`), or with which it is killed; `on` one file alone.
    pub fn run_with(&self, fault: &str, on: Option<&Path>, arguments: &[&str]) -> Ended {
        let kind = fault.split(':').next().unwrap();
        let program = self.command(arguments);
        let mut command = Command::new("strace");
        command.args([
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            &format!("trace={kind}"),
            "-e",
            &format!("inject={fault}"),
        ]);
        if let Some(path) = on {
            command.arg("-P").arg(path);
        }
        command.arg(program.get_program()).args(program.get_args());
        Self::end(command)
    }

    fn end(mut command: Command) -> Ended {
        let output = command.output().unwrap();
        Ended { code: output.status.code(), json: serde_json::from_slice(&output.stdout).unwrap_or_default() }
    }

    /// Runs what must end well, or wait for signatures.
    pub fn must(&self, arguments: &[&str]) -> Value {
        let ended = self.run(arguments);
        assert!(matches!(ended.code, Some(0 | 75)), "{arguments:?}: {:?} {:#}", ended.code, ended.json);
        ended.json
    }

    /// Signs a proposal as these persons.
    pub fn sign(&self, id: &str, persons: &[&str]) {
        for person in persons {
            self.must(&["sign", id, "--yes", "--key", text(&self.key(person))]);
        }
    }

    /// The same where their keys know something else.
    pub fn sign_anew(&self, id: &str, persons: &[&str]) {
        for person in persons {
            self.must(&["sign", id, "--yes", "--anew", "--key", text(&self.key(person))]);
        }
    }

    /// Signs and publishes.
    pub fn publish(&self, id: &str, persons: &[&str]) {
        self.sign(id, persons);
        let approved = self.must(&["approve", id]);
        assert_eq!(approved["is_published"], true, "{approved:#}");
    }

    /// Loads what is published as a new box does.
    pub fn load(&self) -> Result<Trusted, Fault> {
        let datastore = tempfile::tempdir_in(self.directory.path()).unwrap().keep();
        self.load_with(&datastore)
    }

    /// The same as a box that has seen something.
    pub fn load_with(&self, datastore: &Path) -> Result<Trusted, Fault> {
        let base = self.home().join("repository");
        let root = local::first_root(&base.join("metadata"))?;
        block_on(local::load(&base, root, datastore.to_owned()))
    }

    pub fn metadata(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.home().join("repository/metadata").join(name)).unwrap()).unwrap()
    }
}

/// Part of the frozen package of the agent's tests, which its vendor has signed.
pub fn frozen(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../agent/tests/data/packages").join(name)
}

/// Makes an Ed25519 key at a path; the public half (PEM) lies beside it.
pub fn ed25519(private: &Path) -> PathBuf {
    let public = private.with_added_extension("pub");
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    openssl(&["genpkey", "-algorithm", "ed25519", "-out", text(private)]);
    openssl(&["pkey", "-pubout", "-in", text(private), "-out", text(&public)]);
    public
}

/// What a proposal says of itself.
pub fn words(proposal: &Value) -> String {
    proposal["words"].as_array().unwrap().iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n")
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
