//! The console: who may see it, what it shows, and that it is usable. The page itself is tested in Chromium.
mod fixture;

use fixture::{Fixture, Slow, first_study, full};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use sund_agent::audit;
use sund_agent::console::updater::{Seen, look};
use sund_agent::console::{ConsoleOptions, Login, Operator, User, hash_password, serve, tls_from_pem};
use sund_agent::fault::Fault;
use sund_agent::limits::console::{MAX_FAILURES_PER_ADDRESS, MAX_HEAD};
use sund_agent::metrics;
use sund_agent::release::Variant;
use sund_agent::status::Status;
use sund_agent::support::{Source, Tail};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

const PASSWORD: &str = "rødgrød med fløde";
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// An updater that has nothing to do, and nothing to complain of.
fn idle() -> String {
    let mut status: serde_json::Value = serde_json::from_slice(UPDATER).unwrap();
    for key in ["action", "stopped"] {
        status[key] = serde_json::Value::Null;
    }
    for key in ["suspended", "suspended_by_region"] {
        status[key] = if key == "suspended" { serde_json::json!([]) } else { serde_json::json!({}) };
    }
    status["last"]["end"] = "active".into();
    status["last"]["fault"] = serde_json::Value::Null;
    status["now"]["poll"]["trouble"] = serde_json::Value::Null;
    status["secure_boot"] = "on".into();
    status["recovery"] = serde_json::json!({ "least": 9, "offered": 9, "fault": null });
    status["now"]["unheard"] = serde_json::Value::Null;
    status["now"]["troubles"] = serde_json::json!([]);
    status["now"]["doing"] = "idle".into();
    // What it has seen is good for longer than the test runs.
    let later = SystemTime::now() + Duration::from_hours(24 * 90);
    let later = later.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    status["certificate_until"] = later.into();
    for until in status["metadata_until"].as_object_mut().unwrap().values_mut() {
        *until = later.into();
    }
    status.to_string()
}

/// One that hears its region and is polled, and whose system stays; it has no key for escrow.
fn in_trouble() -> String {
    let mut status: serde_json::Value = serde_json::from_str(&idle()).unwrap();
    let reason = "the system of a state that was withdrawn has none before it";
    status["now"]["doing"] = format!("{reason} [os-stays]").into();
    let what = "the operating system is not the one that it should be";
    status["now"]["troubles"] =
        serde_json::json!([{ "what": what, "fault": { "code": "os-stays", "reason": reason } }]);
    status["escrow"] = serde_json::Value::Null;
    status.to_string()
}

/// A console on a port of its own.
struct Console {
    runtime: Runtime,
    address: SocketAddr,
    source: Arc<Fixture>,
    stop: watch::Sender<bool>,
    task: Option<JoinHandle<Result<(), Fault>>>,
}

fn console(options: ConsoleOptions) -> Console {
    let runtime = Runtime::new().unwrap();
    let source = Arc::new(Fixture::new(full()));
    let (stop, stopped) = watch::channel(false);
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let task = runtime.spawn(serve(vec![listener], options, source.clone(), metrics::install(), stopped));
    Console { runtime, address, source, stop, task: Some(task) }
}

impl Console {
    fn ask(&self, request: &str) -> Answer {
        exchange(TcpStream::connect(self.address).unwrap(), request)
    }

    fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
    }

    fn stop(&mut self) -> Result<(), Fault> {
        self.stop.send_replace(true);
        let task = self.task.take().unwrap();
        self.runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), task).await }).unwrap().unwrap()
    }
}

pub struct Answer {
    pub status: u16,
    head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let prefix = format!("{name}: ");
        self.head.lines().find(|l| l.to_ascii_lowercase().starts_with(&prefix)).map(|l| &l[prefix.len()..])
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

pub fn exchange(mut stream: impl Read + Write, request: &str) -> Answer {
    stream.write_all(request.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes); // a TLS peer may end without close_notify; the length says what came
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").expect("no answer");
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head, body: bytes[end + 4..].to_vec() }
}

