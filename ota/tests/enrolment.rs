//! Who the box is: a one-time code, a certificate from the channel's own authority, and its renewal, over real TLS.
use super::authority::{Authority, appliance_of};
use axum::http::StatusCode;
use rcgen::{CertificateParams, KeyPair};
use std::sync::Arc;
use std::sync::atomic::Ordering;

#[tokio::test(flavor = "multi_thread")]
async fn a_code_yields_a_certificate_once_and_the_certificate_yields_the_next() {
    let authority = Arc::new(Authority::new());
    let appliance = appliance_of(&authority).await;
    let path = appliance.directory.path();

    let wrong = appliance.updater(&["enrol", "--code", "guessed"]).await;
    assert_eq!(wrong.status.code(), Some(1));
    assert!(!path.join("box.pem").exists());
    assert_eq!(appliance.updater(&["enrol", "--code", "one-time"]).await.status.code(), Some(0));
    let first = std::fs::read(path.join("box.pem")).expect("a certificate");
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(path.join("box.key")).expect("a key"));
    assert_eq!(mode & 0o777, 0o600);
    assert!(!authority.is_known.load(Ordering::Relaxed));

    // It is two thirds through its life: the next poll renews it, by itself.
    assert_eq!(appliance.once().await, Some(0));
    assert!(authority.is_known.load(Ordering::Relaxed));
    assert_ne!(std::fs::read(path.join("box.pem")).expect("a certificate"), first);
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(authority.issued.load(Ordering::Relaxed), 2, "a fresh one is not renewed");

    // The code is used up, and what it was used for stays.
    let both = || ["box.pem", "box.key"].map(|file| std::fs::read(path.join(file)).expect("a file"));
    let before = both();
    assert_eq!(appliance.updater(&["enrol", "--code", "one-time"]).await.status.code(), Some(1));
    assert_eq!(both(), before);
    assert_eq!(appliance.once().await, Some(0));
    let left = std::fs::read_dir(path).expect("a directory").flatten().map(|entry| entry.file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().contains(".next")).collect();
    assert!(left.is_empty(), "{left:?}");

    // With another code the box is enrolled anew, with another key.
    authority.codes.lock().expect("no test failed while it held this").push("another");
    assert_eq!(appliance.updater(&["enrol", "--code", "another"]).await.status.code(), Some(0));
    let after = both();
    assert!(after[0] != before[0] && after[1] != before[1]);
    assert_eq!(appliance.once().await, Some(0));

    // A power cut after the code was accepted: key and certificate wait beside those that are to go.
    let of_a_code = format!("box.key.{}.next", "0123456789abcdef".repeat(2));
    for (file, bytes) in ["box.pem.next", &of_a_code].iter().zip(&before) {
        std::fs::write(path.join(file), bytes).expect("a file");
    }
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(both(), before, "the next start finishes it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_has_ended_is_mended_by_a_new_code_and_a_code_in_a_file_is_tried_once() {
    let authority = Arc::new(Authority::new());
    let appliance = appliance_of(&authority).await;
    let path = appliance.directory.path();
    let (file, certificate) = (path.join("code"), path.join("box.pem"));
    let by_file = async |code: &str| {
        std::fs::write(&file, format!("{code}\n")).expect("a code");
        appliance.updater(&["enrol", "--code-file", &file.display().to_string()]).await
    };
    let issued = || authority.issued.load(Ordering::Relaxed);
    assert_eq!(by_file("one-time").await.status.code(), Some(0));
    assert!(certificate.exists() && !file.exists());

    // While the certificate is good nobody is asked, and the code waits for no other day.
    assert_eq!(by_file("another").await.status.code(), Some(0));
    assert_eq!((issued(), file.exists()), (1, false));

    // Its end: a certificate for the very key, of last year.
    let key = KeyPair::from_pem(&std::fs::read_to_string(path.join("box.key")).expect("a key")).expect("a key");
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    (params.not_before, params.not_after) = (rcgen::date_time_ymd(2025, 1, 1), rcgen::date_time_ymd(2025, 4, 1));
    let ended = params.signed_by(&key, &authority.issuer).expect("a certificate").pem();
    std::fs::write(&certificate, &ended).expect("a certificate");
    let screen = appliance.updater(&["screen", "--once"]).await;
    let screen = String::from_utf8_lossy(&screen.stdout).into_owned();
    assert!(screen.contains("[certificate-expired]") && screen.contains("> _"), "{screen}");
    let poll = appliance.updater(&["once"]).await;
    let said = String::from_utf8_lossy(&poll.stderr);
    assert!(poll.status.code() == Some(1) && said.contains("[certificate-expired]"), "{said}");

    // One that the channel does not know is not tried at each start: three of them lock out who comes with the right one.
    assert_eq!(by_file("guessed").await.status.code(), Some(1));
    assert!(!file.exists());
    assert_eq!(std::fs::read_to_string(&certificate).expect("a certificate"), ended, "it stays until there is another");
    authority.codes.lock().expect("no test failed while it held this").push("another");
    let mended = by_file("another").await;
    assert_eq!(mended.status.code(), Some(0));
    let said = String::from_utf8_lossy(&mended.stderr);
    assert!(said.contains("the box was enrolled") && said.contains("certificate-expired"), "{said}");
    assert_eq!(appliance.once().await, Some(0));
    assert!(authority.is_known.load(Ordering::Relaxed));

    // A channel that is away has not looked at the code: it stays.
    std::fs::write(&certificate, &ended).expect("a certificate");
    std::fs::write(&file, "third").expect("a code");
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let away = format!("https://localhost:{}", nobody.port());
    let output = appliance.updater(&["enrol", "--server", &away, "--code-file", &file.display().to_string()]).await;
    assert_eq!((output.status.code(), file.exists()), (Some(75), true));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_with_a_certificate_that_is_lost_strands_no_box_and_costs_no_code() {
    let authority = Arc::new(Authority::new());
    let appliance = appliance_of(&authority).await;
    let path = appliance.directory.path();
    let file = path.join("code");
    let by_file = async || {
        let output = appliance.updater(&["enrol", "--code-file", &file.display().to_string()]).await;
        output.status.code()
    };
    let waiting = || {
        let files = std::fs::read_dir(path).expect("a directory").flatten().map(|entry| entry.file_name());
        files.filter(|name| name.to_string_lossy().contains(".next")).count()
    };
    let loses = |status| *authority.loses.lock().expect("no test failed while it held this") = status;
    std::fs::write(&file, "one-time").expect("a code");

    // The channel has used the code up for this box's key, and the box does not know.
    for status in [StatusCode::OK, StatusCode::REQUEST_TIMEOUT, StatusCode::OK] {
        loses(Some(status));
        assert_eq!((by_file().await, file.exists(), waiting()), (Some(75), true, 1));
    }
    loses(None);
    // Somebody mistypes it meanwhile.
    assert_eq!(appliance.updater(&["enrol", "--code", "one-tine"]).await.status.code(), Some(1));
    assert_eq!(waiting(), 1);
    assert_eq!((by_file().await, file.exists(), waiting()), (Some(0), false, 0));
    assert_eq!(appliance.once().await, Some(0));
    assert!(authority.is_known.load(Ordering::Relaxed));

    // A box that has a certificate keeps it and its key until there is another.
    let both = || ["box.pem", "box.key"].map(|file| std::fs::read(path.join(file)).expect("a file"));
    let before = both();
    authority.codes.lock().expect("no test failed while it held this").extend(["another", "a-third"]);
    loses(Some(StatusCode::OK));
    assert_eq!(appliance.updater(&["enrol", "--code", "another"]).await.status.code(), Some(75));
    assert_eq!(both(), before);
    assert_eq!(appliance.once().await, Some(0));
    // A newer code is for a newer key, and the key of the older one goes with it.
    let asked = std::fs::read_dir(path).expect("a directory").flatten().map(|entry| entry.path());
    let asked = asked.into_iter().find(|path| path.to_string_lossy().ends_with(".next")).expect("a key that waits");
    let asked = std::fs::read(asked).expect("a key");
    loses(None);
    assert_eq!(appliance.updater(&["enrol", "--code", "a-third"]).await.status.code(), Some(0));
    assert!(both()[1] != asked && both()[1] != before[1]);
    assert_eq!((appliance.once().await, waiting()), (Some(0), 0));
}

/// A proxy, a portal that wants a login, a server of another kind.
#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_the_channels_place_and_says_no_costs_no_code() {
    let authority = Arc::new(Authority::new());
    let appliance = appliance_of(&authority).await;
    let path = appliance.directory.path();
    let file = path.join("code");
    let by_file = async || {
        let output = appliance.updater(&["enrol", "--code-file", &file.display().to_string()]).await;
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    std::fs::write(&file, "one-time").expect("a code");
    let hawkbit = r#"{"exceptionClass":"x","errorCode":"hawkbit.server.error.repo.entitiyNotFound","message":"no"}"#;
    for (status, says) in [
        (StatusCode::NOT_FOUND, ""),
        (StatusCode::NOT_FOUND, hawkbit),
        (StatusCode::METHOD_NOT_ALLOWED, "<html>405</html>"),
        (StatusCode::FOUND, ""),
        (StatusCode::FORBIDDEN, "<html>blocked by policy</html>"),
        (StatusCode::PROXY_AUTHENTICATION_REQUIRED, ""),
        (StatusCode::OK, "<html>log in to the guest network</html>"),
        (StatusCode::OK, r#"{"errorCode":"enrol-code"}"#),
    ] {
        *authority.stranger.lock().expect("no test failed while it held this") = Some((status, says));
        let (exit, said) = by_file().await;
        assert!(exit == Some(75) && said.contains("[channel-away]") && file.exists(), "{status}: {exit:?} {said}");
    }
    *authority.stranger.lock().expect("no test failed while it held this") = None;
    assert_eq!((by_file().await.0, file.exists()), (Some(0), false), "the very code");
    // The channel itself says no.
    std::fs::remove_file(path.join("box.pem")).expect("a certificate");
    std::fs::write(&file, "guessed").expect("a code");
    let (exit, said) = by_file().await;
    assert!(exit == Some(1) && said.contains("[enrol-refused]") && !file.exists(), "{said}");
}
