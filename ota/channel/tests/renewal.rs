//! The server keeps the repository fresh by itself, and says what it cannot.
use crate::fixture::{Channel, PLAIN, pass};
use crate::people::{session, settings};
use crate::region::{Region, TWO};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::StatusCode;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use sund_channel::repository::{Home, Upkeep, in_days, local};
use sund_channel::server::control::{Answer, Request};
use sund_ota::fault::Fault;
use sund_ota::trust::Trusted;

/// Lets metadata end in so many days, as if it had been signed long ago.
fn ends_in(home: &Path, name: &str, days: i64) {
    let path = home.join("repository/metadata").join(name);
    let mut metadata: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    metadata["signed"]["expires"] = in_days(days).unwrap().to_string().into();
    fs::write(&path, metadata.to_string()).unwrap();
}

/// Loads what is published as a new box does.
async fn load(home: &Path) -> Result<Trusted, Fault> {
    let datastore = tempfile::tempdir().unwrap();
    let base = home.join("repository");
    let root = local::first_root(&base.join("metadata"))?;
    local::load(&base, root, datastore.path().to_owned()).await
}

/// Waits until the repository fares as `is_so` says.
pub async fn until(channel: &Channel, is_so: impl Fn(&Upkeep) -> bool) -> Upkeep {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let Answer::Overview(overview) = channel.ask(Request::Overview).await.unwrap() else { panic!() };
        if is_so(&overview.repository) {
            return overview.repository;
        }
        assert!(Instant::now() < end, "{:#?}", overview.repository);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_starts_renews_a_timestamp_that_has_ended() {
    let home = Region::new().into_home();
    ends_in(home.path(), "timestamp.json", -1);
    assert!(load(home.path()).await.is_err());
    let channel = Channel::start_on(home, PLAIN).await;
    let end = Instant::now() + Duration::from_secs(20);
    while let Err(fault) = load(channel.home.path()).await {
        assert!(Instant::now() < end, "{fault}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    channel.stop().await;
}

#[tokio::test]
async fn metadata_that_ends_under_a_running_server_is_renewed_at_the_next_look() {
    let channel = Channel::start_on(Region::new().into_home(), PLAIN).await;
    let home = channel.home.path();
    let version = || {
        let timestamp = fs::read(home.join("repository/metadata/timestamp.json")).unwrap();
        serde_json::from_slice::<Value>(&timestamp).unwrap()["signed"]["version"].as_u64().unwrap()
    };
    let end = Instant::now() + Duration::from_secs(20);
    while version() < 2 {
        assert!(Instant::now() < end, "it does not renew at its start");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The clock was behind then, and is right now.
    for name in ["timestamp.json", "1.snapshot.json"] {
        ends_in(home, name, -11);
    }
    assert!(load(home).await.is_err());
    let mut minutes = 0;
    while let Err(fault) = load(home).await {
        assert!(minutes < 100, "less than two hours, let alone a day: {fault}");
        pass(Duration::from_mins(1)).await;
        minutes += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(version(), 3, "once");
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_recovery_bundle_is_told_where_the_other_alarms_are() {
    let region = crate::rescue::region();
    region.must(&["publish", "rescue", "1.2.0"]);
    region.publish("rescue-1", &TWO);
    // Signed long ago, and nobody has signed it again.
    let place = region.home().join("repository/targets/rescue/rescue.json");
    let mut envelope: Value = serde_json::from_slice(&fs::read(&place).unwrap()).unwrap();
    let mut payload: Value =
        serde_json::from_slice(&STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap()).unwrap();
    for (moment, days) in [("time", -300), ("expires", 65)] {
        payload[moment] = in_days(days).unwrap().to_string().into();
    }
    envelope["payload"] = STANDARD.encode(payload.to_string()).into();
    fs::write(&place, envelope.to_string()).unwrap();
    let renewed = region.run(&["renew"]);
    assert_eq!((renewed.code, &renewed.json["alarms"][0]["role"]), (Some(1), &Value::from("rescue")));
    let channel = Channel::start_on(region.into_home(), PLAIN).await;
    let found = until(&channel, |upkeep| !upkeep.alarms.is_empty()).await;
    assert_eq!((found.alarms.len(), found.alarms[0].role.as_str(), found.trouble), (1, "rescue", None));
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_past_half_of_its_life_and_missing_keys_are_alarming_and_boxes_are_served() {
    let home = Region::new().into_home();
    ends_in(home.path(), "1.os.json", 100);
    let (keys, away) = (home.path().join("keys"), home.path().join("away"));
    fs::rename(&keys, &away).unwrap();
    let channel = Channel::start_on(home, &settings()).await;
    let found = until(&channel, |upkeep| upkeep.trouble.is_some()).await;
    assert_eq!(found.trouble.unwrap().code, "online-key-missing");
    let [alarm] = found.alarms.as_slice() else { panic!("{:#?}", found.alarms) };
    assert!(alarm.role == "os" && matches!(alarm.days_left, 99 | 100), "{alarm:#?}");
    // People see the same on their page.
    let cookie = session(&channel, "viewer").await;
    let page = channel.client(None).get(channel.url("/api/v1/overview")).header("cookie", cookie);
    let page: Value = page.send().await.unwrap().json().await.unwrap();
    assert_eq!(page["repository"]["alarms"][0]["role"], "os");
    assert_eq!(page["repository"]["trouble"]["code"], "online-key-missing");
    let odense = channel.device("odense-1", &[]).await;
    assert_eq!(odense.get("").await.status(), StatusCode::OK);
    // The keys are back where they were.
    let home = channel.stop().await;
    fs::rename(&away, &keys).unwrap();
    let channel = Channel::start_on(home, PLAIN).await;
    until(&channel, |upkeep| upkeep.trouble.is_none() && upkeep.alarms.len() == 1).await;
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_never_ends_is_told_and_hides_no_alarm() {
    let home = Region::new().into_home();
    ends_in(home.path(), "1.os.json", 100);
    let held = Home::open(home.path()).unwrap().lock().unwrap();
    let channel = Channel::start_on(home, PLAIN).await;
    let found = until(&channel, |upkeep| upkeep.trouble.is_some()).await;
    assert_eq!(found.trouble.unwrap().code, "home-busy");
    assert_eq!(found.alarms.iter().map(|alarm| alarm.role.as_str()).collect::<Vec<_>>(), ["os"]);
    drop(held);
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_in_which_nothing_is_published_serves_boxes() {
    let channel = Channel::start_on(Region::bare().into_home(), PLAIN).await;
    let odense = channel.device("odense-1", &[]).await;
    assert_eq!(odense.get("").await.status(), StatusCode::OK);
    channel.stop().await;
}
