//! The updater's side of a running daemon: a state is tried beside what serves, takes its place as a whole, is taken back; a model
//! is suspended at once. Real processes, real packages; the worker is stopped where a job is to be caught under way.
use crate::hospital::{Archive, copy_of, frame, new_uid, signed, until};
use crate::serve::{Daemon, Site};
use ring::digest::{SHA256, digest};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use sund_agent::association::{Peer, Sent, send};
use sund_agent::channel::{Answer, Request};

const SUND: &str = env!("CARGO_BIN_EXE_sund");
const MODEL: &str = "text-detection";

/// A site with a channel, an archive and three versions of the text model: its own 4.0.0, and 5.0.0 as the channel brings it; 6.0.0
/// misses its golden case.
struct Hospital {
    site: Site,
    archive: Archive,
}

impl Hospital {
    async fn new() -> Self {
        let archive = Archive::open().await;
        let site = Site::new(&format!(
            "[study]\nquiet = \"1s\"\ncomplete_on_association_end = true\n[worker]\nlauncher = \"child\"\n\
             [channel]\nsocket = \"channel.sock\"\ndirectory = \"channel\"\n\
             [[models]]\npackage = \"4.0.0.sund\"\n{}",
            rest(&archive.address, "models = [\"text-detection\"]\nmode = \"research\"\n")
        ));
        fs::create_dir(site.folder("channel")).unwrap();
        let hospital = Self { site, archive };
        tokio::task::block_in_place(|| {
            hospital.packs("4.0.0", &[]);
            hospital.packs("5.0.0", &[]);
            hospital.packs("6.0.0", &[("[20.0, 17.0, 189.0, 32.0]", "[20.0, 217.0, 189.0, 232.0]")]);
        });
        hospital
    }