/// A self-signed certificate for localhost, written as PEM.
pub fn certificate(dir: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    std::fs::write(dir.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

/// What a client trusts that knows this certificate.
pub fn trusting(certificate: CertificateDer<'static>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

/// A console with TLS and login, and a client that trusts it.
struct Guarded {
    console: Console,
    operator: Arc<Slow>,
    trust: Arc<ClientConfig>,
    dir: tempfile::TempDir,
}

fn guarded() -> Guarded {
    guarded_with(1 << 20)
}

/// The same, with audit files of `max_file` bytes.
fn guarded_with(max_file: u64) -> Guarded {
    let dir = tempfile::tempdir().unwrap();
    let trust = trusting(certificate(dir.path()));
    let operator = Arc::new(Slow::default());
    let hash = hash_password(PASSWORD).unwrap();
    let users = vec![User::new("åse", &hash).unwrap().ordering(), User::new("bo", &hash).unwrap()];
    let log = audit::Log::open(audit::Options {
        dir: dir.path().join("audit"),
        key: audit::Key::new([1; 32]),
        source: "SUND".into(),
        max_file,
    });
    let options = ConsoleOptions {
        tls: Some(tls_from_pem(&dir.path().join("cert.pem"), &dir.path().join("key.pem")).unwrap()),
        login: Some(Login::new(users, Some(TOKEN.into())).unwrap()),
        allowed_hosts: vec!["sund.region.example".into()],
        audit: Some(Arc::new(log.unwrap())),
        updater_status: None,
        operator: Some(Arc::clone(&operator) as Arc<dyn Operator>),
        support: Some(support(dir.path())),
    };
    Guarded { console: console(options), operator, trust, dir }
}

/// What a bundle is made of: a configuration and a log, each with a name in it.
fn support(folder: &Path) -> Source {
    let own = folder.join("sund.toml");
    std::fs::write(&own, "# for Sørensen\n[node]\nae_title = \"SUND\"\n").unwrap();
    let mut log = Tail::default();
    for message in ["drained", "Sørensen came"] {
        let line = serde_json::json!({ "timestamp": "2026-11-23T08:00:00Z", "level": "INFO", "fields": { "message": message } });
        log.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
    Source { own, log }
}

impl Guarded {
    fn ask(&self, request: &str) -> Answer {
        let name = ServerName::try_from("localhost").unwrap();
        let session = ClientConnection::new(self.trust.clone(), name).unwrap();
        exchange(StreamOwned::new(session, TcpStream::connect(self.console.address).unwrap()), request)
    }

    fn get(&self, path: &str, headers: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n"))
    }

    fn post(&self, path: &str, headers: &str, form: &str) -> Answer {
        self.ask(&format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            form.len()
        ))
    }

    fn order(&self, cookie: &str, order: &str) -> Answer {
        self.ask(&format!(
            "POST /api/v1/orders HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nOrigin: https://localhost\r\n{cookie}\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{order}",
            order.len()
        ))
    }

    /// Of who may order.
    fn cookie(&self) -> String {
        let login = self.login(AASE, RIGHT);
        format!("Cookie: {}\r\n", login.header("set-cookie").unwrap().split(';').next().unwrap())
    }

    fn login(&self, user: &str, password: &str) -> Answer {
        self.post("/login", "Origin: https://localhost\r\n", &format!("user={user}&password={password}"))
    }

    fn audited(&self) -> String {
        let files = std::fs::read_dir(self.dir.path().join("audit")).unwrap();
        files.map(|f| std::fs::read_to_string(f.unwrap().path()).unwrap()).collect()
    }
}

const RIGHT: &str = "r%C3%B8dgr%C3%B8d+med+fl%C3%B8de";
const AASE: &str = "%C3%A5se";

#[test]
fn the_status_is_the_type_that_the_cli_prints() {
    let console = console(ConsoleOptions::default());
    let answer = console.get("/api/v1/status");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let status: Status = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(status, full());
    // Format 1 is read by scripts: what changes here is a new version.
    let frozen: serde_json::Value = serde_json::from_str(include_str!("data/console/status.json")).unwrap();
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&answer.body).unwrap(), frozen);
    assert_eq!(frozen["started"], "2026-11-23T08:00:00.000Z");
}

#[test]
fn every_answer_allows_nothing_from_elsewhere() {
    let console = console(ConsoleOptions::default());
    for path in ["/", "/assets/console.js", "/api/v1/status", "/missing"] {
        let answer = console.get(path);
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'self';") && !policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("x-frame-options"), Some("DENY"));
    }
}

#[test]
fn a_page_whose_name_was_rebound_to_this_address_gets_nothing() {
    let console = console(ConsoleOptions::default());
    for host in ["evil.example", "localhost.evil.example:80", "127.0.0.1.evil.example", ""] {
        let answer = console.ask(&format!("GET /api/v1/status HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
        assert_eq!(answer.status, 421, "{host}");
        assert!(!answer.text().contains("studies"));
    }
    let two = "GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    assert!(matches!(console.ask(two).status, 400 | 421));
    assert_eq!(console.ask("GET / HTTP/1.1\r\nHost: [::1]:80\r\nConnection: close\r\n\r\n").status, 200);
}

#[test]
fn an_event_follows_each_change_and_carries_no_patient() {
    let console = console(ConsoleOptions::default());
    let mut stream = TcpStream::connect(console.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    let mut next = || lines.find(|l| l.starts_with("data:")).unwrap();
    assert_eq!(next(), "data: 0");
    console.source.change(|status| status.draining = true);
    assert_eq!(next(), "data: 1");
}

#[test]
fn a_preview_is_served_by_an_opaque_id_and_nothing_else_is() {
    let console = console(ConsoleOptions::default());
    let answer = console.get(full().studies[2].results[0].preview.as_ref().unwrap());
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("image/png")));
    assert!(answer.body.starts_with(b"\x89PNG"));
    for path in ["/api/v1/studies/none/preview/0.png", "/api/v1/studies/s1/preview/x.png", "/assets/..%2fmod.rs"] {
        assert_eq!(console.get(path).status, 404, "{path}");
    }
}

#[test]
fn health_says_what_the_node_does_without_a_login() {
    let mut guarded = guarded();
    assert_eq!(guarded.get("/health", "").text(), "{\"state\":\"accepting\"}");
    guarded.console.source.change(|status| status.spool.accepting = false);
    let answer = guarded.get("/health", "");
    assert_eq!((answer.status, answer.text()), (503, "{\"state\":\"full\"}"));
    guarded.console.source.change(|status| status.draining = true);
    assert_eq!(guarded.get("/health", "").text(), "{\"state\":\"draining\"}");
    guarded.console.stop().unwrap();
}

#[test]
fn off_loopback_it_serves_only_with_tls_and_login() {
    let runtime = Runtime::new().unwrap();
    let refused = |options: ConsoleOptions, at: &str| {
        let listener = runtime.block_on(TcpListener::bind(at)).unwrap();
        let (_stop, stopped) = watch::channel(false);
        let source = Arc::new(Fixture::new(full()));
        runtime.block_on(serve(vec![listener], options, source, metrics::install(), stopped)).unwrap_err().code
    };
    let dir = tempfile::tempdir().unwrap();
    certificate(dir.path());
    let tls = Some(tls_from_pem(&dir.path().join("cert.pem"), &dir.path().join("key.pem")).unwrap());
    let users = vec![User::new("åse", &hash_password(PASSWORD).unwrap()).unwrap()];
    let login = Some(Login::new(users, None).unwrap());
    assert_eq!(refused(ConsoleOptions::default(), "0.0.0.0:0"), "console-exposed");
    assert_eq!(refused(ConsoleOptions { tls, ..Default::default() }, "0.0.0.0:0"), "console-exposed");
    assert_eq!(refused(ConsoleOptions { login, ..Default::default() }, "127.0.0.1:0"), "console-login-without-tls");
}

#[test]
fn without_a_session_only_the_login_page_and_health_answer() {
    let guarded = guarded();
    assert_eq!(guarded.get("/", "").header("location"), Some("/login"));
    for path in ["/api/v1/status", "/api/v1/events", "/api/v1/session", "/metrics", "/api/v1/studies/s1/preview/0.png"]
    {
        assert_eq!(guarded.get(path, "").status, 401, "{path}");
        assert_eq!(guarded.get(path, "Cookie: __Host-sund=guess\r\n").status, 401, "{path}");
    }
    assert_eq!(guarded.get("/login", "").status, 200);
    assert_eq!(guarded.get("/metrics", &format!("Authorization: Bearer {TOKEN}\r\n")).status, 200);
    assert_eq!(guarded.get("/api/v1/status", &format!("Authorization: Bearer {TOKEN}\r\n")).status, 401);
    let named = "GET /login HTTP/1.1\r\nHost: sund.region.example\r\nConnection: close\r\n\r\n";
    assert!(guarded.ask(named).header("strict-transport-security").is_some());
    assert!(guarded.get("/login", "").header("strict-transport-security").is_none()); // localhost is others' too
}

#[test]
fn a_session_begins_with_the_password_ends_with_the_logout_and_both_are_audited() {
    let guarded = guarded();
    assert_eq!(guarded.login(AASE, "wrong").status, 401);
    let answer = guarded.login(AASE, RIGHT);
    assert_eq!((answer.status, answer.header("location")), (303, Some("/")));
    let cookie = answer.header("set-cookie").unwrap().to_owned();
    for attribute in ["HttpOnly", "Secure", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    let cookie = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
    assert_eq!(guarded.get("/api/v1/session", &cookie).text(), "{\"operates\":true,\"support\":true,\"user\":\"åse\"}");
    assert_eq!(guarded.get("/api/v1/status", &cookie).status, 200);
    assert_eq!(guarded.post("/logout", &cookie, "").status, 403); // no origin: not from a page of ours
    guarded.post("/logout", &format!("{cookie}Origin: https://localhost\r\n"), "");
    assert_eq!(guarded.get("/api/v1/status", &cookie).status, 401);
    let audited = guarded.audited();
    for event in ["logged-in", "logged-out", "login-refused"] {
        assert!(audited.contains(event), "{event}");
    }
}

#[test]
fn a_support_bundle_is_given_to_who_has_logged_in_and_the_audit_log_says_to_whom() {
    const ORIGIN: &str = "Origin: https://localhost\r\n";
    let guarded = guarded();
    let login = guarded.login(AASE, RIGHT);
    let cookie = format!("Cookie: {}\r\n", login.header("set-cookie").unwrap().split(';').next().unwrap());
    let scraper = format!("Authorization: Bearer {TOKEN}\r\n{ORIGIN}");
    for (headers, status) in [(ORIGIN, 401), (&scraper, 401), (&cookie, 403)] {
        assert_eq!(guarded.post("/support", headers, "").status, status, "{headers}");
    }
    assert_eq!(guarded.get("/support", &cookie).status, 405, "a link or a picture takes none");
    assert!(!guarded.audited().contains("support-bundle"));

    let given = guarded.post("/support", &format!("{cookie}{ORIGIN}"), "");
    assert_eq!((given.status, given.header("content-type")), (200, Some("application/x-tar")));
    let attachment = given.header("content-disposition").unwrap();
    assert!(attachment.starts_with("attachment; filename=\"sund-support-20"), "{attachment}");
    let text = String::from_utf8_lossy(&given.body);
    for told in ["ae_title = \"SUND\"", "INFO drained\n1 more left out", "\"cores\"", "these lines do not hold"] {
        assert!(text.contains(told), "{told}: {text}");
    }
    assert!(
        full().studies.iter().any(|study| study.patient.reveal().contains("Sørensen")) && !text.contains("Sørensen")
    );
    let audited = guarded.audited();
    let line = audited.lines().find(|line| line.contains("support-bundle")).unwrap();
    assert!(line.contains("åse") && line.contains("127.0.0.1"), "{line}");
}

#[test]
fn a_support_bundle_that_cannot_be_recorded_is_not_given() {
    let guarded = guarded_with(16);
    let cookie = guarded.cookie();
    std::fs::create_dir(guarded.dir.path().join(format!("audit/audit-{:020}.jsonl", 1))).unwrap();
    let given = guarded.post("/support", &format!("{cookie}Origin: https://localhost\r\n"), "");
    assert_eq!(given.status, 503, "{}", given.text());
}

/// The orders themselves are tried at a node that runs.
#[test]
fn an_order_that_cannot_be_recorded_or_comes_without_a_login_is_not_carried_out() {
    let order = "{\"requeue\":{\"destination\":\"pacs\"}}";
    let open = console(ConsoleOptions { operator: Some(Arc::new(Slow::default())), ..Default::default() });
    let head = "Host: localhost\r\nOrigin: http://localhost\r\nConnection: close\r\nContent-Type: application/json\r\n";
    let answer =
        open.ask(&format!("POST /api/v1/orders HTTP/1.1\r\n{head}Content-Length: {}\r\n\r\n{order}", order.len()));
    assert_eq!(answer.status, 401, "a console without a login does not know who orders");
    assert!(open.get("/api/v1/session").text().contains("\"operates\":false"));

    let guarded = guarded_with(16);
    let login = guarded.login(AASE, RIGHT);
    let cookie = format!("Cookie: {}\r\n", login.header("set-cookie").unwrap().split(';').next().unwrap());
    std::fs::create_dir(guarded.dir.path().join(format!("audit/audit-{:020}.jsonl", 1))).unwrap();
    let answer = guarded.order(&cookie, order);
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.text().contains("order-not-recorded"), "{}", answer.text());
    assert_eq!(guarded.operator.carried_out(), 0);
}

#[test]
fn an_order_that_takes_long_goes_on_and_meanwhile_a_model_can_be_switched_off() {
    let guarded = guarded();
    let cookie = guarded.cookie();
    let (dry, again) =
        ("{\"recall\":{\"package\":\"lung\",\"reason\":null}}", "{\"requeue\":{\"destination\":\"pacs\"}}");
    guarded.operator.hold();
    let answer = guarded.order(&cookie, dry);
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert!(answer.text().contains("order-goes-on"), "{}", answer.text());
    let answer = guarded.order(&cookie, again);
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.text().contains("order-under-way"), "{}", answer.text());
    let suspend = "{\"suspend\":{\"package\":\"lung\",\"reason\":\"wrong side\"}}";
    assert_eq!(guarded.order(&cookie, suspend).status, 200);
    guarded.operator.go_on();
    // What was found meanwhile is there for whoever asks again.
    let begun = std::time::Instant::now();
    while guarded.order(&cookie, dry).status != 200 {
        assert!(begun.elapsed() < Duration::from_secs(20), "the first one does not end");
        std::thread::yield_now();
    }
    assert_eq!(guarded.operator.carried_out(), 2, "it was not looked for twice");
}

#[test]
fn who_may_only_look_orders_nothing() {
    let guarded = guarded();
    let login = guarded.login("bo", RIGHT);
    let cookie = format!("Cookie: {}\r\n", login.header("set-cookie").unwrap().split(';').next().unwrap());
    assert_eq!(guarded.get("/api/v1/status", &cookie).status, 200);
    assert!(guarded.get("/api/v1/session", &cookie).text().contains("\"operates\":false"));
    for order in [
        "{\"suspend\":{\"package\":\"lung\",\"reason\":\"a slip\"}}",
        "{\"recall\":{\"package\":\"lung\",\"reason\":null}}",
    ] {
        let answer = guarded.order(&cookie, order);
        assert_eq!(answer.status, 403, "{}", answer.text());
        assert!(answer.text().contains("order-not-allowed"), "{}", answer.text());
    }
    assert_eq!(guarded.operator.carried_out(), 0);
}

#[test]
fn a_login_that_cannot_be_recorded_is_refused() {
    let guarded = guarded_with(16);
    // One line fills the first file; the next file's name is taken by something else.
    assert_eq!(guarded.login(AASE, "wrong").status, 401);
    std::fs::create_dir(guarded.dir.path().join(format!("audit/audit-{:020}.jsonl", 1))).unwrap();
    assert_eq!(guarded.login(AASE, RIGHT).status, 503);
}

#[test]
fn a_form_from_another_site_is_refused() {
    let guarded = guarded();
    let form = format!("user={AASE}&password={RIGHT}");
    for headers in [
        "",
        "Origin: null\r\n",
        "Origin: https://evil.example\r\n",
        "Origin: http://localhost\r\n",
        "Origin: https://localhost\r\nSec-Fetch-Site: cross-site\r\n",
    ] {
        assert_eq!(guarded.post("/login", headers, &form).status, 403, "{headers}");
    }
}

#[test]
fn guessing_passwords_has_to_wait() {
    let guarded = guarded();
    for _ in 0..MAX_FAILURES_PER_ADDRESS {
        assert_eq!(guarded.login("nobody", "guess").status, 401);
    }
    let answer = guarded.login(AASE, RIGHT);
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("60")));
    assert!(guarded.audited().contains("login-throttled"));
    assert!(!guarded.audited().contains("nobody"), "a mistyped name may be a password");
    let metrics = guarded.get("/metrics", &format!("Authorization: Bearer {TOKEN}\r\n"));
    for code in ["login-refused", "login-throttled"] {
        assert!(metrics.text().contains(&format!("sund_refusals_total{{code=\"{code}\"}}")), "{}", metrics.text());
    }
}

