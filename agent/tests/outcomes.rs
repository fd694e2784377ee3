//! Ends of jobs that are no finding: each is told as what it is.
use crate::hospital::{Archive, Node, SUND, destination, frame, new_uid, until};
use dicom_core::VR;
use dicom_dictionary_std::tags;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use sund_agent::outcome::Outcome;
use sund_agent::worker::Launcher;

/// A frame without anything on it: the model runs, finds nothing, and the archive is told so.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_blank_frame_gives_a_report_of_no_finding_at_the_archive() {
    let archive = Archive::open().await;
    let node = Node::open(|config| {
        config.destinations = vec![destination("archive", &archive.address)];
        config.routes[0].outcome_reports = vec![Outcome::NoFinding];
    })
    .await;
    let frame = frame();
    let length = frame.header().pixel_data.unwrap().length.expect("native pixels");
    let blank = frame.with(tags::PIXEL_DATA, VR::OB, &vec![0; length as usize]);
    node.receives(&[blank.in_study(&new_uid(), "1")]).await;
    let held = archive.holds(3).await;
    assert_eq!(held.iter().filter(|held| held.text(tags::MODALITY) == "OT").count(), 1, "and the preview");
    let reports = archive.reports();
    assert_eq!(reports.len(), 2, "the model's report, and that of the outcome");
    for report in &reports {
        assert!(report.says("AI outcome: no finding") && !report.says("AI outcome: finding"));
        assert_eq!(report.text(tags::VERIFICATION_FLAG), "UNVERIFIED");
        assert_eq!(report.text(tags::PATIENT_ID), "DEMO-0001");
    }
    assert_ne!(reports[0].arrival.series, reports[1].arrival.series, "each in a series of its own");
    let outcome: Vec<_> = reports.iter().filter(|report| report.text(tags::SERIES_NUMBER) == "9004").collect();
    assert_eq!(outcome.len(), 1, "the outcome's series has its number");
    assert!(outcome[0].text(tags::SERIES_DESCRIPTION).starts_with("AI outcome"));
    let study = node.study("it is delivered", |study| study.state == "delivered").await;
    assert_eq!(study.results[0].outcome, Outcome::NoFinding);
    let counted = &node.status().models[0].outcomes;
    assert!(counted.contains(&(Outcome::NoFinding, 1)) && counted.contains(&(Outcome::Finding, 0)), "{counted:?}");
}

/// A worker that begins when it is told to.
struct Gated {
    program: PathBuf,
    /// Both ends of it: nobody waits for the other to open it, and a worker that still waits when the test ends goes on.
    gate: fs::File,
}

impl Gated {
    fn new(folder: &Path) -> Self {
        let (program, gate) = (folder.join("worker-program"), folder.join("gate"));
        assert!(Command::new("mkfifo").arg(&gate).status().unwrap().success());
        fs::write(&program, format!("#!/bin/sh\nread -r go < {}\nexec {SUND} worker\n", gate.display())).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
        Self { program, gate: fs::File::options().read(true).write(true).open(gate).unwrap() }
    }

    fn begin(&self) {
        (&self.gate).write_all(b"go\n").unwrap();
    }
}

/// More of a study comes while its first job waits for a worker: that job is too late, without a report, since another one
/// answers for all of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_job_that_waits_when_more_comes_is_too_late_and_one_job_answers_for_all() {
    let folder = tempfile::tempdir().unwrap();
    let worker = Gated::new(folder.path());
    let archive = Archive::open().await;
    let node = Node::open(|config| {
        config.worker.launcher = Launcher::Child { program: worker.program.clone() };
        config.destinations = vec![destination("archive", &archive.address)];
        config.routes[0].outcome_reports = vec![Outcome::TooLate];
    })
    .await;
    let queue = || node.status().queue.into_iter().map(|job| (job.id, job.state)).collect::<Vec<_>>();
    // Another study's job has the worker.
    node.receives(&[frame().in_study(&new_uid(), "1")]).await;
    until("the first study's job runs", || (queue().first()?.1 == "running").then_some(())).await;
    let study = new_uid();
    node.receives(&[frame().in_study(&study, "1")]).await;
    let waiting = until("the job waits", || queue().get(1).cloned()).await;
    node.receives(&[frame().in_study(&study, "2")]).await;
    let newer =
        until("a newer job waits in its place", || queue().get(1).filter(|job| job.0 > waiting.0).cloned()).await;
    assert_eq!(queue().len(), 2, "the first job of the study waits no more");
    until("the audit trail has it", || node.audited(&["job-ended", "job-superseded", "too late"]).then_some(())).await;

    worker.begin();
    let held = archive.holds(4).await;
    until("nothing waits", || (queue().is_empty() && node.destination("archive").waiting == 0).then_some(())).await;
    assert_eq!(archive.count(), 4, "two results for each study, and none of the job that was too late");
    assert!(held.iter().all(|held| !held.says("AI outcome: too late")));
    let report = archive.reports().pop().unwrap();
    assert!(report.says(&format!("{study}.1.1")) && report.says(&format!("{study}.1.2")), "one answer for both images");
    assert!(newer.0 > waiting.0);
    let counted = &node.status().models[0].outcomes;
    assert!(counted.contains(&(Outcome::TooLate, 1)) && counted.contains(&(Outcome::Finding, 2)), "{counted:?}");
    let study = node.study("it is delivered", |study| study.state == "delivered").await;
    assert_eq!(study.timeline.iter().filter(|moment| moment.step == "running").count(), 1, "{:?}", study.timeline);
}
