//! The daemon, as systemd and an administrator meet it.
use crate::association::raw::Raw;
use crate::hospital::{Archive, frame, new_uid, signed, until};
use dicom_core::VR;
use dicom_dictionary_std::tags;
use dicom_dictionary_std::uids;
use serde_json::Value;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use sund_agent::association::{Peer, Sent, send};
use sund_agent::fault::{Blame, Fault};
use sund_agent::recall::Order;
use sund_agent::spool::{Batch, Spool, SpoolOptions, Table};

const SUND: &str = env!("CARGO_BIN_EXE_sund");
/// A daemon that says nothing for this long has missed its step.
const PATIENCE: Duration = Duration::from_secs(30);

/// A folder with a configuration on loopback, and systemd's end of the notify socket.
pub struct Site {
    folder: tempfile::TempDir,
    /// What systemd has been told. It is read as it comes, as systemd does: a full socket would hold up the daemon.
    told: mpsc::Receiver<String>,
}

impl Site {
    pub fn new(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["spool", "audit"] {
            fs::create_dir(at(name)).unwrap();
        }
        for name in ["uid.key", "audit.key"] {
            fs::write(at(name), "5a".repeat(32)).unwrap();
            fs::set_permissions(at(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
        let text = format!(
            "[node]\nae_title = \"SUND\"\nlisten = \"127.0.0.1:0\"\n[console]\nlisten = \"127.0.0.1:0\"\n\
             [spool]\ndirectory = \"spool\"\nsegment = \"1MiB\"\n[identity]\nuid_key_file = \"uid.key\"\n\
             [audit]\ndirectory = \"audit\"\nkey_file = \"audit.key\"\n{more}"
        );
        fs::write(at("sund.toml"), text).unwrap();
        let systemd = UnixDatagram::bind(at("notify.sock")).unwrap();
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length) = systemd.recv(&mut buffer) {
                if tell.send(String::from_utf8_lossy(&buffer[..length]).into_owned()).is_err() {
                    return;
                }
            }
        });
        Self { folder, told }
    }

