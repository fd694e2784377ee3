//! Silence: what counts as a word, and since when none was heard.
use crate::fixture::{Channel, Device, PLAIN, new};
use crate::rollouts::{boxes, is};
use reqwest::StatusCode;
use std::collections::BTreeMap;
use sund_channel::database::now;
use sund_channel::rollout::orders::Order;
use sund_channel::rollout::{New, engine, listed};
use sund_channel::server::control::{Answer, Request};

/// A server that looks at the clock a day later, when some boxes have just said a word, and then serves again.
async fn a_day_later(channel: Channel, heard: &[&str]) -> Channel {
    let heard = format!("(SELECT id FROM device WHERE name IN ('{}'))", heard.join("', '"));
    let polls = format!("UPDATE device SET seen_at = ?1 WHERE id IN {heard}");
    let says = format!("UPDATE message SET at = ?1 WHERE action IN (SELECT id FROM action WHERE device IN {heard})");
    later(channel, 1, [polls, says]).await
}

/// The same some days later, when all boxes have polled and none has said a word.
async fn days_later(channel: Channel, days: i64) -> Channel {
    later(channel, days, ["UPDATE device SET seen_at = ?1".to_owned()]).await
}

async fn later(channel: Channel, days: i64, heard: impl IntoIterator<Item = String>) -> Channel {
    let home = channel.stop().await;
    let database = sund_channel::database::Database::open(home.path()).unwrap();
    let states = listed::states(home.path()).unwrap();
    let (awake_since, later) = (now(), now() + days * 25 * 60 * 60 * 1000);
    let heard: Vec<String> = heard.into_iter().collect();
    let look = move |c: &rusqlite::Connection| {
        for sql in &heard {
            c.execute(sql, [later]).unwrap();
        }
        engine::advance(c, &states, later, awake_since)
    };
    database.write(look).await.unwrap();
    drop(database);
    Channel::start_on(home, PLAIN).await
}

/// A rollout to all boxes at once that no failure pauses.
fn patient(name: &str) -> New {
    let mut new = new(name, "north-1", &["100%"]);
    new.waves.iter_mut().for_each(|wave| wave.error = 100);
    new
}

