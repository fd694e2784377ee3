//! The watch after an activation, and states that share a name.
use super::appliance::Appliance;
use serde_json::json;
use sund_ota::ddi::Finished;

/// The words of the report of an action that ended so.
fn reported(appliance: &Appliance, id: &str, finished: Finished) -> String {
    appliance.channel.action(id, |action| {
        assert_eq!(action.closed()[0].status.result.finished, finished);
        action.last_words()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_watch_counts_by_its_golden_cases_and_the_report_says_so() {
    let mut appliance = Appliance::new().await;
    let descriptor = appliance.state("north-1", b"model", json!({}));
    appliance.channel.deploy("1", &descriptor);
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(appliance.agent.serving().checks, 2, "at its beginning and at its end");
    let words = reported(&appliance, "1", Finished::Success);
    assert!(words.contains("no study was answered in the watch; golden cases held"), "{words}");
    assert!(words.contains("at the end of the watch: brain: golden-cases held: volume of 1292 ml"), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_answers_nothing_of_what_comes_is_taken_back_however_little_that_was() {
    let mut appliance = Appliance::new().await;
    let descriptor = appliance.state("north-1", b"model one", json!({}));
    appliance.channel.deploy("1", &descriptor);
    assert_eq!(appliance.once().await, Some(0));
    appliance.agent.serving().jobs = (0, 2);
    let descriptor = appliance.state("north-2", b"model two", json!({}));
    appliance.channel.deploy("2", &descriptor);
    assert_eq!(appliance.once().await, Some(1));
    let words = reported(&appliance, "2", Finished::Failure);
    assert!(words.contains("watch-missed") && words.contains("answered none of 2 jobs"), "{words}");
    assert_eq!(appliance.agent.serving().state.as_deref(), Some("north-1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_after_which_the_node_does_not_answer_is_taken_back() {
    let mut appliance = Appliance::new().await;
    let descriptor = appliance.state("north-1", b"model one", json!({}));
    appliance.channel.deploy("1", &descriptor);
    assert_eq!(appliance.once().await, Some(0));
    appliance.agent.serving().silent_in = Some("north-2".to_owned());
    let descriptor = appliance.state("north-2", b"model two", json!({}));
    appliance.channel.deploy("2", &descriptor);
    assert_eq!(appliance.once().await, Some(1));
    let words = reported(&appliance, "2", Finished::Failure);
    assert!(words.contains("watch-missed") && words.contains("does not answer its own echo"), "{words}");
    assert_eq!(appliance.agent.serving().state.as_deref(), Some("north-1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn golden_cases_that_miss_while_a_state_is_watched_take_it_back_with_their_figures() {
    for (misses_from, when) in [(3, "at the beginning of the watch"), (4, "at the end of the watch")] {
        let mut appliance = Appliance::new().await;
        let descriptor = appliance.state("north-1", b"model one", json!({}));
        appliance.channel.deploy("1", &descriptor);
        assert_eq!(appliance.once().await, Some(0));
        appliance.agent.serving().misses_check = Some(misses_from);
        let descriptor = appliance.state("north-2", b"model two", json!({}));
        appliance.channel.deploy("2", &descriptor);
        assert_eq!(appliance.once().await, Some(1));
        let words = reported(&appliance, "2", Finished::Failure);
        assert!(words.contains("watch-missed") && words.contains(when), "{words}");
        assert!(words.contains("the volume is off by 90 ml"), "{words}");
        assert_eq!(appliance.agent.serving().state.as_deref(), Some("north-1"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_has_the_figures_of_the_jobs_beside_those_of_the_version_before() {
    let mut appliance = Appliance::new().await;
    let descriptor = appliance.state("north-1", b"model one", json!({}));
    appliance.channel.deploy("1", &descriptor);
    assert_eq!(appliance.once().await, Some(0));
    appliance.agent.serving().jobs = (412, 1);
    let descriptor = appliance.state("north-2", b"model two", json!({}));
    appliance.channel.deploy("2", &descriptor);
    "1.1.0".clone_into(&mut appliance.agent.serving().version);
    assert_eq!(appliance.once().await, Some(0));
    let words = reported(&appliance, "2", Finished::Success);
    let figures = "brain 1.1.0: active on tract, 412 answered, 1 failed, 40 ms median; before it 1.1.0: 412 answered, 1 failed, 40 ms";
    assert!(words.contains(figures), "{words}");
    assert!(!words.contains("no study came"), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_waits_for_the_jobs_that_a_box_is_told_to_wait_for_and_not_for_ever() {
    let mut appliance = Appliance::new().await;
    appliance.configure("jobs = 4\nlongest_seconds = 600\n");
    appliance.agent.serving().jobs_come = 1;
    let descriptor = appliance.state("north-1", b"model", json!({}));
    appliance.channel.deploy("1", &descriptor);
    assert_eq!(appliance.once().await, Some(0));
    assert!(appliance.agent.serving().jobs.0 >= 4);

    appliance.configure("jobs = 4\nlongest_seconds = 3\n");
    {
        let mut serving = appliance.agent.serving();
        (serving.jobs_come, serving.jobs) = (0, (3, 0));
    }
    let descriptor = appliance.state("north-2", b"model two", json!({}));
    appliance.channel.deploy("2", &descriptor);
    assert_eq!(appliance.once().await, Some(0));
    let words = reported(&appliance, "2", Finished::Success);
    assert!(words.contains("3 of the 4 jobs that were waited for came in the watch; golden cases held"), "{words}");

    appliance.configure("longest_seconds = 700000\n");
    assert_eq!(appliance.once().await, Some(64));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_is_published_again_under_its_name_is_tried_and_activated() {
    let mut appliance = Appliance::new().await;
    let first = appliance.state("north-1", b"model one", json!({}));
    appliance.channel.deploy("1", &first);
    assert_eq!(appliance.once().await, Some(0));
    let second = appliance.state("north-1", b"model two", json!({}));
    assert_eq!(first.target, second.target);
    appliance.channel.deploy("2", &second);
    assert_eq!(appliance.once().await, Some(0));
    let serving = appliance.agent.serving();
    assert_eq!((serving.trials, serving.activations.len()), (2, 2));
    assert_eq!(serving.sha256.as_ref(), Some(&second.sha256));
}

/// An agent that was updated knows what it has activated before by its name.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_older_agent_has_activated_serves_on_and_is_left_when_it_is_withdrawn() {
    let mut appliance = Appliance::new().await;
    let descriptor = appliance.state("north-1", b"model", json!({}));
    appliance.channel.deploy("1", &descriptor);
    assert_eq!(appliance.once().await, Some(0));
    appliance.agent.serving().sha256 = None;
    appliance.channel.told().actions.clear();
    assert_eq!(appliance.once().await, Some(0));
    assert!(appliance.agent.serving().reverts.is_empty());
    appliance.region.withdraw("state/north-1.json");
    appliance.publish();
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(appliance.agent.serving().reverts, [None]);
}
