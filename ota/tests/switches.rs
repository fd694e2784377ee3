//! The region's two switches: all rollouts stop, and models are suspended.
use super::appliance::Appliance;
use super::conversation::{Running, until};
use serde_json::{Value, json};
use sund_ota::agent::{Holder, NOT_APPROVED};
use sund_ota::ddi::{Execution, Finished};
use sund_ota::documents::{STOP, SUSPENSIONS};

pub fn list(appliance: &mut Appliance, path: &str, document: &Value) {
    appliance.region.approve("state", path, document.to_string().as_bytes());
    appliance.publish();
}

pub fn withdraw(appliance: &mut Appliance, path: &str) {
    appliance.region.withdraw(path);
    appliance.publish();
}

/// The models that the channel has switched off.
pub fn suspended(appliance: &Appliance) -> Vec<String> {
    appliance.agent.serving().suspended.clone()
}

pub fn stop_all(appliance: &mut Appliance) {
    let stop = json!({"format": 1, "reason": "wrong patients in the north", "since": "2026-11-29T17:00:00Z"});
    list(appliance, STOP, &stop);
}

pub fn suspend(appliance: &mut Appliance, package: &str, version: Option<&str>) {
    let mut suspension = json!({"package": package, "reason": "drift at three sites", "since": "2026-11-29T17:00:00Z"});
    if let Some(version) = version {
        suspension["version"] = json!(version);
    }
    list(appliance, SUSPENSIONS, &json!({"format": 1, "suspensions": [suspension]}));
}

