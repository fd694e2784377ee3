//! What a person is told, once and where they look.
use crate::hospital::{Archive, Image, Node, destination, frame, new_uid, until};
use sund_agent::association::{ObjectToSend, Sent, send};

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
    let node = Node::open(|config| config.destinations = vec![destination("archive", &archive.address)]).await;
    let study = new_uid();
    let image = |n: &str| frame().rows(64).in_study(&study, n);
    let sent = [image("1").object(), cut(&image("2")), cut(&image("3")), image("4").object()];
    assert_eq!(offer(&node, &sent).await, [true, false, false, true]);
    node.ended(1).await;
    let two = "2 instances were refused: the data set ends 7 bytes before an element does [dataset-truncated]";
    assert_eq!(lacking(&node), [two]);

    // An association that brings nothing else completes nothing, and is told all the same.
    assert_eq!(offer(&node, &[cut(&image("5"))]).await, [false]);
    let one = "1 instance was refused: the data set ends 7 bytes before an element does [dataset-truncated]";
    until("the timeline has it", || (lacking(&node) == [two, one]).then_some(())).await;
    assert_eq!(node.status().studies.len(), 1);
    // One line of the audit trail for each association and reason.
    let refusals = node.audit().iter().filter(|line| line.to_string().contains("dataset-truncated")).count();
    assert_eq!(refusals, 2);
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
