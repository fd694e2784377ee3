//! What decides whether a model runs: whose study it is, what its headers say, and how the node was called.
use crate::hospital::{Archive, Image, Node, codes, destination, ends, frame, new_uid, until};
use dicom_core::VR;
use dicom_dictionary_std::tags;
use sund_agent::association::{Peer, Sent, send};
use sund_agent::route::{Mode, Selection};
use sund_agent::status::StudyStatus;

/// Patient IDs are one hospital's own: the same number of another issuer is another person.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_same_patient_id_of_another_issuer_is_another_patient() {
    let archive = Archive::open().await;
    let node = Node::open(|config| config.destinations = vec![destination("archive", &archive.address)]).await;
    let study = new_uid();
    let issued = |instance: &str, issuer: &[u8]| {
        frame().in_study(&study, instance).with(tags::ISSUER_OF_PATIENT_ID, VR::LO, issuer)
    };
    let (first, other) = (issued("1", b"NORTH"), issued("2", b"SOUTH"));
    for tag in [tags::PATIENT_ID, tags::PATIENT_NAME, tags::PATIENT_BIRTH_DATE, tags::PATIENT_SEX] {
        assert_eq!(first.header().text(tag), other.header().text(tag), "the issuer alone differs");
    }
    node.receives(&[first, other]).await;
    let refused = node.study("the study is refused", |study| study.state == "refused").await;
    assert_eq!(codes(&refused), ["two-patients-in-one-study"]);
    assert_eq!((ends(&refused), archive.count()), (0, 0));

    node.receives(&[issued("2", b"NORTH")]).await;
    archive.holds(2).await;
}

/// A node whose route asks for this, and what came of one image.
async fn decided(rule: &str, image: Image) -> (StudyStatus, Archive) {
    let archive = Archive::open().await;
    let selection: Selection = toml::from_str(rule).unwrap();
    let node = Node::open(|config| {
        config.destinations = vec![destination("archive", &archive.address)];
        config.routes[0].selection = selection;
    })
    .await;
    node.receives(&[image.rows(64).in_study(&new_uid(), "1")]).await;
    let study = node.ended(1).await;
    until("what was made is delivered", || (node.destination("archive").waiting == 0).then_some(())).await;
    (study, archive)
}

async fn runs(rule: &str, image: Image) {
    let (study, archive) = decided(rule, image).await;
    assert!(codes(&study).is_empty() && study.timeline.iter().any(|m| m.step == "running"), "{:?}", study.timeline);
    assert_eq!(archive.count(), 2);
}

async fn does_not_run(rule: &str, image: Image, reason: &str) {
    let (study, archive) = decided(rule, image).await;
    assert_eq!(codes(&study), ["no-model", "not-applicable"], "{:?}", study.timeline);
    assert!(!study.timeline.iter().any(|moment| moment.step == "running"), "{:?}", study.timeline);
    let report = archive.holds(1).await.remove(0);
    assert!(report.says("AI outcome: not applicable") && report.says(reason), "{:?}", study.timeline);
    assert_eq!(archive.count(), 1);
}

const WOMEN: &str = "require = [{ attribute = \"PatientSex\", one_of = [\"F\"] }]";
const FRONTAL: &str = "require = [{ attribute = \"ViewPosition\", one_of = [\"AP\", \"PA\"] }]";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_route_for_one_sex_runs_on_that_alone_and_on_nobody_whose_sex_is_not_said() {
    let sex = |value: &[u8]| frame().with(tags::PATIENT_SEX, VR::CS, value);
    runs(WOMEN, sex(b"F")).await;
    does_not_run(WOMEN, sex(b"M"), "PatientSex is not one of F").await;
    does_not_run(WOMEN, sex(b""), "PatientSex is missing, so it cannot be judged").await;
    does_not_run(WOMEN, frame().without(tags::PATIENT_SEX), "PatientSex is missing, so it cannot be judged").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_route_for_a_view_runs_on_that_alone_and_on_none_that_is_not_said() {
    let view = |value: &[u8]| frame().with(tags::VIEW_POSITION, VR::CS, value);
    runs(FRONTAL, view(b"PA")).await;
    does_not_run(FRONTAL, view(b"LL"), "ViewPosition is not one of AP, PA").await;
    does_not_run(FRONTAL, frame(), "ViewPosition is missing, so it cannot be judged").await;
}

/// One node under three AE titles: each name has its own route, or none.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_called_ae_title_of_an_association_chooses_the_route() {
    let archive = Archive::open().await;
    let node = Node::open(|config| {
        config.destinations = vec![destination("archive", &archive.address)];
        let mut trial = config.routes[0].clone();
        (trial.name, trial.called_ae, trial.mode) = ("trial".into(), vec!["SUND_TRIAL".into()], Mode::Shadow);
        (config.routes[0].name, config.routes[0].called_ae) = ("ward".into(), vec!["SUND_WARD".into()]);
        config.routes.push(trial);
    })
    .await;
    let calls = async |called_ae: &str| {
        let peer = Peer { called_ae: called_ae.to_owned(), ..node.peer() };
        let object = frame().rows(64).in_study(&new_uid(), "1").object();
        send(&peer, &[object], |_, sent| assert_eq!(sent, Sent::Stored { status: 0 })).await
    };
    let routed = |study: &StudyStatus| study.timeline.iter().filter(|m| m.step == "routed").count() == 1;
    let says = |study: &StudyStatus, text: &str| study.timeline.iter().any(|moment| moment.text.contains(text));

    calls("SUND_WARD").await.unwrap();
    let ward = node.study("it is delivered", |study| study.state == "delivered").await;
    assert!(routed(&ward) && says(&ward, "on route ward") && !says(&ward, "trial"), "{:?}", ward.timeline);
    archive.holds(2).await;

    calls("SUND_TRIAL").await.unwrap();
    let held = |study: &StudyStatus| study.results.first().is_some_and(|result| result.delivery[0].1 == "kept");
    let trial = node.study("its results are kept", held).await;
    assert!(routed(&trial) && says(&trial, "on route trial") && !says(&trial, "ward"), "{:?}", trial.timeline);

    calls("SUND").await.unwrap();
    let none = node.study("no route listens", |study| codes(study) == ["no-route"]).await;
    assert_eq!(ends(&none), 0);

    let refused = calls("SUND_NOBODY").await.unwrap_err();
    assert!(format!("{refused} {refused:?}").to_lowercase().contains("called"), "{refused:?}");
    until("the refusal is audited", || node.audited(&["called-ae-unknown"]).then_some(())).await;
    assert_eq!((node.status().studies.len(), archive.count()), (3, 2));
}