    pub fn folder(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn config(&self) -> PathBuf {
        self.folder.path().join("sund.toml")
    }

    /// Starts the daemon, and waits until it says that it serves.
    pub fn serve(&self) -> Daemon {
        self.serve_in(&[])
    }

    /// The same, with these variables in its environment.
    pub fn serve_in(&self, environment: &[(&str, &Path)]) -> Daemon {
        let daemon = self.starts(environment);
        self.hears("READY=1");
        daemon
    }

    /// Starts it, and waits for nothing.
    fn starts(&self, environment: &[(&str, &Path)]) -> Daemon {
        let mut command = Command::new(SUND);
        command.envs(environment.iter().copied());
        command.args(["serve", "--config"]).arg(self.config());
        command.env("NOTIFY_SOCKET", self.folder.path().join("notify.sock")).env("WATCHDOG_USEC", "200000");
        let log = fs::File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Daemon(child)
    }

    /// What was told until now is forgotten.
    fn heard(&self) {
        while self.told.try_recv().is_ok() {}
    }

    /// Waits until the daemon has told systemd this; all that it told with it.
    pub fn hears(&self, what: &str) -> String {
        loop {
            let told = self.told.recv_timeout(PATIENCE).unwrap_or_else(|error| {
                let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                panic!("{what} did not come: {error}; the daemon said: {log}")
            });
            if told.contains(what) {
                return told;
            }
        }
    }

    pub fn sund(&self, arguments: &[&str]) -> Output {
        Command::new(SUND).args(arguments).arg("--config").arg(self.config()).output().unwrap()
    }

    pub fn status(&self) -> Value {
        let output = self.sund(&["status", "--json"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Where the console of the daemon listens that was started last.
    pub fn console(&self) -> String {
        let log = fs::read_to_string(self.folder("log")).unwrap();
        log.rsplit("console=").next().unwrap().split_whitespace().next().unwrap().to_owned()
    }

    pub fn metrics(&self) -> String {
        let address = self.console();
        let mut stream = TcpStream::connect(&address).unwrap();
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    pub fn audit(&self) -> String {
        let files = fs::read_dir(self.folder.path().join("audit")).unwrap();
        let files = files.map(|file| file.unwrap().path());
        // Beside the log lies how far it was collected.
        let mut paths: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|it| it == "jsonl")).collect();
        paths.sort();
        paths.iter().filter_map(|path| fs::read_to_string(path).ok()).collect()
    }
}

/// A daemon that runs; killed where a test gives up.
pub struct Daemon(Child);

impl Daemon {
    pub fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.0)
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(self.pid(), signal).unwrap();
    }

    pub fn exit_code(mut self) -> Option<i32> {
        self.0.wait().unwrap().code()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Fails only where it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Mended at the archive, what it refused is sent again when a person says so; what a newer result replaced is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_given_up_is_queued_again_on_demand_and_the_audit_log_says_so() {
    let archive = Archive::open().await;
    archive.refuse(Some(Fault::new("patient-unknown", Blame::Peer, "we know no such patient")));
    let site = Site::new(&crate::crash::configuration(&archive.address));
    let _daemon = tokio::task::block_in_place(|| site.serve());
    let counts = || {
        let archive = &site.status()["destinations"][0];
        ["waiting", "delivered", "dead"].map(|count| archive[count].as_u64().unwrap())
    };
    let address = site.status()["node"]["address"].as_str().unwrap().to_owned();
    let node = Peer { calling_ae: "MODALITY".into(), called_ae: "SUND".into(), address, tls: None };
    let image = frame().rows(64).in_study(&new_uid(), "1");
    let stored = |_, sent| assert_eq!(sent, Sent::Stored { status: 0 });
    send(&node, &[image.object()], stored).await.unwrap();
    until("its results are given up", || (counts() == [0, 0, 2]).then_some(())).await;
    // The same under another name: the results under the old one never go.
    send(&node, &[image.with(tags::PATIENT_NAME, VR::PN, b"Another^Name").object()], stored).await.unwrap();
    let given_up = || site.status()["studies"][0]["timeline"].to_string().matches("delivery-dead").count();
    until("those under the new name are given up", || (given_up() == 4).then_some(())).await;
    assert_eq!(counts(), [0, 0, 2], "those under the old name are superseded");

    let unknown = site.sund(&["requeue", "archiv"]);
    assert_eq!(unknown.status.code(), Some(65));
    assert!(stderr(&unknown).contains("destination-unknown"), "{}", stderr(&unknown));
    assert!(site.audit().contains("operation-refused") && site.audit().contains("destination-unknown"));
    archive.refuse(None);
    let requeued = site.sund(&["requeue", "archive"]);
    assert_eq!(String::from_utf8_lossy(&requeued.stdout), "queued again: 2 results\n", "{}", stderr(&requeued));
    let held = archive.holds(2).await;
    assert!(held.iter().all(|held| held.text(tags::PATIENT_NAME) == "Another^Name"));
    until("all is recorded", || (counts() == [0, 2, 0]).then_some(())).await;
    assert!(site.audit().contains("results-requeued"));
    let none = site.sund(&["requeue"]);
    assert_eq!(String::from_utf8_lossy(&none.stdout), "queued again: 0 results\n");
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn it_says_that_it_serves_lives_and_drains_and_the_audit_log_has_it() {
    let site = Site::new("");
    let daemon = site.serve();
    site.hears("WATCHDOG=1");
    let status = site.status();
    assert_eq!(status["node"]["ae_title"], "SUND");
    assert_eq!(status["draining"], false);
    let text = String::from_utf8(site.sund(&["status"]).stdout).unwrap();
    assert!(text.contains("serving") && text.contains("SUND on 127.0.0.1:"), "{text}");
    assert!(text.contains(" MiB of 64.0 GiB, 0 instances"), "{text}");
    daemon.signal(rustix::process::Signal::TERM);
    site.hears("STOPPING=1");
    assert_eq!(daemon.exit_code(), Some(0));
    let audit = site.audit();
    for event in ["agent-started", "configuration-loaded", "agent-stopped"] {
        assert!(audit.contains(event), "{event} is not in the audit log:\n{audit}");
    }
}

/// systemd ends a start that takes longer than its unit says; one that gets on asks for more before it serves.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_start_that_reads_a_spool_asks_for_more_time_before_it_serves() {
    let site = Site::new("[study]\ncomplete_on_association_end = true\n");
    let daemon = tokio::task::block_in_place(|| site.serve());
    let address = site.status()["node"]["address"].as_str().unwrap().to_owned();
    let node = Peer { calling_ae: "MODALITY".into(), called_ae: "SUND".into(), address, tls: None };
    let (image, study) = (frame().rows(64), new_uid());
    let objects: Vec<_> = (0..100).map(|n| image.clone().in_study(&study, &n.to_string()).object()).collect();
    send(&node, &objects, |_, sent| assert_eq!(sent, Sent::Stored { status: 0 })).await.unwrap();
    daemon.signal(rustix::process::Signal::TERM);
    assert_eq!(tokio::task::block_in_place(|| daemon.exit_code()), Some(0));
    site.heard();
    let _daemon = tokio::task::block_in_place(|| site.starts(&[]));
    // In this order: who serves needs no more time.
    site.hears("EXTEND_TIMEOUT_USEC=60000000");
    site.hears("READY=1");
    assert_eq!(site.status()["spool"]["instances"], 100);
}

/// A recall is finished before anybody is served: it may be one of very many studies.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_start_that_finishes_a_recall_asks_for_more_time_before_it_serves() {
    let site = Site::new("");
    let options = SpoolOptions { segment_bytes: 1 << 20, ..SpoolOptions::in_directory(site.folder("spool")) };
    let spool = Spool::open(options).unwrap();
    let order = Order::now("text-detection".parse().unwrap(), "boxes are shifted".parse().unwrap());
    let mut batch = Batch::new();
    batch.put(Table::Meta, &order.key(), &order, None).unwrap();
    spool.write_blocking(batch).unwrap();
    spool.close();
    let _daemon = tokio::task::block_in_place(|| site.starts(&[]));
    let told = site.hears("STATUS=finishing a recall that was cut off");
    assert!(told.contains("EXTEND_TIMEOUT_USEC=60000000"), "{told}");
    site.hears("READY=1");
    let log = fs::read_to_string(site.folder("log")).unwrap();
    assert!(log.contains("a recall that was cut off is done"), "{log}");
}

#[test]
fn a_second_agent_on_the_same_spool_is_refused_and_the_first_goes_on() {
    let site = Site::new("");
    let _daemon = site.serve();
    let second = site.sund(&["serve"]);
    assert_eq!(second.status.code(), Some(69), "{}", stderr(&second));
    assert!(stderr(&second).contains("spool-held"), "{}", stderr(&second));
    assert_eq!(site.status()["draining"], false);
}

/// A worker that an agent was starting when it was killed has all open that the agent had, until its program begins.
#[test]
fn an_agent_waits_for_the_lock_that_one_that_was_killed_has_left_to_its_worker() {
    let site = Site::new("");
    let daemon = site.serve();
    daemon.signal(rustix::process::Signal::KILL);
    drop(daemon);
    site.heard();
    let lock = fs::File::open(site.folder("spool/lock")).unwrap();
    // One that was being started when the agent was killed may really have it, for an instant.
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let daemon = site.starts(&[]);
    let let_go = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(500));
        drop(lock);
    });
    site.hears("READY=1");
    let_go.join().unwrap();
    drop(daemon);
}

