//! A disk that is full or fails, a spool that is another's or of another format, an audit log that takes no more.
use crate::hospital::{Archive, Node, config, destination, frame, new_uid, until};
use crate::study::{named, node, slow_line, text};
use dicom_core::VR;
use dicom_dictionary_std::tags;
use std::os::unix::fs::FileExt;
use sund_agent::agent::Agent;
use sund_agent::association::{ObjectToSend, Peer, Sent, send};
use sund_agent::control::{Answer, Request, ask};
use sund_agent::spool::Lack;

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
    bytes[8..12].copy_from_slice(&3_u32.to_le_bytes());
    bytes[44..68].copy_from_slice(b"7.12.0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    std::fs::write(&segment, &bytes).unwrap();
    let fault = Agent::start(config(node.folder.path())).await.err().expect("refused");
    assert_eq!(fault.code, "spool-unknown-format");
    assert!(fault.reason.contains("version 3 and was written by Sund 7.12.0: start that version"), "{fault}");
    assert_eq!(std::fs::read(&segment).unwrap(), bytes);
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
