//! A state says which boxes it is for: a configuration names a hospital's own archive, and no other hospital's box serves it.
use super::appliance::Appliance;
use super::channel::BOX;
use super::stick::{FAR, write};
use serde_json::json;
use sund_ota::ddi::Finished;

const CODE: &str = "state-not-for-this-box";

fn said(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned()
}

/// An audit line about the refusal.
fn is_audited(log: &str) -> bool {
    log.lines().any(|line| line.contains("\"target\":\"audit\"") && line.contains(CODE))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_of_another_hospital_is_refused_whoever_deploys_it_and_what_serves_goes_on() {
    let mut appliance = Appliance::serving().await;
    let descriptor = appliance.state("south-1", b"model two", json!({"boxes": ["south-*", "box-10"]}));
    appliance.channel.deploy("2", &descriptor);
    let output = appliance.updater(&["once"]).await;
    assert!(is_audited(&said(&output)), "{}", said(&output));
    appliance.channel.action("2", |action| {
        assert_eq!(action.closed()[0].status.result.finished, Finished::Failure);
        let words = action.last_words();
        assert!(words.contains(CODE) && words.contains("for the boxes south-*, box-10, and this is box-1"), "{words}");
    });
    let serving = appliance.agent.serving();
    assert_eq!((serving.trials, serving.state.as_deref()), (1, Some("north-1")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_for_this_box_by_name_or_pattern_is_taken() {
    let mut appliance = Appliance::new().await;
    for (id, name, boxes) in [("1", "north-1", ["south-*", BOX]), ("2", "north-2", ["b*-1", "x"])] {
        let descriptor = appliance.state(name, name.as_bytes(), json!({ "boxes": boxes }));
        appliance.channel.deploy(id, &descriptor);
        assert_eq!(appliance.once().await, Some(0));
        assert_eq!(appliance.agent.serving().state.as_deref(), Some(name));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stick_of_another_hospital_is_refused() {
    let mut appliance = Appliance::new().await;
    let descriptor = appliance.state("south-1", b"model", json!({"boxes": ["south-*"]}));
    let files = appliance.region.bundle(&descriptor, FAR);
    appliance.channel.told().is_away = true;
    let stick = write(appliance.directory.path(), &files);
    let output = appliance.updater(&["install", &stick.display().to_string()]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(is_audited(&said(&output)), "{}", said(&output));
    let serving = appliance.agent.serving();
    assert_eq!((serving.trials, serving.state.as_deref()), (0, None));
}

/// A box that was moved to another hospital and set up there anew beside what it served.
#[tokio::test(flavor = "multi_thread")]
async fn a_box_that_was_given_another_name_leaves_the_states_of_its_old_one() {
    let mut appliance = Appliance::new().await;
    for (id, name, boxes) in
        [("1", "north-1", json!([BOX])), ("2", "all-1", json!(["*"])), ("3", "north-2", json!([BOX]))]
    {
        let descriptor = appliance.state(name, name.as_bytes(), json!({ "boxes": boxes }));
        appliance.channel.deploy(id, &descriptor);
        assert_eq!(appliance.once().await, Some(0));
    }
    let text = std::fs::read_to_string(appliance.configuration()).expect("updater.toml");
    std::fs::write(appliance.configuration(), text.replace("id = \"box-1\"", "id = \"south-1\""))
        .expect("updater.toml");
    let output = appliance.updater(&["once"]).await;
    assert!(is_audited(&said(&output)), "{}", said(&output));
    assert_eq!(appliance.agent.serving().state.as_deref(), Some("all-1"));
}