#[test]
fn a_port_that_is_taken_is_named_and_nothing_is_left_behind() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let site = Site::new("");
    let text = fs::read_to_string(site.config()).unwrap();
    for section in ["node", "console"] {
        let (before, after) = text.split_once(&format!("[{section}]")).unwrap();
        let on_taken = format!("{before}[{section}]{}", after.replacen("127.0.0.1:0", &address, 1));
        fs::write(site.config(), on_taken).unwrap();
        let refused = site.sund(&["serve"]);
        assert_eq!(refused.status.code(), Some(69), "{}", stderr(&refused));
        let told = format!("{address} ({section}.listen) cannot be listened on");
        assert!(stderr(&refused).contains(&told) && stderr(&refused).contains("port-unavailable"), "{refused:?}");
        let audit = site.audit();
        assert!(audit.contains(&told) && !audit.contains("agent-started"), "{audit}");
    }
    let failed_starts = site.audit().lines().filter(|line| line.contains("agent-not-started")).count();
    assert_eq!(failed_starts, 2, "{}", site.audit());
    fs::write(site.config(), text).unwrap();
    let _daemon = site.serve();
}

#[test]
fn a_configuration_that_is_wrong_is_told_line_by_line_and_nothing_starts() {
    let site = Site::new("[log]\nfiltre = \"info\"\n");
    for command in ["serve", "check-config"] {
        let output = site.sund(&[command]);
        assert_eq!(output.status.code(), Some(64));
        let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), stderr(&output));
        assert!(told.contains(":15:1: log.filtre") && told.contains("did you mean `filter`?"), "{told}");
    }
    assert!(!site.folder.path().join("spool/control.sock").exists());
}

