//! A result is of the patient that its study names now: two patients, corrected names, erased studies, copies.
use crate::hospital::{Archive, Held, Node, codes, destination, ends, frame, new_uid, until};
use crate::study::{named, node, text};
use crate::supersede::predecessor;
use dicom_core::VR;
use dicom_dictionary_std::tags;
use std::process::Command;
use sund_agent::control::{Answer, Request, ask};
use sund_agent::route::Mode;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_patients_in_one_study_are_refused_shown_and_nothing_is_sent() {
    let archive = Archive::open().await;
    let node = node(&[("archive", &archive.address)]).await;
    let study = new_uid();
    let first = frame().in_study(&study, "1");
    let other = text(frame().in_study(&study, "2"), tags::PATIENT_ID, VR::LO, "ANOTHER");
    node.receives(&[first, other]).await;
    let refused = node.study("the study is refused", |study| study.state == "refused").await;
    assert_eq!(codes(&refused), ["two-patients-in-one-study"]);
    assert_eq!(refused.instances, 2);
    assert_eq!((ends(&refused), refused.results.len()), (0, 0));
    assert!(refused.patient.reveal().is_empty(), "nobody's name is shown");
    assert!(node.status().queue.is_empty());
    until("the audit trail has it", || node.audited(&["study-refused", "two-patients"]).then_some(())).await;

    // The sender corrects the one that was wrong: the study runs, and its results come.
    node.receives(&[frame().in_study(&study, "2")]).await;
    let held = archive.holds(2).await;
    assert!(held.iter().all(|held| held.text(tags::PATIENT_ID) == "DEMO-0001"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_waits_of_a_study_stays_while_it_names_two_patients() {
    let away = Archive::nowhere().await;
    let node = node(&[("archive", &away)]).await;
    let study = new_uid();
    node.receives(&[frame().in_study(&study, "1")]).await;
    until("results wait, and the archive is found to be away", || node.destination("archive").trouble).await;
    let other = text(frame().in_study(&study, "2"), tags::PATIENT_ID, VR::LO, "ANOTHER");
    node.receives(&[other]).await;
    node.study("the study is refused", |study| study.state == "refused").await;

    let archive = Archive::arrive_at(&away).await;
    // Another study shows that the archive is reached again, and past whom its results went.
    node.receives(&[text(frame().in_study(&new_uid(), "1"), tags::PATIENT_ID, VR::LO, "THIRD")]).await;
    let held = archive.holds(2).await;
    assert!(held.iter().all(|held| held.text(tags::PATIENT_ID) == "THIRD"));
    until("those of the other study still wait", || (node.destination("archive").waiting == 2).then_some(())).await;
}

/// Same pixels, a corrected name: nothing is inferred. What waited never goes; what goes has the new name.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn results_that_wait_are_made_again_for_a_corrected_name() {
    let away = Archive::nowhere().await;
    let mut node = node(&[("archive", &away)]).await;
    let study = new_uid();
    node.receives(&[named(frame().in_study(&study, "1"), "Sorensen^Ase")]).await;
    until("results wait, and the archive is found to be away", || node.destination("archive").trouble).await;
    node.receives(&[named(frame().in_study(&study, "1"), "Sørensen^Åse")]).await;
    let corrected = node.study("the identity is corrected", |s| s.timeline.iter().any(|m| m.step == "identity")).await;
    assert_eq!(corrected.patient.reveal(), "Sørensen^Åse");
    assert_eq!(corrected.timeline.iter().filter(|moment| moment.step == "running").count(), 1);
    assert!(corrected.timeline.iter().any(|m| m.text.contains("answered before")), "{:?}", corrected.timeline);
    until("the audit trail has it", || node.audited(&["identity-updated"]).then_some(())).await;

    // The same over a restart.
    node.stop().await;
    let archive = Archive::arrive_at(&away).await;
    node.start(|config| config.destinations = vec![destination("archive", &away)]).await;
    until("all is delivered", || (node.destination("archive").waiting == 0).then_some(())).await;
    let held = archive.held();
    assert_eq!(held.len(), 2);
    for held in &held {
        assert_eq!(held.text(tags::PATIENT_NAME), "Sørensen^Åse");
        assert!(!held.says("Sorensen"), "nothing of the old name is left in a result");
        assert_eq!(held.text(tags::SOP_INSTANCE_UID), held.arrival.sop_instance);
    }
    assert_eq!(predecessor(&archive.reports()[0]), None, "the archive was never sent an earlier one");
    readable(&held);
}

/// A node with the results of two studies for an archive that takes one, and has begun to take another.
pub async fn two_studies_for_a_slow_archive() -> (Node, Archive, [String; 2]) {
    let away = Archive::nowhere().await;
    let node = node(&[("archive", &away)]).await;
    let studies = [new_uid(), new_uid()];
    for (n, study) in studies.iter().enumerate() {
        let name = ["First^Patient", "Second^Patiemt"][n];
        node.receives(&[named(frame().in_study(study, "1"), name)]).await;
        until("its results wait", || (node.destination("archive").waiting == 2 * n as u64 + 2).then_some(())).await;
    }
    let archive = Archive::arrive_slow(&away, 1).await;
    archive.begins(2).await;
    (node, archive, studies)
}

/// What stands behind a slow transfer is looked at again before it goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_goes_under_the_old_name_once_it_was_corrected_while_another_result_went() {
    let (node, archive, [_, second]) = two_studies_for_a_slow_archive().await;
    node.receives(&[named(frame().in_study(&second, "1"), "Second^Patient")]).await;
    node.study("the identity is corrected", |s| s.timeline.iter().any(|m| m.step == "identity")).await;
    archive.go_on();
    until("nothing waits", || (node.destination("archive").waiting == 0).then_some(())).await;
    let held = archive.held();
    assert_eq!(held.len(), 4);
    assert!(held.iter().all(|held| !held.says("Patiemt")), "a result went out under the name that was corrected");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_goes_of_a_study_that_was_refused_while_another_result_went() {
    let (node, archive, [first, second]) = two_studies_for_a_slow_archive().await;
    let other = text(frame().in_study(&second, "2"), tags::PATIENT_ID, VR::LO, "ANOTHER");
    node.receives(&[other]).await;
    node.study("the study is refused", |study| study.state == "refused").await;
    archive.go_on();
    // A third study shows that the queue is worked off, and past whom.
    node.receives(&[frame().in_study(&new_uid(), "1")]).await;
    let held = archive.holds(4).await;
    assert!(held.iter().all(|held| study_uid(held) != second));
    assert_eq!(held.iter().filter(|held| study_uid(held) == first).count(), 2);
}

/// What was sent is not called back: the new report names it as its predecessor.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn results_that_were_sent_have_successors_under_the_corrected_name() {
    let archive = Archive::open().await;
    let node = node(&[("archive", &archive.address)]).await;
    let study = new_uid();
    node.receives(&[named(frame().in_study(&study, "1"), "Hansen^Per")]).await;
    archive.holds(2).await;
    node.receives(&[named(frame().in_study(&study, "1"), "Hansen^Peer")]).await;
    let held = archive.holds(4).await;
    let names: Vec<String> = held.iter().map(|held| held.text(tags::PATIENT_NAME)).collect();
    assert_eq!(names, ["Hansen^Per", "Hansen^Per", "Hansen^Peer", "Hansen^Peer"]);
    let reports = archive.reports();
    assert_eq!(predecessor(&reports[0]), None);
    assert_eq!(predecessor(&reports[1]).as_ref(), Some(&reports[0].arrival.sop_instance));
    let study = node.study("delivered", |study| study.state == "delivered").await;
    assert_eq!(study.timeline.iter().filter(|moment| moment.step == "running").count(), 1);
    // The same header once more changes nothing.
    let settled = held.len();
    node.receives(&[named(frame().in_study(&study_uid(&held[0]), "1"), "Hansen^Peer")]).await;
    node.study("it is complete a third time", |s| s.timeline.iter().filter(|m| m.step == "complete").count() == 3)
        .await;
    assert_eq!((archive.held().len(), node.destination("archive").waiting), (settled, 0));
}

fn study_uid(held: &Held) -> String {
    held.text(tags::STUDY_INSTANCE_UID)
}

/// A study that was erased is new when it comes again: its results have UIDs of their own, since a PACS that holds the
/// earlier ones would keep those and say that it has stored the new.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_study_that_comes_again_after_its_erasure_has_results_under_other_uids() {
    let archive = Archive::open().await;
    let node = node(&[("archive", &archive.address)]).await;
    let study = new_uid();
    node.receives(&[named(frame().in_study(&study, "1"), "Hansen^Per")]).await;
    archive.holds(2).await;
    until("all is recorded", || (node.destination("archive").delivered == 2).then_some(())).await;
    let erased = ask(&node.folder.path().join("spool"), &Request::Erase { study: study.clone() }).await.unwrap();
    assert!(matches!(erased, Answer::Erased { .. }), "{erased:?}");
    node.receives(&[named(frame().in_study(&study, "1"), "Hansen^Peer")]).await;
    let mut uids: Vec<String> = archive.holds(4).await.into_iter().map(|held| held.arrival.sop_instance).collect();
    uids.sort();
    uids.dedup();
    assert_eq!(uids.len(), 4);
}

