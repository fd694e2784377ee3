//! The audit log reaches a real rsyslog over TLS: whole and in order, also where that is killed again and again; and nobody else. What the
//! agent warns of goes with it.
use crate::hospital::until;
use crate::serve::Site;
use base64::Engine as _;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::Value;
use std::collections::HashSet;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use sund_agent::association::{Peer, echo};

/// What a message is that is no audit event.
const RECORD: &str = " sund - SUND-LOG-1 ";

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A collector's place: its port, its certificate, what it has collected. rsyslog comes and goes.
struct Collector {
    folder: PathBuf,
    port: u16,
    driver: &'static str,
}

impl Collector {
    fn new(folder: &Path, driver: &'static str, authority: &CertifiedIssuer<'static, KeyPair>) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["localhost".into()]).unwrap().signed_by(&key, authority).unwrap();
        fs::create_dir(folder).unwrap();
        fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
        fs::write(folder.join("log.pem"), certificate.pem()).unwrap();
        fs::write(folder.join("log.key"), key.serialize_pem()).unwrap();
        // Free now; it is taken by each rsyslog in turn.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { folder: folder.to_owned(), port, driver }
    }

    /// rsyslog, which writes what it has read before it reads on.
    fn starts(&self) -> Rsyslog {
        let at = |name: &str| self.folder.join(name).display().to_string();
        let (driver, port) = (self.driver, self.port);
        let text = format!(
            "global(workDirectory=\"{}\" maxMessageSize=\"256k\" DefaultNetstreamDriver=\"{driver}\"\n\
             DefaultNetstreamDriverCAFile=\"{}\" DefaultNetstreamDriverCertFile=\"{}\" DefaultNetstreamDriverKeyFile=\"{}\")\n\
             main_queue(queue.type=\"Direct\")\n\
             module(load=\"imtcp\" StreamDriver.Name=\"{driver}\" StreamDriver.Mode=\"1\" StreamDriver.AuthMode=\"anon\")\n\
             input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\")\n\
             template(name=\"raw\" type=\"list\") {{ property(name=\"rawmsg\") constant(value=\"\\n\") }}\n\
             action(type=\"omfile\" file=\"{}\" template=\"raw\")\n",
            self.folder.display(),
            at("ca.pem"),
            at("log.pem"),
            at("log.key"),
            at("collected"),
        );
        fs::write(self.folder.join("rsyslog.conf"), text).unwrap();
        let log = fs::File::options().create(true).append(true).open(self.folder.join("rsyslog.log")).unwrap();
        let mut command = Command::new("/usr/sbin/rsyslogd");
        command.args(["-n", "-f", &at("rsyslog.conf"), "-i", &at("rsyslog.pid")]);
        let child = command.stdout(Stdio::null()).stderr(log).spawn().expect("rsyslog, with its TLS drivers");
        Rsyslog(child)
    }

    /// Lines of the audit log.
    fn lines(&self) -> Vec<String> {
        self.collected(|line| !line.contains(RECORD))
    }

    /// Warnings and errors of the agent's own log.
    fn records(&self) -> Vec<String> {
        self.collected(|line| line.contains(RECORD))
    }

    fn collected(&self, is_one: impl Fn(&str) -> bool) -> Vec<String> {
        let text = fs::read_to_string(self.folder.join("collected")).unwrap_or_default();
        // The last line may be one that a kill cut short.
        let whole = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        whole.filter(|line| is_one(line)).map(str::to_owned).collect()
    }

    fn configuration(&self, more: &str) -> String {
        let authorities = self.folder.join("ca.pem").display().to_string();
        format!(
            "[forward]\ncollector = \"localhost:{}\"\nserver_name = \"localhost\"\nauthorities = \"{authorities}\"\n{more}",
            self.port
        )
    }
}

struct Rsyslog(Child);

