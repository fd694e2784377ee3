//! A result goes into a study of its own patient, or it does not go: the destination is asked first. Orthanc is the archive.
use crate::association::peers::{Server, free_port, http};
use crate::hospital::{Archive, Image, Node, codes, frame, new_uid, until};
use crate::queue::silent_line;
use crate::study::{named, text};
use dicom_core::VR;
use dicom_dictionary_std::tags;
use std::net::SocketAddr;
use std::time::Duration;
use sund_agent::association::{Peer, Sent, send};
use sund_agent::control::{Answer, Request, ask};
use sund_agent::deliver::Destination;
use sund_agent::status::StudyStatus;

/// An archive that answers queries.
struct Orthanc {
    dicom: SocketAddr,
    rest: SocketAddr,
    _server: Server,
    _folder: tempfile::TempDir,
}

impl Orthanc {
    fn start() -> Self {
        Self::start_at(free_port())
    }

    fn start_at(dicom: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (server, rest) = Server::orthanc_at(folder.path(), dicom, free_port());
        Self { dicom, rest, _server: server, _folder: folder }
    }

    /// It gets an image from a modality.
    async fn gets(&self, image: &Image) {
        let stored = |_, sent| assert_eq!(sent, Sent::Stored { status: 0 });
        send(&self.peer(), &[image.object()], stored).await.unwrap();
    }

    fn peer(&self) -> Peer {
        peer(&self.dicom.to_string())
    }

    fn list(&self, what: &str) -> Vec<String> {
        serde_json::from_str(&http(self.rest, "GET", what, b"")).unwrap()
    }

    fn instances(&self) -> usize {
        self.list("/instances").len()
    }

    /// A person corrects the study there: the image replaces all that there is.
    async fn is_corrected(&self, image: &Image) {
        for patient in self.list("/patients") {
            http(self.rest, "DELETE", &format!("/patients/{patient}"), b"");
        }
        self.gets(image).await;
    }
}

fn peer(address: &str) -> Peer {
    Peer { calling_ae: "SUND".into(), called_ae: "ORTHANC".into(), address: address.into(), tls: None }
}

/// An archive that is asked at an address before it is sent anything.
fn asked_at(archive: &Peer, address: &str) -> Destination {
    let patient_check = Some(Peer { address: address.to_owned(), ..archive.clone() });
    Destination { patient_check, ..Destination::new("archive".to_owned(), archive.clone()) }
}

async fn node_for(destination: Destination) -> Node {
    Node::open(|config| config.destinations = vec![destination]).await
}

/// A node, and an archive that it asks.
async fn node_and_archive() -> (Node, Orthanc) {
    let archive = Orthanc::start();
    let to = asked_at(&archive.peer(), &archive.dicom.to_string());
    (node_for(to).await, archive)
}

