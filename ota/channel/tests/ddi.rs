//! hawkBit's DDI, version 1, over TLS.
use crate::fixture::{Channel, PLAIN, new};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::process::Command;
use sund_channel::limits::http::{HANDSHAKE_TIME, MAX_CONNECTIONS_PER_NETWORK};
use sund_channel::rollout::orders::Order;
use sund_channel::server::control::Request;
use sund_ota::ddi::{Base, DeploymentBase, Handling, Maintenance};
use sund_ota::descriptor::{Descriptor, FILE_NAME};
use tokio::io::AsyncReadExt;
use tokio::net::TcpSocket;

#[tokio::test(flavor = "multi_thread")]
async fn a_box_polls_takes_the_descriptor_and_is_heard() {
    let channel = Channel::start(PLAIN).await;
    let odense = channel.device("odense-1", &[]).await;
    let base: Base = odense.get("").await.json().await.unwrap();
    assert!(base.config.polling.sleep.starts_with("00:0"), "{base:?}");
    assert_eq!(base.links.keys().collect::<Vec<_>>(), ["configData"]);

    channel.rollout("r1", "north-1", &["100%"]).await.unwrap();
    channel.order("r1", Order::Start).await.unwrap();
    let (id, deployment) = odense.await_link("deploymentBase").await;
    let deployment: DeploymentBase = serde_json::from_value(deployment).unwrap();
    assert_eq!((deployment.deployment.download, deployment.deployment.update), (Handling::Forced, Handling::Forced));
    let artifact = &deployment.deployment.chunks[0].artifacts[0];
    assert_eq!(artifact.filename, FILE_NAME);
    let bytes =
        odense.request(Method::GET, &artifact.links["download"].href).send().await.unwrap().bytes().await.unwrap();
    assert_eq!(bytes.len() as u64, artifact.size);
    let descriptor = Descriptor::parse(&bytes).unwrap();
    assert_eq!(descriptor.target, "state/north-1.json");
    let hashes = &artifact.hashes;
    assert_eq!([&hashes.md5, &hashes.sha1, &hashes.sha256].map(|hash| hash.as_ref().unwrap().len()), [32, 40, 64]);

    assert_eq!(odense.feedback("deploymentBase", &id, "closed", "success", &["done"]).await, StatusCode::OK);
    let rollout = channel.until("r1", |rollout| rollout.status.word() == "finished").await;
    assert_eq!(rollout.waves[0].boxes, [("finished".to_owned(), 1)].into());
    let links = odense.poll().await;
    assert!(!links.contains_key("deploymentBase"), "{links:?}");
    assert_eq!(odense.follow(&links["installedBase"]).await["id"], id);
    // The answer was lost on its way: the box says it again, and nothing changes.
    assert_eq!(odense.feedback("deploymentBase", &id, "closed", "failure", &[]).await, StatusCode::OK);
    assert_eq!(channel.status("r1").await.waves[0].boxes, [("finished".to_owned(), 1)].into());
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_changes_when_what_it_leads_to_changes_and_not_before() {
    let channel = Channel::start(PLAIN).await;
    // Zones whose clocks show noon and midnight now: the window is closed in one and open in the other.
    let hour = i32::from(jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).hour());
    let zone = |shift: i32| format!("Etc/GMT{shift:+}");
    let (noon, midnight) = (zone(hour - 12), zone(if hour > 12 { hour - 24 } else { hour }));
    let odense = channel.device("odense-1", &[("timezone", &noon)]).await;
    let maintenance = Maintenance { from: "00:00".into(), until: "02:00".into(), days: vec![] };
    let new = sund_channel::rollout::New { maintenance: Some(maintenance), ..new("r1", "north-1", &["100%"]) };
    channel.ask(Request::NewRollout(new)).await.unwrap();
    channel.order("r1", Order::Start).await.unwrap();
    odense.await_link("deploymentBase").await;
    let link = odense.poll().await.remove("deploymentBase").unwrap();
    let tag = link.split_once("?c=").unwrap().1;
    assert!(tag.len() == 8 && tag.bytes().all(|b| b.is_ascii_hexdigit()), "{link}");
    assert_eq!(odense.follow(&link).await["deployment"]["update"], "skip");
    assert_eq!(odense.poll().await.get("deploymentBase"), Some(&link));
    let odense = channel.device("odense-1", &[("timezone", &midnight)]).await;
    let opened = odense.poll().await.remove("deploymentBase").unwrap();
    assert_ne!(opened, link);
    for link in [&opened, &link] {
        assert_eq!(odense.follow(link).await["deployment"]["update"], "forced", "whichever of them it follows");
    }
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_sees_its_own_things_alone() {
    let channel = Channel::start(PLAIN).await;
    let (odense, mut vejle) =
        (channel.device("odense-1", &[]).await, channel.device("vejle-1", &[("site", "vejle")]).await);
    channel.rollout("r1", "north-1", &["name=odense-1"]).await.unwrap();
    channel.order("r1", Order::Start).await.unwrap();
    let (id, deployment) = odense.await_link("deploymentBase").await;
    let download =
        deployment["deployment"]["chunks"][0]["artifacts"][0]["_links"]["download"]["href"].as_str().unwrap();
    for path in ["deploymentBase", "cancelAction", "installedBase", "confirmationBase"] {
        assert_eq!(vejle.get(&format!("/{path}/{id}")).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(vejle.feedback("deploymentBase", &id, "closed", "failure", &[]).await, StatusCode::NOT_FOUND);
    let other = download.replace("odense-1", "vejle-1");
    assert_eq!(vejle.request(Method::GET, &other).send().await.unwrap().status(), StatusCode::NOT_FOUND);
    // With its own token under another's name, under no name, with no token, in another tenant.
    for url in [odense.root.clone(), channel.root("nobody"), vejle.root.replace("DEFAULT", "OTHER")] {
        assert_eq!(vejle.request(Method::GET, &url).send().await.unwrap().status(), StatusCode::UNAUTHORIZED, "{url}");
    }
    vejle.token = None;
    assert_eq!(vejle.get("").await.status(), StatusCode::UNAUTHORIZED);
    vejle.token = Some("0".repeat(64));
    assert_eq!(vejle.get("").await.status(), StatusCode::UNAUTHORIZED);
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_descriptor_that_broke_off_goes_on_where_it_was() {
    let channel = Channel::start(PLAIN).await;
    let odense = channel.device("odense-1", &[]).await;
    channel.rollout("r1", "north-1", &["100%"]).await.unwrap();
    channel.order("r1", Order::Start).await.unwrap();
    let (_, deployment) = odense.await_link("deploymentBase").await;
    let url = deployment["deployment"]["chunks"][0]["artifacts"][0]["_links"]["download"]["href"].as_str().unwrap();
    let whole = odense.request(Method::GET, url).send().await.unwrap();
    let tag = whole.headers()["etag"].to_str().unwrap().to_owned();
    let whole = whole.bytes().await.unwrap();
    let part =
        |range: &str, tag: &str| odense.request(Method::GET, url).header("range", range).header("if-range", tag).send();
    let rest = part("bytes=10-", &tag).await.unwrap();
    assert_eq!(rest.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(
        rest.headers()["content-range"].to_str().unwrap(),
        format!("bytes 10-{}/{}", whole.len() - 1, whole.len())
    );
    assert_eq!(rest.bytes().await.unwrap(), whole[10..]);
    let changed = part("bytes=10-", "\"other\"").await.unwrap();
    assert_eq!((changed.status(), changed.bytes().await.unwrap()), (StatusCode::OK, whole.clone()));
    let past = part(&format!("bytes={}-", whole.len()), &tag).await.unwrap();
    assert_eq!(past.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_box_says_of_itself_does_not_move_it_to_another_ring() {
    let channel = Channel::start(PLAIN).await;
    let odense = channel.device("odense-1", &[("ring", "late")]).await;
    let put = |body: Value| odense.request(Method::PUT, &format!("{}/configData", odense.root)).json(&body).send();
    let told = put(json!({ "mode": "merge", "data": { "ring": "canary", "gpu": "H200" } })).await.unwrap();
    assert_eq!(told.status(), StatusCode::OK);
    assert!(!odense.poll().await.contains_key("configData"));
    channel.device("odense-2", &[("ring", "canary")]).await;
    channel.rollout("r1", "north-1", &["ring=canary", "gpu=H200"]).await.unwrap();
    channel.order("r1", Order::Start).await.unwrap();
    let rollout = channel.status("r1").await;
    let boxes = |wave: usize| rollout.waves[wave].boxes.values().sum::<i64>();
    assert_eq!((boxes(0), boxes(1)), (1, 1), "{rollout:?}");
    // Endless attributes fill no disk.
    let many: serde_json::Map<String, Value> = (0..129).map(|n| (n.to_string(), json!("x"))).collect();
    assert_eq!(put(json!({ "data": many })).await.unwrap().status(), StatusCode::BAD_REQUEST);
    assert_eq!(
        put(json!({ "data": { "a": "x".repeat(100_000) } })).await.unwrap().status(),
        StatusCode::PAYLOAD_TOO_LARGE
    );
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_without_secure_boot_is_seen_in_the_fleet() {
    let channel = Channel::start(PLAIN).await;
    for (name, secure_boot) in [("odense-1", "on"), ("odense-2", "off")] {
        let device = channel.device(name, &[]).await;
        let told = json!({ "mode": "replace", "data": { "secure_boot": secure_boot } });
        let url = format!("{}/configData", device.root);
        assert_eq!(device.request(Method::PUT, &url).json(&told).send().await.unwrap().status(), StatusCode::OK);
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_sund-channel"));
    command.arg("--home").arg(channel.home.path()).arg("fleet");
    let listed = tokio::task::block_in_place(|| command.output().unwrap()).stdout;
    let listed = String::from_utf8(listed).unwrap();
    assert!(listed.contains("odense-1  no state\nodense-2  no state, SECURE BOOT OFF\n"), "{listed}");
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_of_the_debug_variant_is_seen_and_can_be_left_out_of_a_rollout() {
    let channel = Channel::start(PLAIN).await;
    let debug = channel.device("odense-1", &[]).await;
    channel.device("odense-2", &[]).await;
    let url = format!("{}/configData", debug.root);
    let told = json!({ "mode": "replace", "data": { "variant": "debug" } });
    assert_eq!(debug.request(Method::PUT, &url).json(&told).send().await.unwrap().status(), StatusCode::OK);
    let mut command = Command::new(env!("CARGO_BIN_EXE_sund-channel"));
    command.arg("--home").arg(channel.home.path()).arg("fleet");
    let listed = tokio::task::block_in_place(|| command.output().unwrap()).stdout;
    let listed = String::from_utf8(listed).unwrap();
    assert!(listed.contains("odense-1  no state, variant debug\nodense-2  no state\n"), "{listed}");
    channel.rollout("r1", "north-1", &["variant!=debug", "variant=debug"]).await.unwrap();
    channel.order("r1", Order::Start).await.unwrap();
    let rollout = channel.status("r1").await;
    let boxes = |wave: usize| rollout.waves[wave].boxes.values().sum::<i64>();
    assert_eq!((boxes(0), boxes(1)), (1, 1), "{rollout:?}");
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_deployed_before_it_was_confirmed_at_the_box() {
    let channel = Channel::start(PLAIN).await;
    let odense = channel.device("odense-1", &[]).await;
    channel
        .ask(Request::NewRollout(sund_channel::rollout::New { confirm: true, ..new("r1", "north-1", &["100%"]) }))
        .await
        .unwrap();
    channel.order("r1", Order::Start).await.unwrap();
    let (id, asked) = odense.await_link("confirmationBase").await;
    assert_eq!(asked["confirmation"]["chunks"][0]["artifacts"][0]["filename"], FILE_NAME);
    assert_eq!(odense.get(&format!("/deploymentBase/{id}")).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(odense.confirm(&id, "maybe", "").await, StatusCode::BAD_REQUEST);
    assert!(odense.poll().await.contains_key("confirmationBase"));
    assert_eq!(odense.confirm(&id, "confirmed", "").await, StatusCode::OK);
    odense.install("success", &[]).await;
    channel.until("r1", |rollout| rollout.status.word() == "finished").await;
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_maintenance_window_reaches_the_box_and_a_closed_one_shows_in_hawkbits_own_fields() {
    let channel = Channel::start(PLAIN).await;
    // A zone whose clock shows noon now: its window from 00:00 until 00:01 is closed.
    let hour = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).hour();
    let shift = i32::from(hour) - 12;
    let zone = format!("Etc/GMT{shift:+}");
    let told = channel.device("told", &[("timezone", &zone)]).await;
    let silent = channel.device("silent", &[]).await;
    let maintenance = Maintenance { from: "00:00".into(), until: "00:01".into(), days: vec![] };
    let new = sund_channel::rollout::New { maintenance: Some(maintenance.clone()), ..new("r1", "north-1", &["100%"]) };
    channel.ask(Request::NewRollout(new)).await.unwrap();
    channel.order("r1", Order::Start).await.unwrap();
    for (device, update, window) in [(&told, Handling::Skip, "unavailable"), (&silent, Handling::Forced, "available")] {
        let (_, answer) = device.await_link("deploymentBase").await;
        let deployment = serde_json::from_value::<DeploymentBase>(answer).unwrap().deployment;
        assert_eq!(deployment.update, update, "{}", device.name);
        assert_eq!(deployment.maintenance_window.as_deref(), Some(window));
        assert_eq!(deployment.maintenance.as_ref(), Some(&maintenance));
    }
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_opens_connections_without_end_takes_no_place_from_others() {
    let channel = Channel::start(PLAIN).await;
    let odense = channel.device("odense-1", &[]).await;
    let mut open = Vec::new();
    for _ in 0..MAX_CONNECTIONS_PER_NETWORK + 20 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        open.push(socket.connect(channel.address).await.unwrap());
    }
    // The last of them are closed at once; the box, from another address, is answered meanwhile.
    let mut byte = [0];
    let closed = tokio::time::timeout(HANDSHAKE_TIME / 2, open.last_mut().unwrap().read(&mut byte));
    assert!(!matches!(closed.await.expect("it is not closed"), Ok(1..)));
    assert_eq!(odense.get("").await.status(), StatusCode::OK);
    channel.stop().await;
}
