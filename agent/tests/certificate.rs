//! The clinical certificate: from the region's authority into the handshake of the running node, by hand and by EST. The EST server
//! is a small one of this test (certificate/est.py), whose certificates and PKCS#7 OpenSSL makes.
use crate::hospital::until;
use crate::serve::Site;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::fs;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const SUND: &str = env!("CARGO_BIN_EXE_sund");

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A region's PKI in a site's folder.
struct Region {
    site: Site,
    ca: CertifiedIssuer<'static, KeyPair>,
}

impl Region {
    /// A site with `[certificate]`, and more in it.
    fn new(more: &str) -> Self {
        Self::with(more, "")
    }

    fn with(more: &str, rest: &str) -> Self {
        let ca = authority("The region");
        let site = Site::new(&format!(
            "[certificate]\nfile = \"tls/clinical.pem\"\nnames = [\"localhost\", \"127.0.0.1\"]\nauthorities = \"ca.pem\"\n{more}{rest}"
        ));
        fs::create_dir(site.folder("tls")).unwrap();
        fs::create_dir(site.folder("issued")).unwrap();
        fs::write(site.folder("ca.pem"), ca.pem()).unwrap();
        fs::write(site.folder("ca.key"), ca.key().serialize_pem()).unwrap();
        Self { site, ca }
    }

    /// The node speaks TLS with the clinical certificate.
    fn shows_it_on_dicom(&self) {
        let text = fs::read_to_string(self.site.config()).unwrap();
        let tls =
            "listen = \"127.0.0.1:0\"\n[node.tls]\ncertificate = \"tls/clinical.pem\"\nkey = \"tls/clinical.pem\"\n";
        fs::write(self.site.config(), text.replacen("listen = \"127.0.0.1:0\"\n", tls, 1)).unwrap();
    }

    fn sund(&self, arguments: &[&str], given: &str) -> Output {
        let mut command = Command::new(SUND);
        command.args(arguments).arg("--config").arg(self.site.config());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(given.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Signs the request that lies in a file, as the region's people do with OpenSSL.
    fn signs(&self, request: &str, ca: &str, certificate: &str) {
        let at = |name: &str| self.site.folder(name).display().to_string();
        let done = Command::new("openssl")
            .args(["x509", "-req", "-copy_extensions", "copy", "-days", "30", "-CAcreateserial"])
            .args(["-in", &at(request), "-CA", &at(&format!("{ca}.pem")), "-CAkey", &at(&format!("{ca}.key"))])
            .args(["-out", &at(certificate)])
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    /// A certificate that is in place, with this life around now.
    fn has(&self, before: Duration, after: Duration) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "localhost");
        params.distinguished_name.push(DnType::OrganizationName, "Sygehus Ærø");
        (params.not_before, params.not_after) =
            ((SystemTime::now() - before).into(), (SystemTime::now() + after).into());
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.ca).unwrap();
        let file = self.site.folder("tls/clinical.pem");
        fs::write(&file, key.serialize_pem() + &certificate.pem()).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// An EST server whose certificates hold so many days.
    fn est(&self, days: u32) -> Est {
        let key = KeyPair::generate().unwrap();
        let server = CertificateParams::new(vec!["localhost".into()]).unwrap().signed_by(&key, &self.ca).unwrap();
        fs::write(self.site.folder("server.pem"), server.pem()).unwrap();
        fs::write(self.site.folder("server.key"), key.serialize_pem()).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/certificate/est.py");
        let mut command = Command::new("python3");
        command.arg(script).arg(self.site.folder("")).arg(days.to_string());
        let mut child = command.stdout(Stdio::piped()).spawn().expect("Python 3");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Est { child, url: format!("https://localhost:{}", line.trim()) }
    }

    fn asks_at(&self, url: &str) {
        let text = fs::read_to_string(self.site.config()).unwrap();
        fs::write(self.site.config(), text.replace("authorities =", &format!("est = \"{url}\"\nauthorities =")))
            .unwrap();
    }

    /// What the DICOM port shows in a handshake; the connection stays open.
    fn shown(&self, address: &str) -> (CertificateDer<'static>, StreamOwned<ClientConnection, TcpStream>) {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.der().clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connection = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap();
        let mut stream = StreamOwned::new(connection, TcpStream::connect(address).unwrap());
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).unwrap();
        }
        (stream.conn.peer_certificates().unwrap()[0].clone().into_owned(), stream)
    }
}

struct Est {
    child: Child,
    url: String,
}