fn says(study: &StudyStatus, text: &str) -> bool {
    study.timeline.iter().any(|moment| moment.text.contains(text))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn results_go_into_a_study_of_the_same_patient_however_the_name_is_written() {
    let (node, archive) = node_and_archive().await;
    let study = new_uid();
    let image = frame().in_study(&study, "1");
    let latin: Vec<u8> = "SØRENSEN^Åse".chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
    archive
        .gets(&text(image.clone(), tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 100").with(
            tags::PATIENT_NAME,
            VR::PN,
            &latin,
        ))
        .await;
    node.receives(&[named(image, "Sørensen^Åse")]).await;
    let study = node.study("its results are delivered", |study| study.state == "delivered").await;
    assert!(study.results.iter().all(|result| result.delivery[0].1 == "delivered"));
    assert_eq!(archive.instances(), 3);
    assert_eq!(archive.list("/studies").len(), 1, "all of them in the one study");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn results_for_a_study_of_another_patient_are_held_until_a_person_has_mended_it() {
    let (node, archive) = node_and_archive().await;
    let image = frame().in_study(&new_uid(), "1");
    archive.gets(&text(image.clone(), tags::PATIENT_ID, VR::LO, "PID-OTHER")).await;
    node.receives(std::slice::from_ref(&image)).await;
    let study = node.study("its results are held", |study| study.state == "held" && codes(study).len() == 2).await;
    assert_eq!(codes(&study), ["delivery-patient-mismatch", "delivery-patient-mismatch"]);
    assert!(says(&study, "another Patient ID"), "{:?}", study.timeline);
    assert!(study.results.iter().all(|result| result.delivery[0].1 == "held"));
    let status = node.destination("archive");
    assert_eq!((status.waiting, status.held, status.dead, status.delivered), (0, 2, 0, 0));
    let trouble = status.trouble.unwrap();
    assert!(trouble.starts_with("held: ") && !trouble.contains("PID-OTHER"), "{trouble}");
    until("it is audited", || node.audited(&["delivery-held", "delivery-patient-mismatch"]).then_some(())).await;
    assert!(!node.audited(&["PID-OTHER"]), "the other patient is nobody's business here");
    assert_eq!(archive.instances(), 1, "nothing was sent");

    // Asked again before anything was mended: held again.
    let spool = node.folder.path().join("spool");
    let again = async || ask(&spool, &Request::Requeue { destination: None }).await.unwrap();
    assert!(matches!(again().await, Answer::Requeued { results: 2 }));
    node.study("it is held once more", |study| codes(study).len() == 4).await;
    archive.is_corrected(&image).await;
    assert!(matches!(again().await, Answer::Requeued { results: 2 }));
    node.study("its results are delivered", |study| study.state == "delivered").await;
    assert_eq!((archive.instances(), archive.list("/patients").len()), (3, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn another_accession_number_is_another_order() {
    let (node, archive) = node_and_archive().await;
    let image = frame().in_study(&new_uid(), "1");
    let of = |accession| text(image.clone(), tags::ACCESSION_NUMBER, VR::SH, accession);
    archive.gets(&of("A-1")).await;
    node.receives(&[of("A-2")]).await;
    let study = node.study("its results are held", |study| study.state == "held").await;
    assert!(says(&study, "another Accession Number"), "{:?}", study.timeline);
    assert!(!says(&study, "A-1"), "its value stands nowhere");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn results_wait_for_a_study_that_the_archive_does_not_have_and_hold_up_no_other() {
    let (node, archive) = node_and_archive().await;
    let (late, there) = (frame().in_study(&new_uid(), "1"), frame().in_study(&new_uid(), "1"));
    node.receives(std::slice::from_ref(&late)).await;
    let trouble = until("they wait", || node.destination("archive").trouble).await;
    assert!(trouble.contains("does not have the study yet"), "{trouble}");
    archive.gets(&there).await;
    node.receives(&[there]).await;
    node.study("the other study's are delivered", |study| study.state == "delivered").await;
    assert_eq!((node.destination("archive").waiting, archive.instances()), (2, 3));
    archive.gets(&late).await;
    until("all is delivered", || (node.destination("archive").delivered == 4).then_some(())).await;
    assert_eq!(archive.instances(), 6);
}

/// Who is asked may be away, silent, or unable to answer: the results wait, and say why.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_goes_while_nobody_says_whose_the_study_is() {
    // It takes no queries.
    let mute = Archive::open().await;
    let sent = Peer { called_ae: "PACS".into(), ..peer(&mute.address) };
    let node = node_for(asked_at(&sent, &mute.address)).await;
    node.receives(&[frame().in_study(&new_uid(), "1")]).await;
    let trouble = until("they wait", || node.destination("archive").trouble).await;
    assert!(trouble.contains("C-FIND") && trouble.contains("does not take Study Root"), "{trouble}");
    assert_eq!(mute.count(), 0);

    // It is away: they go when it is back, and has the study.
    let dicom = free_port();
    let image = frame().in_study(&new_uid(), "1");
    let node = node_for(asked_at(&peer(&dicom.to_string()), &dicom.to_string())).await;
    node.receives(std::slice::from_ref(&image)).await;
    let trouble = until("they wait", || node.destination("archive").trouble).await;
    assert!(trouble.contains("C-FIND") && trouble.contains("no connection"), "{trouble}");
    let archive = Orthanc::start_at(dicom);
    archive.gets(&image).await;
    until("all is delivered", || (node.destination("archive").delivered == 2).then_some(())).await;

    // It is silent: they go when it answers.
    let line = silent_line(dicom.to_string(), 1).await;
    let to = Destination { patience: Duration::from_millis(500), ..asked_at(&peer(&dicom.to_string()), &line) };
    let image = frame().in_study(&new_uid(), "1");
    archive.gets(&image).await;
    let node = node_for(to).await;
    node.receives(&[image]).await;
    let trouble = until("they wait", || node.destination("archive").trouble).await;
    assert!(trouble.contains("C-FIND") && trouble.contains("silent"), "{trouble}");
    until("all is delivered", || (node.destination("archive").delivered == 2).then_some(())).await;
    assert_eq!(archive.instances(), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_an_archive_says_instead_of_an_answer_is_quoted_without_whom_it_names() {
    let folder = tempfile::tempdir().unwrap();
    let options = ["--matches", "[]", "--find-status", "C001", "--comment", "no index for DEMO-0001"];
    let server = Server::pynetdicom(folder.path(), &options);
    let at = Peer { called_ae: "PEER".into(), ..peer(&server.address.to_string()) };
    let node = node_for(asked_at(&at, &at.address)).await;
    node.receives(&[frame().in_study(&new_uid(), "1")]).await;
    let trouble = until("they wait", || node.destination("archive").trouble).await;
    assert!(trouble.contains("status C001H: no index for") && !trouble.contains("DEMO-0001"), "{trouble}");
}
