//! The console of a daemon that runs, in a browser: a study arrives, is analysed and delivered before somebody's eyes.
use crate::hospital::{Archive, frame, new_uid};
use crate::serve::Site;
use rustix::process::Signal;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use sund_agent::association::{Peer, Sent, send};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_study_goes_through_a_running_node_before_the_eyes_of_who_watches() {
    let archive = Archive::open().await;
    let site = Site::new(&crate::crash::configuration(&archive.address));
    let daemon = tokio::task::block_in_place(|| site.serve());
    let console = site.console();
    let address = tokio::task::block_in_place(|| site.status())["node"]["address"].as_str().unwrap().to_owned();
    let node = Peer { calling_ae: "MODALITY".into(), called_ae: "SUND".into(), address, tls: None };

    let python = std::env::var("SUND_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/node.py");
    let mut browser = Command::new(&python)
        .arg(script)
        .arg(format!("http://{console}/"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{python}: {error}: install Python 3 and set SUND_TEST_PYTHON"));
    let mut says = BufReader::new(browser.stdout.take().unwrap()).lines();
    let is_ready = tokio::task::block_in_place(|| says.any(|line| line.unwrap() == "NEXT send"));
    assert!(is_ready, "the page does not stand, see above; it needs Chromium, chromedriver and selenium");
    let image = frame().in_study(&new_uid(), "1");
    send(&node, &[image.object()], |_, sent| assert_eq!(sent, Sent::Stored { status: 0 })).await.unwrap();
    assert!(tokio::task::block_in_place(|| browser.wait()).unwrap().success(), "see above");

    daemon.signal(Signal::TERM);
    assert_eq!(tokio::task::block_in_place(|| daemon.exit_code()), Some(0));
}
