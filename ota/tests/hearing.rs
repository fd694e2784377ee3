//! Whether a box hears its region: one that does not runs on, and nothing that the region suspends or withdraws reaches it.
use super::appliance::Appliance;
use super::conversation::{Running, until};
use super::switches::suspend;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use sund_ota::ddi::{REPOSITORY, REPOSITORY_TROUBLE};

async fn status(appliance: &Appliance) -> (Value, String) {
    let json = appliance.updater(&["status", "--json"]).await.stdout;
    let words = appliance.updater(&["status"]).await.stdout;
    (serde_json::from_slice(&json).expect("JSON"), String::from_utf8_lossy(&words).into_owned())
}

fn told(appliance: &Appliance) -> BTreeMap<String, String> {
    appliance.channel.told().attributes.clone()
}

fn version(appliance: &Appliance) -> String {
    appliance.region.version.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_whose_mirror_is_gone_says_so_and_since_when_and_no_more_once_it_is_back() {
    let appliance = Appliance::serving().await;
    assert_eq!(told(&appliance)[REPOSITORY], version(&appliance));
    assert!(!told(&appliance).contains_key(REPOSITORY_TROUBLE));
    let (before, words) = status(&appliance).await;
    assert_eq!(before["heard"]["version"].to_string(), version(&appliance));
    assert!(before["now"]["unheard"].is_null() && before["now"]["doing"] == "idle", "{before:#}");
    assert!(words.contains("is heard, last at 20"), "{words}");

    // The server answers polls as ever; where the repository lies, nothing is.
    let files = std::mem::take(&mut appliance.channel.told().files);
    let puts = || appliance.channel.told().asked.iter().filter(|path| path.ends_with("/configData")).count();
    assert_eq!(appliance.once().await, Some(0));
    let trouble = told(&appliance)[REPOSITORY_TROUBLE].clone();
    assert!(trouble.starts_with("store-") && trouble.contains(" since 20"), "{trouble}");
    assert_eq!(told(&appliance)[REPOSITORY], version(&appliance));
    let (now, words) = status(&appliance).await;
    assert_eq!(now["heard"], before["heard"]);
    assert!(now["now"]["unheard"]["code"].as_str().is_some_and(|code| trouble.starts_with(code)), "{now:#}");
    assert!(now["now"]["doing"].as_str().is_some_and(|doing| doing.contains("the region is not heard")), "{now:#}");
    assert!(words.contains("IS NOT HEARD"), "{words}");
    let said = puts();
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(puts(), said, "it is told once");

    appliance.channel.serve(files);
    assert_eq!(appliance.once().await, Some(0));
    assert!(!told(&appliance).contains_key(REPOSITORY_TROUBLE));
    assert!(status(&appliance).await.0["now"]["unheard"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspension_that_a_mirror_does_not_pass_on_is_known_by_the_version_that_the_box_tells() {
    let mut appliance = Appliance::serving().await;
    let mirrored = appliance.channel.told().files.clone();
    let heard = version(&appliance);
    suspend(&mut appliance, "brain", None);
    appliance.channel.serve(mirrored);
    assert_eq!(appliance.once().await, Some(0));
    assert!(appliance.agent.serving().suspended.is_empty(), "it has not come here");
    assert_eq!((told(&appliance)[REPOSITORY] == heard, heard == version(&appliance)), (true, false));
    appliance.publish();
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(told(&appliance)[REPOSITORY], version(&appliance));
    assert_eq!(told(&appliance)["model.brain"], "1.0.0 suspended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_that_watches_a_state_for_long_says_meanwhile_what_it_hears() {
    let mut appliance = Appliance::new().await;
    let descriptor = appliance.state("north-1", b"model", json!({"watch_seconds": 600}));
    appliance.channel.deploy("1", &descriptor);
    let _running = Running(appliance.run());
    until("it watches", || appliance.agent.serving().activations == ["north-1"]).await;
    appliance.publish();
    until("it says so", || told(&appliance).get(REPOSITORY) == Some(&version(&appliance))).await;
    let files = std::mem::take(&mut appliance.channel.told().files);
    until("it says that it hears nothing", || told(&appliance).contains_key(REPOSITORY_TROUBLE)).await;
    appliance.channel.serve(files);
    until("it hears again", || !told(&appliance).contains_key(REPOSITORY_TROUBLE)).await;
}
