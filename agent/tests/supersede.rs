//! Which report names which as its predecessor.
use crate::hospital::{Archive, Held, Image, Node, destination, ends, frame, new_uid, until};
use crate::study::{named, node, text};
use dicom_core::VR;
use dicom_dictionary_std::tags;
use sund_agent::status::StudyStatus;

pub fn predecessor(report: &Held) -> Option<String> {
    let header = report.header();
    let study = header.item(tags::PREDECESSOR_DOCUMENTS_SEQUENCE, &report.dataset).unwrap()?;
    let series = study.item(tags::REFERENCED_SERIES_SEQUENCE, &[]).unwrap()?;
    series.item(tags::REFERENCED_SOP_SEQUENCE, &[]).unwrap()?.text(tags::REFERENCED_SOP_INSTANCE_UID)
}

/// Sent under the first name, withdrawn under the second: what goes under the third names what was sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_report_names_the_newest_one_that_was_sent_and_not_one_that_was_withdrawn() {
    let away = Archive::nowhere().await;
    let node = node(&[("archive", &away)]).await;
    let corrections =
        |count: usize| move |s: &StudyStatus| s.timeline.iter().filter(|m| m.step == "identity").count() == count;
    let study = new_uid();
    let archive = Archive::arrive_slow(&away, 2).await;
    node.receives(&[named(frame().in_study(&study, "1"), "First^Name")]).await;
    let first = archive.holds(2).await.into_iter().find(|held| held.text(tags::MODALITY) == "SR").unwrap();
    until("both are recorded", || (node.destination("archive").waiting == 0).then_some(())).await;
    // The archive does not answer for another study, behind which the results under the second name wait.
    node.receives(&[frame().in_study(&new_uid(), "1")]).await;
    archive.begins(3).await;
    for (n, name) in ["Second^Name", "Third^Name"].into_iter().enumerate() {
        node.receives(&[named(frame().in_study(&study, "1"), name)]).await;
        node.study("the identity is corrected", corrections(n + 1)).await;
    }
    archive.go_on();
    let held = archive.holds(6).await;
    assert!(held.iter().all(|held| !held.says("Second^Name")));
    let last = held.into_iter().find(|held| held.text(tags::MODALITY) == "SR" && held.says("Third^Name")).unwrap();
    assert_eq!(predecessor(&last), Some(first.arrival.sop_instance));
}

fn other_series(image: Image, study: &str) -> Image {
    text(image, tags::SERIES_INSTANCE_UID, VR::UI, &format!("{study}.2"))
}

fn is_not_applicable(report: &Held) -> bool {
    report.says("AI outcome: not applicable")
}

/// The model was not meant for what came first, and is for what came late; and the other way round.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn not_applicable_and_a_finding_on_the_same_study_name_each_other() {
    let archive = Archive::open().await;
    let address = archive.address.clone();
    let node = Node::open(|config| {
        config.destinations = vec![destination("archive", &address)];
        config.routes[0].selection.max_instances = Some(1);
    })
    .await;
    let study = new_uid();
    let unfit = |instance: &str| text(frame().in_study(&study, instance), tags::MODALITY, VR::CS, "XA");
    node.receives(&[unfit("1")]).await;
    archive.holds(1).await;
    node.receives(&[other_series(frame().in_study(&study, "2"), &study)]).await;
    archive.holds(3).await;
    // A second image of the series is one too many.
    node.receives(&[other_series(frame().in_study(&study, "3"), &study)]).await;
    archive.holds(4).await;
    let reports = archive.reports();
    assert_eq!(reports.iter().map(is_not_applicable).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(predecessor(&reports[0]), None);
    for pair in reports.windows(2) {
        assert_eq!(predecessor(&pair[1]).as_ref(), Some(&pair[0].arrival.sop_instance));
    }
}

/// A corrected header shows that the model was never meant for this patient: its finding is not sent again, but superseded.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_finding_is_superseded_when_the_corrected_patient_is_not_one_for_the_model() {
    let archive = Archive::open().await;
    let address = archive.address.clone();
    let node = Node::open(|config| {
        config.destinations = vec![destination("archive", &address)];
        config.routes[0].selection =
            toml::from_str("require = [{ attribute = \"PatientAge\", at_least = \"18Y\" }]").unwrap();
    })
    .await;
    let study = new_uid();
    let aged = |name: &str, age: &str| text(named(frame().in_study(&study, "1"), name), tags::PATIENT_AGE, VR::AS, age);
    node.receives(&[aged("Hansen^Per", "044Y")]).await;
    archive.holds(2).await;
    node.receives(&[aged("Hansen^Peer", "004Y")]).await;
    archive.holds(3).await;
    // It was right at first: the model runs again, and nothing of the first finding is taken up.
    node.receives(&[aged("Hansen^Per", "044Y")]).await;
    archive.holds(5).await;
    until("nothing waits", || (node.destination("archive").waiting == 0).then_some(())).await;
    assert_eq!(archive.count(), 5);
    let reports = archive.reports();
    assert_eq!(reports.iter().map(is_not_applicable).collect::<Vec<_>>(), [false, true, false]);
    for (n, pair) in reports.windows(2).enumerate() {
        assert_eq!(
            predecessor(&pair[1]).as_ref(),
            Some(&pair[0].arrival.sop_instance),
            "report {} of {:?}",
            n + 2,
            reports.iter().map(|r| r.arrival.sop_instance.clone()).collect::<Vec<_>>()
        );
    }
}

/// Late instances are answered by a new job; what waited of the earlier one never goes, and no report names it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn late_instances_run_again_and_supersede_what_waits() {
    let away = Archive::nowhere().await;
    let node = node(&[("archive", &away)]).await;
    let study = new_uid();
    node.receives(&[frame().in_study(&study, "1")]).await;
    until("results wait, and the archive is found to be away", || node.destination("archive").trouble).await;
    node.receives(&[frame().in_study(&study, "2")]).await;
    let again = node.study("both have ended", |study| ends(study) == 2 && study.state != "running").await;
    let states: Vec<&str> = again.results.iter().map(|result| result.delivery[0].1.as_str()).collect();
    assert_eq!(states, ["superseded", "waiting"]);

    let archive = Archive::arrive_at(&away).await;
    archive.holds(2).await;
    until("nothing waits", || (node.destination("archive").waiting == 0).then_some(())).await;
    assert_eq!(archive.held().len(), 2, "one preview and one report: of all images");
    let report = archive.reports().remove(0);
    assert!(report.says(&format!("{study}.1.1")) && report.says(&format!("{study}.1.2")));
    assert_eq!(predecessor(&report), None, "the archive was never sent an earlier one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_sent_is_named_by_the_report_that_supersedes_it() {
    let archive = Archive::open().await;
    let node = node(&[("archive", &archive.address)]).await;
    let study = new_uid();
    node.receives(&[frame().in_study(&study, "1")]).await;
    archive.holds(2).await;
    node.receives(&[frame().in_study(&study, "2")]).await;
    archive.holds(4).await;
    let reports = archive.reports();
    assert_eq!(predecessor(&reports[1]).as_ref(), Some(&reports[0].arrival.sop_instance));
}