/// A package that was damaged on its way serves nobody: the daemon says which one, and does not start without it.
#[test]
fn a_corrupt_package_is_named_and_nothing_starts() {
    let site = Site::new("[[models]]\npackage = \"text-detection\"\n");
    crate::hospital::copy_of("text-detection", &site.folder("text-detection"));
    let mut network = fs::read(site.folder("text-detection/detect.onnx")).unwrap();
    let middle = network.len() / 2;
    network[middle] ^= 1;
    fs::write(site.folder("text-detection/detect.onnx"), network).unwrap();
    for command in ["serve", "check-config"] {
        let output = site.sund(&[command]);
        assert_eq!(output.status.code(), Some(64));
        let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), stderr(&output));
        assert!(told.contains("models.package") && told.contains("package-altered"), "{told}");
        assert!(told.contains("detect.onnx"), "{told}");
    }
    assert!(!site.folder("spool/control.sock").exists());
}

#[test]
fn without_an_agent_status_says_so() {
    let site = Site::new("");
    let output = site.sund(&["status"]);
    assert_eq!(output.status.code(), Some(69));
    assert!(stderr(&output).contains("agent-away"), "{}", stderr(&output));
    assert_eq!(
        Command::new(SUND).args(["status", "--config", "nowhere.toml"]).output().unwrap().status.code(),
        Some(64)
    );
}

