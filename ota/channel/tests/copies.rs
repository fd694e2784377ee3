//! Copies: a bundle for a box without a network, a mirror for a hospital.
use crate::fixture::Channel;
use crate::region::{Region, TWO, block_on, text};
use rcgen::{CertificateParams, KeyPair};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use sund_channel::database::{FILE_NAME, now};
use sund_channel::enrol::{self, authority::Authority};
use sund_channel::repository::{certificate, local, mirror};
use sund_channel::server::control::Request;
use sund_ota::authorities::Believed;
use tempfile::TempDir;

#[test]
fn a_bundle_is_written_when_its_terms_are_signed_and_holds_all_that_the_state_needs() {
    let region = Region::with_state();
    let file = region.path("north-1.tar");
    let write = || region.run(&["bundle", text(&file), "--state", "north-1", "--lifetime", "20"]);
    assert_eq!(write().code, Some(75));
    assert!(!file.exists());
    region.publish("state-3", &TWO);
    assert_eq!(write().code, Some(0));
    let files = members(&file);
    let pointer: Value = serde_json::from_slice(&files["bundle.json"]).unwrap();
    assert_eq!(pointer["target"], "state/bundles/north-1.json");
    let named = |pin: &Value| {
        let target = pin["target"].as_str().unwrap();
        let (directory, name) = target.rsplit_once('/').unwrap();
        files[&format!("targets/{directory}/{}.{name}", pin["sha256"].as_str().unwrap())].clone()
    };
    let terms: Value = serde_json::from_slice(&named(&pointer)).unwrap();
    let state: Value = serde_json::from_slice(&named(&terms["state"])).unwrap();
    assert_eq!(named(&state["models"][0]), fs::read(crate::region::frozen("format-1.sund")).unwrap());
    for name in
        ["metadata/1.root.json", "metadata/timestamp.json", "metadata/2.models/sund.json", "metadata/3.state.json"]
    {
        assert!(files.contains_key(name), "{name}");
    }
    // A box takes it.
    let root = local::first_root(&region.home().join("repository/metadata")).unwrap();
    let datastore = TempDir::new().unwrap();
    let (trusted, descriptor) = block_on(sund_ota::bundle::open(&file, root, datastore.path().to_owned())).unwrap();
    assert_eq!(descriptor.target, "state/north-1.json");
    block_on(trusted.state(&descriptor)).unwrap();
    // A withdrawn state takes the terms of its bundle along.
    let proposed = region.must(&["withdraw", "state/north-1.json", "--reason", "a test"]);
    assert_eq!(proposed["withdrawn"][0], "state/bundles/north-1.json");
}

