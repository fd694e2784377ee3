//! A real hawkBit update server on a free port, with its database in memory, that ends with the test; and its operator.
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Start of the Java program, on a machine that has much else to do.
const STARTS: Duration = Duration::from_mins(3);
/// Who publishes may do this and no more: not read the boxes' tokens, and not approve.
const PUBLISHER: &str = "CREATE_SOFTWARE_MODULE_TYPE,READ_SOFTWARE_MODULE_TYPE,\
    CREATE_SOFTWARE_MODULE,READ_SOFTWARE_MODULE,UPDATE_SOFTWARE_MODULE,\
    CREATE_DISTRIBUTION_SET_TYPE,READ_DISTRIBUTION_SET_TYPE,CREATE_DISTRIBUTION_SET,READ_DISTRIBUTION_SET,UPDATE_DISTRIBUTION_SET,\
    CREATE_ROLLOUT,READ_ROLLOUT,UPDATE_ROLLOUT,HANDLE_ROLLOUT,READ_TARGET,UPDATE_TARGET";
/// The same in the older one's words.
const PUBLISHER_OF_CENTRAL: &str = "CREATE_REPOSITORY,READ_REPOSITORY,UPDATE_REPOSITORY,\
    CREATE_ROLLOUT,READ_ROLLOUT,UPDATE_ROLLOUT,HANDLE_ROLLOUT,READ_TARGET,UPDATE_TARGET";
/// Who approves, and no more.
const APPROVER: &str = "READ_ROLLOUT,READ_DISTRIBUTION_SET,READ_REPOSITORY,READ_TARGET,APPROVE_ROLLOUT";

/// Which hawkBit: `ota/README.md` says how to get either.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Version {
    /// 1.0.4: `SUND_TEST_HAWKBIT` is the update server's jar.
    Current,
    /// 0.3.0M7, the newest of which Maven Central has every library: `SUND_TEST_HAWKBIT_CENTRAL` is a file with Java's arguments.
    /// It knows neither confirmation by the box, nor `installedBase`, nor how to stop a rollout, and lets who publishes approve.
    Central,
}

impl Version {
    /// What Java is told of the program.
    fn program(self) -> Vec<String> {
        let variable = if self == Self::Current { "SUND_TEST_HAWKBIT" } else { "SUND_TEST_HAWKBIT_CENTRAL" };
        let file = std::env::var(variable).unwrap_or_else(|_| panic!("{variable} names a file: see ota/README.md"));
        let file = Path::new(&file).canonicalize().unwrap_or_else(|error| panic!("{variable}, {file}: {error}"));
        match self {
            Self::Current => vec!["-jar".to_owned(), file.display().to_string()],
            Self::Central => vec![format!("@{}", file.display())],
        }
    }

    /// Its users: those of sund-channel, and in the older one also the administrator, whom the newer has by itself.
    fn users(self) -> Vec<String> {
        let publisher = if self == Self::Current { PUBLISHER } else { PUBLISHER_OF_CENTRAL };
        let users = [("publisher", publisher), ("approver", APPROVER), ("admin", "ALL")];
        let name = |n: usize, user: &str| match self {
            Self::Current => format!("--hawkbit.security.user.{user}"),
            Self::Central => format!("--hawkbit.server.im.users[{n}]"),
        };
        let known = if self == Self::Current { &users[..2] } else { &users[..] };
        let mut arguments = Vec::new();
        for (n, (user, permissions)) in known.iter().enumerate() {
            let (name, password) = (name(n, user), password(user));
            let of_it = |what: &str, value: &str| format!("{name}.{what}={value}");
            if self == Self::Current {
                arguments.push(of_it("tenant", "DEFAULT"));
            } else {
                arguments.push(of_it("username", user));
            }
            arguments.push(of_it("password", &format!("{{noop}}{password}")));
            arguments.push(of_it("permissions", permissions));
        }
        arguments
    }
}

fn password(user: &str) -> String {
    if user == "admin" { "admin".to_owned() } else { format!("{user}'s password") }
}

pub(super) struct Server {
    child: Child,
    folder: TempDir,
    pub(super) version: Version,
    pub(super) url: String,
    /// What `sund-channel hawkbit` has told scripts, by the command.
    shapes: Mutex<BTreeMap<String, Value>>,
    http: reqwest::Client,
}