/// A box at the server's new address.
fn again(channel: &Channel, device: Device) -> Device {
    Device { root: channel.root(&device.name), client: channel.client(None), ..device }
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_counts_as_failure_until_there_is_a_word() {
    let channel = Channel::start(PLAIN).await;
    let device = channel.device("a", &[]).await;
    let other = channel.device("b", &[]).await;
    channel.rollout("r1", "north-1", &["name=a", "name=b"]).await.unwrap();
    channel.order("r1", Order::Start).await.unwrap();
    let (id, _) = device.await_link("deploymentBase").await;
    let channel = a_day_later(channel, &[]).await;
    let rollout = channel.status("r1").await;
    assert_eq!((rollout.status.word(), boxes(&rollout.waves[0])), ("paused", vec![("silent", 1)]));
    let device = again(&channel, device);
    assert_eq!(device.feedback("deploymentBase", &id, "closed", "success", &[]).await, StatusCode::OK);
    channel.order("r1", Order::Resume).await.unwrap();
    again(&channel, other).install("success", &[]).await;
    channel.until("r1", is("finished")).await;
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_that_polls_and_says_no_word_of_its_action_is_silent_and_one_that_waits_is_not() {
    let channel = Channel::start(PLAIN).await;
    let (mute, blind, waits) =
        (channel.device("mute", &[]).await, channel.device("blind", &[]).await, channel.device("waits", &[]).await);
    channel.ask(Request::NewRollout(patient("r1"))).await.unwrap();
    channel.order("r1", Order::Start).await.unwrap();
    let (id, _) = mute.await_link("deploymentBase").await;
    let (waiting, _) = waits.await_link("deploymentBase").await;
    let window = ["waits: its window is closed [window-closed]"];
    assert_eq!(waits.feedback("deploymentBase", &waiting, "proceeding", "none", &window).await, StatusCode::OK);
    assert!(blind.poll().await.contains_key("deploymentBase"));

    let channel = days_later(channel, 1).await;
    assert_eq!(boxes(&channel.status("r1").await.waves[0]), [("silent", 2), ("taken", 1)]);
    let Answer::Overview(overview) = channel.ask(Request::Overview).await.unwrap() else { panic!() };
    let why = "It polls, and has said nothing of this for 24 hours.";
    assert!(overview.failures.iter().all(|failure| failure.reason.as_deref() == Some(why)), "{overview:#?}");

    // To ask what it is to do is no word; the first one counts.
    let mute = again(&channel, mute);
    assert_eq!(mute.await_link("deploymentBase").await.0, id);
    assert_eq!(boxes(&channel.status("r1").await.waves[0]), [("silent", 2), ("taken", 1)]);
    assert_eq!(mute.feedback("deploymentBase", &id, "proceeding", "none", &["taken up"]).await, StatusCode::OK);
    assert_eq!(boxes(&channel.status("r1").await.waves[0]), [("silent", 1), ("taken", 2)]);
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_word_holds_for_its_hours_and_one_that_says_that_the_box_waits_for_as_long_as_it_is_the_last() {
    let channel = Channel::start(PLAIN).await;
    let words = [
        ("stuck", "proceeding", "taken up"),
        ("window", "proceeding", "waits: its window is closed [window-closed]"),
        ("foreign", "scheduled", "tonight"),
        ("went-on", "proceeding", "waits: its window is closed [window-closed]"),
    ];
    let mut devices = BTreeMap::new();
    for (name, ..) in words {
        devices.insert(name, channel.device(name, &[]).await);
    }
    channel.ask(Request::NewRollout(patient("r1"))).await.unwrap();
    channel.order("r1", Order::Start).await.unwrap();
    let mut went_on = String::new();
    for (name, execution, line) in words {
        let device = &devices[name];
        let (id, _) = device.await_link("deploymentBase").await;
        assert_eq!(device.feedback("deploymentBase", &id, execution, "none", &[line]).await, StatusCode::OK);
        went_on = id;
    }
    let said = devices["went-on"].feedback("deploymentBase", &went_on, "proceeding", "none", &["installed"]).await;
    assert_eq!(said, StatusCode::OK);
    let channel = days_later(channel, 1).await;
    assert_eq!(boxes(&channel.status("r1").await.waves[0]), [("silent", 2), ("taken", 2)]);
    let Answer::Overview(overview) = channel.ask(Request::Overview).await.unwrap() else { panic!() };
    let mut silent: Vec<&str> = overview.failures.iter().map(|failure| failure.device.as_str()).collect();
    silent.sort_unstable();
    assert_eq!(silent, ["stuck", "went-on"]);
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_person_at_the_box_is_not_silent_and_has_its_hours_from_the_confirmation_on() {
    let channel = Channel::start(PLAIN).await;
    let (asked, confirmed) = (channel.device("asked", &[]).await, channel.device("confirmed", &[]).await);
    let confirming = New { confirm: true, ..patient("r1") };
    channel.ask(Request::NewRollout(confirming)).await.unwrap();
    channel.order("r1", Order::Start).await.unwrap();
    asked.await_link("confirmationBase").await;
    let (id, _) = confirmed.await_link("confirmationBase").await;
    let body = serde_json::json!({ "confirmation": "confirmed", "details": [] });
    let url = format!("{}/confirmationBase/{id}/feedback", confirmed.root);
    let answer = confirmed.request(reqwest::Method::POST, &url).json(&body).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let channel = days_later(channel, 1).await;
    assert_eq!(boxes(&channel.status("r1").await.waves[0]), [("offered", 1), ("silent", 1)]);
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_away_for_a_day_calls_no_box_silent_for_that() {
    let channel = Channel::start(PLAIN).await;
    let (device, other) = (channel.device("a", &[]).await, channel.device("b", &[]).await);
    channel.rollout("r1", "north-1", &["name=a"]).await.unwrap();
    channel.order("r1", Order::Start).await.unwrap();
    device.await_link("deploymentBase").await;
    let home = channel.stop().await;
    let database = rusqlite::Connection::open(home.path().join(sund_channel::database::FILE_NAME)).unwrap();
    let day = 25 * 60 * 60 * 1000;
    for (table, column) in [("action", "offered_at"), ("device", "seen_at"), ("awake", "since"), ("awake", "until")] {
        let a_day_ago = format!("UPDATE {table} SET {column} = {column} - ?1");
        assert!(database.execute(&a_day_ago, [day]).unwrap() > 0, "{table}.{column}");
    }
    drop(database);
    let channel = Channel::start_on(home, PLAIN).await;
    // A look at one rollout is a look at all: once this one has begun, the other one was judged.
    channel.rollout("r2", "north-1", &["name=b"]).await.unwrap();
    channel.order("r2", Order::Start).await.unwrap();
    again(&channel, other).await_link("deploymentBase").await;
    let rollout = channel.status("r1").await;
    assert_eq!((rollout.status.word(), boxes(&rollout.waves[0])), ("running", vec![("taken", 1)]));
    channel.stop().await;
}

/// Hours pass in which the server runs, and no box is heard.
async fn hours_pass(channel: Channel, hours: i64) -> Channel {
    let home = channel.stop().await;
    let database = rusqlite::Connection::open(home.path().join(sund_channel::database::FILE_NAME)).unwrap();
    for (table, column) in [("action", "offered_at"), ("action", "changed_at"), ("awake", "since")] {
        let earlier = format!("UPDATE {table} SET {column} = {column} - ?1");
        assert!(database.execute(&earlier, [hours * 60 * 60 * 1000]).unwrap() > 0, "{table}.{column}");
    }
    drop(database);
    Channel::start_on(home, PLAIN).await
}

#[tokio::test(flavor = "multi_thread")]
async fn hours_of_a_pause_are_no_silence_and_who_goes_on_skips_no_canary() {
    let channel = Channel::start(PLAIN).await;
    let canary = channel.device("canary", &[("ring", "canary")]).await;
    let rest = channel.device("rest", &[]).await;
    channel.rollout("r1", "north-1", &["ring=canary", "name=rest"]).await.unwrap();
    channel.order("r1", Order::Start).await.unwrap();
    channel.until("r1", |rollout| rollout.waves[0].begun_at.is_some()).await;
    channel.order("r1", Order::Pause).await.unwrap();
    let channel = hours_pass(channel, 30).await;
    let (canary, rest) = (again(&channel, canary), again(&channel, rest));
    assert!(!canary.poll().await.contains_key("deploymentBase"), "in a pause nobody is offered anything");
    channel.order("r1", Order::Resume).await.unwrap();
    looked(&channel).await;
    let rollout = channel.status("r1").await;
    assert_eq!((rollout.status.word(), boxes(&rollout.waves[0])), ("running", vec![("offered", 1)]));
    assert!(!rest.poll().await.contains_key("deploymentBase"), "the canary has not gone first");
    canary.install("success", &[]).await;
    rest.install("success", &[]).await;
    channel.until("r1", is("finished")).await;
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_out_of_a_pause_gives_those_their_hours_who_were_offered_nothing_in_it() {
    let channel = Channel::start(PLAIN).await;
    let (fails, waits) = (channel.device("fails", &[]).await, channel.device("waits", &[]).await);
    channel.rollout("r1", "north-1", &["100%"]).await.unwrap();
    channel.order("r1", Order::Start).await.unwrap();
    fails.install("failure", &["no room"]).await;
    channel.until("r1", is("paused")).await;
    let channel = hours_pass(channel, 30).await;
    let (fails, waits) = (again(&channel, fails), again(&channel, waits));
    channel.order("r1", Order::Retry).await.unwrap();
    looked(&channel).await;
    let rollout = channel.status("r1").await;
    assert_eq!((rollout.status.word(), boxes(&rollout.waves[0])), ("running", vec![("offered", 2)]));
    for device in [&fails, &waits] {
        device.install("success", &[]).await;
    }
    channel.until("r1", is("finished")).await;
    channel.stop().await;
}

/// Waits until the rules have looked: a look at one rollout is a look at all.
async fn looked(channel: &Channel) {
    channel.device("looked", &[]).await;
    channel.rollout("look", "north-2", &["name=looked"]).await.unwrap();
    channel.order("look", Order::Start).await.unwrap();
    channel.until("look", |rollout| rollout.waves[0].begun_at.is_some()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_that_fell_silent_in_the_middle_is_asked_to_leave_what_was_stopped_meanwhile() {
    let channel = Channel::start(PLAIN).await;
    let (begun, never) = (channel.device("begun", &[]).await, channel.device("never", &[]).await);
    channel.rollout("r1", "north-1", &["100%"]).await.unwrap();
    channel.order("r1", Order::Start).await.unwrap();
    let (id, _) = begun.await_link("deploymentBase").await;
    let channel = a_day_later(channel, &[]).await;
    assert_eq!(boxes(&channel.status("r1").await.waves[0]), [("silent", 2)]);
    channel.order("r1", Order::Stop).await.unwrap();
    assert_eq!(boxes(&channel.status("r1").await.waves[0]), [("canceled", 1), ("canceling", 1)]);

    // It is back: the first that it learns is that it is to leave it.
    let (begun, never) = (again(&channel, begun), again(&channel, never));
    let links = begun.poll().await;
    assert!(links.contains_key("cancelAction") && !links.contains_key("deploymentBase"), "{links:?}");
    assert_eq!(begun.await_link("cancelAction").await.0, id);
    let links = never.poll().await;
    assert!(!links.contains_key("cancelAction") && !links.contains_key("deploymentBase"), "{links:?}");
    assert_eq!(begun.feedback("cancelAction", &id, "closed", "success", &["left"]).await, StatusCode::OK);
    assert_eq!(begun.feedback("deploymentBase", &id, "closed", "success", &[]).await, StatusCode::GONE);
    assert_eq!(boxes(&channel.status("r1").await.waves[0]), [("canceled", 2)]);
    let Answer::Overview(overview) = channel.ask(Request::Overview).await.unwrap() else { panic!() };
    assert_eq!(overview.installed, [(None, 2)]);
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_that_fell_silent_leaves_the_older_rollout_for_the_newer_one() {
    let channel = Channel::start(PLAIN).await;
    let device = channel.device("a", &[]).await;
    channel.rollout("old", "north-1", &["100%"]).await.unwrap();
    channel.order("old", Order::Start).await.unwrap();
    let (old, _) = device.await_link("deploymentBase").await;
    let channel = a_day_later(channel, &[]).await;
    channel.rollout("new", "north-2", &["100%"]).await.unwrap();
    channel.order("new", Order::Start).await.unwrap();
    let device = again(&channel, device);
    assert_eq!(device.await_link("cancelAction").await.0, old);
    // It was too late: what it says counts for the older one, in the sight of everybody, and the newer one follows.
    assert_eq!(device.feedback("deploymentBase", &old, "closed", "success", &[]).await, StatusCode::OK);
    assert_eq!(boxes(&channel.status("old").await.waves[0]), [("finished", 1)]);
    device.install("success", &[]).await;
    channel.until("new", is("finished")).await;
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_box_goes_on_with_what_it_has_begun_and_a_retry_gives_it_time_for_that() {
    let channel = Channel::start(PLAIN).await;
    let device = channel.device("a", &[]).await;
    channel.rollout("r1", "north-1", &["100%"]).await.unwrap();
    channel.order("r1", Order::Start).await.unwrap();
    let (id, _) = device.await_link("deploymentBase").await;
    let channel = a_day_later(channel, &[]).await;
    let device = again(&channel, device);
    assert_eq!(channel.status("r1").await.status.word(), "paused");
    assert_eq!(device.await_link("deploymentBase").await.0, id, "a pause lets go on who has begun");
    channel.order("r1", Order::Retry).await.unwrap();
    assert_eq!(device.await_link("deploymentBase").await.0, id, "and nothing is begun twice");
    assert_eq!(device.feedback("deploymentBase", &id, "closed", "success", &[]).await, StatusCode::OK);
    channel.until("r1", is("finished")).await;
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_boxes_that_were_accepted_and_come_back_well_pay_for_nobody_elses_failure() {
    let channel = Channel::start(PLAIN).await;
    let canary = async |name| channel.device(name, &[("ring", "canary")]).await;
    let (away_1, away_2, well, fails) =
        (canary("away-1").await, canary("away-2").await, canary("well").await, canary("fails").await);
    let rest = channel.device("rest", &[]).await;
    channel.rollout("r1", "north-1", &["ring=canary", "100%"]).await.unwrap();
    channel.order("r1", Order::Start).await.unwrap();
    let mut ids = BTreeMap::new();
    for device in [&away_1, &away_2, &well, &fails] {
        let (id, _) = device.await_link("deploymentBase").await;
        assert_eq!(device.feedback("deploymentBase", &id, "proceeding", "none", &["fetching"]).await, StatusCode::OK);
        ids.insert(device.name.clone(), id);
    }
    let channel = a_day_later(channel, &["well", "fails"]).await;
    assert_eq!(boxes(&channel.status("r1").await.waves[0]), [("silent", 2), ("taken", 2)]);
    channel.order("r1", Order::Resume).await.unwrap();
    let [away_1, away_2, well, fails, rest] = [away_1, away_2, well, fails, rest].map(|it| again(&channel, it));
    for (device, ended) in [(&away_1, "success"), (&away_2, "success"), (&fails, "failure")] {
        let said = device.feedback("deploymentBase", &ids[&device.name], "closed", ended, &[]).await;
        assert_eq!(said, StatusCode::OK);
    }
    let rollout = channel.until("r1", is("paused")).await;
    assert!(rollout.reason.as_ref().is_some_and(|why| why.contains("1 of 4 boxes failed")), "{rollout:?}");
    assert_eq!(well.feedback("deploymentBase", &ids["well"], "closed", "success", &[]).await, StatusCode::OK);
    assert!(!rest.poll().await.contains_key("deploymentBase"));
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silence_that_was_accepted_is_no_failure_that_was_accepted() {
    let channel = Channel::start(PLAIN).await;
    let (away, well) = (channel.device("away", &[]).await, channel.device("well", &[]).await);
    channel.rollout("r1", "north-1", &["100%"]).await.unwrap();
    channel.order("r1", Order::Start).await.unwrap();
    let (id, _) = away.await_link("deploymentBase").await;
    let (other, _) = well.await_link("deploymentBase").await;
    assert_eq!(well.feedback("deploymentBase", &other, "proceeding", "none", &["fetching"]).await, StatusCode::OK);
    let channel = a_day_later(channel, &["well"]).await;
    channel.order("r1", Order::Resume).await.unwrap();
    assert_eq!(channel.until("r1", is("running")).await.reason, None);
    let away = again(&channel, away);
    assert_eq!(away.feedback("deploymentBase", &id, "closed", "failure", &["no room"]).await, StatusCode::OK);
    channel.until("r1", is("paused")).await;
    channel.stop().await;
}
