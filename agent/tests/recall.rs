//! From the withdrawal of a package to the rejected object in other people's archives: what waits never goes, what has gone is
//! rejected there by a note, once, whatever happens in between.
use crate::association::peers::{Server, free_port, http};
use crate::channel::fixture::{one_worker, signals};
use crate::crash::configuration_to;
use crate::hospital::{Archive, Held, Node, codes, destination, frame, new_uid, until};
use crate::patient::write;
use crate::results::conforms;
use crate::serve::{Daemon, Site};
use crate::study::named;
use dicom_dictionary_std::tags;
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};
use sund_agent::association::{Peer, Sent, send};
use sund_agent::control::{Answer, Request, ask};
use sund_agent::dataset::part10;
use sund_agent::deliver::Destination;
use sund_agent::fault::{Blame, Fault};
use sund_agent::inference::PackageRef;
use sund_agent::job::{Job, JobState};
use sund_agent::recall::{Counts, Order, Report};
use sund_agent::results::{Identity, Rejected, RejectionContext, UidKey, rejection_note};
use sund_agent::spool::{Batch, Spool, SpoolOptions, Table};

const KEY_OBJECTS: &str = "1.2.840.10008.5.1.4.1.1.88.59";
const REASON: &str = "boxes are shifted";

fn section(name: &str, ae_title: &str, address: impl std::fmt::Display, notes: bool) -> String {
    format!(
        "[[destinations]]\nname = \"{name}\"\nae_title = \"{ae_title}\"\naddress = \"{address}\"\nrejection_notes = {notes}\n"
    )
}

/// Sends an image of a new study to a daemon.
async fn receives(site: &Site) -> String {
    let address = site.status()["node"]["address"].as_str().unwrap().to_owned();
    let node = Peer { calling_ae: "MODALITY".into(), called_ae: "SUND".into(), address, tls: None };
    let study = new_uid();
    let stored = |_, sent| assert_eq!(sent, Sent::Stored { status: 0 });
    send(&node, &[frame().rows(64).in_study(&study, "1").object()], stored).await.unwrap();
    study
}

/// Waiting, delivered and dead, of a daemon's destination.
fn counts(site: &Site, name: &str) -> [u64; 3] {
    let status = site.status();
    let all = status["destinations"].as_array().unwrap();
    let one = all.iter().find(|one| one["name"] == name).unwrap();
    ["waiting", "delivered", "dead"].map(|count| one[count].as_u64().unwrap())
}

fn recall(site: &Site, arguments: &[&str]) -> Output {
    site.sund(&[&["recall"], arguments].concat())
}

fn recalled(site: &Site, arguments: &[&str]) -> Value {
    serde_json::from_str(&said(site, arguments)).unwrap()
}