/// One poll, and the lines of the audit trail about it.
async fn audited(appliance: &Appliance, words: &str) -> usize {
    let output = appliance.updater(&["once"]).await;
    assert_eq!(output.status.code(), Some(0));
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    log.lines().filter(|line| line.contains("\"audit\"") && line.contains(words)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn while_all_rollouts_are_stopped_an_action_waits_and_the_channel_is_told_why() {
    let mut appliance = Appliance::new().await;
    let descriptor = appliance.state("north-1", b"model", json!({}));
    stop_all(&mut appliance);
    appliance.channel.deploy("1", &descriptor);
    assert_eq!(appliance.once().await, Some(75));
    assert_eq!((appliance.channel.told().sent, appliance.agent.serving().trials), (0, 0));
    appliance.channel.action("1", |action| {
        let last = action.feedback.last().expect("it was told").status.clone();
        assert_eq!((last.execution, last.result.finished), (Execution::Proceeding, Finished::None));
        let words = last.details.join(" ");
        assert!(words.contains("wrong patients in the north") && words.contains("rollouts-stopped"), "{words}");
    });
    let status = appliance.updater(&["status", "--json"]).await.stdout;
    let status: Value = serde_json::from_slice(&status).expect("JSON");
    assert_eq!(status["stopped"], "since 2026-11-29T17:00:00Z: wrong patients in the north");

    withdraw(&mut appliance, STOP);
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(appliance.agent.serving().activations, ["north-1"]);
    assert_eq!(appliance.record().switches.stopped, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_on_trial_is_brought_to_its_end_while_rollouts_are_stopped() {
    let mut appliance = Appliance::new().await;
    let descriptor = appliance.state("north-1", b"model", json!({"watch_seconds": 3}));
    appliance.agent.serving().trial_polls = 1000;
    appliance.channel.deploy("1", &descriptor);
    let _running = Running(appliance.run());
    until("the trial begins", || appliance.agent.serving().trials > 0).await;
    stop_all(&mut appliance);
    until("the stop is known", || appliance.record().switches.stopped.is_some()).await;
    appliance.agent.end_trial();
    until("it ends", || appliance.channel.action("1", |action| !action.is_open)).await;
    appliance.channel.action("1", |action| assert_eq!(action.closed()[0].status.result.finished, Finished::Success));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_withholds_the_text_of_a_stop_does_not_take_it_back() {
    let mut appliance = Appliance::new().await;
    let descriptor = appliance.state("north-1", b"model", json!({}));
    stop_all(&mut appliance);
    appliance.channel.told().files.retain(|path, _| !path.ends_with(".stop.json"));
    appliance.channel.deploy("1", &descriptor);
    assert_eq!(appliance.once().await, Some(75));
    assert_eq!(appliance.agent.serving().trials, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspension_reaches_whichever_state_a_box_runs_and_is_lifted_with_the_list() {
    let mut appliance = Appliance::serving().await;
    suspend(&mut appliance, "brain", None);
    assert_eq!(audited(&appliance, "a suspension of the region was applied").await, 1);
    assert_eq!(appliance.agent.serving().suspended, ["brain"]);
    assert_eq!(appliance.agent.serving().reasons["brain"], "suspended by the region: drift at three sites");
    assert_eq!(audited(&appliance, "a suspension of the region").await, 0, "it is applied once");
    let words = String::from_utf8_lossy(&appliance.updater(&["status"]).await.stdout).into_owned();
    assert!(words.contains("brain: suspended by the region: drift at three sites"), "{words}");

    // A state that is deployed meanwhile does not bring it back.
    let descriptor = appliance.state("north-2", b"model two", json!({}));
    appliance.channel.deploy("2", &descriptor);
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(appliance.agent.serving().state.as_deref(), Some("north-2"));
    assert_eq!(appliance.agent.serving().suspended, ["brain"]);

    withdraw(&mut appliance, SUSPENSIONS);
    assert_eq!(audited(&appliance, "a suspension of the region was lifted").await, 1);
    assert!(appliance.agent.serving().suspended.is_empty());
    assert!(appliance.record().switches.applied.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspension_reaches_the_boxs_own_configuration_and_a_state_that_comes_later() {
    let mut appliance = Appliance::new().await;
    suspend(&mut appliance, "own-model", None);
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(appliance.agent.serving().suspended, ["own-model"]);
    suspend(&mut appliance, "brain", None);
    let descriptor = appliance.state("north-1", b"model", json!({}));
    appliance.channel.deploy("1", &descriptor);
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(appliance.agent.serving().suspended, ["brain"], "own-model may serve again, and brain may not");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspension_is_applied_while_a_state_is_watched() {
    let mut appliance = Appliance::new().await;
    let descriptor = appliance.state("north-1", b"model", json!({"watch_seconds": 600}));
    appliance.channel.deploy("1", &descriptor);
    let _running = Running(appliance.run());
    until("it serves", || appliance.agent.serving().state.is_some()).await;
    suspend(&mut appliance, "brain", None);
    until("it is off", || appliance.agent.serving().suspended == ["brain"]).await;
    appliance.channel.action("1", |action| assert!(action.is_open, "a suspension is no reason to go back"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_suspended_the_channel_does_not_take_back() {
    let mut appliance = Appliance::serving().await;
    let why = ("brain".to_owned(), "Dr. Holm does not trust it".to_owned());
    // Before the region does, or after it.
    for is_first in [true, false] {
        if is_first {
            appliance.agent.serving().by_person.extend([why.clone()]);
        }
        suspend(&mut appliance, "brain", None);
        assert_eq!(appliance.once().await, Some(0));
        appliance.agent.serving().by_person.extend([why.clone()]);
        withdraw(&mut appliance, SUSPENSIONS);
        assert_eq!(appliance.once().await, Some(0));
        assert!(appliance.agent.serving().suspended.is_empty(), "the region's word is lifted");
        assert!(appliance.record().switches.applied.is_empty());
        assert_eq!(std::mem::take(&mut appliance.agent.serving().by_person).len(), 1, "and a person's stays");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_suspends_before_the_region_and_resumes_after_it_switches_nothing_on() {
    let mut appliance = Appliance::serving().await;
    appliance.agent.serving().by_person.insert("brain".to_owned(), "to be resumed".to_owned());
    suspend(&mut appliance, "brain", None);
    assert_eq!(audited(&appliance, "a suspension of the region was applied").await, 1);
    assert_eq!(audited(&appliance, "a suspension of the region was applied").await, 0, "once");
    appliance.agent.serving().by_person.clear();
    assert_eq!(appliance.agent.serving().suspended, ["brain"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_agent_has_kept_of_a_region_that_suspends_it_no_more_is_lifted_once_the_region_is_heard() {
    // An agent from before does not say whose word it is, and that is known by its reason.
    for is_older in [false, true] {
        let mut appliance = Appliance::serving().await;
        appliance.agent.serving().says_no_holders = is_older;
        let by = (!is_older).then_some(Holder::Region);
        // The updater has no record of it: that was lost, or it is of a region before this one.
        let kept = "suspended by the region: drift at three sites";
        appliance.agent.serving().suspend("brain", kept, by);
        let files = std::mem::take(&mut appliance.channel.told().files);
        assert_eq!(audited(&appliance, "a suspension of the region was lifted").await, 0);
        assert_eq!(appliance.agent.serving().suspended, ["brain"], "a region that is not heard may suspend it still");
        appliance.channel.serve(files);
        assert_eq!(audited(&appliance, "a suspension of the region was lifted").await, 1);
        assert!(appliance.agent.serving().suspended.is_empty());

        // Also beside what the region suspends now, and not where that is the same.
        suspend(&mut appliance, "liver", None);
        appliance.agent.serving().suspend("brain", kept, by);
        assert_eq!(audited(&appliance, "a suspension of the region was lifted").await, 1);
        assert!(appliance.agent.serving().suspended.is_empty());
        suspend(&mut appliance, "brain", None);
        appliance.agent.serving().suspend("brain", kept, by);
        assert_eq!(audited(&appliance, "a suspension of the region was").await, 0);
        assert_eq!(appliance.agent.serving().suspended, ["brain"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_person_says_is_no_word_of_the_regions_or_the_updaters() {
    for word in ["suspended by the region: they said so on the telephone", NOT_APPROVED] {
        let mut appliance = Appliance::serving().await;
        appliance.agent.serving().by_person.insert("brain".to_owned(), word.to_owned());
        assert_eq!(audited(&appliance, "a suspension of the region").await, 0, "there is none to lift");
        // The region's own stands beside it, and outlives it.
        suspend(&mut appliance, "brain", None);
        assert_eq!(audited(&appliance, "a suspension of the region was applied").await, 1, "{word}");
        assert_eq!(appliance.agent.serving().by_person.remove("brain").as_deref(), Some(word));
        assert_eq!(audited(&appliance, "a suspension of the region").await, 0, "{word}");
        assert_eq!(appliance.agent.serving().suspended, ["brain"], "{word}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_from_before_is_told_what_the_region_suspends_and_lifts_as_it_takes_it() {
    let mut appliance = Appliance::serving().await;
    appliance.agent.serving().says_no_holders = true;
    suspend(&mut appliance, "brain", None);
    assert_eq!(audited(&appliance, "a suspension of the region was applied").await, 1);
    assert_eq!(appliance.agent.serving().suspended, ["brain"]);
    assert_eq!(audited(&appliance, "a suspension of the region").await, 0, "it is applied once");
    withdraw(&mut appliance, SUSPENSIONS);
    assert_eq!(audited(&appliance, "a suspension of the region was lifted").await, 1);
    assert!(appliance.agent.serving().suspended.is_empty());
}

/// With an agent from before: one that has the region's list does not resume it.
#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_a_person_resumes_is_off_again_while_the_region_suspends_it() {
    let mut appliance = Appliance::serving().await;
    appliance.agent.serving().takes_no_list = true;
    suspend(&mut appliance, "brain", None);
    assert_eq!(appliance.once().await, Some(0));
    appliance.agent.serving().suspended.clear();
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(appliance.agent.serving().suspended, ["brain"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspension_of_one_version_leaves_another_serving() {
    let mut appliance = Appliance::serving().await;
    suspend(&mut appliance, "brain", Some("1.0.2"));
    assert_eq!(appliance.once().await, Some(0));
    assert!(appliance.agent.serving().suspended.is_empty());
    "1.0.2".clone_into(&mut appliance.agent.serving().version);
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(appliance.agent.serving().suspended, ["brain"]);
    "1.0.3".clone_into(&mut appliance.agent.serving().version);
    assert_eq!(appliance.once().await, Some(0));
    assert!(appliance.agent.serving().suspended.is_empty());
}

/// What the agent was told last: package, version, reason.
fn told(appliance: &Appliance) -> Vec<(String, Option<String>, String)> {
    let told = appliance.agent.serving().region_suspends.clone();
    told.into_iter().map(|one| (one.package, one.version, one.reason)).collect()
}

/// A study that began with it ends on it, also where another version serves since.
#[tokio::test(flavor = "multi_thread")]
async fn the_agent_knows_a_suspended_version_that_does_not_serve_until_the_region_lifts_it() {
    let mut appliance = Appliance::serving().await;
    suspend(&mut appliance, "brain", Some("0.9.0"));
    assert_eq!(appliance.once().await, Some(0));
    let listed = |version: Option<&str>| {
        vec![("brain".to_owned(), version.map(str::to_owned), "drift at three sites".to_owned())]
    };
    assert_eq!(told(&appliance), listed(Some("0.9.0")));
    assert!(suspended(&appliance).is_empty(), "what serves goes on");
    // The agent has lost it, or was set up anew; and a server that shows nothing lifts nothing.
    appliance.agent.serving().region_suspends.clear();
    appliance.channel.told().files.clear();
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(told(&appliance), listed(Some("0.9.0")));
    // Wider: what was off stays so.
    suspend(&mut appliance, "brain", None);
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!((told(&appliance), suspended(&appliance)), (listed(None), vec!["brain".to_owned()]));
    withdraw(&mut appliance, SUSPENSIONS);
    assert_eq!(appliance.once().await, Some(0));
    assert!(told(&appliance).is_empty() && suspended(&appliance).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_knows_a_suspended_model_of_which_no_version_serves_any_more() {
    let mut appliance = Appliance::serving().await;
    suspend(&mut appliance, "liver", None);
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(told(&appliance), [("liver".to_owned(), None, "drift at three sites".to_owned())]);
    assert!(suspended(&appliance).is_empty(), "what serves goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_on_while_the_agent_cannot_be_told_all_that_the_region_suspends() {
    let mut appliance = Appliance::serving().await;
    suspend(&mut appliance, "brain", Some("1.0.0"));
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(suspended(&appliance), ["brain"]);
    // Another version serves; studies that began with the suspended one are under way, and the list is lost.
    "1.0.1".clone_into(&mut appliance.agent.serving().version);
    appliance.agent.serving().region_suspends.clear();
    appliance.agent.serving().refuses_lists = true;
    assert_eq!(appliance.once().await, Some(1), "and it is said");
    assert_eq!(suspended(&appliance), ["brain"]);
    appliance.agent.serving().refuses_lists = false;
    assert_eq!(appliance.once().await, Some(0));
    assert!(suspended(&appliance).is_empty() && told(&appliance).len() == 1);
}

/// The power failed between the two.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_list_alone_has_off_is_switched_off_by_its_name_as_well() {
    let mut appliance = Appliance::serving().await;
    suspend(&mut appliance, "brain", Some("1.0.0"));
    let told = json!([{"package": "brain", "version": "1.0.0", "reason": "drift at three sites"}]);
    appliance.agent.serving().region_suspends = serde_json::from_value(told).expect("a list");
    assert_eq!(audited(&appliance, "a suspension of the region was applied").await, 1);
    assert_eq!(suspended(&appliance), ["brain"]);
    assert_eq!(audited(&appliance, "a suspension of the region").await, 0, "once");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_agent_has_on_its_list_is_lifted_once_and_only_when_the_region_is_heard() {
    let mut appliance = Appliance::serving().await;
    suspend(&mut appliance, "brain", None);
    assert_eq!(appliance.once().await, Some(0));
    // The region lifts it; the agent cannot be told, and then the region is not heard.
    withdraw(&mut appliance, SUSPENSIONS);
    appliance.agent.serving().refuses_lists = true;
    assert_eq!(appliance.once().await, Some(1));
    appliance.agent.serving().refuses_lists = false;
    let files = std::mem::take(&mut appliance.channel.told().files);
    assert_eq!(audited(&appliance, "a suspension of the region was lifted").await, 0);
    assert_eq!((suspended(&appliance), told(&appliance).len()), (vec!["brain".to_owned()], 1));
    appliance.channel.serve(files);
    assert_eq!(audited(&appliance, "a suspension of the region was lifted").await, 1);
    assert!(suspended(&appliance).is_empty() && told(&appliance).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_approved_stays_off_where_the_region_lifts_its_suspension() {
    let mut appliance = Appliance::serving().await;
    suspend(&mut appliance, "own-model", None);
    withdraw(&mut appliance, "state/north-1.json");
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(appliance.agent.serving().state, None);
    assert_eq!(suspended(&appliance), ["own-model"]);
    withdraw(&mut appliance, SUSPENSIONS);
    for _ in 0..2 {
        assert_eq!(appliance.once().await, Some(0));
        assert!(told(&appliance).is_empty());
        assert_eq!(suspended(&appliance), ["own-model"]);
        assert_eq!(appliance.agent.serving().holders["own-model"], Holder::Updater);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_from_before_that_takes_no_list_is_told_of_what_serves_alone() {
    let mut appliance = Appliance::serving().await;
    appliance.agent.serving().takes_no_list = true;
    suspend(&mut appliance, "brain", Some("1.0.0"));
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!((suspended(&appliance), told(&appliance)), (vec!["brain".to_owned()], Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_server_takes_no_switch_back() {
    let mut appliance = Appliance::serving().await;
    // An agent from before: a person may resume.
    appliance.agent.serving().takes_no_list = true;
    suspend(&mut appliance, "brain", None);
    stop_all(&mut appliance);
    assert_eq!(appliance.once().await, Some(0));
    // What it shows has expired, and says no longer what it said; nor does a server that shows nothing.
    appliance.region.expires = "2020-01-01T00:00:00Z".to_owned();
    appliance.region.withdraw(SUSPENSIONS);
    withdraw(&mut appliance, STOP);
    assert_eq!(appliance.once().await, Some(0));
    appliance.channel.told().files.clear();
    // Also where a person resumes it meanwhile.
    appliance.agent.serving().suspended.clear();
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(appliance.agent.serving().suspended, ["brain"]);
    assert!(appliance.record().switches.stopped.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_cannot_be_read_changes_nothing_and_is_told() {
    let mut appliance = Appliance::serving().await;
    suspend(&mut appliance, "brain", None);
    assert_eq!(appliance.once().await, Some(0));
    list(&mut appliance, SUSPENSIONS, &json!({"format": 2}));
    let output = appliance.updater(&["once"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("document-invalid"));
    assert_eq!(appliance.agent.serving().suspended, ["brain"]);
}

/// A box that serves `north-2` and has `north-1` to go back to.
pub async fn with_a_past() -> Appliance {
    let mut appliance = Appliance::serving().await;
    let descriptor = appliance.state("north-2", b"model two", json!({}));
    appliance.channel.deploy("2", &descriptor);
    assert_eq!(appliance.once().await, Some(0));
    appliance
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawn_state_is_left_while_an_action_waits_for_the_region() {
    let mut appliance = with_a_past().await;
    stop_all(&mut appliance);
    let descriptor = appliance.state("north-3", b"model three", json!({}));
    appliance.channel.deploy("3", &descriptor);
    assert_eq!(appliance.once().await, Some(75));
    assert_eq!(appliance.agent.serving().state.as_deref(), Some("north-2"));
    withdraw(&mut appliance, "state/north-2.json");
    assert_eq!(appliance.once().await, Some(75));
    assert_eq!(appliance.agent.serving().state.as_deref(), Some("north-1"));

    withdraw(&mut appliance, STOP);
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(appliance.agent.serving().state.as_deref(), Some("north-3"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawn_state_is_left_while_another_one_is_on_trial() {
    let mut appliance = with_a_past().await;
    let descriptor = appliance.state("north-3", b"model three", json!({}));
    appliance.agent.serving().trial_polls = 1000;
    appliance.agent.serving().trials = 0;
    appliance.channel.deploy("3", &descriptor);
    let _running = Running(appliance.run());
    until("the trial begins", || appliance.agent.serving().trials > 0).await;
    withdraw(&mut appliance, "state/north-2.json");
    until("it is left", || appliance.agent.serving().state.as_deref() == Some("north-1")).await;
    appliance.agent.serving().trial_polls = 1;
    appliance.agent.end_trial();
    until("the other one serves", || appliance.channel.action("3", |action| !action.is_open)).await;
    assert_eq!(appliance.agent.serving().state.as_deref(), Some("north-3"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_is_withdrawn_while_it_is_watched_is_taken_back() {
    let mut appliance = Appliance::serving().await;
    let descriptor = appliance.state("north-2", b"model two", json!({"watch_seconds": 600}));
    appliance.channel.deploy("2", &descriptor);
    let _running = Running(appliance.run());
    until("it serves", || appliance.agent.serving().state.as_deref() == Some("north-2")).await;
    withdraw(&mut appliance, "state/north-2.json");
    until("it is taken back", || appliance.channel.action("2", |action| !action.is_open)).await;
    appliance.channel.action("2", |action| {
        let words = action.last_words();
        assert!(words.contains("target-not-approved") && words.contains("serves `north-1` again"), "{words}");
    });
    assert_eq!(appliance.agent.serving().state.as_deref(), Some("north-1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_model_of_a_coming_state_is_off_before_that_state_serves() {
    let mut appliance = Appliance::new().await;
    let descriptor = appliance.state("north-1", b"model", json!({}));
    suspend(&mut appliance, "brain", Some("1.0.0"));
    appliance.agent.serving().refuses_suspensions = true;
    appliance.channel.deploy("1", &descriptor);
    assert_eq!(appliance.once().await, Some(75));
    assert!(appliance.agent.serving().activations.is_empty(), "what can't be switched off does not begin to serve");
    appliance.agent.serving().refuses_suspensions = false;
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(appliance.agent.serving().changes, ["suspend brain", "activate north-1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_model_of_an_earlier_state_is_off_before_the_box_goes_back_to_it() {
    let mut appliance = Appliance::serving().await;
    let mut liver = appliance.region.approve("models/vendor", "models/vendor/liver.sund", b"liver");
    (liver["name"], liver["version"]) = (json!("liver"), json!("1.0.0"));
    let routes = json!({"abdomen": {"models": ["liver"], "mode": "shadow"}});
    let more = json!({"models": [liver], "routes": routes, "watch_seconds": 600});
    let descriptor = appliance.state("north-2", b"model two", more);
    appliance.channel.deploy("2", &descriptor);
    let running = Running(appliance.run());
    until("it serves", || appliance.agent.serving().state.as_deref() == Some("north-2")).await;
    drop(running);
    suspend(&mut appliance, "brain", None);
    appliance.agent.serving().jobs = (6, 4);
    assert_eq!(appliance.once().await, Some(1));
    let changes = appliance.agent.serving().changes.clone();
    assert_eq!(changes[changes.len() - 2..], ["suspend brain", "revert to north-1"], "{changes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawn_state_that_cannot_be_left_does_not_hold_up_the_one_that_replaces_it() {
    let mut appliance = with_a_past().await;
    let descriptor = appliance.state("north-3", b"model three", json!({}));
    withdraw(&mut appliance, "state/north-2.json");
    {
        let mut serving = appliance.agent.serving();
        // Longer than the time between two polls.
        (serving.refuses_reverts, serving.trial_polls, serving.trials) = (true, 5, 0);
    }
    appliance.channel.deploy("3", &descriptor);
    assert_eq!(appliance.once().await, Some(0));
    let serving = appliance.agent.serving();
    assert_eq!((serving.state.as_deref(), serving.trials), (Some("north-3"), 1));
}
