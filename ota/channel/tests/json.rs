//! What scripts read: the shape of `--json` of each command, frozen. Texts, numbers and switches stand for themselves,
//! and a list for its first element; `SUND_TEST_WRITE_GOLDENS=1` writes the file anew.
use crate::fixture::configure;
use crate::region::{FIRST, ROOT, Region, TWO, block_on, frozen, text};
use serde_json::{Map, Value, json};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The program's `serve`, until the value goes.
pub struct Serving {
    child: std::process::Child,
    log: PathBuf,
}

impl Serving {
    fn on(region: &Region) -> Self {
        configure(&region.home(), "approval = false\nopen_repository = true");
        Self::as_configured(region)
    }

    pub fn as_configured(region: &Region) -> Self {
        let mut command = region.command(&["serve"]);
        let log = region.path("serve.log");
        let child = command.stderr(File::create(&log).unwrap()).stdout(Stdio::null()).spawn().unwrap();
        let end = Instant::now() + Duration::from_secs(30);
        while region.run(&["fleet"]).code != Some(0) {
            assert!(Instant::now() < end, "it does not serve");
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { child, log }
    }

    /// Ends it before the value goes.
    pub fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Where it serves, as its log says.
    pub fn url(&self, path: &str) -> String {
        let log = fs::read_to_string(&self.log).unwrap();
        let port: String = log.split("127.0.0.1:").nth(1).unwrap().chars().take_while(char::is_ascii_digit).collect();
        format!("https://localhost:{port}{path}")
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // Fails only where it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn shape(value: &Value) -> Value {
    match value {
        Value::Null => Value::Null,
        Value::Bool(_) => json!(true),
        Value::Number(_) => json!(0),
        Value::String(_) => json!("text"),
        Value::Array(all) => all.first().map_or_else(|| json!([]), |first| json!([shape(first)])),
        // What depends on how far the server has come at that moment.
        Value::Object(all) => all.iter().map(|(key, value)| (key.clone(), of_entry(key, value))).collect(),
    }
}

fn of_entry(key: &str, value: &Value) -> Value {
    match (key, value) {
        ("boxes" | "counts", Value::Object(_)) => json!({ "STATUS": 0 }),
        (key, Value::Null | Value::Number(_)) if key.ends_with("_at") => json!("milliseconds since 1970, or null"),
        (_, value) => shape(value),
    }
}

#[test]
fn every_command_tells_scripts_what_it_did_in_a_frozen_shape() {
    let region = Region::new();
    let mut shapes = Map::new();
    shapes.insert("root new".to_owned(), shape(&Region::bare().propose_root()));
    let mut ask = |told: &str, arguments: &[&str]| {
        let answer = region.must(arguments);
        assert!(answer.is_object() || answer.is_array(), "{told}: {answer}");
        shapes.insert(told.to_owned(), shape(&answer));
        answer
    };
    persons(&region, &mut ask);
    releases(&region, &mut ask);
    served(&region, &mut ask);
    first_and_last_day(&region, &mut ask);
    let mut command = region.command(&["password"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"a password\n").unwrap();
    let hash: Value = serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap();
    assert!(hash["password"].as_str().unwrap().starts_with("$argon2id$"));
    let refused = region.run(&["publish", "model", text(&frozen("format-1.sund")), "--vendor", "nobody"]);
    shapes.insert("a refusal".to_owned(), shape(&refused.json));

    let told = serde_json::to_string_pretty(&Value::Object(shapes)).unwrap() + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/json.json");
    if std::env::var_os("SUND_TEST_WRITE_GOLDENS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &told).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap();
    if told != golden {
        let now = region.file("json.json", &told);
        let difference = Command::new("diff").arg("-u").arg(&path).arg(now).output().unwrap();
        panic!("{}", String::from_utf8_lossy(&difference.stdout));
    }
}

/// Plays a command and keeps the shape of its answer.
type Ask<'a> = dyn FnMut(&str, &[&str]) -> Value + 'a;

/// Who may sign, and the first release.
fn persons(region: &Region, ask: &mut Ask) {
    let approvers = TWO.map(|person| region.public(person));
    let approvers = ["--key", text(&approvers[0]), "--key", text(&approvers[1])];
    let package_key = frozen("format-1.pub");
    let vendor = ["delegate", "models/sund", "--vendor-name", "Sund", "--package-key", text(&package_key)];
    ask("delegate", &[&vendor[..], &approvers].concat());
    region.publish("targets-2", &FIRST);
    ask("publish model", &["publish", "model", text(&frozen("format-1.sund")), "--vendor", "sund"]);
    let north = region.file("north.toml", "ae_title = \"SUND\"\n");
    let north = region.must(&["publish", "config", text(&north), "--name", "north", "--with", "models.sund-2"]);
    region.propose_state("north-1", north["target"]["target"].as_str().unwrap(), &["--with", "models.sund-2"]);
    region.publish("models.sund-2", &TWO);
    ask("root rotate", &["root", "rotate", "--online-keys"]);
    ask("root threshold", &["root", "threshold", "3", "--with", "root-2"]);
    let hans = region.path("hans.key");
    ask("key new", &["key", "new", text(&hans), "--person", "Hans Quist"]);
    ask("root add-key", &["root", "add-key", text(&hans.with_added_extension("pub")), "--with", "root-2"]);
    ask("root remove-key", &["root", "remove-key", "--person", "Bo Krog", "--with", "root-2"]);
    region.must(&["discard", "root-2"]);
}

/// What is published, taken back and carried on a stick.
fn releases(region: &Region, ask: &mut Ask) {
    let os = region.file("os.raucb", "an operating system");
    let digest = "a".repeat(64);
    ask("publish os", &["publish", "os", text(&os), "--version", "1.2.0", "--manifest-sha256", &digest]);
    ask("proposals", &["proposals"]);
    ask("show", &["show", "os-2"]);
    ask("sign", &["sign", "os-2", "--yes", "--key", text(&region.key(TWO[0]))]);
    ask("approve, one too few", &["approve", "os-2"]);
    region.sign("os-2", &TWO[1..]);
    ask("approve", &["approve", "os-2"]);
    ask("publish rescue", &["publish", "rescue", "1.2.0"]);
    ask("show, a recovery bundle", &["show", "rescue-1"]);
    ask("sign, a recovery bundle", &["sign", "rescue-1", "--yes", "--key", text(&region.key(TWO[0]))]);
    region.sign("rescue-1", &TWO[1..]);
    ask("approve, a recovery bundle", &["approve", "rescue-1"]);
    ask("status, with a recovery bundle", &["status"]);
    ask("key show", &["key", "show", text(&region.public(TWO[0]))]);
    let config = region.file("south.toml", "ae_title = \"SOUTH\"\n");
    ask("publish config", &["publish", "config", text(&config), "--name", "south"]);
    ask("discard", &["discard", "config-3"]);
    let state = region.file("south.json", r#"{"name":"south-1","watch_seconds":60}"#);
    ask("publish state", &["publish", "state", text(&state)]);
    ask("withdraw", &["withdraw", "os/sund-1.2.0.raucb", "--reason", "a test"]);
    ask("suspend", &["suspend", "brain", "--unlisted", "--reason", "a test", "--with", "state-3"]);
    ask("stop-all", &["stop-all", "--reason", "a test", "--with", "state-3"]);
    region.publish("state-3", &TWO);
    ask("resume", &["resume", "brain"]);
    ask("go-on", &["go-on", "--with", "state-4"]);
    ask("status", &["status"]);
    ask("renew", &["renew"]);
    ask("verify", &["verify"]);
    ask("sweep", &["sweep", "--dry-run"]);
    ask("refresh", &["refresh", "config"]);
    region.must(&["discard", "state-4"]);
    let stick = region.path("stick.tar");
    let terms = ask("bundle, terms proposed", &["bundle", text(&stick), "--state", "north-1", "--lifetime", "3"]);
    assert!(terms["file"].is_null());
    region.publish("state-4", &TWO);
    let written = ask("bundle", &["bundle", text(&stick), "--state", "north-1"]);
    assert!(stick.exists() && written["file"] == text(&stick));
}

/// What the server is asked.
fn served(region: &Region, ask: &mut Ask) {
    let serving = Serving::on(region);
    ask("enrol new", &["enrol", "new", "--name", "a"]);
    let token = ask("enrol token", &["enrol", "token", "--name", "b", "--attribute", "ring=canary"])["token"].clone();
    ask("enrol set", &["enrol", "set", "--name", "b", "--attribute", "site=odense"]);
    ask("enrol block", &["enrol", "block", "--name", "a"]);
    ask("enrol unblock", &["enrol", "unblock", "--name", "a"]);
    let new = ["rollout", "new", "r1", "--state", "north-1", "--group", "ring=canary", "--group", "100%"];
    let made = ask("rollout new", &[&new[..], &["--maintenance", "22:00-05:00", "--day", "fri"]].concat());
    assert_eq!((&made["name"], &made["status"]), (&json!("r1"), &json!("ready")));
    let orders =
        [("start", "running"), ("pause", "paused"), ("resume", "running"), ("retry", "running"), ("stop", "stopped")];
    for (order, status) in orders {
        let told = ask(&format!("rollout {order}"), &["rollout", order, "r1"]);
        assert_eq!(told["status"], status, "{order}");
    }
    ask("rollout status", &["rollout", "status"]);
    ask("rollout stop --all", &["rollout", "stop", "--all"]);
    ask("escrow list", &["escrow", "list", "--name", "a"]);
    let offer = json!({ "format": 1, "recipient": "a".repeat(64), "sealed": "AAAA" });
    let offered = crate::fixture::client(&region.home(), None).post(serving.url("/escrow")).json(&offer);
    let offered = offered.header("authorization", format!("TargetToken {}", token.as_str().unwrap()));
    assert!(block_on(async { offered.send().await }).unwrap().status().is_success());
    let sealed = region.path("b.sealed");
    let taken = ask("escrow write", &["escrow", "write", "--name", "b", "--out", text(&sealed)]);
    assert_eq!(fs::read(&sealed).unwrap(), [0; 3]);
    let kept = taken["kept"]["sha256"].as_str().unwrap();
    ask("escrow list, one kept", &["escrow", "list", "--name", "b"]);
    ask("escrow drop", &["escrow", "drop", "--name", "b", "--sha256", kept]);
    let second = ask("ca new", &["ca", "new"])["proposal"].clone();
    region.publish(second.as_str().unwrap(), &ROOT[..2]);
    let authorities = ask("ca show", &["ca", "show"]);
    assert_eq!((&authorities[0]["counts"], &authorities[1]["counts"]), (&json!("good"), &json!("issues")));
    let refused = region.run(&["ca", "drop", "ca"]);
    assert_eq!(refused.refusal(), "authority-held", "{:#}", refused.json);
    let dropped = ask("ca drop --force", &["ca", "drop", "ca", "--force"]);
    assert_eq!(dropped["lost"]["names"], json!(["b"]));
    let (root, ca) = (region.home().join("repository/metadata/1.root.json"), region.home().join("ca/ca.pem"));
    let (copy, from) = (region.path("copy"), serving.url("/repository/"));
    ask("mirror", &["mirror", text(&copy), "--from", &from, "--root", text(&root), "--ca", text(&ca)]);
    ask("backup", &["backup", text(&region.path("channel.db"))]);
    ask("fleet", &["fleet"]);
    let dropped = dropped["proposal"].as_str().unwrap();
    region.sign(dropped, &ROOT[..2]);
    ask("approve --cut-off", &["approve", dropped, "--cut-off", "1"]);
}

/// What a stick brings a box on its first day and on its last. The server has made its authority, which goes with it.
fn first_and_last_day(region: &Region, ask: &mut Ask) {
    let signer = region.path("provisioning.key");
    region.must(&["key", "new", text(&signer), "--person", "Region North"]);
    region.file("north-1.toml", "[node]\nae_title = \"SUND\"\n");
    let first_day = "region = \"north\"\nbox = \"north-1\"\nserver = \"https://channel.north.example:8443\"\nsite = \"north-1.toml\"\n";
    let first_day = region.file("north-1.provision.toml", first_day);
    let usb = tempfile::tempdir().unwrap();
    let to = ["--key", text(&signer), "--out", text(usb.path())];
    ask("provision", &[&["provision", text(&first_day)][..], &to].concat());
    ask("reset", &[&["reset", "--region", "north", "--box", "north-1"][..], &to].concat());
}

#[test]
fn days_without_a_window_are_refused() {
    let region = Region::with_state();
    let _serving = Serving::on(&region);
    let new = ["rollout", "new", "r1", "--state", "north-1", "--group", "100%", "--all-at-once", "--day", "sat"];
    assert_eq!(region.run(&new).code, Some(64));
    assert_eq!(region.must(&["rollout", "status"]), json!([]));
    let made = region.must(&[&new[..], &["--maintenance", "22:00-05:00", "--day", "sun"]].concat());
    assert_eq!(made["maintenance"]["days"], json!(["sat", "sun"]));
}

#[test]
fn people_read_a_line_where_scripts_read_json() {
    let region = Region::with_state();
    let _serving = Serving::on(&region);
    let say = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sund-channel"));
        let output = command.arg("--home").arg(region.home()).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(say(&["enrol", "token", "--name", "a"]).trim().len() > 20);
    let made = say(&["rollout", "new", "r1", "--state", "north-1", "--group", "100%", "--all-at-once"]);
    assert!(made.starts_with("r1: ready (state/north-1.json)"), "{made}");
    assert!(say(&["ca", "show"]).starts_with("ca  issues, the server is known by it; 0 hold a certificate"));
    let new = ["rollout", "new", "r2", "--state", "north-1", "--group", "100%", "--all-at-once"];
    let made = say(&[&new[..], &["--maintenance", "22:00-05:00", "--day", "fri", "--day", "sat"]].concat());
    assert!(made.contains("boxes install from 22:00 to 05:00 of their own time, fri, sat"), "{made}");
    assert_eq!(say(&["enrol", "set", "--name", "a", "--attribute", "ring=canary"]), "a: ring=canary\n");
    assert!(say(&["rollout", "start", "r1"]).starts_with("r1: running"));
    assert!(say(&["rollout", "stop", "--all"]).starts_with("stopped: 2"));
    assert_eq!(say(&["enrol", "block", "--name", "a"]), "a: shut out\n");
}
