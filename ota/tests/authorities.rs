//! The channel's own authorities, as a box learns them from what the region has signed.
use super::appliance::Appliance;
use super::authority::{Authority, known_to, start};
use super::conversation::{Running, until};
use super::stick::{FAR, write};
use serde_json::json;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use sund_ota::documents::AUTHORITIES;
use sund_ota::machine::record::Step;

fn is_watching(appliance: &Appliance) -> bool {
    appliance.record().action.is_some_and(|action| matches!(action.step, Step::Active { .. }))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_that_watches_a_state_for_days_believes_another_authority_at_once_and_goes_on_watching() {
    let authority = Arc::new(Authority::new());
    let mut appliance = Appliance::new().await;
    let (path, port) = (appliance.directory.path().to_owned(), start(&authority).await);
    let text = known_to(&appliance, &authority, port, &format!("key = \"{}/box.key\"", path.display()));
    let repository = format!("http://127.0.0.1:{}/repository", appliance.channel.address.port());
    let text = text.replace(&format!("https://localhost:{port}/repository"), &repository);
    std::fs::write(appliance.configuration(), text).expect("updater.toml");
    assert_eq!(appliance.updater(&["enrol", "--code", "one-time"]).await.status.code(), Some(0));
    let descriptor = appliance.state("north-1", b"model one", json!({"watch_seconds": 600}));
    let stick = write(&path, &appliance.region.bundle(&descriptor, FAR));
    let install = appliance.command(&["install", &stick.display().to_string()]).stdout(Stdio::null()).spawn();
    let _running = Running(install.expect("sund-updater starts"));
    let agent = appliance.agent.clone();
    let checks = || agent.serving().checks;
    until("it is watched", || is_watching(&appliance) && checks() > 0).await;
    let (issued, checked) = (authority.issued.load(Ordering::Relaxed), checks());

    let next = Authority::new();
    let signed = json!({"format": 1, "authorities": [authority.ca_pem, next.ca_pem], "dropped": []});
    appliance.region.trust.insert(AUTHORITIES, signed.to_string().into_bytes());
    appliance.publish();
    until("it asks for a certificate of the next", || authority.issued.load(Ordering::Relaxed) > issued).await;
    let kept = std::fs::read_to_string(path.join("updater/authorities.json")).expect("what was signed");
    assert!(kept.contains(&json!(next.ca_pem).to_string()), "{kept}");
    until("it is watched further", || checks() > checked).await;
    let polls = std::time::Instant::now();
    until("some polls are over", || polls.elapsed().as_secs() >= 5).await;
    assert_eq!((checks(), is_watching(&appliance)), (checked + 1, true), "the watch is interrupted once");
}
