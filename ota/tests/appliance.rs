//! A box for tests: a region, a channel, an agent, and the real `sund-updater` in a directory of its own.
use super::agent::Agent;
use super::channel::{BOX, Channel};
use super::repository::Region;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use sund_ota::descriptor::Descriptor;
use sund_ota::machine::record::Record;
use tempfile::TempDir;

pub struct Appliance {
    pub region: Region,
    pub channel: Channel,
    pub agent: Agent,
    pub directory: TempDir,
    /// Set for the updater's process.
    pub environment: Vec<(String, String)>,
}

impl Appliance {
    pub async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let channel = Channel::start().await;
        let agent = Agent::start(directory.path());
        let region = Region::new();
        std::fs::write(directory.path().join("root.json"), region.root()).expect("root.json");
        let appliance = Self { region, channel, agent, directory, environment: Vec::new() };
        appliance.configure("");
        appliance
    }

    /// A box that serves `north-1`, which the action 1 brought.
    pub async fn serving() -> Self {
        let mut appliance = Self::new().await;
        let descriptor = appliance.state("north-1", b"model one", json!({}));
        appliance.channel.deploy("1", &descriptor);
        assert_eq!(appliance.once().await, Some(0));
        appliance
    }

    /// Writes the configuration; `more` comes at its end.
    pub fn configure(&self, more: &str) {
        let (path, port) = (self.directory.path().display(), self.channel.address.port());
        let text = format!(
            r#"id = "{BOX}"
directory = "{path}/updater"
status = "{path}/run/status.json"
confirm = true
[server]
url = "http://127.0.0.1:{port}"
[repository]
metadata = "http://127.0.0.1:{port}/repository/metadata"
targets = "http://127.0.0.1:{port}/repository/targets"
root = "{path}/root.json"
[poll]
min_seconds = 1
max_seconds = 2
[agent]
socket = "{path}/agent.sock"
start_seconds = 20
[watch]
every_seconds = 1
{more}"#
        );
        std::fs::write(self.configuration(), text).expect("updater.toml");
    }

    pub fn configuration(&self) -> PathBuf {
        self.directory.path().join("updater.toml")
    }

    /// A state with one model on one route; published.
    pub fn state(&mut self, name: &str, model: &[u8], more: Value) -> Descriptor {
        let mut package = self.region.approve("models/vendor", &format!("models/vendor/brain-{name}.sund"), model);
        package["name"] = json!("brain");
        package["version"] = json!("1.0.0");
        let mut state = json!({
            "models": [package], "routes": {"neuro": {"models": ["brain"], "mode": "shadow"}}, "watch_seconds": 1,
        });
        more.as_object().into_iter().flatten().for_each(|(key, value)| state[key] = value.clone());
        let descriptor = self.region.approve_state(name, state);
        self.publish();
        descriptor
    }

    pub fn publish(&mut self) {
        self.channel.serve(self.region.publish());
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sund-updater"));
        command.arg("--config").arg(self.configuration()).args(arguments);
        command.envs(self.environment.iter().cloned());
        command
    }

    /// Runs a command of the updater to its end.
    pub async fn updater(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(arguments);
        let output = tokio::task::spawn_blocking(move || command.output()).await.expect("a thread");
        let output = output.expect("sund-updater starts");
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
        output
    }

    /// One poll and all that follows.
    pub async fn once(&self) -> Option<i32> {
        self.updater(&["once"]).await.status.code()
    }

    /// Starts `run`; its log goes to a file.
    pub fn run(&self) -> Child {
        let log = std::fs::File::options().create(true).append(true).open(self.log()).expect("a log");
        self.command(&["run"]).stderr(log).stdout(Stdio::null()).spawn().expect("sund-updater starts")
    }

    pub fn log(&self) -> PathBuf {
        self.directory.path().join("updater.log")
    }

    pub fn record(&self) -> Record {
        Record::read(&self.directory.path().join("updater/state.json")).expect("the record is whole at any instant")
    }
}
