//! Whether a box could be rescued is known before the day on which it has to be, with a TPM (swtpm) and the real programs.
use super::appliance::Appliance;
use super::tpm::Emulator;
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use sund_ota::tpm::counter::{self, INDEX, MAX_COUNTING};

const FAR: &str = "2050-01-01T00:00:00Z";
const OFFERED: &str = "targets/rescue/rescue.json";
const OWNER: u32 = 0x4000_0001;
/// TPMA_NV of the counter: written by the owner, a counter, read by its own password, noDA.
const ATTRIBUTES: u32 = 1 << 1 | 1 << 4 | 1 << 18 | 1 << 25;

/// TPM2_NV_DefineSpace by the owner, and nothing more.
fn define(tpm: &Emulator, attributes: u32) {
    let public = [&INDEX.to_be_bytes()[..], &[0, 0x0b], &attributes.to_be_bytes(), &[0, 0, 0, 8]].concat();
    assert_eq!(tpm.command(0x12a, &[OWNER], &[&[0, 0, 0, public.len() as u8][..], &public].concat()), 0);
}

/// `started`: its exit code and what it said.
fn started(appliance: &Appliance, tpm: &Path) -> (Option<i32>, String) {
    let path = appliance.directory.path();
    let mut command: Command = appliance.command(&["started"]);
    for (option, file) in
        [("--starts", "starts"), ("--site", "site"), ("--network", "network"), ("--directory", "updater")]
    {
        command.arg(option).arg(path.join(file));
    }
    let output = command.arg("--tpm").arg(tpm).output().expect("sund-updater starts");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

async fn status(appliance: &Appliance) -> Value {
    let output = appliance.updater(&["status", "--json"]).await;
    serde_json::from_slice::<Value>(&output.stdout).expect("JSON")["recovery"].clone()
}

fn least(status: &Value) -> u64 {
    status["least"].as_u64().unwrap_or_else(|| panic!("no counter: {status}"))
}

async fn words(appliance: &Appliance, arguments: &[&str]) -> String {
    String::from_utf8_lossy(&appliance.updater(arguments).await.stdout).into_owned()
}

/// A poll after which the channel was told what that poll found.
async fn told(appliance: &Appliance) -> String {
    for _ in 0..2 {
        assert_eq!(appliance.once().await, Some(0));
    }
    appliance.channel.told().attributes.get("rescue").cloned().unwrap_or_default()
}

fn offer(appliance: &mut Appliance, version: u64, expires: &str) {
    let recovery = appliance.region.recovery(version, expires);
    appliance.channel.serve([(OFFERED.to_owned(), recovery)].into());
    appliance.publish();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_whose_counter_is_missing_not_written_or_cleared_says_so_and_makes_it() {
    let appliance = Appliance::new().await;
    let mut tpm = Emulator::start();
    assert_eq!(status(&appliance).await, Value::Null, "no start has looked yet");

    let (code, said) = started(&appliance, &tpm.socket);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("\"target\":\"audit\"") && said.contains("the TPM had no counter for a rescue"), "{said}");
    let first = least(&status(&appliance).await);
    assert!(first > 0);
    let (code, said) = started(&appliance, &tpm.socket);
    assert_eq!((code, said.as_str()), (Some(0), ""), "it is there");
    assert_eq!(least(&status(&appliance).await), first);

    // What a firmware's setup does: the counter made anew begins above the one before.
    tpm.clear();
    let (code, said) = started(&appliance, &tpm.socket);
    assert!(code == Some(0) && said.contains("the TPM had no counter"), "{said}");
    let second = least(&status(&appliance).await);
    assert!(second > first, "{second} after {first}");

    // Defined, and never counted: the rescue could not read it.
    tpm.clear();
    define(&tpm, ATTRIBUTES);
    let (code, said) = started(&appliance, &tpm.socket);
    assert!(code == Some(0) && said.contains("the TPM had no counter"), "{said}");
    assert!(least(&status(&appliance).await) > second);

    // Of another kind: a TPM that has locked itself would not tell it.
    tpm.clear();
    define(&tpm, ATTRIBUTES & !(1 << 25));
    let (code, said) = started(&appliance, &tpm.socket);
    assert!(code == Some(1) && said.contains("tpm-counter-foreign"), "{said}");
    assert_eq!(status(&appliance).await["fault"]["code"], "tpm-counter-foreign");

    tpm.stop();
    let path = appliance.directory.path();
    let configuration = std::fs::read_to_string(appliance.configuration()).expect("updater.toml");
    let with_ca = configuration.replace("[repository]", &format!("ca = \"{}/ca.pem\"\n[repository]", path.display()));
    std::fs::write(appliance.configuration(), with_ca).expect("updater.toml");
    std::fs::write(path.join("ca.pem"), "-----BEGIN CERTIFICATE-----\n").expect("an authority");
    std::fs::write(path.join("starts"), b"\x07\0\0\0aa").expect("starts");
    let (code, said) = started(&appliance, &tpm.socket);
    assert!(code == Some(1) && said.contains("tpm-away"), "{said}");
    assert!(!path.join("starts").exists() && path.join("site").exists(), "all else is done");
    for shown in [words(&appliance, &["status"]).await, words(&appliance, &["screen", "--once"]).await] {
        assert!(shown.contains("NOTHING WOULD BE") && shown.contains("rescue"), "{shown}");
    }
}

fn not_below(version: u64, least: u64) -> String {
    format!("version {version} is offered, not below the counter ({least})")
}

#[test]
fn a_tpm_that_is_slow_is_counted_up_by_the_next_starts() {
    let tpm = Emulator::start();
    let keep = |least, within| counter::keep(&tpm.socket, INDEX, least, within).expect("a TPM").least;
    let first = keep(0, MAX_COUNTING);
    assert_eq!(keep(first + 5, Duration::ZERO), first, "there was no time");
    assert_eq!(keep(first + 5, MAX_COUNTING), first + 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_for_an_instant_takes_no_bundle_away_and_is_asked_again_by_the_next_poll() {
    let mut appliance = Appliance::serving().await;
    let (tpm, channel) = (Emulator::start(), appliance.channel.clone());
    assert_eq!(started(&appliance, &tpm.socket).0, Some(0));
    let first = least(&status(&appliance).await);
    channel.told().fails = Some(OFFERED);
    offer(&mut appliance, first, FAR);
    assert!(told(&appliance).await.contains("[store-failed]"), "nothing was ever offered");
    channel.told().fails = None;
    assert_eq!(told(&appliance).await, not_below(first, first), "under the same timestamp");

    channel.told().fails = Some(OFFERED);
    offer(&mut appliance, first + 1, FAR);
    assert_eq!(told(&appliance).await, not_below(first, first), "it is what was offered before");
    channel.told().fails = None;
    assert_eq!(told(&appliance).await, not_below(first + 1, first));

    // A document that is there and does not hold is no fault of the line.
    channel.serve([(OFFERED.to_owned(), b"{}".to_vec())].into());
    appliance.publish();
    let invalid = told(&appliance).await;
    assert!(invalid.starts_with("NOTHING WOULD BE TAKEN") && invalid.contains("is no envelope"), "{invalid}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_channel_hears_when_nothing_would_be_taken_and_the_counter_goes_up_with_what_was_released() {
    let mut appliance = Appliance::serving().await;
    let tpm = Emulator::start();
    assert_eq!(told(&appliance).await, "", "its starts know of no counter");
    assert_eq!(started(&appliance, &tpm.socket).0, Some(0));
    appliance.publish();
    assert!(told(&appliance).await.contains("[recovery-none]"));

    let first = least(&status(&appliance).await);
    offer(&mut appliance, first + 3, FAR);
    assert_eq!(told(&appliance).await, not_below(first + 3, first));
    assert!(!words(&appliance, &["screen", "--once"]).await.contains("NOTHING WOULD BE"));
    // With the next start nothing older is taken any more.
    assert_eq!(started(&appliance, &tpm.socket).0, Some(0));
    assert_eq!(least(&status(&appliance).await), first + 3);
    offer(&mut appliance, first + 2, FAR);
    let older = told(&appliance).await;
    assert!(older.starts_with("NOTHING WOULD BE TAKEN: the region offers version"), "{older}");
    assert_eq!(started(&appliance, &tpm.socket).0, Some(0));
    assert_eq!(least(&status(&appliance).await), first + 3, "it only goes up");
    assert!(words(&appliance, &["status"]).await.contains("[recovery-too-old]"));
    offer(&mut appliance, first + 3, "2026-11-02T00:00:00Z");
    assert!(told(&appliance).await.contains("was good until 2026-11-02"));

    // It is asked for with each new timestamp, and not between.
    appliance.channel.told().asked.clear();
    told(&appliance).await;
    assert!(!appliance.channel.told().asked.iter().any(|path| path.contains("rescue")));

    // A version that is far ahead wears no TPM out in one start.
    offer(&mut appliance, first + 1_000_000, FAR);
    told(&appliance).await;
    assert_eq!(started(&appliance, &tpm.socket).0, Some(0));
    assert_eq!(least(&status(&appliance).await), first + 3 + 64);
}
