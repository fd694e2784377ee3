//! Which boxes a state is for: said by who publishes it, read by who signs it, and held to by rollouts.
use crate::fixture::{Channel, PLAIN};
use crate::region::{Region, TWO, text, words};
use sund_channel::rollout::orders::Order;

/// Proposes a state of this text.
fn propose(region: &Region, name: &str, rest: &str) -> crate::region::Ended {
    let file = region.file(&format!("{name}.json"), &format!(r#"{{"name":"{name}","watch_seconds":60{rest}}}"#));
    region.run(&["publish", "state", text(&file)])
}

#[test]
fn a_state_that_names_a_configuration_says_which_boxes_it_is_for_and_whoever_signs_reads_it() {
    let region = Region::with_state();
    let status = region.must(&["status"]);
    let targets = status["targets"].as_object().unwrap();
    let config = targets.keys().find(|target| target.starts_with("config/")).unwrap();
    let config = format!(r#","configuration":{{"target":"{config}"}}"#);
    let refused = propose(&region, "north-2", &config);
    assert_eq!((refused.code, &refused.json["error"]["code"]), (Some(64), &"state-boxes-missing".into()));
    let invalid = propose(&region, "north-2", &format!(r#"{config},"boxes":["a b"]"#));
    assert_eq!(invalid.json["error"]["code"], "state-invalid");

    for (name, boxes, said) in [
        ("north-2", r#"["north-*","odense-1"]"#, "for the boxes north-*, odense-1"),
        ("north-3", r#"["north-*","*"]"#, "for EVERY box"),
    ] {
        let proposed = propose(&region, name, &format!(r#"{config},"boxes":{boxes}"#));
        assert_eq!(proposed.code, Some(0), "{:#}", proposed.json);
        let proposal = proposed.json["proposal"].as_str().unwrap();
        let shown = region.must(&["show", proposal]);
        assert!(words(&shown).contains(said), "{shown:#}");
        region.publish(proposal, &TWO);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_takes_no_box_that_its_state_is_not_for_and_says_which_those_are() {
    let region = Region::with_vendor();
    let proposed = propose(&region, "north-1", r#","boxes":["north-*"]"#);
    region.publish(proposed.json["proposal"].as_str().unwrap(), &TWO);
    let channel = Channel::start_on(region.into_home(), PLAIN).await;
    channel.device("north-1", &[("ring", "canary")]).await;
    channel.device("south-1", &[("ring", "canary")]).await;

    let refused = channel.rollout("r1", "north-1", &["100%"]).await.unwrap_err();
    assert_eq!(refused.code, "rollout-not-for-box");
    assert!(refused.reason.contains("south-1. It is for north-*"), "{refused}");
    assert!(channel.status_of("r1").await.is_empty(), "nothing was made");
    channel.rollout("r2", "north-1", &["name=north-*"]).await.unwrap();

    // Boxes are enrolled between the making and the start.
    channel.rollout("r3", "north-1", &["ring=canary name!=south-1", "ring=late"]).await.unwrap();
    channel.device("south-2", &[("ring", "late")]).await;
    let refused = channel.order("r3", Order::Start).await.unwrap_err();
    assert!(refused.code == "rollout-not-for-box" && refused.reason.contains("south-2"), "{refused}");
    channel.order("r2", Order::Start).await.unwrap();
    channel.until("r2", |rollout| rollout.waves[0].boxes.values().sum::<i64>() == 1).await;
    channel.stop().await;
}
