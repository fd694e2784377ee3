//! What must never go wrong between the spool and the archive, end to end with a real model and real associations.
use crate::association::node::Pki;
use crate::association::raw::Raw;
use crate::hospital::{Archive, Held, Image, Node, PATIENCE, codes, config, destination, ends, frame, new_uid, until};
use dicom_core::VR;
use dicom_dictionary_std::{tags, uids};
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use sund_agent::agent::Agent;
use sund_agent::association::{ObjectToSend, Peer, Sent, send};
use sund_agent::control::{Answer, Request, ask};
use sund_agent::deliver::Destination;
use sund_agent::fault::{Blame, Fault};
use sund_agent::outcome::Outcome;
use sund_agent::route::Mode;
use sund_agent::spool::Lack;
use sund_agent::status::StudyStatus;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

async fn node(archives: &[(&str, &str)]) -> Node {
    Node::open(|config| {
        config.destinations = archives.iter().map(|(name, address)| destination(name, address)).collect();
    })
    .await
}

fn text(image: Image, tag: dicom_core::Tag, vr: VR, value: &str) -> Image {
    image.with(tag, vr, value.as_bytes())
}

fn named(image: Image, name: &str) -> Image {
    text(image, tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 192").with(tags::PATIENT_NAME, VR::PN, name.as_bytes())
}

fn predecessor(report: &Held) -> Option<String> {
    let header = report.header();
    let study = header.item(tags::PREDECESSOR_DOCUMENTS_SEQUENCE, &report.dataset).unwrap()?;
    let series = study.item(tags::REFERENCED_SERIES_SEQUENCE, &[]).unwrap()?;
    series.item(tags::REFERENCED_SOP_SEQUENCE, &[]).unwrap()?.text(tags::REFERENCED_SOP_INSTANCE_UID)
}

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
async fn two_studies_for_a_slow_archive() -> (Node, Archive, [String; 2]) {
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

/// The order to stop ends a batch behind the result that is on its way; the next start sends the rest, and nothing twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_drain_waits_for_the_result_that_is_on_its_way_and_for_no_other() {
    let (mut node, archive, _) = two_studies_for_a_slow_archive().await;
    let address = archive.address.clone();
    let (source, stopping) = (node.agent().source(), archive.clone());
    let releasing = async move {
        until("the node drains", || source.snapshot().draining.then_some(())).await;
        stopping.go_on();
    };
    tokio::join!(node.stop(), releasing);
    assert_eq!(archive.count(), 2);
    node.start(|config| config.destinations = vec![destination("archive", &address)]).await;
    until("all is delivered", || (node.destination("archive").waiting == 0).then_some(())).await;
    assert_eq!((archive.count(), node.destination("archive").delivered), (4, 4));
}

/// An archive that answers no more does not hold up the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_drain_gives_up_a_result_that_is_not_answered_and_the_next_start_sends_it() {
    let (mut node, archive, _) = two_studies_for_a_slow_archive().await;
    let address = archive.address.clone();
    node.stop().await;
    assert_eq!(archive.count(), 1);
    archive.go_on();
    node.start(|config| config.destinations = vec![destination("archive", &address)]).await;
    until("all is delivered", || (node.destination("archive").waiting == 0).then_some(())).await;
    assert_eq!(node.destination("archive").delivered, 4);
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
    node.study("results are held", |study| study.results.iter().any(|r| r.delivery[0].1 == "held")).await;
    node.receives(&[named(frame().in_study(&study, "1"), "Hansen^Peer")]).await;
    let study = node.study("corrected", |s| s.timeline.iter().any(|m| m.step == "identity")).await;
    assert_eq!(study.results[0].delivery, [("archive".to_owned(), "held".to_owned())]);
    assert_eq!((archive.held().len(), node.destination("archive").waiting), (0, 0));
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

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_study_that_no_model_wants_says_so() {
    let archive = Archive::open().await;
    let node = node(&[("archive", &archive.address)]).await;
    node.receives(&[text(frame().in_study(&new_uid(), "1"), tags::MODALITY, VR::CS, "XA")]).await;
    let study = node.ended(1).await;
    assert!(codes(&study).contains(&"no-model".to_owned()), "{:?}", study.timeline);
    assert!(study.timeline.iter().any(|moment| moment.text.contains("not meant for modality XA")));
    let report = archive.holds(1).await.remove(0);
    assert!(report.says("AI outcome: not applicable") && report.says("not meant for modality XA"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_route_for_a_sender_is_said() {
    let node = Node::open(|config| config.routes[0].callers = vec!["CT1".to_owned()]).await;
    node.receives(&[frame().in_study(&new_uid(), "1")]).await;
    node.study("it says that no route listens", |study| codes(study).contains(&"no-route".to_owned())).await;
}

/// Back-off while it is away, then everything in the order in which it was made; one that is away holds up no other.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_destination_that_was_away_gets_everything_in_order() {
    let (near, far) = (Archive::open().await, Archive::nowhere().await);
    let node = node(&[("near", &near.address), ("far", &far)]).await;
    for n in 1..=3 {
        node.receives(&[frame().in_study(&new_uid(), "1")]).await;
        near.holds(2 * n).await;
    }
    until("it is away, and holds up no other", || {
        let (near, far) = (node.destination("near"), node.destination("far"));
        let is_away = far.trouble.is_some_and(|trouble| trouble.contains("no connection"));
        (near.waiting == 0 && far.waiting == 6 && is_away).then_some(())
    })
    .await;
    let far = Archive::arrive_at(&far).await;
    let held = far.holds(6).await;
    let order = |held: Vec<Held>| held.into_iter().map(|held| held.arrival.sop_instance).collect::<Vec<_>>();
    assert_eq!(order(held), order(near.held()));
    until("its trouble is over", || node.destination("far").trouble.is_none().then_some(())).await;
}

/// The way to an archive that takes associations, and on the first `times` of them nothing more: no answer ever comes.
async fn silent_line(to: String, times: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        for n in 0.. {
            let (mut node, _) = listener.accept().await.unwrap();
            let mut archive = TcpStream::connect(&to).await.unwrap();
            tokio::spawn(async move {
                if n >= times {
                    return tokio::io::copy_bidirectional(&mut node, &mut archive).await.map(|_| ());
                }
                let (mut from, mut back) = node.split();
                let (mut answers, mut on) = archive.split();
                let mut head = [0; 6];
                from.read_exact(&mut head).await?;
                let mut request = vec![0; u32::from_be_bytes([head[2], head[3], head[4], head[5]]) as usize];
                from.read_exact(&mut request).await?;
                on.write_all(&[&head[..], &request].concat()).await?;
                let swallow = async { tokio::io::copy(&mut from, &mut tokio::io::sink()).await };
                tokio::select! {
                    ended = swallow => ended.map(|_| ()),
                    ended = tokio::io::copy(&mut answers, &mut back) => ended.map(|_| ()),
                }
            });
        }
    });
    address
}

/// Two studies' results for an archive that is well and for one that is silent so often; what each of them holds.
async fn beside_a_silent_archive(times: usize) -> (Vec<String>, Vec<String>) {
    let (well, silent) = (Archive::open().await, Archive::open().await);
    let line = silent_line(silent.address.clone(), times).await;
    let node = Node::open(|config| {
        let silent = Destination { patience: Duration::from_millis(200), ..destination("silent", &line) };
        config.destinations = vec![destination("well", &well.address), silent];
    })
    .await;
    node.receives(&[frame().in_study(&new_uid(), "1")]).await;
    let trouble = until("it is found to be silent", || node.destination("silent").trouble).await;
    assert!(trouble.contains("the peer was silent"), "{trouble}");
    node.receives(&[frame().in_study(&new_uid(), "1")]).await;
    well.holds(4).await;
    until("all is delivered", || (node.destination("silent").delivered == 4).then_some(())).await;
    let status = node.destination("silent");
    assert_eq!((status.waiting, status.dead, status.trouble), (0, 0, None));
    let order = |archive: &Archive| archive.held().into_iter().map(|held| held.arrival.sop_instance).collect();
    (order(&well), order(&silent))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_archive_that_does_not_answer_is_tried_again_and_gets_everything_in_order() {
    let (well, silent) = beside_a_silent_archive(1).await;
    assert_eq!(silent, well);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_result_over_which_an_archive_is_silent_twice_holds_up_no_other_and_is_not_lost() {
    let (well, mut silent) = beside_a_silent_archive(2).await;
    assert_ne!(silent[0], well[0], "the others went past it");
    silent.retain(|result| *result != well[0]);
    assert_eq!(silent, well[1..]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_destination_refuses_for_good_is_put_aside_with_its_reason() {
    let archive = Archive::open().await;
    archive.refuse(Some(Fault::new("patient-unknown", Blame::Peer, "we know no such patient")));
    let node = node(&[("archive", &archive.address)]).await;
    node.receives(&[frame().in_study(&new_uid(), "1")]).await;
    let study = node.study("it is given up", |study| codes(study).len() == 2).await;
    assert_eq!(codes(&study), ["delivery-dead", "delivery-dead"]);
    assert!(study.timeline.iter().any(|m| m.text.contains("status C000H: patient-unknown")), "{:?}", study.timeline);
    let status = node.destination("archive");
    assert_eq!((status.waiting, status.dead), (0, 2));
    assert!(status.trouble.is_some_and(|trouble| trouble.contains("patient-unknown")));
    let given_up = vec![("archive".to_owned(), "dead".to_owned())];
    node.study("a person is asked to look", |s| s.state == "failed" && s.results[0].delivery == given_up).await;
    until("the audit trail has it", || node.audited(&["delivery-given-up", "delivery-dead"]).then_some(())).await;
    // The next study's results go.
    archive.refuse(None);
    node.receives(&[frame().in_study(&new_uid(), "1")]).await;
    archive.holds(2).await;
}

/// Full: A700, while jobs and deliveries go on; after an erasure, 0000H.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_full_spool_refuses_instances_and_ends_what_it_has_begun() {
    let away = Archive::nowhere().await;
    let archive_address = away.clone();
    let node = Node::open(move |config| {
        config.spool.quota_bytes = 48 << 20;
        config.spool.reserve_bytes = 36 << 20;
        config.spool.segment_bytes = 4 << 20;
        config.destinations = vec![destination("archive", &archive_address)];
    })
    .await;
    let mut stored = Vec::new();
    let reason = loop {
        let study = new_uid();
        let answer = node.offer(&[frame().in_study(&study, "1")]).await.unwrap().remove(0);
        match answer {
            Sent::Stored { status } => assert_eq!(status, 0),
            Sent::Later(reason) => break reason,
            Sent::Refused(reason) => panic!("{reason}"),
        }
        stored.push(study);
        assert!(stored.len() < 40, "it never was full");
    };
    assert!(reason.contains("A700H"), "{reason}");
    assert_eq!(node.status().spool.lack, Some(Lack::Quota));
    until("every job ends", || node.status().queue.is_empty().then_some(())).await;
    let archive = Archive::arrive_at(&away).await;
    archive.holds(2 * stored.len()).await;
    until("all is recorded", || (node.destination("archive").waiting == 0).then_some(())).await;
    until("full to the audit trail too", || node.audited(&["spool-full"]).then_some(())).await;

    let spool = node.folder.path().join("spool");
    for study in stored {
        let answer = ask(&spool, &Request::Erase { study }).await.unwrap();
        assert!(matches!(answer, Answer::Erased { .. }), "{answer:?}");
    }
    node.receives(&[frame().in_study(&new_uid(), "1")]).await;
}

/// What waits of a study that names two patients, or for an archive that is gone, would wait for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_can_never_go_holds_up_no_erasure_and_the_audit_says_whose_it_was() {
    let away = Archive::nowhere().await;
    let mut node = node(&[("archive", &away)]).await;
    let (refused, left) = (new_uid(), new_uid());
    let whose = Some(("DEMO-0001".to_owned(), "Hansen^Per".to_owned()));
    node.receives(&[named(frame().in_study(&refused, "1"), "Hansen^Per")]).await;
    until("the sender's instances are audited", || node.audited_patient("instances-stored")).await;
    assert_eq!(node.audited_patient("instances-stored"), whose);
    until("results wait", || (node.destination("archive").waiting == 2).then_some(())).await;
    node.receives(&[text(frame().in_study(&refused, "2"), tags::PATIENT_ID, VR::LO, "ANOTHER")]).await;
    node.study("the study is refused", |study| study.state == "refused").await;

    let spool = node.folder.path().join("spool");
    let erase = |study: &str| Request::Erase { study: study.to_owned() };
    let answer = ask(&spool, &erase(&refused)).await.unwrap();
    assert!(matches!(answer, Answer::Erased { .. }), "{answer:?}");
    for event in ["erasure-begun", "study-erased"] {
        assert_eq!(node.audited_patient(event), whose, "{event}");
    }

    node.receives(&[frame().in_study(&left, "1")]).await;
    until("results wait", || (node.destination("archive").waiting == 2).then_some(())).await;
    let answer = ask(&spool, &erase(&left)).await.unwrap();
    assert!(matches!(&answer, Answer::Refused(fault) if fault.code == "study-under-way"), "{answer:?}");
    node.stop().await;
    node.start(|config| config.destinations.clear()).await;
    let answer = ask(&spool, &erase(&left)).await.unwrap();
    assert!(matches!(answer, Answer::Erased { .. }), "{answer:?}");
}

/// An audit log that takes no more ends the agent: nothing goes on unaudited.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_audit_log_that_cannot_be_written_ends_the_agent_with_its_fault() {
    // Each event begins a file of its own.
    let mut node = Node::open(|config| config.audit.max_file = 1).await;
    std::fs::remove_dir_all(node.folder.path().join("audit")).unwrap();
    // Whether it is still taken is a matter of time.
    let _ = node.offer(&[frame().in_study(&new_uid(), "1")]).await;
    assert_eq!(node.broken().await.code, "audit-disk");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_second_agent_on_the_spool_is_refused_and_told_who_holds_it() {
    let node = Node::open(|_| {}).await;
    let mut second = config(node.folder.path());
    second.audit.dir = node.folder.path().join("another-audit");
    let fault = Agent::start(second).await.err().expect("refused");
    assert_eq!(fault.code, "spool-held");
    assert!(fault.reason.contains(&format!("process {}", std::process::id())), "{fault}");
    node.receives(&[frame().in_study(&new_uid(), "1")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_spool_of_a_newer_format_is_refused_and_left_as_it_is() {
    let mut node = Node::open(|_| {}).await;
    node.receives(&[frame().in_study(&new_uid(), "1")]).await;
    node.ended(1).await;
    node.stop().await;
    let segment = node.folder.path().join("spool/segment-000000000001.log");
    let mut bytes = std::fs::read(&segment).unwrap();
    let known = u32::from_le_bytes(bytes[8..12].try_into().unwrap());
    bytes[8..12].copy_from_slice(&(known + 1).to_le_bytes());
    std::fs::write(&segment, &bytes).unwrap();
    let fault = Agent::start(config(node.folder.path())).await.err().expect("refused");
    assert_eq!(fault.code, "spool-unknown-format");
    assert!(fault.reason.contains(&format!("version {}", known + 1)), "{fault}");
    assert_eq!(std::fs::read(&segment).unwrap(), bytes);
}

/// A sender's line that can be held: passes bytes on until so many have gone, and the rest when it is told to.
async fn slow_line(to: String, hold_after: usize) -> (String, Arc<Notify>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let go_on = Arc::new(Notify::new());
    let told = Arc::clone(&go_on);
    tokio::spawn(async move {
        let (sender, _) = listener.accept().await.unwrap();
        let node = TcpStream::connect(to).await.unwrap();
        let ((mut from, mut back), (mut answers, mut on)) = (sender.into_split(), node.into_split());
        tokio::spawn(async move { tokio::io::copy(&mut answers, &mut back).await });
        let mut buffer = vec![0; 16 << 10];
        let mut passed = 0;
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            if passed < hold_after && passed + length >= hold_after {
                told.notified().await;
            }
            passed += length;
            on.write_all(&buffer[..length]).await.unwrap();
        }
    });
    (address, go_on)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_instance_on_its_way_keeps_its_study_open_beyond_the_quiet_time() {
    let node = Node::open(|config| {
        config.assembly.quiet = Duration::from_millis(200);
        config.assembly.complete_on_association_end = false;
    })
    .await;
    let study = new_uid();
    let images: Vec<ObjectToSend> = ["1", "2"].map(|n| frame().in_study(&study, n).object()).to_vec();
    // The first image has come, and half of the second one.
    let (line, go_on) = slow_line(node.agent().node().to_string(), 1_400_000).await;
    let peer = Peer { address: line, ..node.peer() };
    let sending = tokio::spawn(async move { send(&peer, &images, |_, _| {}).await });
    until("the first image is stored", || (node.status().spool.instances == 1).then_some(())).await;
    // Another study comes after it, and is quiet for long enough: so was this one.
    node.receives(&[frame().rows(64).in_study(&new_uid(), "1")]).await;
    until("the other study is complete", || (!node.status().studies.is_empty()).then_some(())).await;
    let studies = node.status().studies;
    assert!(studies.len() == 1 && studies[0].instances == 1, "it is not taken for complete");
    until("the other study's job has ended", || node.status().queue.is_empty().then_some(())).await;
    go_on.notify_one();
    sending.await.unwrap().unwrap();
    let study = node.study("both images are answered", |study| study.instances == 2 && ends(study) == 1).await;
    assert_eq!(completions(&study), 1);
}

/// A disk that does not give an instance back says nothing about the study: it is tried again, and never refused for that.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_disk_that_fails_for_a_while_refuses_no_study() {
    let mut node = Node::open(|_| {}).await;
    let study = new_uid();
    let images: Vec<ObjectToSend> = ["1", "2"].map(|n| frame().in_study(&study, n).object()).to_vec();
    // While the second image is on its way, the first one is damaged where it lies.
    let (line, go_on) = slow_line(node.agent().node().to_string(), 1_400_000).await;
    let peer = Peer { address: line, ..node.peer() };
    let sending = tokio::spawn(async move { send(&peer, &images, |_, _| {}).await });
    until("the first image is stored", || (node.status().spool.instances == 1).then_some(())).await;
    let segment = node.folder.path().join("spool/segment-000000000001.log");
    let flip = || {
        let file = std::fs::OpenOptions::new().read(true).write(true).open(&segment).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, 300_000).unwrap();
        file.write_all_at(&[!byte[0]], 300_000).unwrap();
    };
    flip();
    go_on.notify_one();
    sending.await.unwrap().unwrap();
    until("it is put off", || node.audited(&["study-put-off", "spool-unreadable"]).then_some(())).await;
    assert!(node.status().studies.is_empty() && !node.audited(&["study-refused"]));
    node.stop().await;
    flip();
    node.start(|_| {}).await;
    assert_eq!(node.ended(1).await.instances, 2);
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

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_answer_after_its_deadline_is_reported_as_too_late() {
    let archive = Archive::open().await;
    let address = archive.address.clone();
    let node = Node::open(|config| {
        config.destinations = vec![destination("archive", &address)];
        config.routes[0].deadline = Some(Duration::from_millis(1));
    })
    .await;
    node.receives(&[frame().in_study(&new_uid(), "1")]).await;
    let study = node.ended(1).await;
    assert_eq!(codes(&study), ["too-late"]);
    let report = archive.holds(1).await.remove(0);
    assert!(report.says("AI outcome: too late"));
    assert_eq!(archive.held().len(), 1, "the finding itself is not sent");
}

/// A job that was decided and cut off is taken up at the next start, with the time at which it was decided.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_that_was_stopped_goes_on_where_it_was() {
    let away = Archive::nowhere().await;
    let mut node = node(&[("archive", &away)]).await;
    let begun = SystemTime::now();
    node.receives(&[frame().in_study(&new_uid(), "1")]).await;
    node.stop().await;
    let archive = Archive::arrive_at(&away).await;
    node.start(|config| config.destinations = vec![destination("archive", &away)]).await;
    archive.holds(2).await;
    assert!(begun.elapsed().unwrap() < PATIENCE);
    assert_eq!(archive.reports()[0].arrival.sop_class, uids::COMPREHENSIVE3_DSR_STORAGE);
    assert!(node.status().models.iter().any(|model| model.outcomes.contains(&(Outcome::Finding, 1))));
}

/// pydicom and highdicom read results back.
fn readable(held: &[Held]) {
    let folder = tempfile::tempdir().unwrap();
    let script = "import sys, pydicom\nfor f in sys.argv[1:]:\n d = pydicom.dcmread(f)\n assert d.file_meta.MediaStorageSOPInstanceUID == d.SOPInstanceUID\n \
                  if d.Modality == 'OT': d.pixel_array\n";
    python(script, &write(held, folder.path()));
}

fn write(held: &[Held], folder: &std::path::Path) -> Vec<String> {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_state_counts_what_came_and_who_is_there_and_not_what_was_made() {
    let archive = Archive::open().await;
    let node = node(&[("archive", &archive.address)]).await;
    node.receives(&[frame()]).await;
    archive.holds(2).await;
    until("the association has ended", || (node.status().node.associations == 0).then_some(())).await;
    let address = node.agent().node();
    let visitor = tokio::task::spawn_blocking(move || {
        Raw::associate(address, &[(uids::VERIFICATION, uids::IMPLICIT_VR_LITTLE_ENDIAN)]).0
    });
    let visitor = visitor.await.unwrap();
    until("the association is counted", || (node.status().node.associations == 1).then_some(())).await;
    drop(visitor);
    until("the association has ended", || (node.status().node.associations == 0).then_some(())).await;
    assert_eq!(node.status().node.received, 1);
    assert_eq!(node.status().spool.instances, 3, "the results lie there too");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn results_that_a_pacs_sends_back_are_kept_and_no_model_runs_on_them() {
    let archive = Archive::open().await;
    let node = node(&[("archive", &archive.address)]).await;
    node.receives(&[frame()]).await;
    let results = archive.holds(2).await;
    let back: Vec<ObjectToSend> = results
        .iter()
        .map(|held| ObjectToSend {
            sop_class: held.arrival.sop_class.clone(),
            sop_instance: held.arrival.sop_instance.clone(),
            transfer_syntax: held.arrival.transfer_syntax.clone(),
            dataset: held.dataset.clone(),
        })
        .collect();
    send(&node.peer(), &back, |_, sent| assert_eq!(sent, Sent::Stored { status: 0 })).await.unwrap();
    let study = node.study("the study is complete once more", |study| completions(study) == 2).await;
    assert_eq!((ends(&study), study.instances), (1, 1), "{:?}", study.timeline);

    // The results alone, as of a study that this node has never seen.
    let study = new_uid();
    let alone = text(frame().in_study(&study, "1"), tags::MANUFACTURER, VR::LO, "Sund");
    node.receives(&[text(alone, tags::MANUFACTURER_MODEL_NAME, VR::LO, "Sund inference appliance")]).await;
    let study = node.study("it is told", |study| codes(study) == ["results-alone"]).await;
    assert_eq!((ends(&study), study.instances), (0, 0));
    assert_eq!(archive.count(), 2, "nothing more was sent");
}

fn completions(study: &StudyStatus) -> usize {
    study.timeline.iter().filter(|moment| moment.step == "complete").count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_audit_trail_has_a_caller_whose_certificate_is_of_another_authority() {
    let (pki, stranger) = (Pki::new(), Pki::new());
    let node = Node::open(|config| config.node.tls = Some(pki.server())).await;
    let images = [frame().in_study(&new_uid(), "1").object()];
    let call = |tls| async { send(&Peer { tls: Some(tls), ..node.peer() }, &images, |_, _| {}).await };
    assert!(call(pki.connector_as(&stranger)).await.is_err());
    until("the audit trail has it", || {
        node.audited(&["association-refused", "tls-failed", "authority that is not trusted"]).then_some(())
    })
    .await;
    assert_eq!(node.status().node.received, 0);
    call(pki.connector()).await.unwrap();
    assert_eq!(node.status().node.received, 1);
}
