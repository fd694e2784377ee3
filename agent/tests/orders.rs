//! What a person who has logged in orders at the console of a daemon that runs: a production box has no shell to do it by.
use crate::console::{Answer, certificate, exchange, trusting};
use crate::crash::configuration_to;
use crate::hospital::{Archive, frame, new_uid, until};
use crate::serve::Site;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::{Value, json};
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use sund_agent::association::{Peer, Sent, send};
use sund_agent::console::hash_password;
use sund_agent::fault::{Blame, Fault};

const PASSWORD: &str = "a password of the test";
const ORIGIN: &str = "Origin: https://localhost\r\n";

/// A site with TLS and a login at its console, a model in clinical use, and an archive that acts on rejection notes.
struct Clinic {
    site: Site,
    archive: Archive,
    trust: Arc<ClientConfig>,
}

impl Clinic {
    async fn new() -> Self {
        let archive = Archive::open().await;
        let section = format!(
            "[[destinations]]\nname = \"archive\"\nae_title = \"PACS\"\naddress = \"{}\"\nrejection_notes = true\n",
            archive.address
        );
        let site = Site::new(&configuration_to(&["archive"], &section));
        let trust = trusting(certificate(site.folder("").as_path()));
        fs::set_permissions(site.folder("key.pem"), fs::Permissions::from_mode(0o600)).unwrap();
        let console = format!(
            "[console]\nlisten = \"127.0.0.1:0\"\n[console.tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n\
             [[console.users]]\nname = \"åse\"\npassword_hash = \"{}\"\norders = true\n",
            hash_password(PASSWORD).unwrap()
        );
        let text = fs::read_to_string(site.config()).unwrap();
        let open = "[console]\nlisten = \"127.0.0.1:0\"\n";
        assert!(text.contains(open), "{text}");
        fs::write(site.config(), text.replacen(open, &console, 1)).unwrap();
        Self { site, archive, trust }
    }

    fn ask(&self, request: &str) -> Answer {
        let name = ServerName::try_from("localhost").unwrap();
        let session = ClientConnection::new(Arc::clone(&self.trust), name).unwrap();
        exchange(StreamOwned::new(session, TcpStream::connect(self.site.console()).unwrap()), request)
    }

    fn post(&self, path: &str, headers: &str, kind: &str, body: &str) -> Answer {
        self.ask(&format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}Content-Type: {kind}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    }

    fn login(&self) -> String {
        let form = format!("user=%C3%A5se&password={}", PASSWORD.replace(' ', "+"));
        let answer = self.post("/login", ORIGIN, "application/x-www-form-urlencoded", &form);
        format!("Cookie: {}\r\n", answer.header("set-cookie").unwrap().split(';').next().unwrap())
    }

    fn orders(&self, headers: &str, order: &Value) -> (u16, Value) {
        let answer = self.post("/api/v1/orders", headers, "application/json", &order.to_string());
        (answer.status, serde_json::from_slice(&answer.body).unwrap_or_default())
    }

    async fn receives(&self) -> String {
        let address = self.site.status()["node"]["address"].as_str().unwrap().to_owned();
        let node = Peer { calling_ae: "MODALITY".into(), called_ae: "SUND".into(), address, tls: None };
        let study = new_uid();
        let stored = |_, sent| assert_eq!(sent, Sent::Stored { status: 0 });
        send(&node, &[frame().rows(64).in_study(&study, "1").object()], stored).await.unwrap();
        study
    }

