//! Against a server by other hands: gooseBit (PyPI) speaks DDI, with target tokens, SHA-1 alone, and one artifact.
use super::appliance::Appliance;
use super::channel::BOX;
use serde_json::{Value, json};
use std::io::BufRead;
use std::process::{Child, Command, Stdio};

const TOKEN: &str = "a-token-of-32-letters-and-digits";

struct Goosebit {
    process: Child,
    port: u16,
    client: reqwest::Client,
    token: String,
}

impl Drop for Goosebit {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Goosebit {
    async fn start(directory: &std::path::Path) -> Self {
        // Set once for the whole process, by whoever comes first.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let python = std::env::var("SUND_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let mut process = Command::new(python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/serve_goosebit.py"))
            .arg(directory)
            .current_dir(directory)
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python runs; set SUND_TEST_PYTHON");
        let mut line = String::new();
        let output = process.stdout.take().expect("its output");
        std::io::BufReader::new(output).read_line(&mut line).expect("its port");
        let port = line.trim().parse().expect("Python with goosebit 0.2.12; set SUND_TEST_PYTHON");
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let unknown = Self { process, port, client, token: String::new() };
        let form = "username=it%40region.example&password=secret-enough";
        let setup = unknown.client.post(unknown.address("setup")).body(form);
        let setup = setup.header("content-type", "application/x-www-form-urlencoded").send().await.expect("an answer");
        let answer: Value = setup.json().await.expect("JSON");
        unknown.with_token(answer["access_token"].as_str().expect("a token"))
    }

    fn with_token(mut self, token: &str) -> Self {
        token.clone_into(&mut self.token);
        self
    }

    fn address(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    async fn put(&self, path: &str, body: Value) {
        let request = self.client.put(self.address(path)).bearer_auth(&self.token).json(&body);
        let answer = request.send().await.expect("an answer");
        assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap_or_default());
    }

    async fn get(&self, path: &str) -> Value {
        let request = self.client.get(self.address(path)).bearer_auth(&self.token);
        request.send().await.expect("an answer").json().await.expect("JSON")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_of_goosebit_ends_well_and_is_counted_once() {
    let mut appliance = Appliance::new().await;
    let descriptor = appliance.state("north-1", &vec![7; 100_000], json!({}));
    let path = appliance.directory.path();
    std::fs::write(path.join("sund-descriptor.json"), serde_json::to_vec(&descriptor).expect("JSON")).expect("a file");
    let goosebit = Goosebit::start(path).await;
    goosebit.put("api/v1/devices", json!({"devices": [BOX], "auth_token": TOKEN})).await;
    goosebit.put("api/v1/rollouts", json!({"name": "north", "feed": "default", "software_id": 1})).await;

    std::fs::write(path.join("token"), TOKEN).expect("a file");
    let text = std::fs::read_to_string(appliance.configuration()).expect("updater.toml");
    let server = format!("[server]\nurl = \"http://127.0.0.1:{}\"", appliance.channel.address.port());
    let with_token = format!("[server]\nurl = \"{}\"\ntoken = \"{}/token\"", goosebit.address(""), path.display());
    std::fs::write(appliance.configuration(), text.replace(&server, &with_token)).expect("updater.toml");

    // It wants to know the box at first, and offers something afterwards.
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(appliance.agent.serving().activations, ["north-1"]);
    let devices = goosebit.get("api/v1/devices").await;
    let device = &devices["devices"][0];
    assert_eq!((device["last_state"].as_str(), device["sw_version"].as_str()), (Some("Finished"), Some("1.0.0")));

    assert_eq!(appliance.once().await, Some(0));
    let rollouts = goosebit.get("api/v1/rollouts").await;
    let rollout = &rollouts["rollouts"][0];
    assert_eq!((rollout["success_count"].as_u64(), rollout["failure_count"].as_u64()), (Some(1), Some(0)), "{rollout}");
    assert_eq!(appliance.agent.serving().trials, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_with_another_token_is_not_known_to_goosebit() {
    let appliance = Appliance::new().await;
    let path = appliance.directory.path();
    std::fs::write(path.join("sund-descriptor.json"), b"{}").expect("a file");
    let goosebit = Goosebit::start(path).await;
    goosebit.put("api/v1/devices", json!({"devices": [BOX], "auth_token": TOKEN})).await;
    let text = std::fs::read_to_string(appliance.configuration()).expect("updater.toml");
    let server = format!("[server]\nurl = \"http://127.0.0.1:{}\"", appliance.channel.address.port());
    let without = format!("[server]\nurl = \"{}\"", goosebit.address(""));
    std::fs::write(appliance.configuration(), text.replace(&server, &without)).expect("updater.toml");
    let output = appliance.updater(&["once"]).await;
    assert!(String::from_utf8_lossy(&output.stderr).contains("channel-unauthorized"));
}