#[test]
fn a_request_past_the_limits_is_refused() {
    let console = console(ConsoleOptions::default());
    let long = "x".repeat(2 * MAX_HEAD);
    let answer = console.ask(&format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {long}\r\n\r\n"));
    assert_eq!(answer.status, 431);
    let many = "X: 1\r\n".repeat(100);
    assert_eq!(console.ask(&format!("GET / HTTP/1.1\r\nHost: localhost\r\n{many}\r\n")).status, 431);
    let guarded = guarded();
    let form = format!("user={AASE}&password={}", "x".repeat(8192));
    assert_eq!(guarded.post("/login", "Origin: https://localhost\r\n", &form).status, 413);
}

#[test]
fn one_address_cannot_take_every_connection() {
    let console = console(ConsoleOptions::default());
    let open: Vec<_> = (0..sund_agent::limits::console::MAX_CONNECTIONS_PER_ADDRESS)
        .map(|_| {
            let mut stream = TcpStream::connect(console.address).unwrap();
            stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
            stream.read_exact(&mut [0; 12]).unwrap();
            stream
        })
        .collect();
    let mut one_more = TcpStream::connect(console.address).unwrap();
    let _ = one_more.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut answer = Vec::new();
    let _ = one_more.read_to_end(&mut answer);
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    drop(open);
}

#[test]
fn stopping_ends_open_event_streams() {
    let mut console = console(ConsoleOptions::default());
    let mut stream = TcpStream::connect(console.address).unwrap();
    stream.write_all(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    stream.read_exact(&mut [0; 12]).unwrap();
    console.stop().unwrap();
    stream.read_to_end(&mut Vec::new()).unwrap();
}

#[test]
fn a_certificate_that_cannot_serve_is_named() {
    let dir = tempfile::tempdir().unwrap();
    certificate(dir.path());
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let other = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let other_key = dir.path().join("other.pem");
    std::fs::write(&other_key, other.signing_key.serialize_pem()).unwrap();
    for (cert, key, names) in
        [(&dir.path().join("none.pem"), &key, "none.pem"), (&key, &key, "key.pem"), (&cert, &other_key, "does not fit")]
    {
        let fault = tls_from_pem(cert, key).unwrap_err();
        assert_eq!(fault.code, "console-certificate");
        assert!(fault.reason.contains(names), "{}", fault.reason);
    }
    let fault = User::new("åse", "$2b$12$abcdefghijklmnopqrstuu5Lw4.Z1P6S7zn8Vw3e8Yp9eN0c1a2b3").unwrap_err();
    assert_eq!(fault.code, "console-user");
}

const UPDATER: &[u8] = include_bytes!("goldens/updater-status.json");

#[test]
fn what_the_updater_says_is_read_as_the_golden_file_has_it_on_both_sides() {
    let theirs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ota/tests/goldens/updater-status.json");
    assert_eq!(std::fs::read(theirs).unwrap(), UPDATER);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("status.json");
    std::fs::write(&path, UPDATER).unwrap();
    let Seen::Known { status } = look(&path, SystemTime::now()) else { panic!("it is new") };
    let (action, last) = (status.action.as_ref().unwrap(), status.last.as_ref().unwrap());
    assert_eq!((action.origin.as_str(), action.step.as_str()), ("stick", "verified"));
    assert_eq!(
        (last.end.as_deref(), last.fault.as_ref().unwrap().code.as_str()),
        (Some("rolled-back"), "watch-missed")
    );
    assert_eq!(status.now.waits.as_ref().unwrap().code, "rollouts-stopped");
    let recovery = status.recovery.as_ref().unwrap();
    assert_eq!((recovery.least, recovery.offered), (Some(9), Some(8)));
    assert_eq!(recovery.fault.as_ref().unwrap().code, "recovery-too-old");
    // Nothing of what the page shows is left out: read and written again, it says the same.
    let mut golden: serde_json::Value = serde_json::from_slice(UPDATER).unwrap();
    for fault in ["/last/fault", "/now/waits", "/now/unheard", "/now/troubles/0/fault", "/recovery/fault"] {
        golden.pointer_mut(fault).unwrap().as_object_mut().unwrap().remove("blame");
    }
    assert_eq!(serde_json::to_value(&*status).unwrap(), golden);
}

#[test]
fn an_updater_that_says_nothing_nonsense_or_nothing_new_is_told_as_that() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("status.json");
    let options = ConsoleOptions { updater_status: Some(path.clone()), ..Default::default() };
    let told = || serde_json::to_value(look(&path, SystemTime::now())).unwrap();
    assert!(told()["standing"] == "absent" && told()["why"].as_str().unwrap().contains("systemctl"), "{}", told());
    let asked = console(options);
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&asked.get("/api/v1/updater").body).unwrap(), told());
    let none = console(ConsoleOptions::default());
    assert_eq!(none.get("/api/v1/updater").text(), "{\"standing\":\"none\"}");

    let newer = String::from_utf8(UPDATER.to_vec()).unwrap().replace("\"format\": 1", "\"format\": 2");
    let long = [UPDATER, &vec![b' '; 300 * 1024]].concat();
    for (bytes, why) in [
        (&UPDATER[..UPDATER.len() / 2], "is no status"),
        (b"", "is no status"),
        (b"[]", "format 0"),
        (&long, "more than"),
        (newer.as_bytes(), "format 2"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        assert!(told()["standing"] == "damaged" && told()["why"].as_str().unwrap().contains(why), "{why}: {}", told());
    }
    // A newer updater may say more.
    let more = String::from_utf8(UPDATER.to_vec()).unwrap().replacen('{', "{\"news\": [1],", 1);
    std::fs::write(&path, more).unwrap();
    assert_eq!(told()["standing"], "known");
    let yesterday = SystemTime::now() - Duration::from_hours(24);
    std::fs::File::options().append(true).open(&path).unwrap().set_modified(yesterday).unwrap();
    assert!(told()["standing"] == "old" && told()["status"]["id"] == "box-17", "{}", told());
    // What is no file holds nothing up.
    std::fs::remove_file(&path).unwrap();
    let made = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success() && told()["why"].as_str().unwrap().contains("is no file"));
}

