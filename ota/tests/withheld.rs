//! What serves and is not approved any more: a box's very first state, one that the record has lost, one that the agent does not leave. Its
//! models are off at once, and on again with the next state that is approved.
use super::appliance::Appliance;
use super::away::serves;
use super::conversation::{Running, until};
use super::switches::{list, stop_all, suspend, suspended, withdraw};
use super::transitions::{Side, die_at_each};
use serde_json::{Value, json};
use sund_ota::agent::{Holder, NOT_APPROVED};
use sund_ota::documents::{STOP, SUSPENSIONS};

fn suspension(package: &str) -> Value {
    json!({"package": package, "reason": "drift at three sites", "since": "2026-11-29T17:00:00Z"})
}

/// Another state is deployed, and its models are on.
async fn goes_on(appliance: &mut Appliance, id: &str, name: &str) {
    let descriptor = appliance.state(name, name.as_bytes(), json!({}));
    appliance.channel.deploy(id, &descriptor);
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!((serves(appliance).as_deref(), suspended(appliance)), (Some(name), Vec::new()));
    assert!(appliance.record().suspended.is_empty());
}

/// The record is moved away, as is said where it can't be read.
fn lose_record(appliance: &Appliance) {
    let record = appliance.directory.path().join("updater/state.json");
    std::fs::rename(&record, record.with_extension("damaged")).expect("a record");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_boxs_first_state_that_is_left_half_watched_does_not_serve_on_while_the_next_one_waits() {
    let mut appliance = Appliance::new().await;
    let first = appliance.state("north-1", b"model one", json!({"watch_seconds": 600}));
    appliance.channel.deploy("1", &first);
    let updater = Running(appliance.run());
    until("it serves", || serves(&appliance).as_deref() == Some("north-1")).await;
    stop_all(&mut appliance);
    let second = appliance.state("north-2", b"model two", json!({}));
    appliance.channel.deploy("2", &second);
    until("it is left", || serves(&appliance).is_none()).await;
    assert!(suspended(&appliance).is_empty(), "as before its first state");
    drop(updater);
    withdraw(&mut appliance, STOP);
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(serves(&appliance).as_deref(), Some("north-2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_serves_is_left_where_it_was_withdrawn_also_after_the_record_was_lost() {
    // An agent from before does not say whose word it is, and that is known by its reason.
    for is_older in [false, true] {
        let mut appliance = Appliance::serving().await;
        appliance.agent.serving().says_no_holders = is_older;
        lose_record(&appliance);
        assert_eq!(appliance.once().await, Some(0));
        assert_eq!(serves(&appliance).as_deref(), Some("north-1"), "it is listed");
        withdraw(&mut appliance, "state/north-1.json");
        assert_eq!(appliance.once().await, Some(0));
        assert_eq!((serves(&appliance), suspended(&appliance)), (None, vec!["own-model".to_owned()]));
        lose_record(&appliance);
        appliance.agent.serving().own_models = vec!["brain".to_owned()];
        appliance.agent.serving().suspended.clear();
        let by = (!is_older).then_some(Holder::Updater);
        appliance.agent.serving().suspend("brain", NOT_APPROVED, by);
        goes_on(&mut appliance, "2", "north-2").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_region_suspended_serves_again_when_it_lifts_that_also_after_the_record_was_lost() {
    let mut appliance = Appliance::serving().await;
    suspend(&mut appliance, "brain", None);
    assert_eq!(appliance.once().await, Some(0));
    lose_record(&appliance);
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(suspended(&appliance), ["brain"]);
    withdraw(&mut appliance, SUSPENSIONS);
    assert_eq!(appliance.once().await, Some(0));
    assert!(suspended(&appliance).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_models_of_a_withdrawn_state_that_the_agent_does_not_leave_are_off() {
    let mut appliance = Appliance::serving().await;
    appliance.agent.serving().refuses_reverts = true;
    withdraw(&mut appliance, "state/north-1.json");
    for _ in 0..2 {
        assert_eq!(appliance.once().await, Some(1));
        assert_eq!((serves(&appliance).as_deref(), suspended(&appliance)), (Some("north-1"), vec!["brain".to_owned()]));
    }
    let times =
        |appliance: &Appliance| appliance.agent.serving().changes.iter().filter(|it| *it == "suspend brain").count();
    assert_eq!(times(&appliance), 1);
    appliance.agent.serving().refuses_reverts = false;
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!((serves(&appliance), appliance.record().good.len()), (None, 0));
    assert!(suspended(&appliance).contains(&"own-model".to_owned()));
    goes_on(&mut appliance, "2", "north-2").await;

    // Where a state is there to go back to, its models are on again.
    goes_on(&mut appliance, "3", "north-3").await;
    appliance.agent.serving().refuses_reverts = true;
    withdraw(&mut appliance, "state/north-3.json");
    assert_eq!(appliance.once().await, Some(1));
    assert_eq!((serves(&appliance).as_deref(), suspended(&appliance)), (Some("north-3"), vec!["brain".to_owned()]));
    appliance.agent.serving().refuses_reverts = false;
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!((serves(&appliance).as_deref(), suspended(&appliance)), (Some("north-2"), Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_models_of_a_withdrawn_state_stay_off_where_the_channel_goes_away_before_it_is_left() {
    let mut appliance = Appliance::serving().await;
    appliance.agent.serving().refuses_reverts = true;
    withdraw(&mut appliance, "state/north-1.json");
    assert_eq!(appliance.once().await, Some(1));
    appliance.channel.told().is_away = true;
    assert_eq!(appliance.once().await, Some(75));
    assert_eq!((serves(&appliance).as_deref(), suspended(&appliance)), (Some("north-1"), vec!["brain".to_owned()]));
    // An agent that has lost it is not put back to it.
    appliance.agent.serving().refuses_reverts = false;
    appliance.agent.serving().state = None;
    assert_eq!(appliance.once().await, Some(75));
    assert_eq!((serves(&appliance), appliance.record().good.len()), (None, 0));
    assert!(suspended(&appliance).contains(&"own-model".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_that_is_not_here_and_cannot_be_suspended_keeps_no_box_at_a_withdrawn_state() {
    let mut appliance = Appliance::serving().await;
    let suspensions = [suspension(&"far-away".repeat(20)), suspension("own-model")];
    list(&mut appliance, SUSPENSIONS, &json!({"format": 1, "suspensions": suspensions}));
    withdraw(&mut appliance, "state/north-1.json");
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!((serves(&appliance), suspended(&appliance)), (None, vec!["own-model".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_each_transition_while_its_models_are_switched_off_a_box_has_them_on_with_the_next_state() {
    for side in [Side::Before, Side::After] {
        let mut appliance = Appliance::serving().await;
        appliance.agent.serving().own_models = vec!["brain".to_owned(), "liver".to_owned()];
        withdraw(&mut appliance, "state/north-1.json");
        let is_left = || serves(&appliance).is_none() && appliance.record().good.is_empty();
        let deaths = die_at_each(&appliance, side, || (), is_left).await;
        assert!(!deaths.is_empty());
        assert_eq!(suspended(&appliance), ["brain", "liver"]);
        goes_on(&mut appliance, "2", "north-2").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_does_not_hold_switches_nothing_on_that_a_withdrawal_had_switched_off() {
    for (is_left, is_lost) in [(false, false), (true, false), (false, true)] {
        let mut appliance = Appliance::serving().await;
        withdraw(&mut appliance, "state/north-1.json");
        assert_eq!(appliance.once().await, Some(0));
        assert_eq!((serves(&appliance), suspended(&appliance)), (None, vec!["own-model".to_owned()]));
        if is_lost {
            lose_record(&appliance);
        }
        let second = appliance.state("north-2", b"model two", json!({"watch_seconds": 600}));
        appliance.channel.deploy("2", &second);
        let _updater = Running(appliance.run());
        until("it serves", || serves(&appliance).as_deref() == Some("north-2")).await;
        if is_left {
            stop_all(&mut appliance);
            let third = appliance.state("north-3", b"model three", json!({}));
            appliance.channel.deploy("3", &third);
        } else {
            appliance.agent.serving().jobs = (6, 4);
        }
        until("it is left", || serves(&appliance).is_none()).await;
        until("its models are off", || suspended(&appliance) == ["own-model"]).await;
        assert!(appliance.record().good.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_that_ends_badly_drops_no_listed_state_of_which_the_record_was_lost() {
    for is_kept in [true, false] {
        let mut appliance = Appliance::serving().await;
        lose_record(&appliance);
        if !is_kept {
            std::fs::remove_dir_all(appliance.directory.path().join("updater/store")).expect("a store");
        }
        appliance.channel.deploy_bytes("2", b"{}".to_vec());
        assert_eq!(appliance.once().await, Some(1), "it is refused");
        assert_eq!(appliance.once().await, Some(0));
        assert_eq!((serves(&appliance).as_deref(), suspended(&appliance)), (Some("north-1"), Vec::new()));
        if is_kept {
            let third = appliance.state("north-3", b"model three", json!({"watch_seconds": 600}));
            appliance.channel.deploy("3", &third);
            appliance.agent.serving().jobs = (6, 4);
            assert_eq!(appliance.once().await, Some(1), "it is taken back");
            assert_eq!((serves(&appliance).as_deref(), suspended(&appliance)), (Some("north-1"), Vec::new()));
        }
    }
}

/// `north-1` was withdrawn, the agent did not leave it, and it is listed again.
async fn listed_again() -> Appliance {
    let mut appliance = Appliance::serving().await;
    appliance.agent.serving().refuses_reverts = true;
    withdraw(&mut appliance, "state/north-1.json");
    assert_eq!(appliance.once().await, Some(1));
    assert_eq!((serves(&appliance).as_deref(), suspended(&appliance)), (Some("north-1"), vec!["brain".to_owned()]));
    appliance.state("north-1", b"model one", json!({}));
    appliance
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_region_suspends_stays_off_where_a_withdrawn_state_is_listed_again() {
    let mut appliance = listed_again().await;
    suspend(&mut appliance, "brain", None);
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!((suspended(&appliance), appliance.record().suspended), (vec!["brain".to_owned()], Vec::new()));
    assert!(appliance.agent.serving().reasons["brain"].contains("drift at three sites"));
    withdraw(&mut appliance, SUSPENSIONS);
    assert_eq!(appliance.once().await, Some(0));
    assert!(suspended(&appliance).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_models_of_a_state_that_is_listed_again_are_on_also_after_the_record_was_lost() {
    let appliance = listed_again().await;
    // An agent that is away keeps them off, and nothing is said to be withdrawn.
    let socket = appliance.directory.path().join("agent.sock");
    std::fs::rename(&socket, socket.with_extension("aside")).expect("its socket");
    let said = String::from_utf8_lossy(&appliance.updater(&["once"]).await.stderr).into_owned();
    assert!(!said.contains("a withdrawn state could not be left"), "{said}");
    std::fs::rename(socket.with_extension("aside"), &socket).expect("its socket");
    lose_record(&appliance);
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!((serves(&appliance).as_deref(), suspended(&appliance)), (Some("north-1"), Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn that_a_withdrawn_state_cannot_be_left_is_said_once() {
    let mut appliance = Appliance::serving().await;
    appliance.agent.serving().refuses_reverts = true;
    let updater = Running(appliance.run());
    withdraw(&mut appliance, "state/north-1.json");
    let times = |text: &str| appliance.agent.serving().audited.iter().filter(|event| event.text.contains(text)).count();
    until("it is not left", || times("could not be left") > 0).await;
    let troubles = || -> Value {
        let now = std::fs::read(appliance.directory.path().join("updater/now.json")).expect("now.json");
        serde_json::from_slice::<Value>(&now).expect("JSON")["troubles"].take()
    };
    until("the status says so", || troubles()[0]["what"] == "a withdrawn state is not left").await;
    let told = String::from_utf8_lossy(&appliance.updater(&["status"]).await.stdout).into_owned();
    assert!(told.contains("TROUBLE      a withdrawn state is not left: "), "{told}");
    let polls = appliance.channel.told().polls;
    until("it is tried again", || appliance.channel.told().polls > polls + 3).await;
    drop(updater);
    for text in ["no longer lists the state", "models are switched off", "a withdrawn state could not be left"] {
        assert_eq!(times(text), 1, "{text}");
    }
    appliance.agent.serving().refuses_reverts = false;
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(troubles(), json!([]), "it is over");
}
