//! The recovery key of the disk: sealed, sent, and removed only when the region has it.
use super::appliance::Appliance;
use super::authority::{Authority, appliance_of};
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

const KEY: &str = "cbdefghi-jklnrtuv-vutrnlkj-ihgfedbc-cccccccc-dddddddd-eeeeeeee-tttttttt";

/// A region's public key, PEM; the private half lies beside it as `region.key`.
pub fn region_key(directory: &Path, bits: u32) -> String {
    let private = directory.join("region.key");
    let run = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).arg(&private).output().expect("openssl");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    run(&["genpkey", "-algorithm", "RSA", "-pkeyopt", &format!("rsa_keygen_bits:{bits}"), "-out"]);
    String::from_utf8(run(&["pkey", "-pubout", "-in"])).expect("PEM")
}

/// Opens what a channel was sent, as a person of the region does.
fn open(directory: &Path, offer: &Value) -> String {
    let sealed = directory.join("sealed");
    std::fs::write(&sealed, STANDARD.decode(offer["sealed"].as_str().expect("bytes")).expect("base64"))
        .expect("a file");
    let output = Command::new("openssl")
        .args(["pkeyutl", "-decrypt", "-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha256", "-inkey"])
        .arg(directory.join("region.key"))
        .arg("-in")
        .arg(&sealed)
        .output()
        .expect("openssl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// A box that is enrolled, has the region's key, and whose system has left a recovery key.
struct World {
    appliance: Appliance,
    authority: Arc<Authority>,
    recovery: PathBuf,
}

impl World {
    async fn new() -> Self {
        let authority = Arc::new(Authority::new());
        let appliance = appliance_of(&authority).await;
        let path = appliance.directory.path();
        std::fs::write(path.join("escrow.pem"), region_key(path, 3072)).expect("a key");
        let recovery = path.join("recovery");
        std::fs::write(&recovery, format!("{KEY}\n")).expect("a recovery key");
        assert_eq!(appliance.updater(&["enrol", "--code", "one-time"]).await.status.code(), Some(0));
        Self { appliance, authority, recovery }
    }

    /// From now on the configuration names the region's key.
    fn configure(&self) {
        let (file, path) = (self.appliance.configuration(), self.appliance.directory.path().display());
        let text = std::fs::read_to_string(&file).expect("updater.toml");
        let more = format!("[escrow]\nkey = \"{path}/escrow.pem\"\nrecovery = \"{}\"\n", self.recovery.display());
        std::fs::write(file, text + &more).expect("updater.toml");
    }

    fn says(&self, answer: Result<bool, StatusCode>) {
        *self.authority.keeps.lock().expect("no test failed while it held this") = answer;
    }

    fn sent(&self) -> Vec<Value> {
        self.authority.escrow.lock().expect("no test failed while it held this").clone()
    }

    /// A start of the updater, a poll, and what it knows then: of the escrow, and in words.
    async fn once(&self) -> (Value, String) {
        assert_eq!(self.appliance.once().await, Some(0));
        let output = self.appliance.updater(&["status", "--json"]).await;
        let status: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let words = self.appliance.updater(&["status"]).await.stdout;
        (status["escrow"].clone(), String::from_utf8(words).expect("text"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_recovery_key_goes_from_the_box_only_when_the_region_has_acknowledged_what_it_keeps() {
    let world = World::new().await;
    let (escrow, words) = world.once().await;
    assert!(
        escrow.is_null() && words.contains("escrow       none"),
        "without the region's key nothing is sent: {words}"
    );
    assert!(world.sent().is_empty() && world.recovery.exists());

    world.configure();
    for (answer, code) in [
        (Ok(false), "escrow-not-kept"),
        (Err(StatusCode::NOT_FOUND), "escrow-not-offered"),
        (Err(StatusCode::CONFLICT), "escrow-refused"),
        (Err(StatusCode::SERVICE_UNAVAILABLE), "channel-away"),
    ] {
        world.says(answer);
        let (escrow, words) = world.once().await;
        assert_eq!((escrow["standing"].as_str(), escrow["fault"]["code"].as_str()), (Some("waits"), Some(code)));
        assert!(words.contains("waits to be kept by the region"), "{words}");
        assert!(world.recovery.exists(), "{code}");
    }
    let told = || {
        let events = world.appliance.agent.serving().audited.clone();
        events.iter().filter(|event| event.text == "the region does not have the recovery key of the disk").count()
    };
    assert_eq!(told(), 4);
    for _ in 0..2 {
        world.once().await;
    }
    assert_eq!(told(), 4, "what lasts is one event");
    world.says(Ok(true));
    let (escrow, words) = world.once().await;
    assert_eq!((escrow["standing"].as_str(), escrow["fault"].is_null()), (Some("kept"), true));
    assert!(words.contains("kept by the region since 20"), "{words}");
    assert!(!world.recovery.exists());
    let kept = world.recovery.with_file_name("kept");
    assert!(kept.exists(), "the system is told to make no other");
    let path = world.appliance.directory.path();
    let left = std::fs::read_to_string(path.join("updater/escrow.json")).expect("a record");
    assert!(!left.contains(&KEY[..8]), "the key is in nothing that is left");
    let sent = world.sent();
    assert_eq!(sent.len(), 7);
    assert!(sent.iter().all(|offer| offer == &sent[0]), "the same bytes, until they are kept");
    assert_eq!(open(path, &sent[0]), KEY);
    assert_eq!(sent[0]["recipient"], escrow["recipient"]);

    // The power went after the acknowledgment and before the file: it is not another key.
    std::fs::write(&world.recovery, KEY).expect("a file");
    world.once().await;
    assert!(!world.recovery.exists());
    assert!(world.sent().iter().all(|offer| offer == &sent[0]));

    // The disk was made anew.
    let another = KEY.replace("tttttttt", "uuuuuuuu");
    std::fs::write(&world.recovery, &another).expect("a recovery key");
    world.once().await;
    assert_eq!(open(path, world.sent().last().expect("an offer")), another);
    assert!(kept.exists());

    // The region has another key: the system is to make another one, at the next start.
    std::fs::write(path.join("escrow.pem"), region_key(path, 3072)).expect("a key");
    let (escrow, words) = world.once().await;
    assert!(!kept.exists() && words.contains("[escrow-key-changed]"), "{words}");
    assert_eq!(escrow["standing"], "kept", "the one before is still there");
    std::fs::write(&world.recovery, KEY).expect("a recovery key");
    let (escrow, _) = world.once().await;
    assert_eq!((escrow["standing"].as_str(), escrow["fault"].is_null()), (Some("kept"), true));
    assert!(kept.exists() && open(path, world.sent().last().expect("an offer")) == KEY);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_recovery_key_goes_so_that_another_is_made_and_a_key_of_the_region_that_is_none_takes_nothing_away()
{
    let world = World::new().await;
    world.configure();
    let with_prose =
        format!("A secret recovery key has been generated for this volume:\n\n    {KEY}\n\nPlease save it.\n");
    for half in ["", &KEY[..40], &format!("{KEY}-cccccccc"), &KEY.replace('c', "a"), &"c".repeat(1000), &with_prose] {
        std::fs::write(&world.recovery, half).expect("a file");
        let (escrow, _) = world.once().await;
        assert_eq!(escrow["fault"]["code"], "escrow-recovery-invalid", "{half}");
        assert!(!world.recovery.exists() && world.sent().is_empty(), "the next start makes another: {half}");
        assert!(!world.recovery.with_file_name("kept").exists());
    }
    std::fs::write(&world.recovery, KEY).expect("a recovery key");
    let key = world.appliance.directory.path().join("escrow.pem");
    for none in ["no key".to_owned(), region_key(world.appliance.directory.path(), 2048)] {
        std::fs::write(&key, none).expect("a file");
        let (escrow, _) = world.once().await;
        assert_eq!(escrow["fault"]["code"], "escrow-key-unusable");
        assert!(world.recovery.exists() && world.sent().is_empty());
    }
}
