//! What happens to a study between the spool and the archive, with a real model and real associations.
use crate::association::node::Pki;
use crate::association::raw::Raw;
use crate::hospital::{Archive, Image, Node, PATIENCE, codes, destination, ends, frame, new_uid, until};
use dicom_core::VR;
use dicom_dictionary_std::{tags, uids};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use sund_agent::association::{ObjectToSend, Peer, Sent, send};
use sund_agent::config::Config;
use sund_agent::outcome::Outcome;
use sund_agent::status::StudyStatus;
use sund_agent::study::assembly::AssemblyRules;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

pub async fn node(archives: &[(&str, &str)]) -> Node {
    Node::open(|config| {
        config.destinations = archives.iter().map(|(name, address)| destination(name, address)).collect();
    })
    .await
}

pub fn text(image: Image, tag: dicom_core::Tag, vr: VR, value: &str) -> Image {
    image.with(tag, vr, value.as_bytes())
}

pub fn named(image: Image, name: &str) -> Image {
    text(image, tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 192").with(tags::PATIENT_NAME, VR::PN, name.as_bytes())
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

/// A sender's line that can be held: passes bytes on until so many have gone, and the rest when it is told to.
pub async fn slow_line(to: String, hold_after: usize) -> (String, Arc<Notify>) {
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

/// Nobody has heard of them but their sender, who has been told that they are here.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn images_that_were_acknowledged_are_counted_until_their_study_is_complete() {
    let quiet = |time: Duration| {
        move |config: &mut Config| {
            config.assembly = AssemblyRules { quiet: time, complete_on_association_end: false };
        }
    };
    let long = quiet(Duration::from_hours(1));
    let mut node = Node::open(long).await;
    let study = new_uid();
    assert_eq!(node.status().spool.unconsidered, 0);
    node.receives(&["1", "2"].map(|n| frame().rows(64).in_study(&study, n))).await;
    until("the association is over", || (node.status().node.associations == 0).then_some(())).await;
    let status = node.status();
    assert_eq!((status.spool.unconsidered, status.studies.len(), status.queue.len()), (2, 0, 0));
    // They are as little known over a restart.
    node.stop().await;
    node.start(long).await;
    assert_eq!(node.status().spool.unconsidered, 2);
    node.stop().await;
    node.start(quiet(Duration::from_millis(100))).await;
    node.ended(1).await;
    assert_eq!(node.status().spool.unconsidered, 0, "results are none that came");
    node.stop().await;
    node.start(long).await;
    node.receives(&[frame().rows(64).in_study(&study, "3")]).await;
    assert_eq!(node.status().spool.unconsidered, 1, "a late one of a study that is known");
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