impl Drop for Est {
    fn drop(&mut self) {
        // Fails only where it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn refused(output: &Output, code: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(&format!("[{code}]")), "{code}: {said}");
}

fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_certificate_is_installed_only_where_it_fits_key_names_chain_and_time() {
    let region = Region::new("");
    let folder = |name: &str| region.site.folder(name);
    let install = |name: &str| region.sund(&["certificate", "install", folder(name).to_str().unwrap()], "");
    let request = done(&region.sund(&["certificate", "request"], ""));
    let key = fs::read(folder("tls/clinical.pem.next-key")).unwrap();
    done(&region.sund(&["certificate", "request"], ""));
    assert_eq!(fs::read(folder("tls/clinical.pem.next-key")).unwrap(), key, "one key waits, and not two");
    fs::write(folder("box.csr"), &request).unwrap();
    let mode = fs::metadata(folder("tls/clinical.pem.next-key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let stranger = authority("A stranger");
    fs::write(folder("stranger.pem"), stranger.pem()).unwrap();
    fs::write(folder("stranger.key"), stranger.key().serialize_pem()).unwrap();
    region.signs("box.csr", "stranger", "of-a-stranger.pem");
    refused(&install("of-a-stranger.pem"), "certificate-chain");
    let other = KeyPair::generate().unwrap();
    let of_other = CertificateParams::new(vec!["localhost".into()]).unwrap().signed_by(&other, &region.ca).unwrap();
    fs::write(folder("of-another-key.pem"), of_other.pem()).unwrap();
    refused(&install("of-another-key.pem"), "certificate-not-for-key");
    // The same key, but a name that peers call the node by is missing, or its time is over.
    let key = KeyPair::from_pem(&fs::read_to_string(folder("tls/clinical.pem.next-key")).unwrap()).unwrap();
    let lacks = CertificateParams::new(vec!["localhost".into()]).unwrap().signed_by(&key, &region.ca).unwrap();
    fs::write(folder("lacks-a-name.pem"), lacks.pem()).unwrap();
    refused(&install("lacks-a-name.pem"), "certificate-lacks-name");
    let mut params = CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
    params.not_after = (SystemTime::now() - Duration::from_mins(1)).into();
    fs::write(folder("over.pem"), params.signed_by(&key, &region.ca).unwrap().pem()).unwrap();
    refused(&install("over.pem"), "certificate-not-in-time");
    fs::write(folder("nonsense.pem"), "nonsense").unwrap();
    refused(&install("nonsense.pem"), "certificate-malformed");
    // The request in the place of what came of it.
    refused(&install("box.csr"), "certificate-malformed");
    let none_yet = region.sund(&["certificate", "show"], "");
    refused(&none_yet, "certificate-unusable");
    assert!(String::from_utf8_lossy(&none_yet.stderr).contains("`sund certificate request` makes a request"));
    assert!(!folder("tls/clinical.pem").exists());

    region.signs("box.csr", "ca", "right.pem");
    assert!(done(&install("right.pem")).starts_with("installed: localhost 127.0.0.1, from "));
    assert!(!folder("tls/clinical.pem.next-key").exists());
    assert_eq!(fs::metadata(folder("tls/clinical.pem")).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(done(&region.sund(&["certificate", "show"], "")).starts_with("holds: localhost"));
}

#[test]
fn another_certificate_is_shown_from_the_next_connection_on_and_what_is_open_stays_open() {
    let region = Region::new("");
    region.has(Duration::from_mins(1), Duration::from_hours(24 * 300));
    region.shows_it_on_dicom();
    let _daemon = region.site.serve();
    let status = region.site.status();
    assert_eq!(status["certificate"]["alarm"], false, "{status}");
    let address = status["node"]["address"].as_str().unwrap().to_owned();
    let (first, mut open) = region.shown(&address);

    let request = done(&region.sund(&["certificate", "request"], ""));
    fs::write(region.site.folder("box.csr"), request).unwrap();
    region.signs("box.csr", "ca", "next.pem");
    let next = region.site.folder("next.pem");
    done(&region.sund(&["certificate", "install", next.to_str().unwrap()], ""));
    let (second, _) = region.shown(&address);
    assert_ne!(first, second);
    // A file that holds nothing ends no service.
    fs::write(region.site.folder("tls/clinical.pem"), "").unwrap();
    assert_eq!(region.shown(&address).0, second);
    // The connection from before is still served: what is no association request is aborted, and not cut off.
    open.write_all(&[7, 0, 0, 0, 0, 4, 0, 0, 0, 0]).unwrap();
    open.sock.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut answer = [0; 1];
    assert!(open.read(&mut answer).is_ok());
}

#[test]
fn a_first_certificate_comes_by_est_with_a_one_time_password_and_nothing_less() {
    let region = Region::new("");
    let est = region.est(30);
    region.asks_at(&est.url);
    let enrol = |password: &str| region.sund(&["certificate", "enrol", "--user", "box"], password);
    refused(&enrol("wrong\n"), "est-denied");
    fs::write(region.site.folder("later"), "").unwrap();
    refused(&enrol("once\n"), "est-pending");
    let key = fs::read(region.site.folder("tls/clinical.pem.next-key")).unwrap();
    fs::remove_file(region.site.folder("later")).unwrap();
    assert!(done(&enrol("once\n")).starts_with("enrolled: localhost 127.0.0.1, from "));
    let file = fs::read(region.site.folder("tls/clinical.pem")).unwrap();
    assert!(file.starts_with(&key), "the key that was asked for at first");
    // A server that another authority vouches for is not asked.
    fs::write(region.site.folder("ca.pem"), authority("Another").pem()).unwrap();
    refused(&enrol("once\n"), "est-tls");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_two_thirds_of_its_life_on_it_is_renewed_by_itself_and_a_server_that_is_away_is_an_alarm() {
    let region = Region::new("alarm = \"2h\"\n");
    region.has(Duration::from_hours(3), Duration::from_hours(1));
    region.shows_it_on_dicom();
    let est = tokio::task::block_in_place(|| region.est(30));
    region.asks_at(&est.url);
    let status = || tokio::task::block_in_place(|| region.site.status());
    // Nobody answers.
    let away = fs::read_to_string(region.site.config()).unwrap();
    fs::write(region.site.config(), away.replace(&est.url, "https://localhost:9")).unwrap();
    let daemon = tokio::task::block_in_place(|| region.site.serve());
    let trouble = until("it is told", || status()["certificate"]["trouble"].as_str().map(str::to_owned)).await;
    assert!(trouble.contains("[est-away]"), "{trouble}");
    assert_eq!(status()["certificate"]["alarm"], true);
    let text = tokio::task::block_in_place(|| String::from_utf8(region.site.sund(&["status"]).stdout).unwrap());
    assert!(text.contains("ALARM, see to it") && text.contains("[est-away]"), "{text}");
    assert!(tokio::task::block_in_place(|| region.site.metrics()).contains("sund_certificate_ends_seconds"));
    assert!(region.site.audit().contains("certificate-not-renewed"));
    drop(daemon);

    fs::write(region.site.config(), away).unwrap();
    let _daemon = tokio::task::block_in_place(|| region.site.serve());
    let address = status()["node"]["address"].as_str().unwrap().to_owned();
    until("it is renewed", || (status()["certificate"]["alarm"] == false).then_some(())).await;
    let issued = fs::read_dir(region.site.folder("issued")).unwrap().count();
    assert_eq!(issued, 1);
    let (shown, _) = tokio::task::block_in_place(|| region.shown(&address));
    let first = fs::read_to_string(region.site.folder("issued/0.pem")).unwrap();
    let first = <CertificateDer<'_> as rustls::pki_types::pem::PemObject>::from_pem_slice(first.as_bytes()).unwrap();
    assert_eq!(shown, first);
    assert!(region.site.audit().matches("certificate-taken").count() >= 2, "{}", region.site.audit());
}

/// GlobalSign's EST server, another people's reading of RFC 7030: `SUND_TEST_EST` names its program.
#[test]
fn globalsigns_server_enrols_and_reenrols() {
    let program = std::env::var("SUND_TEST_EST").expect("SUND_TEST_EST: estserver of github.com/globalsign/est");
    let region = Region::new("");
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["localhost".into()]).unwrap().signed_by(&key, &region.ca).unwrap();
    fs::write(region.site.folder("server.pem"), server.pem()).unwrap();
    fs::write(region.site.folder("server.key"), key.serialize_pem()).unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let at = |name: &str| region.site.folder(name).display().to_string();
    let settings = serde_json::json!({
        "mock_ca": { "certificates": at("ca.pem"), "private_key": at("ca.key") },
        "tls": {
            "listen_address": format!("127.0.0.1:{port}"), "certificates": at("server.pem"),
            "private_key": at("server.key"), "client_cas": [at("ca.pem")],
        },
        "allowed_hosts": ["localhost", format!("localhost:{port}")], "rate_limit": 100, "timeout": 30,
    });
    fs::write(region.site.folder("est.json"), settings.to_string()).unwrap();
    let log = fs::File::create(region.site.folder("est.log")).unwrap();
    let mut command = Command::new(program);
    command.args(["-config", &at("est.json")]).stdout(log.try_clone().unwrap()).stderr(log);
    let _est = Est { child: command.spawn().unwrap(), url: String::new() };
    region.asks_at(&format!("https://localhost:{port}"));
    let begun = std::time::Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{}", fs::read_to_string(at("est.log")).unwrap());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(done(&region.sund(&["certificate", "enrol", "--user", "box"], "once")).starts_with("enrolled: localhost"));
    let first = fs::read(region.site.folder("tls/clinical.pem")).unwrap();
    assert!(done(&region.sund(&["certificate", "enrol"], "")).starts_with("enrolled: localhost"));
    assert_ne!(fs::read(region.site.folder("tls/clinical.pem")).unwrap(), first);
}
