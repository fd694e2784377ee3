//! What the monitoring of the region reads.
use crate::hospital::{Archive, Node, destination, frame, until};
use sund_agent::config::Config;
use sund_agent::metrics::ALL;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Told only where something goes wrong, somebody logs in, or the configuration asks for it.
const RARE: [&str; 5] = [
    "sund_audit_waiting",
    "sund_certificate_ends_seconds",
    "sund_worker_restarts_total",
    "sund_refusals_total",
    "sund_console_logins_total",
];

pub async fn scraped(node: &Node) -> String {
    let address = node.agent().console().unwrap();
    let mut socket = TcpStream::connect(address).await.unwrap();
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn after_a_study_each_stage_has_told_its_figures_and_none_names_a_patient() {
    let archive = Archive::open().await;
    let node = Node::open(|config| {
        config.console = Config::embedded(config.spool.directory.parent().unwrap()).unwrap().console;
        config.destinations = vec![destination("archive", &archive.address)];
    })
    .await;
    node.receives(&[frame()]).await;
    archive.holds(2).await;
    until("the deliveries are recorded", || (node.destination("archive").delivered == 2).then_some(())).await;
    let text = scraped(&node).await;
    // Of GPUs nothing is told where no driver tells of them.
    let is_told = |name: &str| !RARE.contains(&name) && !name.starts_with("sund_gpu_");
    let has_driver = std::path::Path::new("/proc/driver/nvidia/version").exists();
    assert!(has_driver || !text.contains("sund_gpu_"), "figures of a GPU that is not there:\n{text}");
    for metric in ALL.iter().filter(|metric| is_told(metric.name)) {
        let samples = text.lines().filter(|line| line.starts_with(metric.name)).count();
        assert!(samples > 0, "{} has no sample:\n{text}", metric.name);
    }
    for stage in ["handover", "decode", "preprocess", "infer", "postprocess", "results", "store", "deliver"] {
        assert!(text.contains(&format!("stage=\"{stage}\"")), "no time of {stage}:\n{text}");
    }
    assert!(text.contains("model=\"text-detection\",network=\"detect\""), "no time of the network:\n{text}");
    let header = frame().header();
    for tag in [dicom_dictionary_std::tags::PATIENT_ID, dicom_dictionary_std::tags::STUDY_INSTANCE_UID] {
        assert!(!text.contains(&header.text(tag).unwrap()), "a patient in the metrics");
    }
}