#[test]
fn a_mirror_shows_what_it_has_verified_and_nothing_else() {
    let region = Region::with_state();
    let origin = serve(region.home().join("repository"));
    let copy = region.path("mirror");
    let root = region.home().join("repository/metadata/1.root.json");
    let mirror = |root: &Path| region.run(&["mirror", text(&copy), "--from", &origin, "--root", text(root)]);
    let first = mirror(&root);
    assert_eq!(first.code, Some(0), "{:#}", first.json);
    assert!(first.json["fetched"].as_u64().unwrap() >= 4);
    region.must(&["root", "rotate"]);
    region.publish("root-2", &["Anna Holm", "Bo Krog"]);
    region.must(&["stop-all", "--reason", "a test"]);
    region.publish("state-3", &TWO);
    let second = mirror(&root);
    assert_eq!((second.code, &second.json["fetched"]), (Some(0), &Value::from(1)), "{:#}", second.json);
    let load = || {
        let datastore = TempDir::new().unwrap();
        block_on(local::load(&copy, fs::read(&root).unwrap(), datastore.path().to_owned()))
    };
    load().unwrap();
    // Another region's root trusts none of it, and nothing is shown.
    let (other, none) = (Region::new(), region.path("none"));
    let root_of_other = other.home().join("repository/metadata/1.root.json");
    let ended = region.run(&["mirror", text(&none), "--from", &origin, "--root", text(&root_of_other)]);
    assert_eq!(ended.code, Some(65), "{:#}", ended.json);
    assert!(!none.join("metadata/timestamp.json").exists());
    // Metadata that was altered on its way.
    region.must(&["renew"]);
    let path = region.home().join("repository/metadata/timestamp.json");
    let altered = fs::read_to_string(&path).unwrap().replacen("\"version\": 6", "\"version\": 7", 1);
    fs::write(&path, altered).unwrap();
    assert_eq!(mirror(&root).code, Some(65));
    load().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirrors_certificate_is_renewed_before_it_ends_and_where_it_is_not_somebody_is_told() {
    let home = Region::with_state().into_home();
    let channel = Channel::start_on(home, "approval = false\nopen_repository = true").await;
    let (home, place) = (channel.home.path(), TempDir::new().unwrap());
    let path = |name: &str| place.path().join(name);
    // Enrolled, as the server's clock stood two months ago.
    let two_months_ago = now() - 61 * 24 * 60 * 60 * 1000;
    let enrol = async |pair: &KeyPair| {
        let code = channel.secret(Request::EnrolMirror { name: "mirror".into(), hours: 1 }).await;
        let database = rusqlite::Connection::open(home.join(FILE_NAME)).unwrap();
        let request = CertificateParams::default().serialize_request(pair).unwrap().pem().unwrap();
        let request = Authority::request(&request).unwrap();
        let authority = Authority::open(home).unwrap();
        enrol::enrol(&database, &authority, &code, &request, two_months_ago).unwrap().1.pem
    };
    let (pair, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    fs::write(path("mirror.key"), pair.serialize_pem()).unwrap();
    let old = enrol(&pair).await;
    fs::write(path("mirror.pem"), &old).unwrap();
    let mirror = || {
        let (from, root) = (channel.url("/repository/"), home.join("repository/metadata/1.root.json"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_sund-channel"));
        command.args(["--json", "mirror", text(&path("copy")), "--from", &from, "--root", text(&root)]);
        command.args(["--ca", text(&home.join("ca/ca.pem"))]);
        command.args(["--certificate", text(&path("mirror.pem")), "--key", text(&path("mirror.key"))]);
        command.output().unwrap()
    };
    let ended = mirror();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let renewed = fs::read_to_string(path("mirror.pem")).unwrap();
    let days = (sund_ota::identity::validity(&path("mirror.pem")).unwrap().until - now() / 1000) / (24 * 60 * 60);
    assert!(renewed != old && (89..=90).contains(&days), "{days}");
    assert!(mirror().status.success());
    assert_eq!(fs::read_to_string(path("mirror.pem")).unwrap(), renewed, "it is good for a while");

    // Somebody else was enrolled under its name: its own certificate is worth nothing any more, and the copy is made.
    enrol(&other).await;
    fs::write(path("mirror.pem"), &old).unwrap();
    fs::remove_dir_all(path("copy")).unwrap();
    let ended = mirror();
    let told: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(
        (ended.status.success(), &told["error"]["code"]),
        (false, &Value::from("mirror-certificate")),
        "{told:#}"
    );
    assert!(path("copy/metadata/timestamp.json").exists());
    channel.stop().await;
}

#[tokio::test]
async fn a_server_in_other_hands_leaves_a_mirror_the_certificate_that_it_has() {
    let (place, home, foreign) = (TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let (own, other) = (Authority::open(home.path()).unwrap(), Authority::open(foreign.path()).unwrap());
    let pair = KeyPair::generate().unwrap();
    let request = CertificateParams::default().serialize_request(&pair).unwrap().pem().unwrap();
    let request = Authority::request(&request).unwrap();
    let day = 24 * 60 * 60 * 1000;
    let issued = |by: &Authority, name: &str, at: i64| by.issue(&request, name, at).unwrap().pem;
    let (old, next) = (issued(&own, "mirror", now() - 61 * day), issued(&own, "mirror", now()));
    let path = place.path().join("mirror.pem");
    fs::write(&path, &old).unwrap();
    let client = mirror::client(None, None).unwrap();
    let renew = async |sent: String| {
        let answer = serde_json::json!({ "certificate_pem": sent });
        let route = axum::routing::post(async move || axum::Json(answer));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let from = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let server =
            tokio::spawn(axum::serve(listener, axum::Router::new().route("/enrol/renew", route)).into_future());
        let believed = Believed::from(own.pem().as_bytes(), None).unwrap();
        let key = pair.serialize_pem();
        let renewed = certificate::renew_if_due(&path, key.as_bytes(), Some(&believed), &from, &client).await;
        server.abort();
        renewed
    };
    for (what, sent) in [
        ("another authority", issued(&other, "mirror", now())),
        ("another name", issued(&own, "another", now())),
        ("over already", issued(&own, "mirror", now() - 91 * day)),
        ("of which a part can't be read", format!("{next}{}", next.replacen("MII", "AAA", 1))),
    ] {
        let refused = renew(sent).await.unwrap_err();
        assert_eq!(refused.code, "mirror-certificate", "{what}");
        assert_eq!(fs::read_to_string(&path).unwrap(), old, "{what}: {refused}");
    }
    renew(next.clone()).await.unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), next);
}

/// Name and bytes of each member, read by GNU tar.
fn members(file: &Path) -> BTreeMap<String, Vec<u8>> {
    let listed = Command::new("tar").arg("-tf").arg(file).output().unwrap();
    let names = String::from_utf8(listed.stdout).unwrap();
    let read = |name: &str| Command::new("tar").arg("-xOf").arg(file).arg(name).output().unwrap().stdout;
    names.lines().map(|name| (name.to_owned(), read(name))).collect()
}

/// What a static web server was asked, and how far its line goes.
pub struct Line {
    /// Ranges that were asked for.
    pub ranges: Mutex<Vec<String>>,
    /// Bytes of a model or an operating system after which the connection breaks.
    pub breaks_after: AtomicUsize,
    /// Whether of an operating system a byte comes now and then.
    pub is_slow: AtomicBool,
    /// How many operating systems were asked for.
    pub systems: AtomicUsize,
}

/// A static web server, as plain as they come: it decodes `%2F` and reads the file.
pub fn serve(directory: PathBuf) -> String {
    serve_on(directory).0
}

/// The same; it says on which line.
pub fn serve_on(directory: PathBuf) -> (String, Arc<Line>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let line = Arc::new(Line {
        ranges: Mutex::default(),
        breaks_after: AtomicUsize::new(usize::MAX),
        is_slow: AtomicBool::new(false),
        systems: AtomicUsize::new(0),
    });
    let served = Arc::clone(&line);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, served, directory) = (stream.unwrap(), Arc::clone(&served), directory.clone());
            std::thread::spawn(move || {
                let mut request = Vec::new();
                let mut buffer = [0; 1024];
                while !request.ends_with(b"\r\n\r\n") {
                    match stream.read(&mut buffer) {
                        Ok(0) | Err(_) => break,
                        Ok(read) => request.extend_from_slice(&buffer[..read]),
                    }
                }
                // A client that has gone away is not served.
                let _ = served.answer(&mut stream, &directory, &String::from_utf8_lossy(&request));
            });
        }
    });
    (format!("http://{address}/"), line)
}

