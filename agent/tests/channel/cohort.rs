//! The site's acceptance cohort.
use super::fixture::{Hospital, MODEL, hex, id};
use crate::hospital::{copy_of, frame, new_uid};
use dicom_core::VR;
use dicom_dictionary_std::tags;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use std::fs;
use std::process::Command;
use sund_agent::dataset::part10;

const COHORT: &str = "acceptance = \"cohort\"\n";

impl Hospital {
    /// A study of the cohort, of one image of text or of nothing.
    pub fn has_study(&self, folder: &str, is_blank: bool) {
        let mut image = frame().rows(64).in_study(&new_uid(), "1");
        if is_blank {
            let header = image.header();
            let length = 3 * 64 * header.number(tags::COLUMNS).unwrap() as usize;
            image = image.with(tags::PIXEL_DATA, VR::OB, &vec![0; length]);
        }
        let object = image.object();
        let file = part10::write(&object.sop_class, &object.sop_instance, &object.transfer_syntax, &object.dataset);
        fs::create_dir_all(self.site.folder(&format!("cohort/{folder}"))).unwrap();
        fs::write(self.site.folder(&format!("cohort/{folder}/1.dcm")), file).unwrap();
    }

    /// What is expected of the studies, each by its folder.
    pub fn expects(&self, least: &str, model: &str, studies: &[(&str, &str)]) {
        let study = |(folder, expected): &(&str, &str)| {
            format!("[[studies]]\nfolder = \"{folder}\"\n[[studies.expected]]\nmodel = \"{model}\"\n{expected}\n")
        };
        let studies: String = studies.iter().map(study).collect();
        let text = format!("format = 1\nleast_agreement = {least}\n{studies}");
        fs::write(self.site.folder("cohort/cohort.toml"), text).unwrap();
    }
}

