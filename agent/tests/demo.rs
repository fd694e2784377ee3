//! The demonstration, as somebody meets it who has just cloned the repository.
use crate::hospital::{SUND, frame, new_uid, until};
use crate::results::conforms;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use sund_agent::dataset::part10;

fn demo(arguments: &[&str], folder: &Path) -> Child {
    let mut command = Command::new(SUND);
    command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    command.arg("demo").args(arguments).arg("--folder").arg(folder).stdout(Stdio::piped());
    command.spawn().unwrap()
}

/// The files of a kind that lie in the stand-in PACS's folder, in the order in which they came.
fn received(folder: &Path, kind: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join("pacs")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.to_str().unwrap().ends_with(kind)).collect();
    files.sort();
    files
}

#[test]
fn away_from_the_source_tree_the_demonstration_says_where_its_cases_are() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(SUND).args(["demo", "--once"]).current_dir(folder.path()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(said.contains("--cases"), "{said}");
}

#[test]
fn the_brain_case_ends_with_results_that_were_checked_and_conform() {
    let folder = tempfile::tempdir().unwrap();
    let output = demo(&["--once", "--case", "brain"], folder.path()).wait_with_output().unwrap();
    let story = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{story}");
    for told in ["20 instances stored", "mask of 1292.4 ml", "volume of 1292.4 ml", "03-preview.png", "drained"] {
        assert!(story.contains(told), "not told: {told}\n{story}");
    }
    assert!(!story.contains("ultrasound"), "the other case was not asked for:\n{story}");
    assert_eq!(received(folder.path(), ".dcm").len(), 3);
    for file in received(folder.path(), ".dcm") {
        conforms(&file);
    }
}

/// An ultrasound frame of a study of its own, and the same compressed in another, below a folder with a file that is none.
fn own_studies(folder: &Path) {
    const COMPRESS: &str = "import sys, pydicom\nfrom pydicom.uid import RLELossless, generate_uid\n\
        d = pydicom.dcmread(sys.argv[1])\nd.StudyInstanceUID, d.SeriesInstanceUID = generate_uid(), generate_uid()\n\
        d.compress(RLELossless)\nd.save_as(sys.argv[2])\n";
    let image = frame().in_study(&new_uid(), "1").object();
    let file = part10::write(&image.sop_class, &image.sop_instance, &image.transfer_syntax, &image.dataset);
    let (plain, compressed) = (folder.join("image.dcm"), folder.join("deep/er/compressed"));
    fs::write(&plain, file).unwrap();
    fs::create_dir_all(compressed.parent().unwrap()).unwrap();
    fs::write(folder.join("README"), "no image").unwrap();
    let made = Command::new(python()).args(["-c", COMPRESS]).args([plain, compressed]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

fn python() -> String {
    std::env::var("SUND_TEST_PYTHON").unwrap_or_else(|_| "python3".into())
}

/// The lines that the story gives to copy are executed to the letter.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_demonstration_takes_studies_by_the_lines_that_it_gives_and_serves_until_ctrl_c() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = demo(&["--case", "text"], folder.path());
    let mut story = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let dcmtk = tokio::task::block_in_place(|| story.find(|line| line.contains("send your own study:"))).unwrap();
    let pynetdicom = story.next().unwrap();
    assert!(story.next().unwrap().contains("serving until Ctrl-C"));
    assert_eq!(received(folder.path(), ".dcm").len(), 2);

    for (line, results) in [(dcmtk, 6), (pynetdicom.replace("python3", &python()), 10)] {
        let own = tempfile::tempdir().unwrap();
        own_studies(own.path());
        let copied = line.split_once(":  ").unwrap().1.replace("FOLDER", own.path().to_str().unwrap());
        let sent = tokio::task::block_in_place(|| Command::new("sh").arg("-c").arg(&copied).output()).unwrap();
        assert!(sent.status.success(), "{copied}: {}", String::from_utf8_lossy(&sent.stderr));
        until("its results are there", || (received(folder.path(), ".dcm").len() == results).then_some(())).await;
    }

    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let rest: Vec<String> = tokio::task::block_in_place(|| story.collect());
    assert!(rest.first().unwrap().contains("draining") && rest.last().unwrap().contains("drained"), "{rest:?}");
    assert_eq!(tokio::task::block_in_place(|| child.wait()).unwrap().code(), Some(0));
    for file in received(folder.path(), ".dcm") {
        conforms(&file);
    }
}
