//! The watch after an activation, and states that share a name.
use super::appliance::Appliance;
use super::away::killed_while_it_watched;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use sund_ota::agent::AgentFault;
use sund_ota::ddi::Finished;
use sund_ota::machine::record::Step;

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
    let mut appliance = Appliance::serving().await;
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
    let mut appliance = Appliance::serving().await;
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
        let mut appliance = Appliance::serving().await;
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
    let mut appliance = Appliance::serving().await;
    {
        let mut serving = appliance.agent.serving();
        (serving.jobs, serving.not_applicable) = ((412, 1), 7);
    }
    let descriptor = appliance.state("north-2", b"model two", json!({}));
    appliance.channel.deploy("2", &descriptor);
    "1.1.0".clone_into(&mut appliance.agent.serving().version);
    assert_eq!(appliance.once().await, Some(0));
    let words = reported(&appliance, "2", Finished::Success);
    let figures = "brain 1.1.0: active on tract, 412 answered, 1 failed, 7 not applicable, 40 ms median; before it 1.1.0: 412 answered, \
                   1 failed, 7 not applicable, 40 ms median; latency holds (at most 620 ms: 3 times 1.1.0's 40 ms before it, and 500 ms)";
    assert!(words.contains(figures), "{words}");
    assert!(!words.contains("no study came"), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_of_a_box_with_many_models_has_the_figures_of_each() {
    const MODELS: u64 = 24;
    for is_missed in [false, true] {
        let mut appliance = Appliance::new().await;
        let models = (0..MODELS).map(|n| {
            let name = format!("model-{n}");
            let mut package =
                appliance.region.approve("models/vendor", &format!("models/vendor/{name}.sund"), name.as_bytes());
            package["name"] = json!(name);
            package["version"] = json!("1.0.0");
            package
        });
        let models: Vec<Value> = models.collect();
        let names: Vec<&Value> = models.iter().map(|model| &model["name"]).collect();
        let routes = json!({"neuro": {"models": names, "mode": "shadow"}});
        let state = json!({"models": models, "routes": routes, "watch_seconds": 1});
        let descriptor = appliance.region.approve_state("north-1", state);
        appliance.publish();
        appliance.agent.serving().misses_check = is_missed.then_some(2);
        appliance.channel.deploy("1", &descriptor);
        assert_eq!(appliance.once().await, Some(i32::from(is_missed)));
        let words = reported(&appliance, "1", if is_missed { Finished::Failure } else { Finished::Success });
        for n in 0..MODELS {
            assert!(words.contains(&format!("model-{n} 1.0.0: active on tract, 0 answered")), "{words}");
        }
        // What was done about it stands before all that.
        assert!(!is_missed || words.contains("serves the box's own configuration"), "{words}");
        let more =
            words.lines().last().and_then(|line| line.strip_suffix(" more lines on the box: `sund-updater status`"));
        let more: usize = more.expect("it says how many there are").parse().expect("a number");
        let details = match appliance.record().last.expect("it was reported").step {
            Step::Ended { outcome } => outcome.details.len() + usize::from(is_missed),
            step => panic!("{step:?}"),
        };
        assert_eq!((words.lines().count(), more), (40, details - 39));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_takes_far_longer_than_the_one_before_is_taken_back_without_a_bound_of_the_box() {
    let mut appliance = Appliance::serving().await;
    let words = reported(&appliance, "1", Finished::Success);
    assert!(words.contains("latency was not compared: there was no version before it on this box"), "{words}");

    // What was found of a new version after one with this many answers in this time.
    let mut n = 1;
    let mut replaces = async |before: (u64, f64), after: (u64, f64)| {
        let set = |(answered, median_ms): (u64, f64), appliance: &Appliance| {
            let mut serving = appliance.agent.serving();
            (serving.jobs, serving.median_ms) = ((answered, 0), Some(median_ms));
        };
        n += 1;
        set(before, &appliance);
        appliance.agent.serving().next_jobs = Some((after.0, after.1));
        let (name, id) = (format!("north-{n}"), n.to_string());
        let descriptor = appliance.state(&name, name.as_bytes(), json!({}));
        appliance.channel.deploy(&id, &descriptor);
        let code = appliance.once().await;
        let finished = if code == Some(0) { Finished::Success } else { Finished::Failure };
        (code, reported(&appliance, &id, finished))
    };
    let (code, words) = replaces((100, 200.0), (100, 1200.0)).await;
    assert!(code == Some(1) && words.contains("watch-missed"), "{words}");
    assert!(words.contains("answers in 1200 ms (median), where 1100 ms may be: 3 times 1.0.0's 200 ms"), "{words}");
    let (code, words) = replaces((100, 200.0), (100, 1100.0)).await;
    assert!(code == Some(0) && words.contains("latency holds (at most 1100 ms"), "{words}");
    // Tiny jobs are noise, and so are few of them.
    let (code, words) = replaces((100, 4.0), (100, 400.0)).await;
    assert!(code == Some(0) && words.contains("latency holds"), "{words}");
    for (before, after) in [(100, 4), (4, 100)] {
        let (code, words) = replaces((before, 10.0), (after, 60_000.0)).await;
        assert_eq!(code, Some(0), "{words}");
        assert!(words.contains("latency was not compared: fewer than 5 jobs"), "{words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn golden_cases_that_could_not_be_run_while_a_state_is_watched_are_told_as_the_boxs_doing() {
    let mut appliance = Appliance::new().await;
    {
        let mut serving = appliance.agent.serving();
        serving.misses_check = Some(1);
        serving.miss = Some(AgentFault {
            code: "worker-not-started".to_owned(),
            blame: "configuration".to_owned(),
            reason: "no worker answers".to_owned(),
        });
    }
    let descriptor = appliance.state("north-1", b"model one", json!({}));
    appliance.channel.deploy("1", &descriptor);
    assert_eq!(appliance.once().await, Some(1));
    let words = reported(&appliance, "1", Finished::Failure);
    assert!(words.contains("golden cases cannot be run at the beginning of the watch: no worker answers"), "{words}");
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

/// The box was off for an hour in the middle of its watch, or its clock was set forward by one.
#[tokio::test(flavor = "multi_thread")]
async fn time_in_which_nobody_watched_ends_no_watch() {
    let appliance = killed_while_it_watched(5).await;
    let mut record = appliance.record();
    record.action.iter_mut().for_each(|action| {
        if let Step::Active { since, .. } = &mut action.step {
            *since -= 3600;
        }
    });
    record.write(&appliance.directory.path().join("updater/state.json")).expect("the record");
    let begun = Instant::now();
    assert_eq!(appliance.once().await, Some(0));
    assert!(begun.elapsed() >= Duration::from_secs(5), "{:?}", begun.elapsed());
    reported(&appliance, "2", Finished::Success);
}

/// Puts into the record for how long the state was watched already.
fn was_watched(appliance: &Appliance, seconds: u64) {
    let mut record = appliance.record();
    record.action.iter_mut().for_each(|action| {
        if let Step::Active { watched, .. } = &mut action.step {
            *watched = seconds;
        }
    });
    record.write(&appliance.directory.path().join("updater/state.json")).expect("the record");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_channel_hears_of_a_watch_with_each_hour_of_it() {
    let hour = sund_ota::limits::watch::TOLD_EVERY;
    let appliance = killed_while_it_watched(2 * hour + 3).await;
    was_watched(&appliance, 2 * hour - 1);
    assert_eq!(appliance.once().await, Some(0));
    appliance.channel.action("2", |action| {
        let words = action.feedback.iter().flat_map(|word| &word.status.details);
        let told: Vec<&String> = words.filter(|word| word.starts_with("is watched")).collect();
        assert_eq!(told, ["is watched, for 2 h so far"]);
    });
    reported(&appliance, "2", Finished::Success);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_watched_before_a_restart_counts() {
    let appliance = killed_while_it_watched(600).await;
    was_watched(&appliance, 600);
    assert_eq!(appliance.once().await, Some(0));
    reported(&appliance, "2", Finished::Success);
}
