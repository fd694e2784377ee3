//! Somebody else's client against our server: the crate `hawkbit`, as other makers build it into their devices, over
//! TLS with the channel's own authority.
use crate::fixture::{Channel, PLAIN, new};
use hawkbit::ddi::{Client, ClientAuthorization, Error, Execution, Finished, MaintenanceWindow, Mode, Type};
use serde_json::json;
use std::time::{Duration, Instant};
use sund_channel::rollout::New;
use sund_channel::rollout::orders::Order;
use sund_channel::server::control::{Answer, Request};
use sund_ota::ddi::Maintenance;
use sund_ota::descriptor::{Descriptor, FILE_NAME};

/// The client of a box, with a target token.
async fn client(channel: &Channel, name: &str) -> Client {
    let token = channel.device(name, &[]).await.token.unwrap();
    as_who(channel, name, ClientAuthorization::TargetToken(token))
}

fn as_who(channel: &Channel, name: &str, who: ClientAuthorization) -> Client {
    let authority = channel.home.path().join("ca/ca.pem");
    let patience = Some(Duration::from_secs(20));
    Client::new(&channel.url("/"), "DEFAULT", name, who, authority.to_str(), None, patience).unwrap()
}

/// Polls until `find` finds something.
async fn until<T>(client: &Client, what: &str, find: impl Fn(&hawkbit::ddi::Reply) -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let reply = client.poll().await.unwrap();
        if let Some(found) = find(&reply) {
            return found;
        }
        assert!(Instant::now() < end, "no {what}: {reply:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hawkbit_crate_polls_describes_itself_downloads_and_reports() {
    let channel = Channel::start(PLAIN).await;
    let client = client(&channel, "other-1").await;
    let reply = client.poll().await.unwrap();
    assert!((270..=330).contains(&reply.polling_sleep().unwrap().as_secs()));
    let told = reply.config_data_request().expect("the server asks what it is");
    let data = json!({ "site": "odense", "ring": "canary" });
    told.upload(Execution::Closed, Finished::Success, Some(Mode::Merge), data, vec![]).await.unwrap();
    assert!(client.poll().await.unwrap().config_data_request().is_none());

    let window = Maintenance { from: "22:00".into(), until: "05:00".into(), days: Vec::new() };
    channel
        .ask(Request::NewRollout(New { maintenance: Some(window), ..new("r1", "north-1", &["ring=canary"]) }))
        .await
        .unwrap();
    channel.order("r1", Order::Start).await.unwrap();
    let update = until(&client, "update", hawkbit::ddi::Reply::update).await.fetch().await.unwrap();
    assert_eq!((update.download_type(), update.update_type()), (Type::Forced, Type::Forced));
    assert_eq!(update.maintenance_window(), Some(MaintenanceWindow::Available));
    update.send_feedback(Execution::Proceeding, Finished::None, vec!["fetching"]).await.unwrap();
    let into = tempfile::tempdir().unwrap();
    let artifacts = update.download(into.path()).await.unwrap();
    assert_eq!(artifacts.len(), 1);
    artifacts[0].check_md5().await.unwrap();
    artifacts[0].check_sha1().await.unwrap();
    artifacts[0].check_sha256().await.unwrap();
    assert_eq!(artifacts[0].file().file_name().unwrap(), FILE_NAME);
    let descriptor: Descriptor = serde_json::from_slice(&std::fs::read(artifacts[0].file()).unwrap()).unwrap();
    assert_eq!(descriptor.target, "state/north-1.json");
    let progress = json!({ "cnt": 1, "of": 2 });
    update.send_feedback_with_progress(Execution::Proceeding, Finished::None, progress, vec!["half"]).await.unwrap();
    update.send_feedback(Execution::Closed, Finished::Success, vec!["done"]).await.unwrap();
    channel.until("r1", |rollout| rollout.status.word() == "finished").await;
    let Answer::Devices(boxes, 1) = channel.ask(Request::Devices { search: "odense".into(), page: 0 }).await.unwrap()
    else {
        panic!("it told its site")
    };
    assert_eq!(boxes[0].installed.as_deref(), Some("state/north-1.json"));
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hawkbit_crate_leaves_what_is_stopped_and_its_failure_pauses_a_rollout() {
    let channel = Channel::start(PLAIN).await;
    let client = client(&channel, "other-1").await;
    channel.rollout("r1", "north-1", &["100%"]).await.unwrap();
    channel.order("r1", Order::Start).await.unwrap();
    let update = until(&client, "update", hawkbit::ddi::Reply::update).await.fetch().await.unwrap();
    channel.order("r1", Order::Stop).await.unwrap();
    let cancel = until(&client, "cancel", hawkbit::ddi::Reply::cancel_action).await;
    assert_eq!(cancel.id().await.unwrap(), update.action_id());
    cancel.send_feedback(Execution::Proceeding, Finished::None, vec!["leaving"]).await.unwrap();
    cancel.send_feedback(Execution::Closed, Finished::Success, vec!["left"]).await.unwrap();
    let reply = client.poll().await.unwrap();
    assert!(reply.cancel_action().is_none() && reply.update().is_none());
    // It is gone: a late success is told so.
    let late = update.send_feedback(Execution::Closed, Finished::Success, vec![]).await.unwrap_err();
    assert!(
        matches!(&late, Error::ReqwestError(error) if error.status().is_some_and(|it| it.as_u16() == 410)),
        "{late}"
    );

    channel.rollout("r2", "north-2", &["100%"]).await.unwrap();
    channel.order("r2", Order::Start).await.unwrap();
    let update = until(&client, "update", hawkbit::ddi::Reply::update).await.fetch().await.unwrap();
    update.send_feedback(Execution::Closed, Finished::Failure, vec!["no room"]).await.unwrap();
    channel.until("r2", |rollout| rollout.status.word() == "paused").await;
    let Answer::Overview(overview) = channel.ask(Request::Overview).await.unwrap() else { panic!() };
    assert_eq!(overview.failures[0].reason.as_deref(), Some("no room"));
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hawkbit_crate_begins_nothing_that_its_box_has_not_confirmed() {
    let channel = Channel::start(PLAIN).await;
    let client = client(&channel, "other-1").await;
    channel.ask(Request::NewRollout(New { confirm: true, ..new("r1", "north-1", &["100%"]) })).await.unwrap();
    channel.order("r1", Order::Start).await.unwrap();
    let asked = until(&client, "confirmation", hawkbit::ddi::Reply::confirmation_base).await;
    let denied = asked.update_info().await.unwrap().action_id().to_owned();
    assert!(client.poll().await.unwrap().update().is_none());
    asked.decline().await.unwrap();
    let reply = client.poll().await.unwrap();
    assert!(reply.update().is_none() && reply.confirmation_base().is_none(), "it was denied");
    channel.until("r1", |rollout| rollout.status.word() == "paused").await;
    channel.order("r1", Order::Retry).await.unwrap();
    let asked = until(&client, "confirmation", hawkbit::ddi::Reply::confirmation_base).await;
    let action = asked.update_info().await.unwrap().action_id().to_owned();
    assert_ne!(action, denied);
    asked.confirm().await.unwrap();
    let update = until(&client, "update", hawkbit::ddi::Reply::update).await.fetch().await.unwrap();
    assert_eq!(update.action_id(), action);
    update.send_feedback(Execution::Closed, Finished::Success, vec![]).await.unwrap();
    channel.until("r1", |rollout| rollout.status.word() == "finished").await;
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hawkbit_crate_with_another_boxs_token_or_none_learns_nothing() {
    let channel = Channel::start(PLAIN).await;
    let token = channel.device("other-1", &[]).await.token.unwrap();
    channel.device("other-2", &[]).await;
    for who in [
        as_who(&channel, "other-2", ClientAuthorization::TargetToken(token.clone())),
        as_who(&channel, "other-1", ClientAuthorization::GatewayToken(token)),
        as_who(&channel, "other-1", ClientAuthorization::None),
    ] {
        let refused = who.poll().await.unwrap_err();
        assert!(matches!(&refused, Error::ReqwestError(error) if error.status().is_some_and(|it| it.as_u16() == 401)));
    }
    channel.stop().await;
}