    /// Packs a version of the model.
    fn packs(&self, version: &str, changes: &[(&str, &str)]) {
        let folder = self.site.folder(&format!("{version}.folder"));
        copy_of(MODEL, &folder);
        let manifest = folder.join("model.toml");
        let mut text = fs::read_to_string(&manifest).unwrap().replace("\"4.0.0\"", &format!("\"{version}\""));
        for (from, to) in changes {
            assert!(text.contains(from), "{from}");
            text = text.replace(from, to);
        }
        fs::write(&manifest, text).unwrap();
        let to = self.package(version);
        let done = Command::new(SUND).args(["model", "pack"]).arg(&folder).arg("--to").arg(to).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    fn package(&self, version: &str) -> PathBuf {
        self.site.folder(&format!("{version}.sund"))
    }

    async fn serve(&self) -> Daemon {
        let daemon = tokio::task::block_in_place(|| self.site.serve());
        until("the model is active", || (self.site.status()["models"][0]["state"] == "active").then_some(())).await;
        daemon
    }

    /// What the updater offers: this version of the model, on this route.
    fn offer(&self, state: &str, version: &str, mode: &str) -> Value {
        let file = self.package(version);
        let sha256 = hex(digest(&SHA256, &fs::read(&file).unwrap()).as_ref());
        json!({ "try": {
            "state": state,
            "configuration": null,
            "packages": [{ "file": file, "sha256": sha256, "name": MODEL }],
            "routes": { "everything": { "models": [MODEL], "mode": mode } },
        }})
    }

    fn ask(&self, request: &Value) -> Value {
        let mut stream = UnixStream::connect(self.site.folder("channel.sock")).unwrap();
        writeln!(stream, "{request}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }

    fn status(&self) -> Value {
        self.ask(&json!("status"))["status"].take()
    }

    /// Has a state tried, to the end.
    async fn tries(&self, offer: &Value) -> Value {
        let begun = self.ask(offer);
        assert_eq!(begun["trial"]["standing"], "running", "{begun}");
        until("the trial ends", || {
            let trial = self.ask(&json!("trial"))["trial"].take();
            (trial["standing"] != "running").then_some(trial)
        })
        .await
    }

    /// Has a state tried, which holds, and activated.
    async fn activates(&self, offer: &Value) -> Value {
        let trial = self.tries(offer).await;
        assert_eq!(trial["standing"], "held", "{trial}");
        self.ask(&json!({ "activate": { "state": offer["try"]["state"] } }))["serves"].take()
    }

    /// Sends an image under a new study.
    async fn sends(&self) {
        let address = self.site.status()["node"]["address"].as_str().unwrap().to_owned();
        let node = Peer { calling_ae: "MODALITY".into(), called_ae: "SUND".into(), address, tls: None };
        let stored = |_, sent| assert_eq!(sent, Sent::Stored { status: 0 });
        send(&node, &[frame().rows(64).in_study(&new_uid(), "1").object()], stored).await.unwrap();
    }

    /// The studies once this number have ended, the newest first.
    async fn ended(&self, count: usize) -> Vec<Value> {
        let over = |study: &Value| ["delivered", "failed", "done"].iter().any(|state| study["state"] == *state);
        until("the studies end", || {
            let studies = self.site.status()["studies"].as_array().unwrap().clone();
            (studies.len() == count && studies.iter().all(over)).then_some(studies)
        })
        .await
    }

    /// Versions of the model in the reports that the archive holds, in order.
    fn versions(&self) -> Vec<&'static str> {
        let version = |held: &crate::hospital::Held| ["4.0.0", "5.0.0", "6.0.0"].into_iter().find(|v| held.says(v));
        self.archive.reports().iter().filter_map(version).collect()
    }
}

/// Destination and route of a configuration.
fn rest(archive: &str, plan: &str) -> String {
    format!(
        "[[destinations]]\nname = \"archive\"\nae_title = \"PACS\"\naddress = \"{archive}\"\n\
         [[routes]]\nname = \"everything\"\n{plan}destinations = [\"archive\"]\n"
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// The processes that a daemon has started.
fn children(daemon: &Daemon) -> Vec<Pid> {
    let pid = daemon.pid().as_raw_nonzero();
    let list = fs::read_dir(format!("/proc/{pid}/task"))
        .unwrap()
        .filter_map(|task| fs::read_to_string(task.unwrap().path().join("children")).ok());
    let numbers: Vec<i32> =
        list.flat_map(|text| text.split_whitespace().map(|n| n.parse().unwrap()).collect::<Vec<_>>()).collect();
    numbers.into_iter().filter_map(Pid::from_raw).collect()
}

/// The worker of a daemon, once that of golden cases has gone.
pub async fn one_worker(daemon: &Daemon) -> Vec<Pid> {
    until("one worker is there", || Some(children(daemon)).filter(|workers| workers.len() == 1)).await
}

pub fn signals(processes: &[Pid], signal: Signal) {
    for process in processes {
        kill_process(*process, signal).unwrap();
    }
}

fn holds<T: DeserializeOwned + Serialize>(path: &Path) {
    let text = fs::read_to_string(path).unwrap();
    let golden: Value = serde_json::from_str(&text).unwrap();
    let read: T = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(serde_json::to_value(&read).unwrap(), golden, "{}", path.display());
}

#[test]
fn the_agent_is_asked_and_answers_as_the_golden_files_have_it_on_both_sides() {
    let agent = Path::new(env!("CARGO_MANIFEST_DIR"));
    let updater = agent.join("../ota/tests/goldens/agent");
    let mut names = Vec::new();
    for entry in fs::read_dir(agent.join("tests/goldens/channel")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.starts_with("request-") {
            holds::<Request>(&path);
        } else {
            holds::<Answer>(&path);
        }
        assert_eq!(fs::read(&path).unwrap(), fs::read(updater.join(&name)).unwrap(), "{name}");
        names.push(name);
    }
    assert!(names.len() >= 17, "{names:?}");
    assert_eq!(fs::read_dir(updater).unwrap().count(), names.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_job_under_way_ends_on_the_version_that_it_began_with_and_the_next_ones_run_on_the_new() {
    let hospital = Hospital::new().await;
    let daemon = hospital.serve().await;
    let before = hospital.status();
    assert_eq!(
        (&before["state"], &before["node_answers"], &before["engine_class"]),
        (&Value::Null, &true.into(), &"cpu".into())
    );
    assert_eq!(before["models"][0]["version"], "4.0.0");

    let trial = hospital.tries(&hospital.offer("north-1", "5.0.0", "research")).await;
    assert_eq!(trial["standing"], "held", "{trial}");
    let found = |check: &str| trial["findings"].as_array().unwrap().iter().find(|one| one["check"] == check).cloned();
    assert!(found("golden-cases").unwrap()["text"].as_str().unwrap().contains("score of box 3"), "{trial}");
    assert!(found("engine").unwrap()["text"].as_str().unwrap().contains("tract fp32"), "{trial}");
    assert!(found("configuration").is_some() && found("opened").unwrap()["ms"].as_f64().unwrap() > 0.0);
    assert_eq!(hospital.status()["models"][0]["version"], "4.0.0", "nothing is changed by a trial");

    let workers = one_worker(&daemon).await;
    signals(&workers, Signal::STOP);
    hospital.sends().await;
    until("a job runs", || (hospital.status()["running"] == 1).then_some(())).await;
    hospital.sends().await;
    until("a job waits", || (hospital.site.status()["queue"].as_array().unwrap().len() == 2).then_some(())).await;
    let serves = hospital.ask(&json!({ "activate": { "state": "north-1" } }));
    assert_eq!(serves, json!({ "serves": { "state": "north-1", "restarts": false } }));
    let again = hospital.ask(&json!({ "activate": { "state": "north-1" } }));
    assert_eq!(again, serves, "an answer that got lost is given again");
    signals(&workers, Signal::CONT);
    let studies = hospital.ended(2).await;
    hospital.archive.holds(4).await;
    let mut versions = hospital.versions();
    versions.sort_unstable();
    assert_eq!(versions, ["4.0.0", "5.0.0"], "{studies:#?}");
    assert!(studies[0]["timeline"].to_string().contains("5.0.0 answers in place of 4.0.0"), "{:#}", studies[0]);

    hospital.sends().await;
    hospital.ended(3).await;
    let after = hospital.status();
    assert_eq!((&after["state"], &after["running"]), (&"north-1".into(), &0.into()));
    let model = &after["models"][0];
    assert_eq!(
        (&model["version"], &model["standing"], &model["answered"]),
        (&"5.0.0".into(), &"active".into(), &2.into())
    );
    assert!(model["median_ms"].as_f64().unwrap() > 0.0 && model["failed"] == 0, "{model}");
    assert_eq!(hospital.site.status()["state"], "north-1");
    let audit = hospital.site.audit();
    assert!(audit.contains("state-tried") && audit.contains("state-activated") && audit.contains("north-1"), "{audit}");

    let serves = hospital.ask(&json!({ "revert": { "state": null } }));
    assert_eq!(serves, json!({ "serves": { "state": null, "restarts": false } }));
    hospital.sends().await;
    hospital.ended(4).await;
    hospital.archive.holds(8).await;
    assert_eq!(hospital.versions().last(), Some(&"4.0.0"));
    let serves = hospital.ask(&json!({ "revert": { "state": "north-1" } }));
    assert_eq!(serves["serves"]["state"], "north-1");
    assert_eq!(hospital.status()["models"][0]["version"], "5.0.0");
    assert_eq!(hospital.ask(&json!({ "revert": { "state": "north-0" } }))["refused"]["code"], "state-not-kept-here");
    assert!(hospital.site.audit().contains("state-reverted"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_does_not_hold_is_missed_and_what_serves_goes_on() {
    let hospital = Hospital::new().await;
    let _daemon = hospital.serve().await;
    let missed = async |offer: &Value, code: &str, told: &str| {
        let trial = hospital.tries(offer).await;
        let fault = &trial["standing"]["missed"];
        assert_eq!(fault["code"], code, "{trial}");
        assert!(fault["reason"].as_str().unwrap().contains(told), "{trial}");
        let refused = hospital.ask(&json!({ "activate": { "state": offer["try"]["state"] } }));
        assert_eq!(refused["refused"]["code"], "state-not-tried", "{refused}");
    };
    missed(&hospital.offer("golden", "6.0.0", "research"), "golden-case-missed", "missed: [20, 217, 189, 232]").await;
    missed(&hospital.offer("unsigned", "5.0.0", "clinical"), "configuration-invalid", "[package-unsigned]").await;

    let mut altered = hospital.offer("altered", "5.0.0", "research");
    altered["try"]["packages"][0]["sha256"] = "00".repeat(32).into();
    missed(&altered, "offer-mismatch", "its SHA-256 is").await;
    let mut renamed = hospital.offer("renamed", "5.0.0", "research");
    renamed["try"]["packages"][0]["name"] = "brain-extraction".into();
    missed(&renamed, "offer-mismatch", "it is `text-detection`").await;
    let mut unknown = hospital.offer("unknown", "5.0.0", "research");
    unknown["try"]["routes"]["neuro"] = json!({ "models": [], "mode": "shadow" });
    missed(&unknown, "configuration-invalid", "there is no route `neuro`").await;

    // As the agent's own checker has it, with the line.
    let own = fs::read_to_string(hospital.site.config()).unwrap().split("[channel]").next().unwrap().to_owned();
    let configuration = hospital.site.folder("offered.toml");
    let with = |state: &str, text: &str| {
        fs::write(&configuration, text).unwrap();
        let mut offer = hospital.offer(state, "5.0.0", "research");
        offer["try"]["configuration"] = configuration.to_str().unwrap().into();
        offer
    };
    let routes = rest(&hospital.archive.address, "");
    let lines = own.lines().count();
    let slip = format!("{own}[log]\nfiltre = \"info\"\n{routes}");
    missed(&with("slip", &slip), "configuration-invalid", &format!("offered.toml:{}:1: log.filtre", lines + 2)).await;
    let foreign = format!("{own}{routes}[channel]\nsocket = \"elsewhere\"\ndirectory = \"channel\"\n");
    missed(&with("foreign", &foreign), "configuration-invalid", "channel: is the box's own").await;
    let other = format!("{own}{routes}").replace("directory = \"spool\"", "directory = \"channel\"");
    missed(&with("spool", &other), "configuration-invalid", "spool.directory: is not the box's own").await;

    assert_eq!(hospital.ask(&json!({ "activate": { "state": "never" } }))["refused"]["code"], "state-not-tried");
    assert_eq!(hospital.ask(&json!("reboot"))["refused"]["code"], "control-request");
    let mut nameless = hospital.offer("../x", "5.0.0", "research");
    nameless["try"]["packages"] = json!([]);
    assert_eq!(hospital.ask(&nameless)["refused"]["code"], "offer-invalid");

    hospital.sends().await;
    hospital.ended(1).await;
    hospital.archive.holds(2).await;
    assert_eq!(hospital.versions(), ["4.0.0"]);
    let audit = hospital.site.audit();
    assert!(
        audit.contains("state-tried") && audit.contains("golden-case-missed") && audit.contains("operation-refused")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_calls_where_results_go_and_what_runs_change_while_the_agent_runs() {
    let hospital = Hospital::new().await;
    let _daemon = hospital.serve().await;
    let other = Archive::open().await;
    let own = fs::read_to_string(hospital.site.config()).unwrap().split("[channel]").next().unwrap().to_owned();
    let text = format!(
        "{own}[[callers]]\nae_title = \"CT1\"\n{}called_ae = [\"SUND_US\"]\n[[routes]]\nname = \"rest\"\nmodels = [\"none\"]\n",
        rest(&other.address, "")
    );
    let configuration = hospital.site.folder("offered.toml");
    fs::write(&configuration, text).unwrap();
    let mut offer = hospital.offer("north-2", "5.0.0", "research");
    offer["try"]["configuration"] = configuration.to_str().unwrap().into();
    assert_eq!(hospital.activates(&offer).await, json!({ "state": "north-2", "restarts": false }));

    let address = hospital.site.status()["node"]["address"].as_str().unwrap().to_owned();
    let node = |calling: &str, called: &str| Peer {
        calling_ae: calling.into(),
        called_ae: called.into(),
        address: address.clone(),
        tls: None,
    };
    let image = || frame().rows(64).in_study(&new_uid(), "1").object();
    send(&node("MODALITY", "SUND"), &[image()], |_, _| {}).await.unwrap_err();
    let stored = |_, sent| assert_eq!(sent, Sent::Stored { status: 0 });
    send(&node("CT1", "SUND_US"), &[image()], stored).await.unwrap();
    let held = other.holds(2).await;
    assert!(held.iter().any(|held| held.says("5.0.0")));
    // The node answers itself, whoever may call it.
    assert_eq!(hospital.status()["node_answers"], true);
    // A route that the state does not name runs nothing.
    send(&node("CT1", "SUND"), &[image()], stored).await.unwrap();
    until("it is not routed", || {
        hospital.site.status()["studies"][0]["timeline"].to_string().contains("no-route").then_some(())
    })
    .await;
    assert_eq!(hospital.archive.count(), 0);
    assert!(!hospital.site.audit().contains("state-lost"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_activated_serves_after_a_power_cut_and_what_asks_for_a_restart_ends_in_order() {
    let hospital = Hospital::new().await;
    let daemon = hospital.serve().await;
    assert_eq!(hospital.activates(&hospital.offer("north-1", "5.0.0", "research")).await["state"], "north-1");
    daemon.signal(Signal::KILL);
    drop(daemon);
    let daemon = hospital.serve().await;
    let status = hospital.status();
    assert_eq!((&status["state"], &status["models"][0]["version"]), (&"north-1".into(), &"5.0.0".into()));

    // Another AE title is another node: the agent ends, and serves it from its next start on.
    let own = fs::read_to_string(hospital.site.config()).unwrap().split("[channel]").next().unwrap().to_owned();
    let text =
        format!("{own}{}", rest(&hospital.archive.address, "")).replace("ae_title = \"SUND\"", "ae_title = \"SUND2\"");
    let configuration = hospital.site.folder("offered.toml");
    fs::write(&configuration, &text).unwrap();
    let mut offer = hospital.offer("north-2", "5.0.0", "research");
    offer["try"]["configuration"] = configuration.to_str().unwrap().into();
    assert_eq!(hospital.activates(&offer).await, json!({ "state": "north-2", "restarts": true }));
    assert_eq!(tokio::task::block_in_place(|| daemon.exit_code()), Some(0));
    let daemon = hospital.serve().await;
    assert_eq!(hospital.site.status()["node"]["ae_title"], "SUND2");
    assert_eq!(hospital.status()["state"], "north-2");

    // The same, cut off between the answer and the end.
    assert_eq!(hospital.ask(&json!({ "revert": { "state": "north-1" } }))["serves"]["restarts"], true);
    daemon.signal(Signal::KILL);
    drop(daemon);
    let daemon = hospital.serve().await;
    assert_eq!(
        (&hospital.site.status()["node"]["ae_title"], &hospital.status()["state"]),
        (&"SUND".into(), &"north-1".into())
    );
    daemon.signal(Signal::TERM);
    assert_eq!(tokio::task::block_in_place(|| daemon.exit_code()), Some(0));

    // Another file in the place of a package: the box's own configuration serves, and everybody is told.
    fs::copy(hospital.package("6.0.0"), hospital.package("5.0.0")).unwrap();
    let daemon = hospital.serve().await;
    let status = hospital.status();
    assert_eq!((&status["state"], &status["models"][0]["version"]), (&Value::Null, &"4.0.0".into()));
    let refused = hospital.ask(&json!({ "activate": { "state": "north-1" } }));
    assert_eq!(refused["refused"]["code"], "state-not-tried", "it does not serve");
    let audit = hospital.site.audit();
    assert!(audit.contains("state-lost") && audit.contains("state-altered"), "{audit}");
    assert!(fs::read_to_string(hospital.site.folder("log")).unwrap().contains("the box's own configuration does"));
    drop(daemon);
    fs::remove_file(hospital.package("5.0.0")).unwrap();
    fs::write(hospital.site.folder("channel/serving.json"), "{").unwrap();
    let _daemon = hospital.serve().await;
    assert_eq!(hospital.status()["models"][0]["version"], "4.0.0");
    assert!(hospital.site.audit().contains("state-record-unreadable"));
    hospital.sends().await;
    hospital.archive.holds(2).await;
}

/// Its configuration holds, and says nothing of whether the port is free.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_state_that_cannot_start_leaves_the_box_its_own_configuration_and_can_be_taken_back() {
    let hospital = Hospital::new().await;
    let daemon = hospital.serve().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = hospital.site.status()["node"]["address"].as_str().unwrap().to_owned();
    let own = fs::read_to_string(hospital.site.config()).unwrap().split("[channel]").next().unwrap().to_owned();
    let line = own.lines().find(|line| line.starts_with("listen")).unwrap();
    let elsewhere = format!("listen = \"{}\"", taken.local_addr().unwrap());
    let text = format!("{}{}", own.replacen(line, &elsewhere, 1), rest(&hospital.archive.address, ""));
    let configuration = hospital.site.folder("offered.toml");
    fs::write(&configuration, text).unwrap();
    let mut offer = hospital.offer("north-1", "5.0.0", "research");
    offer["try"]["configuration"] = configuration.to_str().unwrap().into();
    assert_eq!(hospital.activates(&offer).await, json!({ "state": "north-1", "restarts": true }), "{address}");
    assert_eq!(tokio::task::block_in_place(|| daemon.exit_code()), Some(0));
    let daemon = hospital.serve().await;
    assert_eq!(hospital.status()["state"], Value::Null);
    let audit = hospital.site.audit();
    assert!(audit.contains("state-lost") && audit.contains("port-unavailable"), "{audit}");
    hospital.sends().await;
    hospital.archive.holds(2).await;
    // What cannot start is tried again at each start, until it is taken back.
    assert_eq!(hospital.ask(&json!({ "revert": { "state": null } }))["serves"]["state"], Value::Null);
    drop(daemon);
    drop(taken);
    let _daemon = hospital.serve().await;
    assert_eq!(hospital.status()["state"], Value::Null);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_spool_is_written_as_before_until_the_updater_says_that_the_system_stays() {
    let hospital = Hospital::new().await;
    let daemon = hospital.serve().await;
    let format = hospital.site.folder("spool/format");
    assert!(!format.exists(), "an agent before this one may have to read it");
    for _ in 0..2 {
        assert_eq!(hospital.ask(&json!("committed")), json!({ "committed": { "format": 2 } }));
    }
    assert!(fs::read(&format).unwrap().ends_with(&2_u32.to_le_bytes()));
    drop(daemon);
    let _daemon = hospital.serve().await;
    hospital.sends().await;
    hospital.archive.holds(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_suspended_model_answers_nothing_from_that_moment_on_until_it_is_resumed() {
    let hospital = Hospital::new().await;
    let daemon = hospital.serve().await;
    let workers = one_worker(&daemon).await;
    signals(&workers, Signal::STOP);
    hospital.sends().await;
    until("a job runs", || (hospital.status()["running"] == 1).then_some(())).await;
    let mistyped = hospital.site.sund(&["suspend", "text-detektion", "--reason", "it errs"]);
    assert_eq!(mistyped.status.code(), Some(65));
    let told = String::from_utf8_lossy(&mistyped.stderr).into_owned();
    assert!(told.contains("package-unknown") && told.contains("there are: text-detection"), "{told}");
    let suspended = hospital.site.sund(&["suspend", MODEL, "--reason", "it errs on purpose"]);
    assert!(suspended.status.success(), "{}", String::from_utf8_lossy(&suspended.stderr));
    signals(&workers, Signal::CONT);
    // The job that ran then, and one after it.
    hospital.sends().await;
    for study in hospital.ended(2).await {
        let timeline = study["timeline"].to_string();
        assert!(study["state"] == "failed" && timeline.contains("model-suspended"), "{timeline}");
    }
    let told = hospital.archive.holds(2).await;
    assert!(
        told.iter().all(|held| held.says("it errs on purpose") && held.says("model-suspended")),
        "failure is reported"
    );
    let model = hospital.site.status()["models"][0].take();
    assert!(model["state"] == "suspended" && model["explanation"].as_str().unwrap().contains("it errs on purpose"));
    let metrics = tokio::task::block_in_place(|| hospital.site.metrics());
    assert!(metrics.contains("sund_model_suspended{model=\"text-detection\"} 1"), "{metrics}");
    let status = hospital.status();
    let model = &status["models"][0];
    assert_eq!((&model["standing"], &model["failed"]), (&"suspended".into(), &0.into()));

    // It holds over a restart, and over a state that brings another version.
    drop(daemon);
    let _daemon = tokio::task::block_in_place(|| hospital.site.serve());
    assert_eq!(hospital.status()["models"][0]["standing"], "suspended");
    assert_eq!(hospital.activates(&hospital.offer("north-1", "5.0.0", "research")).await["state"], "north-1");
    assert_eq!(hospital.status()["models"][0]["standing"], "suspended");
    let resumed = hospital.ask(&json!({ "resume": { "package": MODEL } }));
    assert_eq!(resumed, json!({ "suspended": { "package": MODEL, "off": false } }));
    hospital.sends().await;
    hospital.archive.holds(4).await;
    assert_eq!(hospital.versions().last(), Some(&"5.0.0"));
    // By the channel, before the model has come.
    let suspended = hospital.ask(&json!({ "suspend": { "package": "brain-extraction", "reason": "withdrawn" } }));
    assert_eq!(suspended["suspended"]["off"], true, "{suspended}");
    let unclear = hospital.ask(&json!({ "suspend": { "package": MODEL, "reason": " " } }));
    assert_eq!(unclear["refused"]["code"], "suspension-unclear");
    let audit = hospital.site.audit();
    for event in ["model-suspended", "model-resumed", "a person on this box", "the channel", "package-unknown"] {
        assert!(audit.contains(event), "{event} is not in {audit}");
    }
}

/// A package that its vendor has signed is what a route in clinical use takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_signed_package_comes_into_clinical_use_by_the_channel() {
    let hospital = Hospital::new().await;
    let packed = tempfile::tempdir().unwrap();
    let model = tokio::task::block_in_place(|| signed(MODEL, packed.path()));
    let text = fs::read_to_string(hospital.site.config()).unwrap();
    let vendor = model.configured().split("[[models]]").next().unwrap().to_owned();
    fs::write(hospital.site.config(), format!("{text}{vendor}")).unwrap();
    fs::copy(&model.package, hospital.package("signed")).unwrap();
    let _daemon = hospital.serve().await;
    assert_eq!(hospital.activates(&hospital.offer("north-1", "signed", "clinical")).await["state"], "north-1");
    assert_eq!(hospital.site.status()["models"][0]["mode"], "clinical");
}

/// Only root can be somebody else: without it there is nobody to try.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stranger_on_this_box_brings_no_state() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let hospital = Hospital::new().await;
    let _daemon = hospital.serve().await;
    let socket = hospital.site.folder("channel.sock");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    fs::set_permissions(hospital.site.folder(""), fs::Permissions::from_mode(0o755)).unwrap();
    let asks = |group: &str| {
        let client = "import socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n\
                      s.sendall(b'\"status\"\\n')\nprint(s.makefile().read())";
        let who = ["--reuid=65534", &format!("--regid={group}"), "--clear-groups", "python3", "-c", client];
        // Not the Python of somebody's home, which a stranger may not enter.
        let asked = Command::new("setpriv").args(who).arg(&socket).env("PATH", "/usr/bin:/bin").output();
        let asked = asked.expect("setpriv, of util-linux");
        (asked.status.success(), String::from_utf8_lossy(&asked.stdout).into_owned())
    };
    assert!(!asks("65534").0, "the socket's mode keeps who is not of its group");
    let (_, answer) = asks("0");
    assert!(answer.contains("channel-stranger") && answer.contains("65534"), "{answer}");
    assert!(hospital.site.audit().contains("channel-stranger"));
}
