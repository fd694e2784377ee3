//! The log names no patient, whatever level an administrator asks for, and whoever writes to it: our own code, the libraries
//! underneath, and peers whose answers are quoted.
use crate::hospital::{Archive, Image, frame, new_uid, until};
use crate::serve::Site;
use dicom_core::VR;
use dicom_dictionary_std::tags;
use rustix::process::Signal;
use std::fs;
use sund_agent::association::{ObjectToSend, Peer, Sent, send};
use sund_agent::control::{Answer, Request, ask};
use sund_agent::fault::{Blame, Fault};
use sund_agent::hex::hex;

const NAME: &str = "Quillfeather^Zzyzxa";
const ID: &str = "PID-77QX";
const BIRTH_DATE: &str = "19470823";
const ACCESSION: &str = "ACCXQ77";

fn named(study: &str, instance: &str) -> Image {
    let texts = [
        (tags::PATIENT_NAME, VR::PN, NAME),
        (tags::PATIENT_ID, VR::LO, ID),
        (tags::PATIENT_BIRTH_DATE, VR::DA, BIRTH_DATE),
        (tags::ACCESSION_NUMBER, VR::SH, ACCESSION),
    ];
    let image = frame().rows(64).in_study(study, instance);
    texts.into_iter().fold(image, |image, (tag, vr, text)| image.with(tag, vr, text.as_bytes()))
}

/// What the daemon has written, and what nobody may find in it.
struct Log {
    text: String,
    secrets: Vec<String>,
}

impl Log {
    fn leaks(&self) -> Vec<String> {
        let text = self.text.to_lowercase();
        // As text, and as the bytes that a dump of a message would show.
        let bytes = |secret: &str| format!("{:?}", secret.as_bytes()).trim_matches(['[', ']']).to_owned();
        let is_in = |secret: &&String| {
            [secret.to_lowercase(), bytes(secret), hex(secret.as_bytes())]
                .iter()
                .any(|form| text.contains(form.as_str()))
        };
        self.secrets.iter().filter(is_in).cloned().collect()
    }

    /// Where a secret stands, for whoever has to mend it.
    fn places(&self, secret: &str) -> Vec<String> {
        let lines = self.text.lines().filter(|line| line.to_lowercase().contains(&secret.to_lowercase()));
        lines.take(5).map(|line| line.chars().take(400).collect()).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn at_the_finest_level_the_log_of_a_daemon_names_no_patient_and_no_study() {
    let archive = Archive::open().await;
    let configuration = format!("[log]\nfilter = \"trace\"\n{}", crate::crash::configuration(&archive.address));
    let site = Site::new(&configuration);
    let daemon = tokio::task::block_in_place(|| site.serve());
    let status = || tokio::task::block_in_place(|| site.status());
    let address = status()["node"]["address"].as_str().unwrap().to_owned();
    let node = Peer { calling_ae: "MODALITY".into(), called_ae: "SUND".into(), address, tls: None };
    let (delivered, refused, given_up) = (new_uid(), new_uid(), new_uid());
    let offer = async |images: &[Image]| {
        let objects: Vec<ObjectToSend> = images.iter().map(Image::object).collect();
        let mut answers = Vec::new();
        send(&node, &objects, |_, sent| answers.push(sent)).await.unwrap();
        answers
    };
    let stored = |answers: Vec<Sent>| assert!(answers.iter().all(|sent| *sent == Sent::Stored { status: 0 }));

    // Delivered, then corrected, then erased.
    stored(offer(&[named(&delivered, "1")]).await);
    archive.holds(2).await;
    stored(offer(&[named(&delivered, "1").with(tags::PATIENT_NAME, VR::PN, b"Quillfeather^Zzyzxe")]).await);
    let results = archive.holds(4).await;
    until("all is recorded", || (status()["destinations"][0]["waiting"] == 0).then_some(())).await;
    let erased = ask(&site.folder("spool"), &Request::Erase { study: delivered.clone() }).await.unwrap();
    assert!(matches!(erased, Answer::Erased { .. }), "{erased:?}");
    // Two patients in one study.
    let other = named(&refused, "2").with(tags::PATIENT_ID, VR::LO, b"PID-78QX");
    stored(offer(&[named(&refused, "1"), other]).await);
    until("it is refused", || (status()["studies"][0]["state"] == "refused").then_some(())).await;
    // An archive that quotes what it does not like.
    let quoted = format!("no {ID} {NAME}");
    archive.refuse(Some(Fault { code: quoted.into(), blame: Blame::Peer, reason: String::new() }));
    stored(offer(&[named(&given_up, "1")]).await);
    until("it is given up", || (status()["destinations"][0]["dead"] == 2).then_some(())).await;
    // An instance that ends within an element, and one that is not the one that it was announced as.
    let whole = named(&refused, "3").object();
    let cut = ObjectToSend { dataset: whole.dataset.slice(..whole.dataset.len() - 7), ..whole.clone() };
    let another = ObjectToSend { sop_instance: format!("{refused}.9"), ..whole };
    let not_taken = |_, sent| assert!(matches!(sent, Sent::Refused(_)), "{sent:?}");
    send(&node, &[cut, another], not_taken).await.unwrap();

    daemon.signal(Signal::TERM);
    assert_eq!(tokio::task::block_in_place(|| daemon.exit_code()), Some(0));
    let mut secrets: Vec<String> =
        ["Quillfeather", "Zzyzxa", "Zzyzxe", ID, "PID-78QX", BIRTH_DATE, ACCESSION].map(str::to_owned).to_vec();
    // Series and instances begin with the study's UID.
    secrets.extend([delivered, refused, given_up]);
    secrets.extend(results.into_iter().flat_map(|held| [held.arrival.sop_instance, held.arrival.series]));
    let log = Log { text: fs::read_to_string(site.folder("log")).unwrap(), secrets };
    for message in ["a study is complete", "a job ended", "draining", "status C000H: no …-… …^…"] {
        assert!(log.text.contains(message), "{message} is not in the log: {}", log.text);
    }
    // All that is said of a study is said in its span, the deliveries too.
    let delivered: Vec<&str> = log.text.lines().filter(|line| line.contains("a result was delivered")).collect();
    assert!(!delivered.is_empty() && delivered.iter().all(|line| line.contains("study{id=")), "{delivered:?}");
    let leaks = log.leaks();
    let places: Vec<Vec<String>> = leaks.iter().map(|secret| log.places(secret)).collect();
    assert!(leaks.is_empty(), "in the log: {leaks:?}: {places:#?}");
}