#[test]
fn a_study_is_erased_on_demand_and_the_audit_log_says_so() {
    let site = Site::new("");
    let _daemon = site.serve();
    let address = site.status()["node"]["address"].as_str().unwrap().to_owned();
    let image = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/models/text-detection/golden/ultrasound");
    let (host, port) = address.split_once(':').unwrap();
    let sent = Command::new("storescu")
        .args(["-xy", "-aec", "SUND", "+sd", "+r", host, port])
        .arg(&image)
        .output()
        .expect("storescu, from Debian's dcmtk");
    assert!(sent.status.success(), "{}", stderr(&sent));
    assert_eq!(site.status()["spool"]["instances"], 1);
    let file = fs::read_dir(&image).unwrap().next().unwrap().unwrap().path();
    let study = sund_agent::dataset::part10::read_file(&file).unwrap();
    let study = study.header.text(tags::STUDY_INSTANCE_UID).unwrap();
    let erased = site.sund(&["erase", &study]);
    assert!(erased.status.success(), "{}", stderr(&erased));
    assert_eq!(site.status()["spool"]["instances"], 0);
    assert!(site.audit().contains("study-erased") && !site.audit().contains(&study));
    assert_eq!(site.sund(&["erase", &study]).status.code(), Some(65));
    let audit = site.audit();
    assert!(audit.contains("operation-refused") && audit.contains("study-unknown"), "{audit}");
    assert!(!audit.contains(&study), "{audit}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_without_a_model_rests_in_less_than_60_mb_also_after_300_instances() {
    const MOST: u64 = 60_000_000;
    let site = Site::new("[study]\ncomplete_on_association_end = true\n");
    let daemon = tokio::task::block_in_place(|| site.serve());
    let status = site.status();
    assert_eq!(status["queue"], serde_json::json!([]));
    let started = resident(daemon.pid().as_raw_nonzero().get()).unwrap();
    assert!(started < MOST, "{started} bytes after the start");

    let address = status["node"]["address"].as_str().unwrap().to_owned();
    let node = Peer { calling_ae: "MODALITY".into(), called_ae: "SUND".into(), address, tls: None };
    let (image, study) = (frame().rows(64), new_uid());
    let objects: Vec<_> = (0..300).map(|n| image.clone().in_study(&study, &n.to_string()).object()).collect();
    let stored = |_, sent| assert_eq!(sent, Sent::Stored { status: 0 });
    send(&node, &objects, stored).await.unwrap();
    until("the study is complete", || {
        let status = site.status();
        let routed = status["studies"][0]["timeline"].to_string().contains("routed");
        (routed && status["node"]["associations"] == 0).then_some(())
    })
    .await;
    assert_eq!(site.status()["studies"][0]["instances"], 300);
    let rested = resident(daemon.pid().as_raw_nonzero().get()).unwrap();
    assert!(rested < MOST, "{rested} bytes after 300 instances");
}

/// Bytes that are resident of a process and of all that it started; none of one that has ended.
fn resident(process: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let value = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = value.trim().strip_suffix(" kB").unwrap().trim().parse().unwrap();
    let threads = fs::read_dir(format!("/proc/{process}/task")).ok()?;
    // A thread may end meanwhile, and so may what it started.
    let children = threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let children: String = children.collect();
    let of_children = children.split_whitespace().filter_map(|child| resident(child.parse().unwrap()));
    Some(1024 * kilobytes + of_children.sum::<u64>())
}

#[test]
fn one_span_holds_all_that_is_done_for_a_study_and_names_no_patient() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/models/text-detection");
    let packed = tempfile::tempdir().unwrap();
    let site = Site::new(&format!(
        "[study]\ncomplete_on_association_end = true\n[log]\nformat = \"json\"\n{}\
         [[routes]]\nname = \"all\"\nmodels = [\"text-detection\"]\n",
        signed("text-detection", packed.path()).configured()
    ));
    let _daemon = site.serve();
    let address = site.status()["node"]["address"].as_str().unwrap().to_owned();
    let (host, port) = address.split_once(':').unwrap();
    let image = folder.join("golden/ultrasound/frame.dcm");
    let sent = Command::new("storescu").args(["-xy", "-aec", "SUND", host, port]).arg(&image).output();
    assert!(sent.expect("storescu, from Debian's dcmtk").status.success());
    let begun = std::time::Instant::now();
    let log = loop {
        let log = fs::read_to_string(site.folder("log")).unwrap();
        if log.contains("a job ended") {
            break log;
        }
        assert!(begun.elapsed() < 2 * PATIENCE, "no job ended: {log}");
        std::thread::yield_now();
    };
    let events: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let id = site.status()["studies"][0]["id"].as_str().unwrap().to_owned();
    for message in ["a study is complete", "a job runs", "a job ended"] {
        let event = events.iter().find(|event| event["fields"]["message"] == message);
        let event = event.unwrap_or_else(|| panic!("{message} is not in the log: {log}"));
        assert_eq!((&event["spans"][0]["name"], &event["spans"][0]["id"]), (&"study".into(), &id.as_str().into()));
    }
    let header = sund_agent::dataset::part10::read_file(&image).unwrap().header;
    for tag in [tags::PATIENT_ID, tags::STUDY_INSTANCE_UID] {
        assert!(!log.contains(&header.text(tag).unwrap()), "a patient in the log: {log}");
    }
}

