//! What does not hold does not serve.
use super::fixture::{Hospital, id, rest};
use serde_json::{Value, json};
use std::fs;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_does_not_hold_is_missed_and_what_serves_goes_on() {
    let hospital = Hospital::new().await;
    let _daemon = hospital.serve().await;
    let missed = async |offer: &Value, code: &str, told: &str| {
        let trial = hospital.tries(offer).await;
        let fault = &trial["standing"]["missed"];
        assert_eq!(fault["code"], code, "{trial}");
        assert!(fault["reason"].as_str().unwrap().contains(told), "{trial}");
        let refused = hospital.ask(&json!({ "activate": { "state": offer["try"]["state"] } }));
        assert_eq!(refused["refused"]["code"], "state-not-tried", "{refused}");
    };
    missed(&hospital.offer("golden", "6.0.0", "research"), "golden-case-missed", "missed: [20, 217, 189, 232]").await;
    missed(&hospital.offer("unsigned", "5.0.0", "clinical"), "configuration-invalid", "[package-unsigned]").await;

    let mut altered = hospital.offer("altered", "5.0.0", "research");
    altered["try"]["packages"][0]["sha256"] = "00".repeat(32).into();
    missed(&altered, "offer-mismatch", "its SHA-256 is").await;
    let mut renamed = hospital.offer("renamed", "5.0.0", "research");
    renamed["try"]["packages"][0]["name"] = "brain-extraction".into();
    missed(&renamed, "offer-mismatch", "it is `text-detection`").await;
    let mut unknown = hospital.offer("unknown", "5.0.0", "research");
    unknown["try"]["routes"]["neuro"] = json!({ "models": [], "mode": "shadow" });
    missed(&unknown, "configuration-invalid", "there is no route `neuro`").await;

    // As the agent's own checker has it, with the line.
    let own = fs::read_to_string(hospital.site.config()).unwrap().split("[channel]").next().unwrap().to_owned();
    let configuration = hospital.site.folder("offered.toml");
    let with = |state: &str, text: &str| {
        fs::write(&configuration, text).unwrap();
        let mut offer = hospital.offer(state, "5.0.0", "research");
        offer["try"]["configuration"] = configuration.to_str().unwrap().into();
        offer
    };
    let routes = rest(&hospital.archive.address, "");
    let lines = own.lines().count();
    let slip = format!("{own}[log]\nfiltre = \"info\"\n{routes}");
    missed(&with("slip", &slip), "configuration-invalid", &format!("offered.toml:{}:1: log.filtre", lines + 2)).await;
    let foreign = format!("{own}{routes}[channel]\nsocket = \"elsewhere\"\ndirectory = \"channel\"\n");
    missed(&with("foreign", &foreign), "configuration-invalid", "channel: is the box's own").await;
    let other = format!("{own}{routes}").replace("directory = \"spool\"", "directory = \"channel\"");
    missed(&with("spool", &other), "configuration-invalid", "spool.directory: is not the box's own").await;

    assert_eq!(hospital.ask(&json!({ "activate": { "state": id("never") } }))["refused"]["code"], "state-not-tried");
    assert_eq!(hospital.ask(&json!("reboot"))["refused"]["code"], "control-request");
    let mut nameless = hospital.offer("../x", "5.0.0", "research");
    nameless["try"]["packages"] = json!([]);
    assert_eq!(hospital.ask(&nameless)["refused"]["code"], "offer-invalid");

    hospital.sends().await;
    hospital.ended(1).await;
    hospital.archive.holds(2).await;
    assert_eq!(hospital.versions(), ["4.0.0"]);
    let audit = hospital.site.audit();
    assert!(
        audit.contains("state-tried") && audit.contains("golden-case-missed") && audit.contains("operation-refused")
    );
}