fn acceptance(trial: &Value) -> &Value {
    trial["findings"].as_array().unwrap().iter().find(|one| one["check"] == "acceptance").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_state_that_the_sites_own_studies_speak_for_serves_and_one_that_they_speak_against_does_not() {
    let hospital = Hospital::with(COHORT).await;
    hospital.has_study("0001", false);
    hospital.has_study("0002", true);
    let _daemon = hospital.serve().await;
    hospital.expects("0.9", MODEL, &[("0001", "outcome = \"finding\""), ("0002", "outcome = \"finding\"")]);
    let trial = hospital.tries(&hospital.offer("north-1", "5.0.0", "research")).await;
    assert_eq!(trial["standing"]["missed"]["code"], "acceptance-missed", "{trial}");
    let told = "1 of 2 studies agree, 50 % where 90 % must; 1 with another outcome, 0 with another value";
    assert_eq!((&acceptance(&trial)["text"], &acceptance(&trial)["held"]), (&told.into(), &false.into()));
    let refused = hospital.ask(&json!({ "activate": { "state": id("north-1") } }));
    assert_eq!(refused["refused"]["code"], "state-not-tried");
    assert_eq!(hospital.status()["models"][0]["version"], "4.0.0", "what served serves on");

    hospital.expects("0.9", MODEL, &[("0001", "outcome = \"finding\""), ("0002", "outcome = \"no-finding\"")]);
    let trial = hospital.tries(&hospital.offer("north-1", "5.0.0", "research")).await;
    assert_eq!(trial["standing"], "held", "{trial}");
    assert!(acceptance(&trial)["text"].as_str().unwrap().starts_with("2 of 2 studies agree"), "{trial}");
    assert_eq!(hospital.ask(&json!({ "activate": { "state": id("north-1") } }))["serves"]["state"], id("north-1"));

    // Nothing of it is the ward's: no study, no result, no line, no figure, and no spool that is left.
    let status = hospital.site.status();
    assert_eq!(status["studies"].as_array().unwrap().len(), 0);
    assert_eq!(hospital.archive.count(), 0);
    assert!(!hospital.site.audit().contains("job-started"));
    let metrics = tokio::task::block_in_place(|| hospital.site.metrics());
    assert!(!metrics.contains("sund_outcomes_total{"), "{metrics}");
    assert!(!hospital.site.folder("channel/acceptance").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cohort_that_cannot_be_run_lets_no_state_serve() {
    let hospital = Hospital::with(COHORT).await;
    hospital.has_study("0001", false);
    hospital.has_study("0002/a", false);
    hospital.has_study("0002/b", false);
    // What a power cut has left of a run before.
    fs::create_dir(hospital.site.folder("channel/acceptance")).unwrap();
    let _daemon = hospital.serve().await;
    assert!(!hospital.site.folder("channel/acceptance").exists());
    let refused = async |told: &str| {
        let trial = hospital.tries(&hospital.offer("north-1", "5.0.0", "research")).await;
        let fault = &trial["standing"]["missed"];
        assert_eq!(fault["code"], "cohort-unreadable", "{trial}");
        assert!(fault["reason"].as_str().unwrap().contains(told), "{trial}");
        for folder in ["0001", "0002", "0003"] {
            assert!(!fault["reason"].as_str().unwrap().contains(folder), "no folder is named: {trial}");
        }
    };
    refused("cohort.toml").await;
    hospital.expects("0.9", MODEL, &[("0002", "outcome = \"finding\"")]);
    refused("of several studies").await;
    hospital.expects("0.9", MODEL, &[("0003", "outcome = \"finding\"")]);
    // By its number: a folder's name may be a patient's.
    refused("study 1 of cohort.toml").await;
    // A cohort that asks about another model does not hold up this one.
    hospital.expects("0.9", "lung-nodules", &[("0001", "outcome = \"finding\"")]);
    let trial = hospital.tries(&hospital.offer("north-1", "5.0.0", "research")).await;
    assert_eq!(trial["standing"], "held", "{trial}");
    assert_eq!(acceptance(&trial)["text"], "no study of the cohort asks about it");
}

/// The demonstration's brain, with the volume that is known of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_measured_value_is_held_against_the_one_that_the_site_knows() {
    const BRAIN: &str = "brain-extraction";
    let hospital = Hospital::with(COHORT).await;
    let (folder, packed) = (hospital.site.folder("brain.folder"), hospital.package("brain"));
    copy_of(BRAIN, &folder);
    let mut pack = Command::new(env!("CARGO_BIN_EXE_sund"));
    pack.args(["model", "pack"]).arg(&folder).arg("--to").arg(&packed);
    assert!(tokio::task::block_in_place(|| pack.output()).unwrap().status.success());
    let copied =
        Command::new("cp").arg("-r").arg(folder.join("golden")).arg(hospital.site.folder("cohort/0001")).status();
    assert!(copied.unwrap().success());
    let _daemon = hospital.serve().await;
    let mut offer = hospital.offer("north-1", "brain", "research");
    offer["try"]["packages"][0]["name"] = BRAIN.into();
    offer["try"]["routes"]["everything"]["models"] = json!([BRAIN]);
    assert_eq!(offer["try"]["packages"][0]["sha256"], hex(digest(&SHA256, &fs::read(&packed).unwrap()).as_ref()));
    let volume = |ml: f64| {
        let measured = format!("{{ what = \"Volume\", unit = \"ml\", value = {ml:.1}, tolerance = 15.0 }}");
        hospital.expects("1.0", BRAIN, &[("0001", &format!("outcome = \"finding\"\nmeasured = [{measured}]"))]);
    };
    volume(1400.0);
    let trial = hospital.tries(&offer).await;
    assert_eq!(trial["standing"]["missed"]["code"], "acceptance-missed", "{trial}");
    assert!(
        acceptance(&trial)["text"].as_str().unwrap().ends_with("0 with another outcome, 1 with another value"),
        "{trial}"
    );
    volume(1292.0);
    let trial = hospital.tries(&offer).await;
    assert_eq!(trial["standing"], "held", "{trial}");
}