impl Line {
    fn answer(&self, stream: &mut TcpStream, directory: &Path, request: &str) -> io::Result<()> {
        let path = request.split(' ').nth(1).unwrap_or("/").trim_start_matches('/').replace("%2F", "/");
        let Ok(bytes) = fs::read(directory.join(&path)) else {
            return stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        };
        let is_system = path.starts_with("targets/os/");
        self.systems.fetch_add(is_system.into(), Ordering::Relaxed);
        let range = request.lines().find_map(|line| line.to_lowercase().strip_prefix("range: ").map(str::to_owned));
        let from = range.as_ref().and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        self.ranges.lock().unwrap().extend(range);
        let (status, from) = from.map_or_else(
            || ("200 OK".to_owned(), 0),
            |from| {
                let (last, all) = (bytes.len() - 1, bytes.len());
                (format!("206 Partial Content\r\ncontent-range: bytes {from}-{last}/{all}"), from)
            },
        );
        let body = &bytes[from..];
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
        let is_large = path.starts_with("targets/models/") || is_system;
        let most = if is_large { self.breaks_after.load(Ordering::Relaxed).min(body.len()) } else { body.len() };
        stream.write_all(head.as_bytes())?;
        let mut rest = &body[..most];
        while is_system && rest.len() > 1 && self.is_slow.load(Ordering::Relaxed) {
            stream.write_all(&rest[..1])?;
            rest = &rest[1..];
            self.wait_while_slow();
        }
        stream.write_all(rest)
    }

    /// Waits, not so long that a client gives the line up.
    fn wait_while_slow(&self) {
        let end = Instant::now() + Duration::from_secs(10);
        while self.is_slow.load(Ordering::Relaxed) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