/// A shadow run keeps its results; those too have the newest identity, and still stay.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_shadow_run_sends_nothing_corrected_or_not() {
    let archive = Archive::open().await;
    let address = archive.address.clone();
    let node = Node::open(|config| {
        config.destinations = vec![destination("archive", &address)];
        config.routes[0].mode = Mode::Shadow;
    })
    .await;
    let study = new_uid();
    node.receives(&[named(frame().in_study(&study, "1"), "Hansen^Per")]).await;
    node.study("results are kept", |study| study.results.iter().any(|r| r.delivery[0].1 == "kept")).await;
    node.receives(&[named(frame().in_study(&study, "1"), "Hansen^Peer")]).await;
    let study = node.study("corrected", |s| s.timeline.iter().any(|m| m.step == "identity")).await;
    assert_eq!(study.results[0].delivery, [("archive".to_owned(), "kept".to_owned())]);
    assert_eq!((archive.held().len(), node.destination("archive").waiting), (0, 0));
}

/// The same images in two studies are answered twice, by results of their own.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn copies_of_images_in_another_study_have_results_of_their_own() {
    let archive = Archive::open().await;
    let node = node(&[("archive", &archive.address)]).await;
    node.receives(&[frame().in_study(&new_uid(), "1")]).await;
    archive.holds(2).await;
    node.receives(&[frame().in_study(&new_uid(), "1")]).await;
    let mut uids: Vec<String> = archive.holds(4).await.into_iter().map(|held| held.arrival.sop_instance).collect();
    uids.sort();
    uids.dedup();
    assert_eq!(uids.len(), 4);
}

