//! A region, its centre, a box and what stands around it: real processes, on ports of this machine.
use crate::region::{APPROVERS, FIRST, Region, TWO, frozen, text};
use serde_json::Value;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What takes longer has failed: the machine may be busy.
const PATIENCE: Duration = Duration::from_mins(3);

/// The agent that `cargo build --release` makes; see `.ci/test`.
pub fn sund() -> PathBuf {
    let path = std::env::var_os("SUND_TEST_AGENT").map(PathBuf::from);
    let path = path.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/release/sund"));
    assert!(path.exists(), "SUND_TEST_AGENT names the agent's program: cargo build --release makes it");
    path
}

/// Ends with the value.
pub struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only where it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn start(command: &mut Command, log: &Path) -> Process {
    let log = fs::File::create(log).unwrap();
    Process(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap())
}

pub fn done(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A port that was free a moment ago.
pub fn port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Asks again until there is an answer.
pub fn until<T>(what: &str, told: impl Fn() -> String, ask: impl Fn() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}\n{}", told());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A region, a box in it, and an archive.
pub struct Hospital {
    pub region: Region,
    node: SocketAddr,
    pub archive: SocketAddr,
    server: SocketAddr,
}

impl Hospital {
    pub fn new() -> Self {
        let region = Region::new();
        let [node, archive, server] = [port(), port(), port()];
        for name in ["spool", "audit", "serving", "updater", "archive"] {
            fs::create_dir(region.path(name)).unwrap();
        }
        for name in ["uid.key", "audit.key"] {
            let key = region.file(name, &"5a".repeat(32));
            fs::set_permissions(key, fs::Permissions::from_mode(0o600)).unwrap();
        }
        let vendor = region.path("vendor.pem");
        done(Command::new("openssl").args(["genpkey", "-algorithm", "ed25519", "-out"]).arg(&vendor));
        fs::set_permissions(&vendor, fs::Permissions::from_mode(0o600)).unwrap();
        let public = region.path("vendor.pub");
        done(Command::new("openssl").args(["pkey", "-pubout", "-in"]).arg(&vendor).arg("-out").arg(&public));
        let keys = APPROVERS.map(|person| region.public(person));
        let mut arguments = vec!["delegate", "models/sund", "--vendor-name", "Sund", "--package-key", text(&public)];
        for key in &keys {
            arguments.extend(["--key", text(key)]);
        }
        region.must(&arguments);
        region.publish("targets-2", &FIRST);
        Self { region, node, archive, server }
    }

    /// The configuration of the box, with what follows. It knows no vendor: whose packages serve is what the region pins.
    fn configuration(&self, name: &str, rest: &str) -> PathBuf {
        let at = |name: &str| self.region.path(name).display().to_string();
        let text = format!(
            "[node]\nae_title = \"SUND\"\nlisten = \"{}\"\n[study]\nquiet = \"1s\"\ncomplete_on_association_end = true\n\
             [spool]\ndirectory = \"{}\"\n[identity]\nuid_key_file = \"{}\"\n[audit]\ndirectory = \"{}\"\nkey_file = \"{}\"\n\
             [worker]\nlauncher = \"child\"\n{rest}",
            self.node,
            at("spool"),
            at("uid.key"),
            at("audit"),
            at("audit.key"),
        );
        self.region.file(name, &text)
    }

    /// Publishes a version of the model in a state of its name, signed by two approvers; `change` is made to its manifest.
    pub fn publishes(&self, n: u32, config: &str, change: (&str, &str)) {
        let folder = self.region.path(&format!("package-{n}"));
        done(Command::new("cp").arg("-r").arg(frozen("format-1-image")).arg(&folder));
        let manifest = fs::read_to_string(folder.join("model.toml")).unwrap();
        let manifest = manifest.replace("version = \"1.0.0\"", &format!("version = \"{n}.0.0\""));
        assert!(manifest.contains(change.0));
        fs::write(folder.join("model.toml"), manifest.replace(change.0, change.1)).unwrap();
        let packed = self.region.path(&format!("package-{n}.sund"));
        done(Command::new(sund()).args(["model", "pack"]).arg(&folder).arg("--to").arg(&packed));
        let key = self.region.path("vendor.pem");
        done(Command::new(sund()).args(["model", "sign", "--key"]).arg(key).arg(&packed));
        let proposal = self.region.must(&["publish", "model", text(&packed), "--vendor", "sund"])["proposal"].take();
        let proposal = proposal.as_str().unwrap();
        let state = format!(
            r#"{{"name":"north-{n}","boxes":["odense-*"],"configuration":{{"target":"{config}"}},
                "models":[{{"target":"models/sund/bright-squares-{n}.0.0.sund"}}],
                "routes":{{"all":{{"models":["bright-squares"],"mode":"clinical"}}}},"watch_seconds":2}}"#
        );
        let state = self.region.file(&format!("north-{n}.json"), &state);
        self.region.must(&["publish", "state", text(&state), "--with", proposal]);
        self.region.publish(proposal, &TWO);
    }

    /// Rolls a state out to the whole fleet, which is one box, and says how that ended there.
    pub fn rolls_out(&self, n: u32, log: &Path) -> Value {
        let (name, state) = (format!("rollout-{n}"), format!("north-{n}"));
        self.command(&["rollout", "new", &name, "--state", &state, "--group", "100%", "--all-at-once"]);
        self.command(&["rollout", "start", &name]);
        let told = || fs::read_to_string(log).unwrap_or_default();
        until("the box has ended it", told, || {
            let rollouts = self.region.must(&["rollout", "status", &name]);
            let boxes = &rollouts[0]["waves"][0]["boxes"];
            (boxes["finished"] == 1 || boxes["failed"] == 1).then(|| rollouts[0].clone())
        })
    }

    /// A command that answers nothing.
    fn command(&self, arguments: &[&str]) {
        let ended = self.region.run(arguments);
        assert_eq!(ended.code, Some(0), "{arguments:?}");
    }

    /// What the updater knows.
    pub fn status(&self) -> Value {
        let told = done(self.updater().args(["status", "--json"]));
        serde_json::from_str(&told).unwrap()
    }

    pub fn updater(&self) -> Command {
        let program = Path::new(env!("CARGO_BIN_EXE_sund-channel")).with_file_name("sund-updater");
        assert!(program.exists(), "cargo test -p sund-ota -p sund-channel makes sund-updater too");
        let mut command = Command::new(program);
        command.arg("--config").arg(self.region.path("updater.toml"));
        command
    }

    pub fn sends(&self) {
        let image = frozen("format-1-image").join("golden/squares/1.dcm");
        let port = self.node.port().to_string();
        done(Command::new("dcmsend").args(["-aec", "SUND", "127.0.0.1", &port]).arg(image));
    }

    /// Sends the image again, under a new study.
    pub fn sends_another(&self) {
        let again = self.region.path("again.dcm");
        fs::copy(frozen("format-1-image").join("golden/squares/1.dcm"), &again).unwrap();
        done(Command::new("dcmodify").args(["-nb", "-gst", "-gse", "-gin"]).arg(&again));
        let port = self.node.port().to_string();
        done(Command::new("dcmsend").args(["-aec", "SUND", "127.0.0.1", &port]).arg(&again));
    }

    /// What the agent says that it serves: the state's name, and the version of its model.
    pub fn serves(&self) -> (Value, Value) {
        let mut stream = UnixStream::connect(self.region.path("channel.sock")).unwrap();
        stream.write_all(b"\"status\"\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let mut status = serde_json::from_str::<Value>(&answer).unwrap()["status"].take();
        (status["state"]["name"].take(), status["models"][0]["version"].take())
    }

    pub fn results(&self) -> usize {
        fs::read_dir(self.region.path("archive")).unwrap().count()
    }
}