    /// The audit events that tell an order, by operation and what it is about; each names who ordered.
    fn ordered(&self) -> Vec<String> {
        let audit = self.site.audit();
        let orders = audit.lines().filter(|line| line.contains("console-order"));
        orders
            .map(|line| {
                assert!(line.contains("åse") && line.contains("127.0.0.1"), "{line}");
                let words = ["suspend", "resume", "requeue", "recall"];
                words.into_iter().find(|word| line.contains(&format!("\"{word}\""))).unwrap().to_owned()
            })
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_has_logged_in_switches_models_off_and_on_recalls_and_sends_again_and_the_audit_log_says_who() {
    let clinic = Clinic::new().await;
    clinic.archive.refuse(Some(Fault::new("patient-unknown", Blame::Peer, "we know no such patient")));
    let _daemon = tokio::task::block_in_place(|| clinic.site.serve());
    let state = || clinic.site.status()["models"][0]["state"].as_str().unwrap().to_owned();
    until("the model is active", || (state() == "active").then_some(())).await;
    let study = clinic.receives().await;
    let dead = || clinic.site.status()["destinations"][0]["dead"].as_u64().unwrap();
    until("its results are given up", || (dead() == 2).then_some(())).await;

    // Nobody without a session, from another site, or with another body.
    let cookie = clinic.login();
    let suspend = json!({ "suspend": { "package": "text-detection", "reason": "drift" } });
    let (both, evil) = (format!("{cookie}{ORIGIN}"), format!("{cookie}Origin: https://evil.example\r\n"));
    for (headers, status) in [(ORIGIN, 401), (&cookie, 403), (&evil, 403)] {
        assert_eq!(clinic.orders(headers, &suspend).0, status, "{headers}");
    }
    let form = clinic.post("/api/v1/orders", &both, "application/x-www-form-urlencoded", "suspend=text-detection");
    assert_eq!(form.status, 415);
    let long = json!({ "suspend": { "package": "text-detection", "reason": "x".repeat(5000) } });
    assert_eq!(clinic.orders(&both, &long).0, 413);
    let unclear =
        [json!({ "erase": { "study": study } }), json!({ "suspend": { "package": "text-detection", "reason": "" } })];
    for order in unclear {
        let (status, answer) = clinic.orders(&both, &order);
        assert_eq!((status, &answer["refused"]["code"]), (422, &"order-unclear".into()), "{answer}");
    }
    assert_eq!((state().as_str(), clinic.ordered().len()), ("active", 0));

    // Mended at the archive, it is sent again.
    clinic.archive.refuse(None);
    let requeued = clinic.orders(&both, &json!({ "requeue": { "destination": "archive" } }));
    assert_eq!(requeued, (200, json!({ "requeued": { "results": 2 } })));
    clinic.archive.holds(2).await;
    let delivered = || clinic.site.status()["destinations"][0]["delivered"].as_u64().unwrap();
    until("it is recorded", || (delivered() == 2).then_some(())).await;

    assert_eq!(clinic.orders(&both, &suspend).0, 200);
    assert_eq!(state(), "suspended");
    let resume = json!({ "resume": { "package": "text-detection" } });
    assert_eq!(clinic.orders(&both, &resume).1, json!({ "suspended": { "package": "text-detection", "off": false } }));
    assert_eq!(state(), "active");
    let mistyped = clinic.orders(&both, &json!({ "suspend": { "package": "text-detektion", "reason": "drift" } }));
    assert_eq!((mistyped.0, &mistyped.1["refused"]["code"]), (409, &"package-unknown".into()), "{}", mistyped.1);

    // What it would find is no order.
    let before = clinic.ordered().len();
    let package = format!("text-detection@{}", clinic.site.status()["models"][0]["version"].as_str().unwrap());
    let recall = |reason: Value| json!({ "recall": { "package": package, "reason": reason } });
    let dry = clinic.orders(&both, &recall(Value::Null)).1["recalled"].take();
    assert_eq!((&dry["dry"], &dry["studies"]), (&true.into(), &1.into()), "{dry}");
    let counts = json!({ "sent": 2, "in_doubt": 0, "cancelled": 0, "by_hand": 0 });
    assert_eq!((&dry["destinations"]["archive"], &dry["still_on"]), (&counts, &json!(["text-detection"])), "{dry}");
    assert!(!dry.to_string().contains(&study), "which studies they are is no matter of a page");
    assert_eq!((clinic.archive.count(), clinic.ordered().len()), (2, before));
    let done = clinic.orders(&both, &recall("boxes are shifted".into())).1["recalled"].take();
    assert_eq!((&done["dry"], &done["not_done"]), (&false.into(), &0.into()), "{done}");
    let held = clinic.archive.holds(3).await;
    assert!(held.iter().any(|held| held.says("boxes are shifted")), "a note rejects them");

    assert_eq!(clinic.ordered(), ["requeue", "suspend", "resume", "suspend", "recall"]);
    let (audit, log) = (clinic.site.audit(), fs::read_to_string(clinic.site.folder("log")).unwrap());
    for told in ["a person at the console", "operation-refused", "recall-ordered", "results-requeued"] {
        assert!(audit.contains(told), "{told}: {audit}");
    }
    assert!(!log.contains(&study), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn people_can_order_with_the_keyboard_alone_and_on_a_phone() {
    let clinic = Clinic::new().await;
    let _daemon = tokio::task::block_in_place(|| clinic.site.serve());
    clinic.receives().await;
    clinic.archive.holds(2).await;
    let delivered = || clinic.site.status()["destinations"][0]["delivered"].as_u64().unwrap();
    until("it is recorded", || (delivered() == 2).then_some(())).await;
    let python = std::env::var("SUND_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let shots = tempfile::tempdir().unwrap();
    let shots = std::env::var("SUND_TEST_SCREENSHOTS").unwrap_or_else(|_| shots.path().to_string_lossy().into_owned());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/orders.py");
    let port = clinic.site.console().rsplit_once(':').unwrap().1.to_owned();
    let url = format!("https://localhost:{port}/");
    let browser = || Command::new(&python).arg(&script).args([&url, "åse", PASSWORD, &shots]).status();
    let ended = tokio::task::block_in_place(browser)
        .unwrap_or_else(|error| panic!("{python}: {error}: install Python 3 and set SUND_TEST_PYTHON"));
    assert!(
        ended.success(),
        "see above; it needs Chromium, chromedriver, and selenium in the Python of SUND_TEST_PYTHON"
    );
    clinic.archive.holds(3).await;
    assert_eq!(clinic.ordered(), ["suspend", "resume", "recall"]);
}
