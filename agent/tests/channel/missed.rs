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

/// Its own calls do not pass the firewall, so that a node on any port answers to itself: the port is looked up.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_state_whose_node_listens_where_the_firewall_lets_nobody_in_misses_its_trial() {
    let hospital = Hospital::with("firewall = \"ports.nft\"\n").await;
    let known = "define dicom = { 2762, 11112 }\ndefine console = 8443\ndefine servers = { 443, 6514 }\n";
    fs::write(hospital.site.folder("ports.nft"), known).unwrap();
    let _daemon = hospital.serve().await;
    let own = fs::read_to_string(hospital.site.config()).unwrap().split("[channel]").next().unwrap().to_owned();
    let exception = "[node.plain_dicom_exception]\nreason = \"a trial\"\napproved_by = \"a test\"\nuntil = 2099-12-31\n\
                     [[callers]]\nae_title = \"MODALITY\"\naddress = \"10.0.0.1\"\n";
    let (node, _) = own.split_once("[console]").unwrap();
    let listens = node.lines().find(|line| line.starts_with("listen")).unwrap();
    let (_, others) = own.split_once("[spool]").unwrap();
    let configuration = hospital.site.folder("offered.toml");
    for (port, is_known) in [(4242, false), (11112, true)] {
        let node = node.replace(listens, &format!("listen = \"0.0.0.0:{port}\""));
        let text = format!("{node}{exception}[spool]{others}{}", rest(&hospital.archive.address, ""));
        fs::write(&configuration, text).unwrap();
        let mut offer = hospital.offer(&format!("north-{port}"), "5.0.0", "research");
        offer["try"]["configuration"] = configuration.to_str().unwrap().into();
        let standing = hospital.tries(&offer).await["standing"].take();
        if is_known {
            assert_eq!(standing, "held");
        } else {
            let missed = &standing["missed"];
            assert_eq!(missed["code"], "configuration-invalid", "{standing}");
            let told = missed["reason"].as_str().unwrap();
            assert!(told.contains("port 4242 is not let through by this box's firewall"), "{told}");
            assert!(told.contains("it lets through 2762, 11112 here"), "{told}");
        }
    }
    assert_eq!(hospital.status()["state"], Value::Null);
}