impl Drop for Rsyslog {
    /// SIGKILL: it ends wherever it is.
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn peer(site: &Site) -> Peer {
    let address = site.status()["node"]["address"].as_str().unwrap().to_owned();
    Peer { calling_ae: "MODALITY".into(), called_ae: "SUND".into(), address, tls: None }
}

fn collected_by(site: &Site, what: &str) -> u64 {
    site.status()["forward"][what].as_u64().unwrap_or(u64::MAX)
}

/// What was collected is the log: each line at least once, first times in order.
fn assert_whole(site: &Site, lines: &[String], line: impl Fn(&str) -> String) {
    let log = site.audit();
    let mut log = log.lines();
    let mut next = 0;
    for text in lines {
        let found = line(text);
        let seq = serde_json::from_str::<Value>(&found).unwrap()["seq"].as_u64().unwrap();
        assert!(seq <= next, "{seq} came before {next}");
        if seq == next {
            assert_eq!(Some(found.as_str()), log.next(), "as it stands in the log");
            next += 1;
        }
    }
    assert_eq!(log.next(), None, "all of it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_collector_that_is_killed_again_and_again_loses_nothing_and_gets_it_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let collector = Collector::new(&folder.path().join("collector"), "gtls", &authority());
    let site = Site::new(&collector.configuration("format = \"json\"\n"));
    let _daemon = tokio::task::block_in_place(|| site.serve());
    let peer = tokio::task::block_in_place(|| peer(&site));
    let blocking = |what: &str| tokio::task::block_in_place(|| collected_by(&site, what));
    // Nobody collects yet: the node answers all the same.
    for _ in 0..20 {
        echo(&peer).await.unwrap();
    }
    let trouble = || tokio::task::block_in_place(|| site.status()["forward"]["trouble"].as_str().map(str::to_owned));
    assert!(until("it is told", trouble).await.contains("[collector-away]"));
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let calling = async {
        while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
            echo(&peer).await.unwrap();
            // A busy node, and not one that is flooded.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let killing = async {
        for round in 0..5_u64 {
            let before = collector.lines().len();
            let rsyslog = collector.starts();
            until("something comes", || (collector.lines().len() > before).then_some(())).await;
            tokio::time::sleep(Duration::from_millis(37 * round)).await;
            drop(rsyslog);
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    };
    tokio::join!(calling, killing);
    let _rsyslog = collector.starts();
    let json = |text: &str| text[text.find('{').unwrap()..].to_owned();
    let last = || collector.lines().last().map(|text| json(text));
    until("all is collected", || (last().as_deref() == site.audit().lines().last()).then_some(())).await;
    until("it is told", || (blocking("waiting") == 0).then_some(())).await;
    assert!(blocking("collected") > 100);
    tokio::task::block_in_place(|| assert_whole(&site, &collector.lines(), json));
    assert!(
        collector.lines().iter().all(|line| line.starts_with("<8") && line.contains(" sund - SUND-AUDIT-1 [origin "))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_is_the_audit_message_of_ps3_15_and_goes_on_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let collector = Collector::new(&folder.path().join("collector"), "ossl", &authority());
    let site = Site::new(&collector.configuration(""));
    let _rsyslog = collector.starts();
    for _ in 0..2 {
        let daemon = tokio::task::block_in_place(|| site.serve());
        let peer = tokio::task::block_in_place(|| peer(&site));
        echo(&peer).await.unwrap();
        let is_told = || tokio::task::block_in_place(|| collected_by(&site, "waiting")) == 0;
        until("all is collected", || is_told().then_some(())).await;
        daemon.signal(rustix::process::Signal::TERM);
        assert_eq!(tokio::task::block_in_place(|| daemon.exit_code()), Some(0));
    }
    let _daemon = tokio::task::block_in_place(|| site.serve());
    // What is under way at an end is sent again: at least once.
    let is_told = || tokio::task::block_in_place(|| collected_by(&site, "waiting")) == 0;
    until("all is collected", || is_told().then_some(())).await;
    let line = |text: &str| {
        let (_, behind) = text.split_once("type=\"json\" value=\"").unwrap();
        let bytes = base64::engine::general_purpose::STANDARD.decode(behind.split('"').next().unwrap()).unwrap();
        String::from_utf8(bytes).unwrap()
    };
    assert_whole(&site, &collector.lines(), line);
    // Each is a document, as somebody else's parser sees it.
    for text in collector.lines() {
        let (head, document) = text.split_once("\u{feff}").unwrap();
        assert!(head.contains(" DICOM+RFC3881 "), "{head}");
        fs::write(folder.path().join("message.xml"), document).unwrap();
        let script = "import sys, xml.etree.ElementTree as e; r = e.parse(sys.argv[1]).getroot(); \
                      assert [c.tag for c in r][:1] == ['EventIdentification'] and r.tag == 'AuditMessage'";
        let parsed = Command::new("python3").args(["-c", script]).arg(folder.path().join("message.xml")).output();
        assert!(parsed.unwrap().status.success(), "{document}");
    }
    assert!(
        collector
            .lines()
            .iter()
            .any(|text| text.contains("csd-code=\"110126\"") && text.contains("UserID=\"MODALITY\""))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_collector_of_another_authority_gets_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let collector = Collector::new(&folder.path().join("collector"), "gtls", &authority());
    let site = Site::new(&collector.configuration(""));
    fs::write(collector.folder.join("ca.pem"), authority().pem()).unwrap();
    let _rsyslog = collector.starts();
    let _daemon = tokio::task::block_in_place(|| site.serve());
    let told = || tokio::task::block_in_place(|| site.status()["forward"]["trouble"].as_str().map(str::to_owned));
    until("it is told", || told().filter(|told| told.contains("[collector-tls]"))).await;
    assert_eq!(tokio::task::block_in_place(|| collected_by(&site, "collected")), 0);
    assert!(collector.lines().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_collector_that_is_away_stands_in_the_log_once_however_often_it_is_tried_and_once_more_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let collector = Collector::new(&folder.path().join("collector"), "ossl", &authority());
    let site = Site::new(&collector.configuration(""));
    // Hangs up on whoever calls.
    let away = TcpListener::bind(("127.0.0.1", collector.port)).unwrap();
    let _daemon = tokio::task::block_in_place(|| site.serve());
    tokio::task::block_in_place(|| away.incoming().take(3).for_each(|call| drop(call.unwrap())));
    drop(away);
    let _rsyslog = collector.starts();
    let log = || fs::read_to_string(site.folder("log")).unwrap();
    until("it is told", || log().contains("the audit log is collected again").then_some(())).await;
    assert_eq!(log().matches("the audit log is not collected").count(), 1, "{}", log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_the_updater_refused_reaches_the_collector() {
    let folder = tempfile::tempdir().unwrap();
    let collector = Collector::new(&folder.path().join("collector"), "ossl", &authority());
    let site = crate::channel::trail::site(&collector.configuration(""));
    let _rsyslog = collector.starts();
    let _daemon = tokio::task::block_in_place(|| site.serve());
    let asks = || crate::channel::trail::asks(&site, &crate::channel::trail::golden());
    assert_eq!(tokio::task::block_in_place(asks)["audited"]["seq"], 42);
    let refused = |line: &String| line.contains("[signature-forged]") && line.contains("sund-updater run");
    let line = until("it is collected", || collector.lines().into_iter().find(refused)).await;
    // A warning of facility 10, with the time at which it happened.
    assert!(line.starts_with("<84>1 2026-11-29T17:00:00.123Z "), "{line}");
    assert!(line.contains("csd-code=\"updater\"") && line.contains("EventOutcomeIndicator=\"4\""), "{line}");
}

/// Refused by an AE title that nobody has here: of each the log warns.
async fn is_refused(site: &Site, times: usize) {
    let peer = Peer { called_ae: "NOBODY".into(), ..tokio::task::block_in_place(|| peer(site)) };
    for _ in 0..times {
        assert!(echo(&peer).await.is_err());
    }
}

fn refusals(records: &[String]) -> usize {
    records.iter().filter(|record| record.contains("\"an association was rejected\"")).count()
}

/// A box whose agent dies, whose collector comes late, and whose administrator wants to read nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_the_log_warns_of_waits_for_the_collector_over_a_kill_and_whatever_the_filter_leaves_out() {
    let folder = tempfile::tempdir().unwrap();
    let collector = Collector::new(&folder.path().join("collector"), "gtls", &authority());
    let site = Site::new(&collector.configuration("[log]\nfilter = \"off\"\n"));
    let daemon = tokio::task::block_in_place(|| site.serve());
    is_refused(&site, 3).await;
    daemon.signal(rustix::process::Signal::KILL);
    drop(daemon);
    assert_eq!(fs::read_to_string(site.folder("log")).unwrap(), "");
    let _daemon = tokio::task::block_in_place(|| site.serve());
    is_refused(&site, 2).await;
    let _rsyslog = collector.starts();
    until("they are collected", || (refusals(&collector.records()) == 5).then_some(())).await;
    // Once a record is there it goes at once, also where nothing is audited.
    let kept = || fs::read_dir(site.folder("audit").join("log")).unwrap().count();
    until("nothing is kept any more", || (kept() == 0).then_some(())).await;
    for record in collector.records() {
        let (head, line) = record.split_once('\u{feff}').unwrap();
        // Facility 3, a warning or an error.
        assert!((head.starts_with("<28>1 20") || head.starts_with("<27>1 20")) && head.contains(RECORD), "{head}");
        let json: Value = serde_json::from_str(line).unwrap();
        assert!(json["level"] == "WARN" || json["level"] == "ERROR", "{line}");
        assert_eq!(json["timestamp"], head.split(' ').nth(1).unwrap());
    }
    let away = |record: &String| record.contains("the audit log is not collected; it waits");
    assert!(collector.records().iter().any(away), "what stood in the way of it is told too");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn records_reach_a_collector_that_is_killed_again_and_again_in_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let collector = Collector::new(&folder.path().join("collector"), "ossl", &authority());
    let site = Site::new(&collector.configuration(""));
    let _daemon = tokio::task::block_in_place(|| site.serve());
    for round in 1..=3 {
        let rsyslog = collector.starts();
        is_refused(&site, 10).await;
        until("something comes", || (refusals(&collector.records()) > 10 * (round - 1)).then_some(())).await;
        drop(rsyslog);
        is_refused(&site, 10).await;
    }
    let _rsyslog = collector.starts();
    let kept = || fs::read_dir(site.folder("audit").join("log")).unwrap().count();
    until("nothing is kept any more", || (kept() == 0).then_some(())).await;
    let mut seen = HashSet::new();
    let is_new = |record: &String| refusals(std::slice::from_ref(record)) == 1 && seen.insert(record.clone());
    let first: Vec<_> = collector.records().into_iter().filter(is_new).collect();
    assert_eq!(first.len(), 60);
    assert!(first.is_sorted_by_key(|record| record.split(' ').nth(1).unwrap().to_owned()), "{first:#?}");
}

/// Without a collector nothing fills the disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn where_nobody_collects_no_record_is_kept() {
    let site = Site::new("");
    let _daemon = tokio::task::block_in_place(|| site.serve());
    is_refused(&site, 1).await;
    assert!(fs::read_to_string(site.folder("log")).unwrap().contains("an association was rejected"));
    assert!(!site.folder("audit").join("log").exists());
}
