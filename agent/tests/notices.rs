//! What a person is told, once and where they look.
use crate::hospital::{Archive, Image, Node, destination, frame, new_uid, until};
use crate::metrics::scraped;
use dicom_dictionary_std::tags;
use sund_agent::association::{ObjectToSend, Sent, send};
use sund_agent::config::Config;
use sund_agent::limits::association::MAX_HALF_OPEN_PER_CALLER;

/// An image that ends within an element.
fn cut(image: &Image) -> ObjectToSend {
    let whole = image.object();
    ObjectToSend { dataset: whole.dataset.slice(..whole.dataset.len() - 7), ..whole }
}

async fn offer(node: &Node, objects: &[ObjectToSend]) -> Vec<bool> {
    let mut stored = Vec::new();
    send(&node.peer(), objects, |_, sent| stored.push(matches!(sent, Sent::Stored { .. }))).await.unwrap();
    stored
}

fn lacking(node: &Node) -> Vec<String> {
    let studies = node.status().studies;
    let moments = studies.iter().flat_map(|study| &study.timeline).filter(|moment| moment.step == "lacking");
    moments.map(|moment| format!("{} [{}]", moment.text, moment.code.as_deref().unwrap_or_default())).collect()
}

/// The modality may show nobody that it was refused: whoever looks for the study finds that it is not whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn instances_that_were_refused_are_on_the_timeline_of_their_study() {
    let archive = Archive::open().await;
    let node = Node::open(|config| {
        config.console = Config::embedded(config.spool.directory.parent().unwrap()).unwrap().console;
        config.destinations = vec![destination("archive", &archive.address)];
    })
    .await;
    let study = new_uid();
    let image = |n: &str| frame().rows(64).in_study(&study, n);
    let sent = [image("1").object(), cut(&image("2")), cut(&image("3")), image("4").object()];
    assert_eq!(offer(&node, &sent).await, [true, false, false, true]);
    node.ended(1).await;
    let report = archive.holds(2).await.into_iter().find(|held| held.text(tags::MODALITY) == "SR").unwrap();
    assert_eq!(report.text(tags::COMPLETION_FLAG), "PARTIAL");
    assert_eq!(report.text(tags::COMPLETION_FLAG_DESCRIPTION), "2 instances of the study refused at receipt");
    let two = "2 instances were refused: the data set ends 7 bytes before an element does [dataset-truncated]";
    assert_eq!(lacking(&node), [two]);

    // An association that brings nothing else completes nothing, and is told all the same.
    assert_eq!(offer(&node, &[cut(&image("5"))]).await, [false]);
    let one = "1 instance was refused: the data set ends 7 bytes before an element does [dataset-truncated]";
    until("the timeline has it", || (lacking(&node) == [two, one]).then_some(())).await;
    assert_eq!(node.status().studies.len(), 1);
    // For each association and reason, the first and the number of those after it; the study of the first, sealed.
    let refusals = || -> Vec<serde_json::Value> {
        let lines = node.audit();
        lines.into_iter().filter(|line| line.to_string().contains("dataset-truncated")).collect()
    };
    assert_eq!(refusals().len(), 3);
    assert!(refusals().iter().all(|line| line.to_string().contains("requests-refused")));
    let metrics = scraped(&node).await;
    assert!(metrics.contains("sund_refusals_total{code=\"dataset-truncated\"} 3"), "{metrics}");

    // What comes after all is lacking no more.
    assert_eq!(offer(&node, &["2", "3", "5"].map(|n| image(n).object())).await, [true; 3]);
    let is_whole = |held: &crate::hospital::Held| {
        held.text(tags::MODALITY) == "SR" && held.text(tags::COMPLETION_FLAG) == "COMPLETE"
    };
    until("a report of all of it", || archive.reports().iter().any(is_whole).then_some(())).await;
}

/// A modality whose images are refused for what they are encoded in, or that asks what this node does not do, is found in
/// the log and the audit trail.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn contexts_and_connections_that_are_refused_are_in_the_audit_trail() {
    let node = Node::open(|_| {}).await;
    let jpeg_ls = ObjectToSend { transfer_syntax: "1.2.840.10008.1.2.4.80".to_owned(), ..frame().object() };
    let stored = offer(&node, &[jpeg_ls]).await;
    assert_eq!(stored, [false]);
    let context = ["association-opened", "contexts-not-accepted", "1.2.840.10008.1.2.4.80 alone"];
    until("the audit trail has it", || node.audited(&context).then_some(())).await;

    let mut held = Vec::new();
    for _ in 0..MAX_HALF_OPEN_PER_CALLER + 3 {
        held.push(tokio::net::TcpStream::connect(&node.peer().address).await.unwrap());
    }
    until("the audit trail has it", || node.audited(&["too-many-connections"]).then_some(())).await;
    let lines = node.audit();
    let told = lines.iter().filter(|line| line.to_string().contains("too-many-connections")).count();
    assert_eq!(told, 1, "not a line for each");
}

/// Nobody looks at a study that no route listens for: the trail has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_study_that_no_route_listens_for_is_in_the_audit_trail() {
    let node = Node::open(|config| config.routes[0].callers = vec!["OTHER".to_owned()]).await;
    node.receives(&[frame().in_study(&new_uid(), "1")]).await;
    until("the audit trail has it", || node.audited(&["study-not-routed", "no-route"]).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_archive_that_is_away_is_audited_once_however_much_waits_for_it() {
    let away = Archive::nowhere().await;
    let node = Node::open(|config| config.destinations = vec![destination("archive", &away)]).await;
    for n in 1..=3 {
        node.receives(&[frame().rows(64).in_study(&new_uid(), "1")]).await;
        until("its results wait", || (node.destination("archive").waiting == 2 * n).then_some(())).await;
    }
    until("it is found to be away", || node.destination("archive").trouble).await;
    let failures = || node.audit().iter().filter(|line| line.to_string().contains("delivery-failed")).count();
    until("the audit trail has it", || (failures() == 1).then_some(())).await;
    let archive = Archive::arrive_at(&away).await;
    archive.holds(6).await;
    until("all is delivered", || (node.destination("archive").waiting == 0).then_some(())).await;
    assert_eq!(failures(), 1);
}
