//! Whose keys sign packages is the region's word: it goes to the agent with each state, and nothing is tried without it.
use super::appliance::Appliance;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use sund_ota::documents::VENDORS;

/// The region pins these keys for the vendor of the tests' models, and one for another.
fn pins(appliance: &mut Appliance, keys: &[&str]) {
    let document = json!({"format": 1, "vendors": {
        "vendor": {"vendor": "Acme Imaging ApS", "keys": keys},
        "other": {"vendor": "Other A/S", "keys": ["another's"]},
    }});
    lists(appliance, &document);
}

fn lists(appliance: &mut Appliance, document: &Value) {
    appliance.region.trust.insert(VENDORS, document.to_string().into_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_is_handed_the_keys_that_the_region_pins_for_the_vendors_of_a_state_and_no_others() {
    let mut appliance = Appliance::new().await;
    let offered =
        |appliance: &Appliance| appliance.agent.serving().kept.last().expect("it was activated").vendors.clone();
    let acme = |keys: &[&str]| {
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        Some(BTreeMap::from([("Acme Imaging ApS".to_owned(), keys)]))
    };
    let state = appliance.state("north-1", b"model one", json!({}));
    appliance.channel.deploy("11", &state);
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(offered(&appliance), None, "the region lists no vendors");

    pins(&mut appliance, &["first", "second"]);
    let state = appliance.state("north-2", b"model two", json!({}));
    appliance.channel.deploy("12", &state);
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(offered(&appliance), acme(&["first", "second"]));
    assert_eq!(appliance.record().last.expect("it was reported").vendors, acme(&["first", "second"]));

    // One was taken out, and then the vendor.
    pins(&mut appliance, &["second"]);
    let state = appliance.state("north-3", b"model three", json!({}));
    appliance.channel.deploy("13", &state);
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(offered(&appliance), acme(&["second"]));
    lists(&mut appliance, &json!({"format": 1, "vendors": {}}));
    let state = appliance.state("north-4", b"model four", json!({}));
    appliance.channel.deploy("14", &state);
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(offered(&appliance), Some(BTreeMap::new()), "nobody is pinned, which is not the same as nothing listed");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_knows_nothing_of_pinned_keys_can_still_be_updated_and_the_report_says_so() {
    let mut appliance = Appliance::new().await;
    appliance.agent.serving().takes_no_vendors = true;
    pins(&mut appliance, &["first"]);
    let state = appliance.state("north-1", b"model one", json!({}));
    appliance.channel.deploy("11", &state);
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(appliance.agent.serving().activations, ["north-1"]);
    appliance.channel.action("11", |action| {
        assert!(
            action.last_words().contains("knows nothing of the keys that the region pins"),
            "{}",
            action.last_words()
        );
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_withholds_or_garbles_the_vendors_keys_has_nothing_tried_without_them() {
    let mut appliance = Appliance::new().await;
    pins(&mut appliance, &["first"]);
    let state = appliance.state("north-1", b"model one", json!({}));
    appliance.channel.told().files.retain(|name, _| !name.ends_with(".vendors.json"));
    appliance.channel.deploy("11", &state);
    assert_eq!(appliance.once().await, Some(75));
    assert_eq!(appliance.agent.serving().trials, 0);
    assert!(appliance.channel.action("11", |action| action.closed().is_empty()), "it waits");

    // Signed as it is, and of no use.
    lists(
        &mut appliance,
        &json!({"format": 1, "vendors": {"vendor": {"vendor": "Acme Imaging ApS", "keys": "first"}}}),
    );
    appliance.publish();
    assert_eq!(appliance.once().await, Some(1));
    assert_eq!(appliance.agent.serving().trials, 0);
    appliance.channel.action("11", |action| {
        assert!(action.last_words().contains("trust/vendors.json"), "{}", action.last_words());
    });
}