/// The centre, and a box that it has enrolled.
pub struct Open {
    /// The configuration of the box, as the region has signed it.
    pub config: String,
    pub url: String,
    pub server: Process,
    /// The configuration that the box came with: without a model, and where `sund` finds the agent.
    pub own: PathBuf,
    pub agent_log: PathBuf,
    pub updater_log: PathBuf,
    _agent: Process,
    _updater: Process,
}

impl Hospital {
    /// Signs the configuration of the box with these destinations and routes, and starts the centre, the agent as it was provisioned, and the
    /// updater, which is enrolled by a code.
    pub fn opens(&self, routes: &str) -> Open {
        self.opens_with(routes, "")
    }

    /// The same with more in the configuration that the box was provisioned with.
    pub fn opens_with(&self, routes: &str, more: &str) -> Open {
        let region = &self.region;
        let north = self.configuration("north.toml", routes);
        let proposed = region.must(&["publish", "config", text(&north), "--name", "north"]);
        let config = proposed["target"]["target"].as_str().unwrap().to_owned();
        region.publish(proposed["proposal"].as_str().unwrap(), &TWO);

        let settings = format!(
            "[server]\nlisten = ['{}']\nnames = ['localhost']\npoll_seconds = 5\napproval = false\n",
            self.server
        );
        fs::write(region.home().join("channel.toml"), settings).unwrap();
        let log = region.path("server.log");
        let server = start(&mut region.command(&["serve"]), &log);
        let told = || fs::read_to_string(&log).unwrap_or_default();
        let code = until("the server gives a code", told, || {
            let ended = region.run(&["enrol", "new", "--name", "odense-1", "--attribute", "site=odense"]);
            ended.json["code"].as_str().map(str::to_owned)
        });

        let path = |name: &str| region.path(name).display().to_string();
        let channel =
            format!("[channel]\nsocket = \"{}\"\ndirectory = \"{}\"\n{more}", path("channel.sock"), path("serving"));
        let own = self.configuration("sund.toml", &channel);
        let agent_log = region.path("agent.log");
        let agent = start(Command::new(sund()).args(["serve", "--config"]).arg(&own), &agent_log);

        let url = format!("https://localhost:{}", self.server.port());
        let updater = format!(
            "id = \"odense-1\"\ntenant = \"DEFAULT\"\ndirectory = \"{}\"\n[server]\nurl = \"{url}\"\nca = \"{}\"\n\
             certificate = \"{}\"\nkey = \"{}\"\n[repository]\nmetadata = \"{url}/repository/metadata\"\n\
             targets = \"{url}/repository/targets\"\nroot = \"{}\"\n[poll]\nmin_seconds = 1\nmax_seconds = 2\n\
             [agent]\nsocket = \"{}\"\n[watch]\nevery_seconds = 1\n",
            path("updater"),
            region.home().join("ca/ca.pem").display(),
            path("box.pem"),
            path("box.key"),
            region.home().join("repository/metadata/1.root.json").display(),
            path("channel.sock"),
        );
        region.file("updater.toml", &updater);
        done(self.updater().args(["enrol", "--code", &code]));
        let updater_log = region.path("updater.log");
        let updater = start(self.updater().arg("run"), &updater_log);
        Open { config, url, server, own, agent_log, updater_log, _agent: agent, _updater: updater }
    }
}
