//! Rollouts over real boxes: waves, thresholds, pauses, overlaps, withdrawals.
use crate::fixture::{Channel, PLAIN, list_states, new};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use sund_channel::database::{FILE_NAME, now};
use sund_channel::rollout::New;
use sund_channel::rollout::orders::Order;
use sund_channel::rollout::view::{Rollout, Wave};
use sund_channel::server::control::{Answer, Request};

/// Boxes of a wave by the status of their action.
pub fn boxes(wave: &Wave) -> Vec<(&str, i64)> {
    wave.boxes.iter().map(|(status, count)| (status.as_str(), *count)).collect()
}

/// Whether a rollout has a status.
pub fn is(status: &'static str) -> impl Fn(&Rollout) -> bool {
    move |rollout| rollout.status.word() == status
}

#[tokio::test(flavor = "multi_thread")]
async fn the_canary_goes_first_and_the_rest_follows_its_success() {
    let channel = Channel::start(PLAIN).await;
    let canary = channel.device("canary", &[("ring", "canary")]).await;
    let rest = [channel.device("a", &[]).await, channel.device("b", &[]).await];
    channel.rollout("r1", "north-1", &["ring=canary", "100%"]).await.unwrap();
    channel.order("r1", Order::Start).await.unwrap();
    canary.await_link("deploymentBase").await;
    for device in &rest {
        assert!(
            !device.poll().await.contains_key("deploymentBase"),
            "{} is offered before the canary is through",
            device.name
        );
    }
    canary.install("success", &[]).await;
    for device in &rest {
        device.install("success", &[]).await;
    }
    let rollout = channel.until("r1", is("finished")).await;
    assert_eq!(boxes(&rollout.waves[1]), [("finished", 2)]);
    let Answer::Overview(overview) = channel.ask(Request::Overview).await.unwrap() else { panic!() };
    assert_eq!(overview.installed, [(Some("state/north-1.json".to_owned()), 3)]);
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_fails_pauses_and_its_own_reason_reaches_people() {
    let channel = Channel::start(PLAIN).await;
    let canary = channel.device("canary", &[("ring", "canary")]).await;
    let rest = channel.device("a", &[]).await;
    channel.rollout("r1", "north-1", &["ring=canary", "100%"]).await.unwrap();
    channel.order("r1", Order::Start).await.unwrap();
    canary.install("failure", &["golden case 3: dice 0.41, at least 0.90", "rolled back"]).await;
    let rollout = channel.until("r1", is("paused")).await;
    assert!(rollout.reason.unwrap().contains("1 of 1 boxes failed"));
    assert!(!rest.poll().await.contains_key("deploymentBase"));
    let Answer::Overview(overview) = channel.ask(Request::Overview).await.unwrap() else { panic!() };
    assert_eq!(overview.failures[0].reason.as_deref(), Some("golden case 3: dice 0.41, at least 0.90\nrolled back"));

    // Again: the canary gets a new action, and the rest waits for it as before.
    channel.order("r1", Order::Retry).await.unwrap();
    canary.install("success", &[]).await;
    rest.install("success", &[]).await;
    channel.until("r1", is("finished")).await;
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_resumes_accepts_the_failures_so_far_and_no_more() {
    let channel = Channel::start(PLAIN).await;
    let devices = [channel.device("a", &[]).await, channel.device("b", &[]).await, channel.device("c", &[]).await];
    channel.rollout("r1", "north-1", &["name=a", "name=b", "name=c"]).await.unwrap();
    channel.order("r1", Order::Start).await.unwrap();
    devices[0].install("failure", &[]).await;
    channel.until("r1", is("paused")).await;
    channel.order("r1", Order::Resume).await.unwrap();
    devices[1].install("failure", &[]).await;
    let rollout = channel.until("r1", is("paused")).await;
    assert!(rollout.waves[2].begun_at.is_none(), "{rollout:?}");
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_holds_back_who_has_not_begun_and_lets_go_on_who_has() {
    let channel = Channel::start(PLAIN).await;
    let (begun, waiting) = (channel.device("begun", &[]).await, channel.device("waiting", &[]).await);
    channel.rollout("r1", "north-1", &["100%"]).await.unwrap();
    channel.order("r1", Order::Start).await.unwrap();
    let (id, _) = begun.await_link("deploymentBase").await;
    channel.order("r1", Order::Pause).await.unwrap();
    assert!(!waiting.poll().await.contains_key("deploymentBase"));
    assert!(begun.poll().await.contains_key("deploymentBase"));
    assert_eq!(begun.feedback("deploymentBase", &id, "closed", "success", &[]).await, StatusCode::OK);
    channel.order("r1", Order::Resume).await.unwrap();
    waiting.install("success", &[]).await;
    channel.until("r1", is("finished")).await;
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_rollouts_overlap_the_newest_wins_and_the_box_is_asked_to_leave_the_older() {
    let channel = Channel::start(PLAIN).await;
    let (begun, waiting) = (channel.device("begun", &[]).await, channel.device("waiting", &[]).await);
    channel.rollout("old", "north-1", &["100%"]).await.unwrap();
    channel.order("old", Order::Start).await.unwrap();
    let (old, _) = begun.await_link("deploymentBase").await;
    channel.rollout("new", "north-2", &["100%"]).await.unwrap();
    channel.order("new", Order::Start).await.unwrap();
    let (cancel, _) = begun.await_link("cancelAction").await;
    assert_eq!(cancel, old);
    assert!(!begun.poll().await.contains_key("deploymentBase"), "first it leaves the older one");
    assert_eq!(begun.feedback("cancelAction", &old, "closed", "success", &["left"]).await, StatusCode::OK);
    assert_eq!(begun.feedback("deploymentBase", &old, "closed", "success", &[]).await, StatusCode::GONE);
    for device in [&begun, &waiting] {
        let (_, answer) = device.await_link("deploymentBase").await;
        assert_eq!(answer["deployment"]["chunks"][0]["version"], "north-2", "{}", device.name);
        device.install("success", &[]).await;
    }
    let old = channel.until("old", is("finished")).await;
    assert_eq!(boxes(&old.waves[0]), [("canceled", 2)]);
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_rollout_does_not_come_back_over_a_newer_one() {
    let channel = Channel::start(PLAIN).await;
    let (first, second) = (channel.device("first", &[]).await, channel.device("second", &[]).await);
    channel.rollout("old", "north-1", &["name=first", "100%"]).await.unwrap();
    channel.order("old", Order::Start).await.unwrap();
    first.await_link("deploymentBase").await;
    channel.rollout("new", "north-2", &["name=second"]).await.unwrap();
    channel.order("new", Order::Start).await.unwrap();
    second.install("success", &[]).await;
    channel.until("new", is("finished")).await;
    // The second wave of the older one would bring the older state back.
    first.install("success", &[]).await;
    let old = channel.until("old", is("finished")).await;
    assert_eq!(boxes(&old.waves[1]), [("canceled", 1)]);
    assert!(!second.poll().await.contains_key("deploymentBase"));
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_a_newer_rollout_takes_over_lets_nobody_through_in_the_older_one() {
    let channel = Channel::start(PLAIN).await;
    let canary = channel.device("canary", &[("ring", "canary")]).await;
    let rest = channel.device("a", &[]).await;
    channel.rollout("old", "north-1", &["ring=canary", "100%"]).await.unwrap();
    channel.order("old", Order::Start).await.unwrap();
    let (old, _) = canary.await_link("deploymentBase").await;
    channel.rollout("new", "north-2", &["ring=canary", "100%"]).await.unwrap();
    channel.order("new", Order::Start).await.unwrap();
    canary.await_link("cancelAction").await;
    assert_eq!(canary.feedback("cancelAction", &old, "closed", "success", &["left"]).await, StatusCode::OK);
    let rollout = channel.until("old", is("paused")).await;
    assert!(rollout.reason.as_ref().is_some_and(|why| why.contains("taken over")), "{rollout:?}");
    assert!(!rest.poll().await.contains_key("deploymentBase"), "no box has shown what this state does");

    // A person may know better.
    channel.order("old", Order::Resume).await.unwrap();
    let (_, offered) = rest.await_link("deploymentBase").await;
    assert_eq!(offered["deployment"]["chunks"][0]["version"], "north-1");
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_that_died_before_it_could_leave_an_older_rollout_does_not_keep_that_open() {
    let channel = Channel::start(PLAIN).await;
    let (dead, well) = (channel.device("dead", &[]).await, channel.device("well", &[]).await);
    channel.rollout("old", "north-1", &["100%"]).await.unwrap();
    channel.order("old", Order::Start).await.unwrap();
    dead.await_link("deploymentBase").await;
    well.install("success", &[]).await;
    channel.rollout("new", "north-2", &["100%"]).await.unwrap();
    channel.order("new", Order::Start).await.unwrap();
    let old = channel.until("old", is("finished")).await;
    assert_eq!(
        boxes(&old.waves[0]),
        [("canceling", 1), ("finished", 1)],
        "it is asked to leave it if it ever comes back"
    );
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_takes_no_box_is_refused_by_its_name_and_offers_nobody_anything() {
    let channel = Channel::start(PLAIN).await;
    let canary = channel.device("canary", &[("ring", "canary")]).await;
    channel.rollout("typo", "north-1", &["ring=cannary", "100%"]).await.unwrap();
    let refused = channel.order("typo", Order::Start).await.unwrap_err();
    assert_eq!(refused.code, "rollout-group-empty");
    assert!(refused.reason.contains("`ring=cannary 100%`"), "{refused}");
    assert_eq!(channel.status("typo").await.status.word(), "ready");
    assert!(!canary.poll().await.contains_key("deploymentBase"));

    // Where the canaries are all there is, nobody is left to be offered anything too early.
    channel.rollout("small", "north-1", &["ring=canary", "100%"]).await.unwrap();
    channel.order("small", Order::Start).await.unwrap();
    canary.install("success", &[]).await;
    channel.until("small", is("finished")).await;
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_that_denies_has_failed_with_its_reason_and_a_retry_asks_it_again() {
    let channel = Channel::start(PLAIN).await;
    let canary = channel.device("canary", &[("ring", "canary")]).await;
    let rest = channel.device("a", &[]).await;
    let asks = New { confirm: true, ..new("r1", "north-1", &["ring=canary", "100%"]) };
    channel.ask(Request::NewRollout(asks)).await.unwrap();
    channel.order("r1", Order::Start).await.unwrap();
    let (first, _) = canary.await_link("confirmationBase").await;
    assert_eq!(canary.confirm(&first, "denied", "theatre is busy").await, StatusCode::OK);
    let rollout = channel.until("r1", is("paused")).await;
    assert_eq!(boxes(&rollout.waves[0]), [("failed", 1)]);
    let Answer::Overview(overview) = channel.ask(Request::Overview).await.unwrap() else { panic!() };
    assert_eq!(overview.failures[0].reason.as_deref(), Some("Denied at the box: theatre is busy"));
    assert_eq!(canary.confirm(&first, "confirmed", "").await, StatusCode::NOT_FOUND, "that action is over");
    assert!(!rest.poll().await.contains_key("confirmationBase"));

    channel.order("r1", Order::Retry).await.unwrap();
    let (again, _) = canary.await_link("confirmationBase").await;
    assert_ne!(again, first);
    assert_eq!(canary.confirm(&again, "confirmed", "").await, StatusCode::OK);
    canary.install("success", &[]).await;
    rest.await_link("confirmationBase").await;
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_takes_back_what_is_not_finished_everywhere() {
    let channel = Channel::start(PLAIN).await;
    let (begun, waiting) = (channel.device("begun", &[]).await, channel.device("waiting", &[]).await);
    for (name, group) in [("r1", "name=begun"), ("r2", "name=waiting")] {
        channel.rollout(name, "north-1", &[group]).await.unwrap();
        channel.order(name, Order::Start).await.unwrap();
    }
    begun.await_link("deploymentBase").await;
    assert_eq!(channel.ask(Request::StopAll).await.unwrap(), Answer::Stopped(2));
    begun.await_link("cancelAction").await;
    let links = waiting.poll().await;
    assert!(!links.contains_key("deploymentBase") && !links.contains_key("cancelAction"), "{links:?}");
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_is_withdrawn_reaches_no_further_box() {
    let channel = Channel::start(PLAIN).await;
    let (first, second) = (channel.device("a", &[]).await, channel.device("b", &[]).await);
    channel.rollout("r1", "north-1", &["name=a", "100%"]).await.unwrap();
    channel.order("r1", Order::Start).await.unwrap();
    first.await_link("deploymentBase").await;
    list_states(channel.home.path(), 2, &["north-2"]);
    first.install("success", &[]).await;
    let rollout = channel.until("r1", is("paused")).await;
    assert!(rollout.reason.unwrap().contains("withdrawn"));
    assert!(!second.poll().await.contains_key("deploymentBase"));
    let fault = channel.rollout("r2", "north-1", &["100%"]).await.unwrap_err();
    assert_eq!(fault.code, "state-not-listed");
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_last_wave_of_which_too_few_ended_well_pauses_until_a_person_has_seen_that() {
    let channel = Channel::start(PLAIN).await;
    let (well, ill) = (channel.device("well", &[]).await, channel.device("ill", &[]).await);
    let mut half = new("r1", "north-1", &["100%"]);
    (half.waves[0].success, half.waves[0].error) = (95, 60);
    channel.ask(Request::NewRollout(half)).await.unwrap();
    channel.order("r1", Order::Start).await.unwrap();
    well.install("success", &[]).await;
    ill.install("failure", &["no room"]).await;
    let rollout = channel.until("r1", |rollout| rollout.status.word() != "running").await;
    let why = "Wave 1: all boxes have ended, 1 of 2 well, and 95 % were asked for.";
    assert_eq!((rollout.status.word(), rollout.reason.as_deref()), ("paused", Some(why)));
    channel.order("r1", Order::Resume).await.unwrap();
    channel.until("r1", is("finished")).await;
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_or_the_terms_of_a_bundle_are_no_state_to_roll_out() {
    let channel = Channel::start(PLAIN).await;
    list_states(channel.home.path(), 2, &["north-1", "stop", "suspensions", "bundles/north-1"]);
    for name in ["stop", "suspensions", "bundles/north-1", "state/bundles/north-1.json"] {
        let fault = channel.rollout("r1", name, &["100%"]).await.unwrap_err();
        assert_eq!(fault.code, "state-not-listed", "{name}");
    }
    channel.rollout("r1", "north-1", &["100%"]).await.unwrap();
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_box_runs_is_what_it_says_also_where_no_action_brought_it_there() {
    let channel = Channel::start(PLAIN).await;
    let device = channel.device("a", &[("site", "odense")]).await;
    let runs = async || {
        let Answer::Overview(overview) = channel.ask(Request::Overview).await.unwrap() else { panic!() };
        let Answer::Devices(devices, _) =
            channel.ask(Request::Devices { search: String::new(), page: 0 }).await.unwrap()
        else {
            panic!()
        };
        assert_eq!(overview.installed, [(devices[0].installed.clone(), 1)]);
        devices[0].installed.clone()
    };
    let says = async |data: Value| {
        let told = device.request(Method::PUT, &format!("{}/configData", device.root));
        let told = told.json(&json!({ "mode": "replace", "data": data })).send().await.unwrap();
        assert_eq!(told.status(), StatusCode::OK);
    };
    let state = |name: &str| Some(format!("state/{name}.json"));
    assert_eq!(runs().await, None);
    channel.rollout("r1", "north-2", &["100%"]).await.unwrap();
    channel.order("r1", Order::Start).await.unwrap();
    device.install("success", &[]).await;
    assert_eq!(runs().await, state("north-2"));
    // It was withdrawn: the box has gone back by itself.
    says(json!({ "state": "north-1", "agent": "0.1.0" })).await;
    assert_eq!(runs().await, state("north-1"));
    // The agent is away, and nobody knows better.
    says(json!({ "agent": "does not answer" })).await;
    assert_eq!(runs().await, state("north-1"));
    says(json!({ "state": "own configuration" })).await;
    assert_eq!(runs().await, None);
    says(json!({ "state": "<b>north</b>" })).await;
    assert_eq!(runs().await, None, "no state is called so");
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused_with_a_reason() {
    let channel = Channel::start("approval = true").await;
    channel.device("a", &[]).await;
    let refused = async |new: New| channel.ask(Request::NewRollout(new)).await.unwrap_err().code.to_string();
    assert_eq!(refused(New { all_at_once: false, ..new("r", "north-1", &["100%"]) }).await, "rollout-no-canary");
    assert_eq!(refused(new("r", "north-1", &[])).await, "rollout-groups");
    assert_eq!(refused(new("a b", "north-1", &["100%"])).await, "rollout-name");
    assert_eq!(refused(new("r", "north-9", &["100%"])).await, "state-not-listed");
    assert_eq!(refused(new("r", "north-1", &["canary"])).await, "rollout-group");
    assert_eq!(refused(New { silence_hours: 0, ..new("r", "north-1", &["100%"]) }).await, "rollout-silence");
    channel.rollout("r", "north-1", &["100%"]).await.unwrap();
    assert_eq!(refused(new("r", "north-1", &["100%"])).await, "rollout-exists");
    let order = async |order| channel.order("r", order).await.unwrap_err().code.to_string();
    assert_eq!(order(Order::Start).await, "rollout-not-approved");
    assert_eq!(order(Order::Resume).await, "rollout-order");
    assert_eq!(channel.order("other", Order::Start).await.unwrap_err().code, "rollout-unknown");
    assert_eq!(BTreeMap::new(), channel.status("r").await.waves[0].boxes);
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_boxes_said_of_actions_that_ended_over_a_year_ago_goes_and_the_acts_stay() {
    let channel = Channel::start(PLAIN).await;
    for (rollout, device) in [("old", "a"), ("new", "b"), ("open", "c")] {
        let device = channel.device(device, &[]).await;
        channel.rollout(rollout, "north-1", &[&format!("name={}", device.name)]).await.unwrap();
        channel.order(rollout, Order::Start).await.unwrap();
        if rollout == "open" {
            let (id, _) = device.await_link("deploymentBase").await;
            device.feedback("deploymentBase", &id, "proceeding", "none", &["fetching"]).await;
        } else {
            device.install("success", &[]).await;
            channel.until(rollout, is("finished")).await;
        }
    }
    let home = channel.stop().await;
    let database = rusqlite::Connection::open(home.path().join(FILE_NAME)).unwrap();
    let number = |sql: &str| database.query_row(sql, [], |r| r.get::<_, i64>(0)).unwrap();
    let (acts, messages) = (number("SELECT count(*) FROM act"), number("SELECT count(*) FROM message"));
    assert_eq!(messages, 5);
    let long_ago = now() - 366 * 24 * 60 * 60 * 1000;
    let old =
        "UPDATE action SET changed_at = ?1 WHERE rollout IN (SELECT id FROM rollout WHERE name IN ('old', 'open'))";
    database.execute(old, [long_ago]).unwrap();
    let channel = Channel::start_on(home, PLAIN).await;
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while number("SELECT count(*) FROM message") == messages {
        assert!(std::time::Instant::now() < end, "they stay");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let left = "SELECT count(*) FROM message m JOIN action a ON a.id = m.action JOIN rollout r ON r.id = a.rollout
                WHERE r.name <> 'old'";
    assert_eq!((number("SELECT count(*) FROM message"), number(left)), (3, 3));
    assert_eq!(number("SELECT count(*) FROM act"), acts);
    channel.stop().await;
}