impl Server {
    pub(super) async fn start(version: Version) -> Self {
        let folder = TempDir::new().expect("a folder");
        for user in ["publisher", "approver"] {
            std::fs::write(folder.path().join(user), format!("{}\n", password(user))).expect("written");
        }
        let mut child = Command::new("java")
            .args(["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .args(version.program())
            .args(["--server.address=127.0.0.1", "--server.port=0", "--spring.main.banner-mode=off"])
            .arg("--hawkbit.server.ddi.security.authentication.targettoken.enabled=true")
            .args(version.users())
            .arg("--hawkbit.rollout.scheduler.fixedDelay=500")
            .current_dir(folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Java 17 runs");
        let port = port(child.stdout.take().expect("its log"));
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).build().expect("a client");
        let server =
            Self { child, folder, version, url: format!("http://127.0.0.1:{port}/"), shapes: Mutex::default(), http };
        until("hawkBit answers its operator", STARTS, || async {
            let targets = server.http.get(format!("{}rest/v1/targets", server.url));
            let answer = targets.basic_auth("admin", Some("admin")).send().await.ok()?;
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
        let told = serde_json::from_slice(&output.stdout).expect("JSON");
        self.keep_shape(arguments, &told);
        told
    }

    /// The first answer of each command; that about boxes of which one has failed is another one, of that box: hawkBit gives them in no order.
    fn keep_shape(&self, arguments: &[&str], told: &Value) {
        let failed: Vec<Value> =
            told.as_array().into_iter().flatten().filter(|row| row.get("reason").is_some()).cloned().collect();
        let (command, shape) = match arguments {
            ["rollout", verb, ..] => (format!("rollout {verb}"), crate::json::shape(told)),
            ["targets", ..] if !failed.is_empty() => {
                ("targets, a failure".to_owned(), crate::json::shape(&Value::Array(failed)))
            }
            [command, ..] => ((*command).to_owned(), crate::json::shape(told)),
            [] => return,
        };
        self.shapes.lock().expect("no test failed while it held this").entry(command).or_insert(shape);
    }

    /// Holds what scripts were told to the frozen shapes; the older version has not every command.
    pub(super) fn shapes_are_frozen(&self) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/hawkbit.json");
        let golden = std::fs::read_to_string(&path).unwrap_or_else(|_| "{}".to_owned());
        let mut golden: BTreeMap<String, Value> = serde_json::from_str(&golden).expect("JSON");
        let shapes = self.shapes.lock().expect("no test failed while it held this").clone();
        if std::env::var_os("SUND_TEST_WRITE_GOLDENS").is_some() {
            golden.extend(shapes.clone());
            let text = serde_json::to_string_pretty(&golden).expect("JSON") + "\n";
            std::fs::write(&path, text).expect("written");
        }
        for (command, shape) in &shapes {
            assert_eq!(golden.get(command), Some(shape), "{command}: {}", path.display());
        }
        let unseen: Vec<_> = golden.keys().filter(|command| !shapes.contains_key(*command)).collect();
        let is_all = self.version == Version::Current;
        assert!(!is_all || unseen.is_empty(), "no test asks for {unseen:?}");
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

impl Server {
    /// Takes a rollout back; in the older version from its one box, whose operator cancels what it was told last.
    pub(super) async fn stop(&self, rollout: &str, of: &str) {
        if self.version == Version::Current {
            self.channel(&["rollout", "stop", rollout]);
        } else {
            let action = self.last_action(of).await;
            self.operator("DELETE", &format!("targets/{of}/actions/{}", action["id"]), None).await;
        }
    }

    /// Whether the box has said that it left what was taken back.
    pub(super) async fn has_stopped(&self, rollout: &str, of: &str) -> bool {
        if self.version == Version::Current {
            return self.channel(&["rollout", "status", rollout])["status"] == "stopped";
        }
        let action = self.last_action(of).await;
        action["type"] == "cancel" && action["status"] == "finished"
    }

    async fn last_action(&self, of: &str) -> Value {
        self.operator("GET", &format!("targets/{of}/actions?sort=ID:DESC&limit=1"), None).await["content"][0].take()
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
            let opened =
                ["Tomcat started on port ", "Jetty started on port(s) "].iter().find_map(|said| line.split_once(said));
            if let Some((_, rest)) = opened {
                let port = rest.split(' ').next().and_then(|port| port.parse().ok());
                let _ = found.send(port.expect("a port"));
            }
        }
    });
    port.recv_timeout(STARTS).expect("hawkBit opens its port")
}
