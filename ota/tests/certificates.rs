//! A channel in other hands sends a certificate that nobody takes, or none that can be read: the box keeps the one that it has, and one that
//! cannot be used costs the channel and nothing else.
use super::appliance::Appliance;
use super::authority::{Authority, appliance_of};
use super::conversation::{Running, until};
use super::stick::write;
use axum::http::StatusCode;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use sund_ota::identity::Standing;

/// PEM, and no certificate.
const NONSENSE: &str = "-----BEGIN CERTIFICATE-----\nbm8gY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n";
/// No PEM.
const BROKEN: &str = "-----BEGIN CERTIFICATE-----\n%%%%\n-----END CERTIFICATE-----\n";

/// Good for these days, counted from now.
fn good(name: &str, from: i64, until: i64) -> CertificateParams {
    let day = |n: i64| {
        let second = jiff::Timestamp::now().as_second() + n * 86_400;
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(second as u64)
    };
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = (day(from), day(until));
    params
}

/// Certificates for a key that no box should take, each with what is wrong with it.
fn lies(authority: &Authority, id: &str, key: &KeyPair) -> Vec<(&'static str, String)> {
    let issue = |params: CertificateParams| params.signed_by(key, &authority.issuer).expect("a certificate").pem();
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let stranger = Issuer::new(params, KeyPair::generate().expect("a key"));
    let mut for_servers = good(id, -1, 90);
    for_servers.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let another = KeyPair::generate().expect("a key");
    let genuine = issue(good(id, -1, 90));
    vec![
        ("no certificate", String::new()),
        ("a second one that is none", format!("{genuine}{NONSENSE}")),
        ("a second one that breaks off", format!("{genuine}{BROKEN}")),
        ("for ever", issue(good(id, -1, 27_000))),
        ("for ever, by itself", good(id, -1, 27_000).self_signed(key).expect("a certificate").pem()),
        ("by itself", good(id, -1, 90).self_signed(key).expect("a certificate").pem()),
        ("by another authority", good(id, -1, 90).signed_by(key, &stranger).expect("a certificate").pem()),
        ("ended", issue(good(id, -90, -1))),
        ("not yet good", issue(good(id, 2, 90))),
        ("for servers", issue(for_servers)),
        ("another box's", issue(good("box-18", -1, 90))),
        ("another key's", good(id, -1, 90).signed_by(&another, &authority.issuer).expect("a certificate").pem()),
    ]
}

fn key(path: PathBuf) -> KeyPair {
    KeyPair::from_pem(&std::fs::read_to_string(path).expect("a key")).expect("a key")
}

