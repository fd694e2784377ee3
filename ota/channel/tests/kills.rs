//! SIGKILL at any moment: what a box was told is kept, what the rules say still holds.
use crate::fixture::{Device, PLAIN, client, configure, list_states, new};
use crate::region::Region;
use reqwest::{Method, StatusCode};
use rusqlite::Connection;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use sund_channel::repository::Home;
use sund_channel::rollout::orders::Order;
use sund_channel::server::control::{Answer, Request, ask};
use tokio::sync::watch;
use tokio::task::JoinSet;

const KILLS: u64 = 20;
const BOXES: usize = 12;

/// The real program, on a port of its own.
struct Program {
    child: Child,
    port: u16,
}

impl Program {
    fn start(home: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sund-channel"))
            .args(["serve", "--config"])
            .arg(home.join("channel.toml"))
            .env("RUST_LOG", "info")
            .env("NO_COLOR", "1")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let line = lines.find(|line| line.contains("serving")).expect("it does not serve");
        let port = line.rsplit(':').next().unwrap().trim().parse().unwrap();
        // Read on, so that the program never waits for its log.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, port }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Program {
    /// A test that failed leaves no server behind.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A box that goes on until it was told that its success is known; whatever breaks, it asks again.
async fn persist(device: Device, port: watch::Receiver<u16>) {
    let mut taken = None;
    loop {
        let root = format!("https://localhost:{}/DEFAULT/controller/v1/{}", *port.borrow(), device.name);
        match try_once(&device, &root, &mut taken).await {
            Ok(true) => return,
            Ok(false) | Err(_) => tokio::time::sleep(Duration::from_millis(15)).await,
        }
    }
}

/// `taken` is the action that the box works on: an answer that was lost is asked for again under its number.
async fn try_once(device: &Device, root: &str, taken: &mut Option<String>) -> Result<bool, reqwest::Error> {
    if taken.is_none() {
        let base: Value = device.request(Method::GET, root).send().await?.json().await?;
        let Some(link) = base["_links"]["deploymentBase"]["href"].as_str() else { return Ok(false) };
        let deployment: Value = device.request(Method::GET, link).send().await?.json().await?;
        *taken = deployment["id"].as_str().map(str::to_owned);
    }
    let Some(id) = taken else { return Ok(false) };
    for (execution, finished) in [("proceeding", "none"), ("closed", "success")] {
        let body = json!({ "status": { "execution": execution, "result": { "finished": finished } } });
        let url = format!("{root}/deploymentBase/{id}/feedback");
        let answer = device.request(Method::POST, &url).json(&body).send().await?;
        if answer.status() != StatusCode::OK {
            return Ok(false);
        }
    }
    Ok(true)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_survives_kills_at_any_moment() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    list_states(home, 1, &["north-1"]);
    configure(home, PLAIN);
    let mut program = Program::start(home);
    let (moved, port) = watch::channel(program.port);
    let mut boxes = JoinSet::new();
    for n in 0..BOXES {
        let name = format!("box-{n}");
        let ring = if n < 2 { "canary" } else { "rest" };
        let attributes = [("ring".to_owned(), ring.to_owned())].into();
        let Answer::Secret(token) = ask(home, &Request::Token { name: name.clone(), attributes }).await.unwrap() else {
            panic!()
        };
        let device = Device { name, root: String::new(), client: client(home, None), token: Some(token) };
        boxes.spawn(persist(device, port.clone()));
    }
    ask(home, &Request::NewRollout(new("r1", "north-1", &["ring=canary", "100%"]))).await.unwrap();
    ask(home, &Request::Order { name: "r1".into(), order: Order::Start }).await.unwrap();
    for kill in 0..KILLS {
        // At moments that have nothing to do with what the server does: spread over 5 to 300 ms by a prime step.
        tokio::time::sleep(Duration::from_millis(5 + kill * 97 % 296)).await;
        program.kill();
        program = Program::start(home);
        moved.send_replace(program.port);
    }
    let ended = tokio::time::timeout(Duration::from_mins(1), async { while boxes.join_next().await.is_some() {} });
    ended.await.expect("boxes are stuck");
    let Answer::Rollouts(rollouts) = ask(home, &Request::Rollouts { name: None }).await.unwrap() else { panic!() };
    let done: i64 = rollouts[0].waves.iter().map(|wave| wave.boxes["finished"]).sum();
    assert_eq!(done, BOXES as i64, "every success that a box was told of is there: {rollouts:#?}");
    program.kill();
    let database = Connection::open(home.join("channel.db")).unwrap();
    let number = |sql: &str| database.query_row(sql, [], |r| r.get::<_, i64>(0)).unwrap();
    assert_eq!(number("SELECT count(*) FROM action"), BOXES as i64, "one action for each box");
    let order = "SELECT (SELECT max(changed_at) FROM action WHERE wave = 0) <= (SELECT min(offered_at) FROM action WHERE wave = 1)";
    assert_eq!(number(order), 1, "the second wave began before the canaries were through");
    assert_eq!(number("SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'"), 0);
}

#[test]
fn two_servers_do_not_share_a_home_and_a_terminated_one_drains() {
    let home = tempfile::tempdir().unwrap();
    configure(home.path(), PLAIN);
    let mut first = Program::start(home.path());
    let second = Command::new(env!("CARGO_BIN_EXE_sund-channel"))
        .args(["serve", "--config"])
        .arg(home.path().join("channel.toml"))
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(69));
    assert!(String::from_utf8_lossy(&second.stderr).contains("another server runs on this home"));
    rustix::process::kill_process(rustix::process::Pid::from_child(&first.child), rustix::process::Signal::TERM)
        .unwrap();
    assert_eq!(first.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_server_that_waits_for_another_command_drains_in_time() {
    let home = Region::new().into_home();
    configure(home.path(), PLAIN);
    let _held = Home::open(home.path()).unwrap().lock().unwrap();
    let mut program = Program::start(home.path());
    let open = format!("/proc/{}/fd", program.child.id());
    let waits = || {
        let files = std::fs::read_dir(&open).unwrap().filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
        files.into_iter().any(|file| file.ends_with("repository/.lock"))
    };
    within(Duration::from_secs(20), "it never looked at the repository", || waits().then_some(()));
    let process = rustix::process::Pid::from_child(&program.child);
    rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
    let ended = within(Duration::from_secs(5), "it does not end", || program.child.try_wait().unwrap());
    assert_eq!(ended.code(), Some(0));
}

/// Waits for something; at most so long.
fn within<T>(time: Duration, late: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + time;
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(Instant::now() < end, "{late}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_command_line_speaks_to_the_server_that_runs() {
    let home = tempfile::tempdir().unwrap();
    list_states(home.path(), 1, &["north-1"]);
    configure(home.path(), PLAIN);
    let sund = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_sund-channel"))
            .args(arguments)
            .env("SUND_CHANNEL_HOME", home.path())
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let (code, _, said) = sund(&["fleet"]);
    assert!(code == 69 && said.contains("is `sund-channel serve` running"), "{said}");
    let program = Program::start(home.path());
    let (_, code, _) = sund(&["enrol", "new", "--name", "odense-1", "--attribute", "site=odense"]);
    assert_eq!(code.trim().len(), 23, "{code}");
    let (_, token, _) = sund(&["enrol", "token", "--name", "vejle-1", "--attribute", "site=vejle", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&token).unwrap()["token"].as_str().unwrap().len(), 64);
    let new = |name, group| sund(&["rollout", "new", name, "--state", "north-1", "--group", group, "--group", "100%"]);
    assert_eq!((new("r0", "site=odense").0, new("r1", "site=vejle").0), (0, 0));
    // Its box has a code, and has not come yet.
    let (code, _, said) = sund(&["rollout", "start", "r0"]);
    assert!(code == 64 && said.contains("rollout-group-empty"), "{said}");
    assert_eq!(sund(&["rollout", "start", "r1"]).0, 0);
    let (_, status, _) = sund(&["rollout", "status", "--json"]);
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!((&status[0]["name"], &status[0]["status"]), (&json!("r1"), &json!("running")));
    let (code, _, said) = sund(&["rollout", "status", "r2"]);
    assert!(code == 64 && said.contains("rollout-unknown"), "{said}");
    let (_, fleet, _) = sund(&["fleet", "vejle", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&fleet).unwrap()["devices"][0]["name"], "vejle-1");
    let (code, _, said) = sund(&["rollout", "resume", "r1"]);
    assert!(code == 64 && said.contains("rollout-order"), "{said}");
    assert_eq!(sund(&["rollout", "stop", "--all"]).1, "stopped: 2\n");
    program.kill();
}