/// The answer as JSON.
fn said(site: &Site, arguments: &[&str]) -> String {
    let output = recall(site, &[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn serve(site: &Site) -> Daemon {
    tokio::task::block_in_place(|| site.serve())
}

fn kill(daemon: Daemon) {
    daemon.signal(Signal::KILL);
    tokio::task::block_in_place(|| daemon.exit_code());
}

/// The tags of what Orthanc holds, by what its REST interface says.
fn in_orthanc(rest: SocketAddr) -> Vec<Value> {
    let ids: Vec<String> = serde_json::from_str(&http(rest, "GET", "/instances", b"")).unwrap();
    let tags = |id: String| http(rest, "GET", &format!("/instances/{id}/simplified-tags"), b"");
    ids.into_iter().map(|id| serde_json::from_str(&tags(id)).unwrap()).collect()
}

/// SOP Instance UIDs that a note's evidence names, of one study.
fn evidence(note: &Value) -> BTreeSet<String> {
    let studies = note["CurrentRequestedProcedureEvidenceSequence"].as_array().unwrap();
    assert!(studies.len() == 1 && studies[0]["StudyInstanceUID"] == note["StudyInstanceUID"], "{note}");
    let series = studies[0]["ReferencedSeriesSequence"].as_array().unwrap().iter();
    let sops = series.flat_map(|series| series["ReferencedSOPSequence"].as_array().unwrap());
    sops.map(|sop| sop["ReferencedSOPInstanceUID"].as_str().unwrap().to_owned()).collect()
}

fn uid_of(instance: &Value) -> String {
    instance["SOPInstanceUID"].as_str().unwrap().to_owned()
}

fn is_note(held: &Held) -> bool {
    held.arrival.sop_class == KEY_OBJECTS
}

/// A note and the results that it rejects, to the validator and to pydicom.
fn check(note: &Path, results: &[PathBuf]) {
    conforms(note);
    let python = std::env::var("SUND_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recall_check.py");
    let output = Command::new(&python).arg(script).arg(note).args(results).output();
    let output = output.unwrap_or_else(|error| panic!("{python}: {error}; install what .ci/requirements.txt lists"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn files(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect()
}

/// The answer, with what differs from run to run left out.
fn frozen(said: &str, study: &str) -> String {
    let report: Value = serde_json::from_str(said).unwrap();
    let mut text = said.replace(study, "STUDY");
    for package in report["packages"].as_array().unwrap() {
        text = text.replace(package["digest"].as_str().unwrap(), "sha256:DIGEST");
    }
    let studies = report["studies"].as_array().unwrap();
    let notes: BTreeSet<&str> = studies
        .iter()
        .flat_map(|study| study["destinations"].as_array().unwrap())
        .flat_map(|one| one["notes"].as_array().unwrap())
        .map(|note| note["uid"].as_str().unwrap())
        .collect();
    for note in notes {
        text = text.replace(note, "NOTE");
    }
    text
}

/// Two archives have the results, one of them ours has them and acts on no notes, one is away.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_recall_reaches_orthanc_and_dcmtk_and_names_the_very_objects_that_they_hold() {
    let (orthanc_folder, dcmtk_folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (orthanc, rest) = Server::orthanc(orthanc_folder.path(), free_port());
    let dcmtk = Server::storescp(dcmtk_folder.path(), &[]);
    let (plain, away) = (Archive::open().await, Archive::nowhere().await);
    let sections = [
        section("orthanc", "ORTHANC", orthanc.address, true),
        section("dcmtk", "STORESCP", dcmtk.address, true),
        section("plain", "PACS", &plain.address, false),
        section("away", "PACS", &away, true),
    ];
    let site = Site::new(&configuration_to(&["orthanc", "dcmtk", "plain", "away"], &sections.concat()));
    let daemon = serve(&site);
    let study = receives(&site).await;
    for name in ["orthanc", "dcmtk", "plain"] {
        until("its results are delivered", || (counts(&site, name) == [0, 2, 0]).then_some(())).await;
    }
    until("they wait for the one that is away", || (counts(&site, "away") == [2, 0, 0]).then_some(())).await;

    // A dry run finds all of it and does nothing.
    let dry = recalled(&site, &["text-detection", "--dry-run"]);
    assert!(dry["reason"].is_null() && dry["total"]["sent"] == 6 && dry["notes"] == 0, "{dry}");
    assert_eq!((counts(&site, "away"), counts(&site, "orthanc")), ([2, 0, 0], [0, 2, 0]));
    assert!(!site.audit().contains("recall-ordered"));

    let first = recalled(&site, &["text-detection", "--reason", REASON]);
    for name in ["orthanc", "dcmtk"] {
        until("the note is delivered", || (counts(&site, name) == [0, 3, 0]).then_some(())).await;
    }
    assert_eq!((counts(&site, "plain"), counts(&site, "away")), ([0, 2, 0], [0, 0, 0]));

    // In Orthanc it lies in the same study, and names the very objects.
    let studies: Vec<String> = serde_json::from_str(&http(rest, "GET", "/studies", b"")).unwrap();
    let (notes, results): (Vec<Value>, Vec<Value>) =
        in_orthanc(rest).into_iter().partition(|instance| instance["SOPClassUID"] == KEY_OBJECTS);
    assert_eq!((studies.len(), notes.len(), results.len()), (1, 1, 2));
    assert_eq!(evidence(&notes[0]), results.iter().map(uid_of).collect());
    assert_eq!(notes[0]["StudyInstanceUID"], study.as_str());
    let title = &notes[0]["ConceptNameCodeSequence"][0];
    assert!(title["CodeValue"] == "113037" && title["CodingSchemeDesignator"] == "DCM", "{title}");
    assert!(notes[0]["ContentSequence"].to_string().contains(REASON));

    // DCMTK has the same note, which conforms, of the same objects.
    let (note, held): (Vec<PathBuf>, Vec<PathBuf>) =
        files(dcmtk_folder.path()).into_iter().partition(|file| file.to_str().unwrap().contains(&uid_of(&notes[0])));
    assert_eq!((note.len(), held.len()), (1, 2));
    check(&note[0], &held);

    // Again: nothing is done twice, and it is told where it stands.
    let answer = said(&site, &["text-detection", "--reason", REASON]);
    let second: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(second["studies"].to_string(), first["studies"].to_string().replace("\"waiting\"", "\"delivered\""));
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/recall/report.json");
    assert_eq!(frozen(&answer, &study), std::fs::read_to_string(golden).unwrap());
    let table = String::from_utf8(recall(&site, &["text-detection", "--reason", REASON]).stdout).unwrap();
    for told in
        ["2 results are to be withdrawn by hand", "sund suspend text-detection --reason TEXT", &study, "delivered"]
    {
        assert!(table.contains(told), "{told}: {table}");
    }
    let digest = second["packages"][0]["digest"].as_str().unwrap().to_owned();
    let version = format!("text-detection@{}", second["packages"][0]["version"].as_str().unwrap());
    for other_name in [digest.as_str(), &version] {
        assert_eq!(recalled(&site, &[other_name, "--reason", REASON])["studies"], second["studies"]);
    }
    assert_eq!((counts(&site, "orthanc"), in_orthanc(rest).len()), ([0, 3, 0], 3));

    // What was cancelled does not go when its destination is back, over a kill and with results of another study.
    kill(daemon);
    let back = Archive::arrive_at(&away).await;
    let _daemon = serve(&site);
    let other = receives(&site).await;
    let held = back.holds(2).await;
    assert!(held.iter().all(|held| held.arrival.study == other), "only what was made since");
    until("all is recorded", || (counts(&site, "away") == [0, 2, 0]).then_some(())).await;
    assert_eq!(back.count(), 2);
    let audit = site.audit();
    assert!(audit.contains("recall-ordered") && audit.contains("results-recalled") && audit.contains(REASON));
    assert!(!audit.contains(&study), "whose study it is stands in the sealed part");
    assert_eq!(plain.held().iter().filter(|held| is_note(held)).count(), 0, "it takes no notes");
}

/// The archive is out of resources when the note comes to it; the agent is killed, and the next one delivers.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_agent_that_is_killed_between_recall_and_delivery_delivers_the_note_once() {
    let archive = Archive::open().await;
    let site = Site::new(&configuration_to(&["archive"], &section("archive", "PACS", &archive.address, true)));
    let daemon = serve(&site);
    receives(&site).await;
    until("its results are delivered", || (counts(&site, "archive") == [0, 2, 0]).then_some(())).await;
    archive.refuse(Some(Fault::new("full", Blame::Box, "no room")));
    let first = recalled(&site, &["text-detection", "--reason", REASON]);
    assert_eq!(first["studies"][0]["destinations"][0]["notes"][0]["state"], "waiting");
    kill(daemon);
    archive.refuse(None);
    let _daemon = serve(&site);
    let held = archive.holds(3).await;
    until("it is recorded", || (counts(&site, "archive") == [0, 3, 0]).then_some(())).await;
    assert_eq!((archive.count(), held.iter().filter(|held| is_note(held)).count()), (3, 1));
    let note = held.iter().find(|held| is_note(held)).unwrap();
    assert_eq!(note.arrival.sop_instance, first["studies"][0]["destinations"][0]["notes"][0]["uid"].as_str().unwrap());
    for result in held.iter().filter(|held| !is_note(held)) {
        assert!(note.says(&result.arrival.sop_instance));
    }
}

fn taking_notes(address: &str) -> Destination {
    Destination { takes_rejections: true, ..destination("archive", address) }
}

async fn recall_at(node: &Node) -> Report {
    let spool = node.folder.path().join("spool");
    let (package, reason) = ("text-detection".parse().unwrap(), Some(REASON.parse().unwrap()));
    match ask(&spool, &Request::Recall { package, reason }).await.unwrap() {
        Answer::Recalled(report) => *report,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_result_that_is_on_its_way_is_rejected_too_and_counts_as_sent_once_it_arrives() {
    let away = Archive::nowhere().await;
    let archive = Archive::arrive_slow(&away, 1).await;
    let node = Node::open(|config| config.destinations = vec![taking_notes(&away)]).await;
    node.receives(&[frame().in_study(&new_uid(), "1")]).await;
    archive.begins(2).await;
    until("the first one is recorded", || (node.destination("archive").delivered == 1).then_some(())).await;
    let report = recall_at(&node).await;
    assert_eq!(report.total, Counts { sent: 1, in_doubt: 1, cancelled: 0, by_hand: 0 });
    assert_eq!((archive.count(), report.notes), (1, 1));
    archive.go_on();
    let held = archive.holds(3).await;
    assert!(!is_note(&held[1]) && is_note(&held[2]), "the note goes behind what it rejects");
    assert!(held[..2].iter().all(|result| held[2].says(&result.arrival.sop_instance)));
    until("all is recorded", || (node.destination("archive").delivered == 3).then_some(())).await;
    let again = recall_at(&node).await;
    assert_eq!(again.total, Counts { sent: 2, in_doubt: 0, cancelled: 0, by_hand: 0 });
    assert_eq!((again.notes, archive.count()), (1, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_corrected_name_neither_brings_back_what_was_recalled_nor_stops_the_note() {
    let away = Archive::nowhere().await;
    let archive = Archive::arrive_slow(&away, 2).await;
    let node = Node::open(|config| config.destinations = vec![taking_notes(&away)]).await;
    let study = new_uid();
    node.receives(&[named(frame().in_study(&study, "1"), "First^Name")]).await;
    until("its results are delivered", || (node.destination("archive").delivered == 2).then_some(())).await;
    // The archive does not answer for another study's, behind which the note waits.
    node.receives(&[frame().in_study(&new_uid(), "1")]).await;
    archive.begins(3).await;
    let report = recall_at(&node).await;
    assert_eq!(report.total, Counts { sent: 2, in_doubt: 1, cancelled: 1, by_hand: 0 });
    node.receives(&[named(frame().in_study(&study, "1"), "Second^Name")]).await;
    let is_corrected = |study: &sund_agent::status::StudyStatus| study.timeline.iter().any(|m| m.step == "identity");
    let told = node.study("the identity is corrected", is_corrected).await;
    assert!(told.timeline.iter().any(|moment| moment.step == "recalled" && moment.text.contains(REASON)), "{told:?}");
    assert!(told.results.iter().all(|result| result.delivery[0].1 == "recalled"), "{:?}", told.results);
    archive.go_on();
    let held = archive.holds(5).await;
    until("nothing waits", || (node.destination("archive").waiting == 0).then_some(())).await;
    assert_eq!((archive.count(), held.iter().filter(|held| is_note(held)).count()), (5, 2));
    assert!(held.iter().all(|held| !held.says("Second^Name")), "nothing was made again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn jobs_that_wait_or_run_at_a_recall_end_as_failed_and_what_a_worker_still_makes_is_not_sent() {
    let archive = Archive::open().await;
    let section = section("archive", "PACS", &archive.address, true);
    let site = Site::new(&configuration_to(&["archive"], &section));
    let daemon = serve(&site);
    until("the model is active", || (site.status()["models"][0]["state"] == "active").then_some(())).await;
    let workers = one_worker(&daemon).await;
    signals(&workers, Signal::STOP);
    let recalled_studies = [receives(&site).await, receives(&site).await];
    let queue = || site.status()["queue"].as_array().unwrap().clone();
    until("one job runs and one waits", || {
        let states: Vec<String> = queue().iter().map(|job| job["state"].as_str().unwrap().to_owned()).collect();
        (states.len() == 2 && states.contains(&"running".to_owned())).then_some(())
    })
    .await;
    let dry = recalled(&site, &["text-detection", "--dry-run"]);
    assert_eq!((&dry["open_jobs"], &dry["cancelled_jobs"]), (&2.into(), &0.into()));
    let report = recalled(&site, &["text-detection", "--reason", REASON]);
    assert_eq!((&report["open_jobs"], &report["cancelled_jobs"]), (&0.into(), &2.into()));
    assert!(report["studies"].as_array().unwrap().is_empty(), "they have made nothing: {report}");
    for study in site.status()["studies"].as_array().unwrap() {
        let timeline = study["timeline"].to_string();
        assert!(study["state"] == "failed" && timeline.contains("package-recalled"), "{study}");
        assert!(timeline.contains(REASON), "{timeline}");
    }
    let audit = site.audit();
    assert!(audit.matches("package-recalled").count() >= 2 && audit.contains("recall-ordered"), "{audit}");

    // The worker goes on with what it had; the model still serves, so that a study that comes now has its results.
    signals(&workers, Signal::CONT);
    let later = receives(&site).await;
    archive.holds(4).await;
    until("all is recorded", || (counts(&site, "archive") == [0, 4, 0]).then_some(())).await;
    let (of_later, of_recalled): (Vec<Held>, Vec<Held>) =
        archive.held().into_iter().partition(|held| held.arrival.study == later);
    assert_eq!((of_later.len(), of_recalled.len()), (2, 2));
    // That they failed is reported, and nothing else goes.
    for (held, study) in of_recalled.iter().zip(&recalled_studies) {
        assert!(held.arrival.study == *study && held.says("package-recalled") && held.says(REASON));
    }
    let again = recalled(&site, &["text-detection", "--reason", REASON]);
    assert_eq!((&again["total"]["sent"], &again["cancelled_jobs"]), (&2.into(), &2.into()));
    assert_eq!(again["studies"].as_array().unwrap().len(), 1, "{again}");
}

/// As a cut between the order and its first study leaves it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_recall_that_was_cut_off_is_carried_out_by_the_next_start_before_anything_is_sent() {
    let away = Archive::nowhere().await;
    let mut node = Node::open(|config| config.destinations = vec![taking_notes(&away)]).await;
    node.receives(&[frame().in_study(&new_uid(), "1")]).await;
    until("its results wait", || (node.destination("archive").waiting == 2).then_some(())).await;
    node.stop().await;
    let options =
        SpoolOptions { segment_bytes: 1 << 20, ..SpoolOptions::in_directory(node.folder.path().join("spool")) };
    let spool = until("the spool is let go", || Spool::open(options.clone()).ok()).await;
    let order = Order::now("text-detection".parse().unwrap(), REASON.parse().unwrap());
    let mut batch = Batch::new();
    batch.put(Table::Meta, &order.key(), &order, None).unwrap();
    spool.write_blocking(batch).unwrap();
    spool.close();
    let archive = Archive::arrive_at(&away).await;
    node.start(|config| config.destinations = vec![taking_notes(&away)]).await;
    assert_eq!(node.destination("archive").waiting, 0);
    let other = new_uid();
    node.receives(&[frame().in_study(&other, "1")]).await;
    let held = archive.holds(2).await;
    assert!(held.iter().all(|held| held.arrival.study == other && !is_note(held)));
    assert!(codes(&node.status().studies[0]).is_empty());
}

/// What is kept of a study cannot be read: its job comes to no end, and has made nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_job_that_a_recall_cannot_end_is_told_with_its_study_and_the_command_fails() {
    let archive = Archive::open().await;
    let site = Site::new(&configuration_to(&["archive"], &section("archive", "PACS", &archive.address, true)));
    let daemon = serve(&site);
    receives(&site).await;
    until("its results are delivered", || (counts(&site, "archive") == [0, 2, 0]).then_some(())).await;
    kill(daemon);
    let options = SpoolOptions { segment_bytes: 1 << 20, ..SpoolOptions::in_directory(site.folder("spool")) };
    let spool = until("the spool is let go", || Spool::open(options.clone()).ok()).await;
    let mut job = spool.scan::<Job>(Table::Jobs, "").unwrap().remove(0);
    (job.id, job.study, job.inputs, job.state) = (7, new_uid(), Vec::new(), JobState::Waiting { attempts: 0 });
    let mut batch = Batch::new();
    batch.put(Table::Jobs, &Job::key(job.id), &job, Some(&job.study)).unwrap();
    batch.put(Table::Studies, &job.study, &"no record", Some(&job.study)).unwrap();
    spool.write_blocking(batch).unwrap();
    spool.close();

    let _daemon = serve(&site);
    let output = recall(&site, &["text-detection", "--reason", REASON, "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &report["open_jobs"]), (Some(1), &1.into()), "{report:#}");
    let studies = report["studies"].as_array().unwrap();
    let told = studies.iter().find(|study| study["study"] == job.study.as_str()).expect("it is among them");
    assert!(told["results"] == 0 && told["fault"]["code"].is_string(), "{told:#}");
    assert_eq!((studies.len(), &report["total"]["sent"]), (2, &2.into()), "what could be recalled was");
    let people = String::from_utf8(recall(&site, &["text-detection", "--reason", REASON]).stdout).unwrap();
    assert!(people.contains(&format!("study {}: ", job.study)), "{people}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_package_that_has_made_nothing_here_is_refused_with_those_that_have() {
    let archive = Archive::open().await;
    let site = Site::new(&configuration_to(&["archive"], &section("archive", "PACS", &archive.address, true)));
    let _daemon = serve(&site);
    let told = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let unknown = recall(&site, &["text-detektion", "--reason", REASON]);
    assert_eq!(unknown.status.code(), Some(65), "{}", told(&unknown));
    assert!(told(&unknown).contains("recall-package-unknown") && told(&unknown).contains("text-detection@"));
    assert!(site.audit().contains("operation-refused"));
    // One that serves, and has made nothing yet, is no mistake.
    let none = recalled(&site, &["text-detection", "--reason", REASON]);
    assert!(
        none["studies"].as_array().unwrap().is_empty() && none["still_on"].as_array().unwrap().len() == 1,
        "{none}"
    );
    for wrong in [&["text-detection"][..], &["Text", "--reason", REASON], &["text-detection", "--reason", " "]] {
        let refused = recall(&site, wrong);
        assert!(!refused.status.success() && refused.stdout.is_empty(), "{wrong:?}");
    }
}

/// A report, a segmentation and a picture of one study, with a name, issuers and requests of the record.
#[test]
fn a_rejection_note_conforms_and_is_the_same_bytes_whenever_it_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/models/brain-extraction/golden/brain");
    let source = part10::read_file(&files(&demo)[0]).unwrap();
    let text = |text: &str| text.to_owned();
    let package = PackageRef {
        name: text("brain-extraction"),
        title: text("Brain extraction"),
        version: text("1.0.1, 1.0.2"),
        vendor: text("a vendor"),
        digest: text("sha256:00"),
    };
    let context = RejectionContext {
        identity: &Identity::from_header(&source.header),
        uid_key: &UidKey::new(&[1; 32]),
        at: SystemTime::UNIX_EPOCH + Duration::from_hours(500_000),
        device: "test",
        package: &package,
        reason: "masken er spejlvendt (æøå)",
    };
    let rejected: Vec<Rejected> = [("66.4", 1), ("88.34", 2), ("7", 3)]
        .map(|(class, n)| Rejected {
            series: format!("2.25.{n}"),
            sop_class: format!("1.2.840.10008.5.1.4.1.1.{class}"),
            sop_instance: format!("2.25.{n}00"),
        })
        .into();
    let note = rejection_note(&context, &rejected).unwrap();
    let file = folder.path().join("note.dcm");
    std::fs::write(&file, note.part10()).unwrap();
    conforms(&file);
    let dumped =
        Command::new("dsrdump").args(["+Pl", "+Pc"]).arg(&file).output().expect("dsrdump, from Debian's dcmtk");
    let shown = String::from_utf8_lossy(&dumped.stdout);
    assert!(
        dumped.status.success() && shown.contains("(113037,DCM,\"Rejected for Patient Safety Reasons\")"),
        "{shown}"
    );
    assert!(shown.contains("masken er spejlvendt (æøå)"), "{shown}");

    let again = rejection_note(&context, &[&rejected[1..], &rejected[..]].concat()).unwrap();
    assert_eq!((again.sop_instance, again.dataset), (note.sop_instance.clone(), note.dataset));
    let fewer = rejection_note(&context, &rejected[1..]).unwrap();
    let other = rejection_note(&RejectionContext { reason: "another", ..context.clone() }, &rejected).unwrap();
    assert!(fewer.sop_instance != note.sop_instance && other.sop_instance != note.sop_instance);
}

/// What pydicom and the validator say of the note that the node itself made, of results with all that an identity carries.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_note_carries_patient_and_study_of_what_it_rejects() {
    let archive = Archive::open().await;
    let node = Node::open(|config| config.destinations = vec![taking_notes(&archive.address)]).await;
    node.receives(&[named(frame().in_study(&new_uid(), "1"), "Sørensen^Åse")]).await;
    until("its results are delivered", || (node.destination("archive").delivered == 2).then_some(())).await;
    recall_at(&node).await;
    let held = archive.holds(3).await;
    let folder = tempfile::tempdir().unwrap();
    let files: Vec<PathBuf> = write(&held, folder.path()).into_iter().map(PathBuf::from).collect();
    check(&files[2], &files[..2]);
    assert_eq!(held[2].text(tags::PATIENT_NAME), "Sørensen^Åse");
}