fn sends(authority: &Authority, certificate: Option<String>) {
    *authority.sends.lock().expect("no test failed while it held this") = certificate;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lying_renewal_takes_the_place_of_no_certificate_and_the_true_one_does() {
    let authority = Arc::new(Authority::new());
    let appliance = appliance_of(&authority).await;
    let path = appliance.directory.path();
    assert_eq!(appliance.updater(&["enrol", "--code", "one-time"]).await.status.code(), Some(0));
    let own = std::fs::read(path.join("box.pem")).expect("a certificate");
    let id = sund_ota::config::Config::read(&appliance.configuration()).expect("a configuration").id;
    // It is two thirds through its life: each poll asks for the next.
    for (what, certificate) in lies(&authority, &id, &key(path.join("box.key"))) {
        sends(&authority, Some(certificate));
        let poll = appliance.updater(&["once"]).await;
        let said = String::from_utf8_lossy(&poll.stderr);
        assert_eq!(poll.status.code(), Some(0), "{what}");
        assert!(said.contains("enrol-failed"), "{what}: {said}");
        if what == "by another authority" {
            assert!(said.contains("add the channel's ca/ca.pem to server.ca"), "{said}");
        }
        assert!(authority.is_known.load(Ordering::Relaxed), "{what}: it is still who it was");
        assert_eq!(std::fs::read(path.join("box.pem")).expect("a certificate"), own, "{what}");
    }
    sends(&authority, None);
    assert_eq!(appliance.once().await, Some(0));
    assert_ne!(std::fs::read(path.join("box.pem")).expect("a certificate"), own);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lying_enrolment_makes_nobody_of_no_box_and_keeps_the_code() {
    let authority = Arc::new(Authority::new());
    let appliance = appliance_of(&authority).await;
    let path = appliance.directory.path();
    let file = path.join("code");
    std::fs::write(&file, "one-time").expect("a code");
    let by_file =
        async || appliance.updater(&["enrol", "--code-file", &file.display().to_string()]).await.status.code();
    // The box has made its key by then.
    *authority.loses.lock().expect("no test failed while it held this") = Some(StatusCode::OK);
    assert_eq!(by_file().await, Some(75));
    *authority.loses.lock().expect("no test failed while it held this") = None;
    let waiting = std::fs::read_dir(path).expect("a directory").flatten().map(|entry| entry.path());
    let waiting = waiting.into_iter().find(|path| path.to_string_lossy().ends_with(".next")).expect("a key that waits");
    let id = sund_ota::config::Config::read(&appliance.configuration()).expect("a configuration").id;
    for (what, certificate) in lies(&authority, &id, &key(waiting)) {
        sends(&authority, Some(certificate));
        assert_eq!((by_file().await, file.exists()), (Some(1), true), "{what}");
        assert!(!path.join("box.pem").exists() && !path.join("box.pem.next").exists(), "{what}");
    }
    sends(&authority, None);
    assert_eq!((by_file().await, file.exists()), (Some(0), false));
    assert_eq!(appliance.once().await, Some(0));
}

/// A box that took such a certificate before it looked at them.
#[tokio::test(flavor = "multi_thread")]
async fn a_box_with_a_certificate_that_nobody_takes_asks_for_a_code_and_is_mended_by_it() {
    let authority = Arc::new(Authority::new());
    let appliance = appliance_of(&authority).await;
    let path = appliance.directory.path();
    let (file, certificate) = (path.join("code"), path.join("box.pem"));
    assert_eq!(appliance.updater(&["enrol", "--code", "one-time"]).await.status.code(), Some(0));
    let config = sund_ota::config::Config::read(&appliance.configuration()).expect("a configuration");
    assert_eq!(Standing::of(&config), Standing::Holds);
    let own = std::fs::read_to_string(&certificate).expect("a certificate");
    let for_ever = good(&config.id, -1, 27_000).self_signed(&key(path.join("box.key"))).expect("a certificate").pem();
    let lies = [format!("{own}{NONSENSE}"), format!("{own}{BROKEN}"), for_ever];
    for (lie, code) in lies.into_iter().zip(["second", "third", "fourth"]) {
        std::fs::write(&certificate, &lie).expect("a certificate");
        let standing = Standing::of(&config);
        assert!(matches!(&standing, Standing::Lapsed(fault) if fault.code == "credentials-unusable"), "{standing:?}");
        let screen = appliance.updater(&["screen", "--once"]).await;
        let screen = String::from_utf8_lossy(&screen.stdout).into_owned();
        assert!(screen.contains("[credentials-unusable]") && screen.contains("> _"), "{screen}");
        authority.codes.lock().expect("no test failed while it held this").push(code);
        std::fs::write(&file, code).expect("a code");
        let mended = appliance.updater(&["enrol", "--code-file", &file.display().to_string()]).await;
        assert_eq!((mended.status.code(), file.exists()), (Some(0), false));
        assert_eq!(appliance.once().await, Some(0));
        assert!(authority.is_known.load(Ordering::Relaxed));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_whose_certificate_cannot_be_used_takes_a_stick_and_is_somebody_again_with_the_next_certificate() {
    let authority = Arc::new(Authority::new());
    let mut appliance = appliance_of(&authority).await;
    let path = appliance.directory.path().to_owned();
    assert_eq!(appliance.updater(&["enrol", "--code", "one-time"]).await.status.code(), Some(0));
    let own = std::fs::read_to_string(path.join("box.pem")).expect("a certificate");
    std::fs::write(path.join("box.pem"), format!("{own}{BROKEN}")).expect("a certificate");
    let poll = appliance.updater(&["once"]).await;
    let said = String::from_utf8_lossy(&poll.stderr);
    assert!(poll.status.code() == Some(1) && said.contains("[credentials-unusable]"), "{said}");

    let descriptor = appliance.state("north-1", b"model one", json!({}));
    let stick = write(&path, &appliance.region.bundle(&descriptor, "2050-01-01T00:00:00Z"));
    let installed = appliance.updater(&["install", &stick.display().to_string()]).await;
    assert_eq!(installed.status.code(), Some(0));
    assert_eq!(appliance.agent.serving().state.as_deref(), Some("north-1"));

    // An updater that runs polls at once with what the box has got meanwhile.
    let text = std::fs::read_to_string(appliance.configuration()).expect("updater.toml");
    let text = text.replace("min_seconds = 1\nmax_seconds = 2", "min_seconds = 3600\nmax_seconds = 3600");
    std::fs::write(appliance.configuration(), text).expect("updater.toml");
    let _running = Running(appliance.run());
    let words = || std::fs::read_to_string(appliance.log()).unwrap_or_default();
    until("it has polled", || words().contains("nothing more until the next poll")).await;
    authority.is_known.store(false, Ordering::Relaxed);
    authority.codes.lock().expect("no test failed while it held this").push("another");
    assert_eq!(appliance.updater(&["enrol", "--code", "another"]).await.status.code(), Some(0));
    until("the channel knows it", || authority.is_known.load(Ordering::Relaxed)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_came_where_no_client_can_be_made_is_not_tried_again_and_again() {
    let authority = Arc::new(Authority::new());
    let appliance = appliance_of(&authority).await;
    let path = appliance.directory.path();
    assert_eq!(appliance.updater(&["enrol", "--code", "one-time"]).await.status.code(), Some(0));
    let own = std::fs::read_to_string(path.join("box.pem")).expect("a certificate");
    std::fs::write(path.join("box.pem"), BROKEN).expect("a certificate");
    let _running = Running(appliance.run());
    let said = |text: &str| std::fs::read_to_string(appliance.log()).unwrap_or_default().matches(text).count();
    until("it is nobody", || said("nothing more until the next poll") > 0).await;
    let config = sund_ota::config::Config::read(&appliance.configuration()).expect("a configuration");
    std::fs::write(config.ca.as_ref().expect("an authority"), BROKEN).expect("server.ca");
    std::fs::write(path.join("box.pem"), own).expect("a certificate");
    until("it is tried", || said("the box's certificate was not renewed") > 0).await;
    let tried = said("the poll found nothing");
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(said("the poll found nothing") < tried + 8, "as often as it polls, and no more");
    assert_eq!(said("the box's certificate was not renewed"), 1);
}

/// One that was never enrolled is nobody as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_box_without_a_certificate_takes_a_stick() {
    let authority = Arc::new(Authority::new());
    let mut appliance: Appliance = appliance_of(&authority).await;
    let descriptor = appliance.state("north-1", b"model one", json!({}));
    let stick = write(appliance.directory.path(), &appliance.region.bundle(&descriptor, "2050-01-01T00:00:00Z"));
    let installed = appliance.updater(&["install", &stick.display().to_string()]).await;
    assert_eq!(installed.status.code(), Some(0));
    assert_eq!(appliance.agent.serving().state.as_deref(), Some("north-1"));
}
