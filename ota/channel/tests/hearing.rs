//! What the centre says of who hears the region, and of how far a suspension has come.
use crate::fixture::{Channel, Device, PLAIN};
use crate::region::{Region, TWO};
use reqwest::Method;
use serde_json::{Value, json};
use std::process::Command;
use std::time::{Duration, Instant};
use sund_channel::rollout::view::Overview;
use sund_channel::server::control::{Answer, Request};

async fn tells(device: &Device, data: Value) {
    let told = device.request(Method::PUT, &format!("{}/configData", device.root));
    let told = told.json(&json!({ "mode": "replace", "data": data })).send().await.unwrap();
    assert!(told.status().is_success());
}

async fn until(channel: &Channel, is_so: impl Fn(&Overview) -> bool) -> Overview {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let Answer::Overview(overview) = channel.ask(Request::Overview).await.unwrap() else { panic!() };
        if is_so(&overview) {
            return *overview;
        }
        assert!(Instant::now() < end, "{overview:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fleet_says_who_does_not_hear_the_region_and_on_how_many_boxes_a_suspension_is_applied() {
    let region = Region::with_state();
    let proposed = region.must(&["suspend", "positive-values", "--reason", "drift at three sites"]);
    region.publish(proposed["proposal"].as_str().unwrap(), &TWO);
    let channel = Channel::start_on(region.into_home(), PLAIN).await;
    let overview = until(&channel, |overview| !overview.suspensions.is_empty()).await;
    let version = overview.hearing.version.unwrap();
    let hears = channel.device("north-1", &[]).await;
    tells(&hears, json!({ "repository": version.to_string(), "model.positive-values": "1.0.0 suspended" })).await;
    let frozen = channel.device("north-2", &[]).await;
    let trouble = "store-unreachable since 2026-11-01T12:00:00Z";
    let told = json!({ "repository": "1", "repository.trouble": trouble, "model.positive-values": "1.0.0 active" });
    tells(&frozen, told).await;
    channel.device("north-3", &[]).await;

    let Overview { hearing, suspensions, .. } = until(&channel, |overview| overview.hearing.behind > 0).await;
    assert_eq!((hearing.behind, hearing.untold, hearing.boxes.len()), (1, 1, 1));
    let unheard = &hearing.boxes[0];
    assert_eq!(
        (unheard.device.as_str(), unheard.version, unheard.trouble.as_deref()),
        ("north-2", Some(1), Some(trouble))
    );
    assert_eq!((suspensions[0].off, suspensions[0].boxes), (1, 2));

    let home = channel.home.path().to_owned();
    let fleet = move || Command::new(env!("CARGO_BIN_EXE_sund-channel")).arg("--home").arg(home).arg("fleet").output();
    let output = tokio::task::spawn_blocking(fleet).await.unwrap().unwrap();
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    for line in [
        "ALARM: 1 box without word of the region for more than 3 hours".to_owned(),
        format!("north-2 since 2026-11-01T12:00:00Z: it has heard version 1; {trouble}"),
        "suspended: positive-values: applied on 1 of 2: drift at three sites".to_owned(),
        format!("the repository is at version {version}"),
        "1 box never said which version was heard".to_owned(),
    ] {
        assert!(words.contains(&line), "{line}: {words}");
    }

    tells(&frozen, json!({ "repository": version.to_string(), "model.positive-values": "1.0.0 suspended" })).await;
    let overview = until(&channel, |overview| overview.hearing.behind == 0).await;
    assert_eq!((overview.suspensions[0].off, overview.suspensions[0].boxes), (2, 2));
    channel.stop().await;
}