/// Names in four ways of writing; what comes back is the name.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn names_survive_the_character_sets_in_which_they_came() {
    let archive = Archive::open().await;
    let node = node(&[("archive", &archive.address)]).await;
    let name = "Sørensen^Åse Ærø";
    let latin: Vec<u8> = name.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
    // The second value may be reached by ESC 2/13 4/1 alone; names begin, and go on after each delimiter, in the first.
    let mut escaped = Vec::new();
    for (n, part) in latin.split(|byte| *byte == b'^').enumerate() {
        escaped.extend_from_slice(if n == 0 { b"\x1b-A" } else { b"^\x1b-A" });
        escaped.extend_from_slice(part);
    }
    let ways: [(Option<&[u8]>, &[u8]); 5] = [
        (Some(b"ISO_IR 100"), &latin),
        (Some(b"\\ISO 2022 IR 100"), &escaped),
        (Some(b"ISO_IR 192"), name.as_bytes()),
        (None, &latin),
        (None, name.as_bytes()),
    ];
    for (n, (set, written)) in ways.into_iter().enumerate() {
        let image = frame().in_study(&new_uid(), "1").with(tags::PATIENT_NAME, VR::PN, written);
        let image = match set {
            Some(set) => image.with(tags::SPECIFIC_CHARACTER_SET, VR::CS, set),
            None => image.without(tags::SPECIFIC_CHARACTER_SET),
        };
        node.receives(&[image]).await;
        archive.holds(2 * n + 2).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let files = write(&archive.held(), folder.path());
    let script = "import sys, pydicom\nfor f in sys.argv[2:]:\n d = pydicom.dcmread(f)\n assert str(d.PatientName) == sys.argv[1], (f, d.PatientName)\n";
    python(script, &std::iter::once(name.to_owned()).chain(files).collect::<Vec<_>>());
}

/// pydicom and highdicom read results back.
fn readable(held: &[Held]) {
    let folder = tempfile::tempdir().unwrap();
    let script = "import sys, pydicom\nfor f in sys.argv[1:]:\n d = pydicom.dcmread(f)\n assert d.file_meta.MediaStorageSOPInstanceUID == d.SOPInstanceUID\n \
                  if d.Modality == 'OT': d.pixel_array\n";
    python(script, &write(held, folder.path()));
}

pub fn write(held: &[Held], folder: &std::path::Path) -> Vec<String> {
    let mut files = Vec::new();
    for (n, held) in held.iter().enumerate() {
        let path = folder.join(format!("{n}.dcm"));
        let arrival = &held.arrival;
        let file = sund_agent::dataset::part10::write(
            &arrival.sop_class,
            &arrival.sop_instance,
            &arrival.transfer_syntax,
            &held.dataset,
        );
        std::fs::write(&path, file).unwrap();
        files.push(path.to_str().unwrap().to_owned());
    }
    files
}

fn python(script: &str, arguments: &[String]) {
    let python = std::env::var("SUND_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let output = Command::new(&python).arg("-c").arg(script).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{python}: {error}; install what .ci/requirements.txt lists"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
