//! The key of the certificate in a TPM (swtpm): made there, used there, never read.
use super::appliance::Appliance;
use super::authority::{Authority, known_to, start};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use sund_ota::config::Config;
use sund_ota::http::Http;
use sund_ota::rauc::relay::Relay;
use sund_ota::tpm::{Place, TpmKey};
use tempfile::TempDir;

const HANDLE: &str = "0x81010010";
const KEY: u32 = 0x8101_0010;
const OWNER: u32 = 0x4000_0001;

/// A TPM of its own.
pub struct Emulator {
    child: Child,
    pub socket: PathBuf,
    state: TempDir,
}

impl Emulator {
    pub fn start() -> Self {
        let state = tempfile::tempdir().expect("a directory");
        let socket = state.path().join("socket");
        let child = Self::spawn(state.path(), &socket);
        Self { child, socket, state }
    }

    fn spawn(state: &Path, socket: &Path) -> Child {
        let child = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear", "--tpmstate"])
            .arg(format!("dir={}", state.display()))
            .arg("--server")
            .arg(format!("type=unixio,path={}", socket.display()))
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("swtpm: {error}: install it"));
        let begin = Instant::now();
        // Its file is there a moment before it listens.
        while std::os::unix::net::UnixStream::connect(socket).is_err() {
            assert!(begin.elapsed() < Duration::from_secs(20), "swtpm does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        child
    }

    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.socket);
    }

    /// Off and on, with the same seeds and objects; `emptied` is another board.
    fn again(&mut self, emptied: bool) {
        self.stop();
        if emptied {
            for file in std::fs::read_dir(self.state.path()).expect("a directory").flatten() {
                std::fs::remove_file(file.path()).expect("its state");
            }
        }
        self.child = Self::spawn(self.state.path(), &self.socket);
    }

    /// A command in its own bytes, authorized by an empty password; the code of its answer.
    pub fn command(&self, code: u32, handles: &[u32], parameters: &[u8]) -> u32 {
        let mut body: Vec<u8> = handles.iter().flat_map(|handle| handle.to_be_bytes()).collect();
        body.extend([0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0]);
        body.extend(parameters);
        let size = (10 + body.len() as u32).to_be_bytes();
        self.raw(&[&[0x80, 2][..], &size, &code.to_be_bytes(), &body].concat())
    }

    fn raw(&self, command: &[u8]) -> u32 {
        use std::io::Write as _;
        let mut socket = std::os::unix::net::UnixStream::connect(&self.socket).expect("a TPM");
        socket.write_all(command).expect("it takes commands");
        let mut answer = [0; 4096];
        let length = socket.read(&mut answer).expect("an answer");
        assert!(length >= 10);
        u32::from_be_bytes([answer[6], answer[7], answer[8], answer[9]])
    }

    /// TPM2_Clear (Part 3, 24.6), by the lockout hierarchy: what the firmware's setup does.
    pub fn clear(&self) {
        assert_eq!(self.command(0x126, &[0x4000_000a], &[]), 0);
    }

    pub fn place(&self) -> Place {
        Place { device: self.socket.clone(), handle: format!("tpm:{HANDLE}").parse().expect("a handle") }
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A box whose key is in a TPM, and the server with its authority.
struct World {
    appliance: Appliance,
    authority: Arc<Authority>,
    tpm: Emulator,
    port: u16,
}

impl World {
    async fn new() -> Self {
        let appliance = Appliance::new().await;
        let authority = Arc::new(Authority::new());
        let port = start(&authority).await;
        let tpm = Emulator::start();
        let key = format!("key = \"tpm:{HANDLE}\"\ntpm = \"{}\"", tpm.socket.display());
        let text = known_to(&appliance, &authority, port, &key);
        std::fs::write(appliance.configuration(), text).expect("updater.toml");
        Self { appliance, authority, tpm, port }
    }

    fn code(&self, code: &'static str) {
        self.authority.codes.lock().expect("no test failed while it held this").push(code);
    }

    async fn enrol(&self, code: &str) -> (Option<i32>, String) {
        told(self.appliance.updater(&["enrol", "--code", code]).await)
    }

    async fn once(&self) -> (Option<i32>, String) {
        told(self.appliance.updater(&["once"]).await)
    }

    fn certificate(&self) -> Vec<u8> {
        std::fs::read(self.appliance.directory.path().join("box.pem")).expect("a certificate")
    }
}

fn told(output: std::process::Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn public_of(certificate: &[u8]) -> Vec<u8> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(certificate).expect("PEM");
    pem.parse_x509().expect("a certificate").public_key().subject_public_key.data.to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_whose_key_is_in_its_tpm_enrols_polls_and_renews_over_mutual_tls() {
    let mut world = World::new().await;
    assert_eq!(world.enrol("one-time").await.0, Some(0));
    let first = world.certificate();
    let left: Vec<_> = std::fs::read_dir(world.appliance.directory.path()).expect("a directory").flatten().collect();
    assert!(left.iter().all(|entry| !entry.file_name().to_string_lossy().contains("box.key")), "{left:?}");

    // It is two thirds through its life: the first poll renews it, with the same key.
    assert_eq!(world.once().await.0, Some(0));
    assert!(world.authority.is_known.load(Ordering::Relaxed), "the handshake was signed by the TPM");
    let second = world.certificate();
    assert_ne!(first, second);
    assert_eq!(public_of(&first), public_of(&second));

    // The key outlives a restart of the machine.
    world.tpm.again(false);
    assert_eq!(world.once().await.0, Some(0));

    // With another code the box is enrolled anew; what it has is not given up for that.
    world.code("another");
    assert_eq!(world.enrol("wrong").await.0, Some(1));
    assert_eq!(world.once().await.0, Some(0));
    assert_eq!(world.enrol("another").await.0, Some(0));
    assert_eq!(public_of(&world.certificate()), public_of(&first));
    assert_eq!(world.once().await.0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_with_a_certificate_for_a_key_in_the_tpm_that_is_lost_strands_no_box() {
    let world = World::new().await;
    let loses = |status| *world.authority.loses.lock().expect("no test failed while it held this") = status;
    loses(Some(axum::http::StatusCode::OK));
    assert_eq!(world.enrol("one-time").await.0, Some(75));
    let asked = TpmKey::there(&world.tpm.place()).expect("it stays");
    loses(None);
    assert_eq!(world.enrol("mistyped").await.0, Some(1));
    assert_eq!(world.enrol("one-time").await.0, Some(0));
    assert_eq!(public_of(&world.certificate()), asked.public());
    assert_eq!(world.once().await.0, Some(0));
    assert!(!world.appliance.directory.path().join("box.asked").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tpm_that_was_cleared_or_is_away_is_named_and_a_new_code_mends_it() {
    let mut world = World::new().await;
    assert_eq!(world.enrol("one-time").await.0, Some(0));
    let first = public_of(&world.certificate());

    world.tpm.clear();
    let (code, said) = world.once().await;
    assert_eq!(code, Some(1));
    assert!(said.contains("[tpm-key-gone]") && said.contains("one-time code"), "{said}");

    // A code that is none changes nothing of what is there.
    assert_eq!(world.enrol("wrong").await.0, Some(1));
    assert_eq!(public_of(&world.certificate()), first);
    world.code("another");
    let (code, said) = world.enrol("another").await;
    assert_eq!(code, Some(0), "{said}");
    let audited = said.lines().any(|line| line.contains("the box was enrolled") && line.contains("tpm-key-gone"));
    assert!(audited, "{said}");
    let second = public_of(&world.certificate());
    assert_ne!(second, first);
    assert_eq!(world.once().await.0, Some(0));

    // Another key at the same handle is not this box's either; one that was made here is taken for the next certificate.
    let another = TpmKey::make(&world.tpm.place()).expect("a key");
    let (_, said) = world.once().await;
    assert!(said.contains("[tpm-key-gone]") && said.contains("another key"), "{said}");
    world.code("a third");
    assert_eq!(world.enrol("a third").await.0, Some(0));
    assert_eq!(public_of(&world.certificate()), another.public());
    assert_eq!(world.once().await.0, Some(0));

    world.tpm.stop();
    let (code, said) = world.once().await;
    assert_eq!(code, Some(1));
    assert!(said.contains("[tpm-away]"), "{said}");
    world.tpm.again(true);
    let (_, said) = world.once().await;
    assert!(said.contains("[tpm-key-gone]"), "another board: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_whose_tpm_was_cleared_says_so_at_its_screen_and_an_updater_that_runs_takes_up_the_new_certificate() {
    let world = World::new().await;
    assert_eq!(world.enrol("one-time").await.0, Some(0));
    let shown = async || {
        let output = world.appliance.updater(&["screen", "--once"]).await;
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(!shown().await.contains("> _"));
    // Before it runs: a connection that is open needs no key.
    world.tpm.clear();
    let mut running = world.appliance.run();
    let polls_well = || {
        let now = std::fs::read(world.appliance.directory.path().join("updater/now.json")).unwrap_or_default();
        let now: serde_json::Value = serde_json::from_slice(&now).unwrap_or_default();
        now["poll"]["at"].is_i64().then(|| now["poll"]["trouble"].is_null())
    };
    let until = async |wanted: bool| {
        let begin = Instant::now();
        while polls_well() != Some(wanted) {
            assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", polls_well());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    until(false).await;
    let screen = shown().await;
    assert!(screen.contains("[tpm-key-gone]") && screen.contains("> _"), "{screen}");
    world.code("another");
    assert_eq!(world.enrol("another").await.0, Some(0));
    until(true).await;
    assert!(!shown().await.contains("> _"));
    running.kill().and_then(|()| running.wait()).expect("it ends");
}

#[test]
fn a_key_made_anew_is_another_one_and_none_can_be_read() {
    let tpm = Emulator::start();
    let first = TpmKey::make(&tpm.place()).expect("a key");
    let message = b"what is to be signed";
    for _ in 0..20 {
        // Numbers of every length.
        first.signature(message).expect("it verifies, or it is none");
    }
    assert_eq!(TpmKey::there(&tpm.place()).expect("it is there").public(), first.public());

    // TPM2_Duplicate (Part 3, 13.1) to nobody, without encryption: fixedTPM forbids it.
    assert_ne!(tpm.command(0x14b, &[KEY, 0x4000_0007], &[0, 0, 0, 0x10]), 0);
    // TPM2_Unseal (Part 3, 12.7): it is no sealed data.
    assert_ne!(tpm.command(0x15e, &[KEY], &[]), 0);

    let second = TpmKey::make(&tpm.place()).expect("a key");
    assert_ne!(first.public(), second.public());
    assert_eq!(first.signature(message).expect_err("it is gone").code, "tpm-key-gone");
    second.signature(message).expect("it signs");
}

#[test]
fn what_somebody_else_keeps_in_the_tpm_is_neither_used_nor_taken_away() {
    let tpm = Emulator::start();
    // TPM2_CreatePrimary (Part 3, 24.1): a storage key, restricted, which decrypts and does not sign; kept at our handle.
    let numbers: [u16; 13] = [0x23, 0xb, 0x3, 0x472, 0, 6, 128, 0x43, 0x10, 3, 0x10, 0, 0];
    let template: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
    let parameters = [&[0, 4, 0, 0, 0, 0, 0, template.len() as u8][..], &template, &[0, 0, 0, 0, 0, 0]].concat();
    assert_eq!(tpm.command(0x131, &[OWNER], &parameters), 0);
    assert_eq!(tpm.command(0x120, &[OWNER, 0x8000_0000], &KEY.to_be_bytes()), 0);
    let foreign = TpmKey::there(&tpm.place()).expect_err("it decrypts, and does not sign");
    assert_eq!(foreign.code, "tpm-key-foreign");
    assert_eq!(TpmKey::make(&tpm.place()).expect_err("it stays").code, "tpm-key-foreign");
    // TPM2_EvictControl finds it.
    assert_eq!(tpm.command(0x120, &[OWNER, KEY], &KEY.to_be_bytes()), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn rauc_streams_by_ranges_from_a_store_that_asks_for_the_certificate_of_a_key_in_the_tpm() {
    let world = World::new().await;
    assert_eq!(world.enrol("one-time").await.0, Some(0));
    let config = Config::read(&world.appliance.configuration()).expect("a configuration");
    let source = format!("https://localhost:{}/bundle", world.port).parse().expect("a URL");
    let relay = Relay::start(Http::new(&config).expect("credentials"), source, None).await.expect("a relay");
    world.authority.is_known.store(false, Ordering::Relaxed);

    let client = super::web::plain_client();
    let head = client.head(relay.url.clone()).send().await.expect("an answer");
    assert_eq!(head.headers()["content-length"], super::authority::BUNDLE.len().to_string());
    assert!(world.authority.is_known.load(Ordering::Relaxed), "the store saw the certificate");
    let range = client.get(relay.url.clone()).header("range", "bytes=4-9").send().await.expect("an answer");
    assert_eq!(range.status(), 206);
    assert_eq!(range.headers()["content-range"], format!("bytes 4-9/{}", super::authority::BUNDLE.len()));
    assert_eq!(range.bytes().await.expect("a body"), &super::authority::BUNDLE[4..10]);

    // Nothing else is to be had there, and nothing after it.
    let elsewhere = relay.url.join("/enrol").expect("a URL");
    assert_eq!(client.get(elsewhere).send().await.expect("an answer").status(), 404);
    let url = relay.url.clone();
    drop(relay);
    tokio::time::timeout(Duration::from_secs(10), async {
        while client.get(url.clone()).send().await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("it ends with its value");
}