#[test]
fn people_can_use_the_page_in_a_browser() {
    let box_dir = tempfile::tempdir().unwrap();
    let updater = box_dir.path().join("status.json");
    let mut plain = console(ConsoleOptions { updater_status: Some(updater.clone()), ..Default::default() });
    plain.source.change(|status| *status = fixture::empty());
    let mut guarded = guarded();
    let python = std::env::var("SUND_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let shots = tempfile::tempdir().unwrap();
    let shots = std::env::var("SUND_TEST_SCREENSHOTS").unwrap_or_else(|_| shots.path().to_string_lossy().into_owned());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/console.py");
    let mut browser = Command::new(&python)
        .arg(script)
        .arg(format!("http://localhost:{}", plain.address.port()))
        .arg(format!("https://localhost:{}", guarded.console.address.port()))
        .args(["åse", PASSWORD, &shots])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{python}: {error}: install Python 3 and set SUND_TEST_PYTHON"));
    // The script says when it is ready for the next change, and looks for it without a reload.
    for line in BufReader::new(browser.stdout.take().unwrap()).lines().map(Result::unwrap) {
        eprintln!("{line}");
        match line.as_str() {
            "NEXT receiving" => plain.source.change(|status| *status = first_study("receiving")),
            "NEXT running" => plain.source.change(|status| *status = first_study("running")),
            "NEXT delivered" => plain.source.change(|status| *status = first_study("delivered")),
            "NEXT all" => {
                std::fs::write(&updater, UPDATER).unwrap();
                plain.source.change(|status| *status = full());
            }
            "NEXT idle" => std::fs::write(&updater, idle()).unwrap(),
            "NEXT trouble" => std::fs::write(&updater, in_trouble()).unwrap(),
            "NEXT odd" => {
                let odd = idle().replace("\"idle\"", "\"looks at a system that was not found good on this box\"");
                std::fs::write(&updater, odd).unwrap();
            }
            "NEXT damaged" => std::fs::write(&updater, b"{").unwrap(),
            "NEXT debug" => plain.source.change(|status| {
                status.variant = Some(Variant { id: "debug".into(), name: "DEBUG: not for patients".into() });
            }),
            "NEXT full" => plain.source.change(|status| status.spool.accepting = false),
            "NEXT draining" => plain.source.change(|status| status.draining = true),
            "NEXT stop" => plain.stop().unwrap(),
            _ => {}
        }
    }
    let needs = "it needs Chromium, chromedriver, and selenium in the Python of SUND_TEST_PYTHON";
    assert!(browser.wait().unwrap().success(), "the browser test failed, see above; {needs}");
    guarded.console.stop().unwrap();
}
