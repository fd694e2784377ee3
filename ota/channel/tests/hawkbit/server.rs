//! A real hawkBit update server on a free port, with its database in memory, that ends with the test; and its operator.
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Start of the Java program, on a machine that has much else to do.
const STARTS: Duration = Duration::from_mins(3);
/// Who publishes may do this and no more: not read the boxes' tokens, and not approve.
const PUBLISHER: &str = "CREATE_SOFTWARE_MODULE_TYPE,READ_SOFTWARE_MODULE_TYPE,\
    CREATE_SOFTWARE_MODULE,READ_SOFTWARE_MODULE,UPDATE_SOFTWARE_MODULE,\
    CREATE_DISTRIBUTION_SET_TYPE,READ_DISTRIBUTION_SET_TYPE,CREATE_DISTRIBUTION_SET,READ_DISTRIBUTION_SET,UPDATE_DISTRIBUTION_SET,\
    CREATE_ROLLOUT,READ_ROLLOUT,UPDATE_ROLLOUT,HANDLE_ROLLOUT,READ_TARGET,UPDATE_TARGET";
/// Who approves, and no more.
const APPROVER: &str = "READ_ROLLOUT,READ_DISTRIBUTION_SET,READ_TARGET,APPROVE_ROLLOUT";

pub(super) struct Server {
    child: Child,
    folder: TempDir,
    pub(super) url: String,
    http: reqwest::Client,
}

impl Server {
    pub(super) async fn start() -> Self {
        let jar = std::env::var("SUND_TEST_HAWKBIT")
            .expect("SUND_TEST_HAWKBIT names the jar of hawkBit's update server; see ota/README.md");
        let folder = TempDir::new().expect("a folder");
        let mut users = Vec::new();
        for (user, permissions) in [("publisher", PUBLISHER), ("approver", APPROVER)] {
            std::fs::write(folder.path().join(user), format!("{user}'s password\n")).expect("written");
            for (what, value) in [
                ("tenant", "DEFAULT"),
                ("password", &format!("{{noop}}{user}'s password")),
                ("permissions", permissions),
            ] {
                users.push(format!("--hawkbit.security.user.{user}.{what}={value}"));
            }
        }
        let mut child = Command::new("java")
            .args(["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-jar"])
            .arg(Path::new(&jar).canonicalize().expect("SUND_TEST_HAWKBIT names a file"))
            .args(["--server.address=127.0.0.1", "--server.port=0", "--spring.main.banner-mode=off"])
            .arg("--hawkbit.server.ddi.security.authentication.targettoken.enabled=true")
            .args(users)
            .arg("--hawkbit.rollout.scheduler.fixedDelay=500")
            .current_dir(folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Java 17 runs");
        let port = port(child.stdout.take().expect("its log"));
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).build().expect("a client");
        let server = Self { child, folder, url: format!("http://127.0.0.1:{port}/"), http };
        until("hawkBit is healthy", STARTS, || async {
            let answer = server.http.get(format!("{}actuator/health", server.url)).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
        server
    }

    /// What `sund-channel hawkbit ... --json` prints.
    pub(super) fn channel(&self, arguments: &[&str]) -> Value {
        self.channel_as("publisher", arguments)
    }

    /// The same, by another user.
    pub(super) fn channel_as(&self, user: &str, arguments: &[&str]) -> Value {
        let output = self.run(user, arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// What it says where it refuses.
    pub(super) fn channel_refuses(&self, arguments: &[&str]) -> String {
        let output = self.run("publisher", arguments);
        assert!(!output.status.success(), "{arguments:?} went through");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    fn run(&self, user: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sund-channel"));
        command.arg("hawkbit").args(arguments).args(["--json", "--url", &self.url, "--user", user, "--password-file"]);
        command.arg(self.folder.path().join(user));
        command.output().expect("sund-channel runs")
    }

    /// What an operator does in hawkBit itself.
    pub(super) async fn operator(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let method = method.parse().expect("a method");
        let mut request = self.http.request(method, format!("{}rest/v1/{path}", self.url));
        request = request.basic_auth("admin", Some("admin"));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.expect("an answer");
        let (status, text) = (answer.status(), answer.text().await.expect("a body"));
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for something that comes by itself.
pub(super) async fn until<T, F: Future<Output = Option<T>>>(what: &str, within: Duration, look: impl Fn() -> F) -> T {
    let end = Instant::now() + within;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < end, "not within {} s: {what}", within.as_secs());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The port that it chose, from its log, which is read to its end so that it never waits for a reader.
fn port(log: impl Read + Send + 'static) -> u16 {
    let (found, port) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(log).lines().map_while(Result::ok) {
            if let Some((_, rest)) = line.split_once("Tomcat started on port ") {
                let port = rest.split(' ').next().and_then(|port| port.parse().ok());
                let _ = found.send(port.expect("a port"));
            }
        }
    });
    port.recv_timeout(STARTS).expect("hawkBit opens its port")
}