#[test]
fn while_it_drains_whoever_asks_is_told_so() {
    let site = Site::new("");
    let daemon = site.serve();
    let address = site.status()["node"]["address"].as_str().unwrap().parse().unwrap();
    let (mut sender, _) = Raw::associate(address, &[(uids::VERIFICATION, uids::IMPLICIT_VR_LITTLE_ENDIAN)]);
    daemon.signal(rustix::process::Signal::TERM);
    site.hears("STOPPING=1");
    // The association is still there: it may end what it has begun.
    while site.status()["draining"] != true {}
    sender.release();
    drop(sender);
    assert_eq!(daemon.exit_code(), Some(0));
}

#[test]
fn the_audit_log_is_checked_and_read_and_its_identifiers_open_with_the_key_alone() {
    let site = Site::new("");
    let daemon = site.serve();
    let address = site.status()["node"]["address"].as_str().unwrap().to_owned();
    let (host, port) = address.split_once(':').unwrap();
    let image = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/models/text-detection/golden/ultrasound/frame.dcm");
    let sent = Command::new("storescu").args(["-xy", "-aec", "SUND", host, port]).arg(&image).output();
    assert!(sent.expect("storescu, from Debian's dcmtk").status.success());
    daemon.signal(rustix::process::Signal::TERM);
    assert_eq!(daemon.exit_code(), Some(0));

    let verified = site.sund(&["audit", "verify"]);
    let told = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(verified.status.success() && told.starts_with("the chain holds: "), "{told}{}", stderr(&verified));
    let study = sund_agent::dataset::part10::read_file(&image).unwrap().header.text(tags::STUDY_INSTANCE_UID).unwrap();
    let shown = |arguments: &[&str]| String::from_utf8(site.sund(arguments).stdout).unwrap();
    assert!(!shown(&["audit", "show"]).contains(&study));
    let opened = shown(&["audit", "show", "--identifiers"]);
    assert!(opened.contains(&study) && opened.contains("instances-stored"), "{opened}");

    let file = fs::read_dir(site.folder("audit")).unwrap().map(|file| file.unwrap().path());
    let file = file.filter(|path| path.extension().is_some_and(|extension| extension == "jsonl")).min().unwrap();
    let edited = fs::read_to_string(&file).unwrap().replacen("agent-started", "agent-stopped", 1);
    fs::write(&file, edited).unwrap();
    let refused = site.sund(&["audit", "verify"]);
    assert!(!refused.status.success() && stderr(&refused).contains("audit-chain-broken"), "{}", stderr(&refused));
}

#[test]
fn the_master_key_can_lie_elsewhere_and_another_one_opens_nothing() {
    let site = Site::new("");
    let text = fs::read_to_string(site.config()).unwrap();
    let with_key = text.replacen("[spool]\n", "[spool]\nmaster_key_file = \"spool.key\"\n", 1);
    fs::write(site.config(), with_key).unwrap();
    let missing = site.sund(&["check-config"]);
    let told = String::from_utf8_lossy(&missing.stdout).into_owned();
    assert!(missing.status.code() == Some(64) && told.contains("openssl rand -hex 32"), "{told}");
    let key = |digits: &str| {
        fs::write(site.folder("spool.key"), digits.repeat(32)).unwrap();
        fs::set_permissions(site.folder("spool.key"), fs::Permissions::from_mode(0o600)).unwrap();
    };
    key("3c");
    let daemon = site.serve();
    assert!(!site.folder("spool").join("master.key").exists());
    daemon.signal(rustix::process::Signal::TERM);
    assert_eq!(daemon.exit_code(), Some(0));
    key("3d");
    let refused = site.sund(&["serve"]);
    assert!(stderr(&refused).contains("spool-wrong-master-key"), "{}", stderr(&refused));
    let audit = site.audit();
    assert!(audit.contains("agent-not-started") && audit.contains("spool-wrong-master-key"), "{audit}");
}
