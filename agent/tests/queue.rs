//! The queue of each destination: away, silent, refusing, or slow while the node drains.
use crate::hospital::{Archive, Held, Node, codes, destination, frame, new_uid, until};
use crate::patient::two_studies_for_a_slow_archive;
use crate::study::node;
use std::time::Duration;
use sund_agent::deliver::Destination;
use sund_agent::fault::{Blame, Fault};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The order to stop ends a batch behind the result that is on its way; the next start sends the rest, and nothing twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_drain_waits_for_the_result_that_is_on_its_way_and_for_no_other() {
    let (mut node, archive, _) = two_studies_for_a_slow_archive().await;
    let address = archive.address.clone();
    let (source, stopping) = (node.agent().source(), archive.clone());
    let releasing = async move {
        until("the node drains", || source.snapshot().draining.then_some(())).await;
        stopping.go_on();
    };
    tokio::join!(node.stop(), releasing);
    assert_eq!(archive.count(), 2);
    node.start(|config| config.destinations = vec![destination("archive", &address)]).await;
    until("all is delivered", || (node.destination("archive").waiting == 0).then_some(())).await;
    assert_eq!((archive.count(), node.destination("archive").delivered), (4, 4));
}

/// An archive that answers no more does not hold up the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_drain_gives_up_a_result_that_is_not_answered_and_the_next_start_sends_it() {
    let (mut node, archive, _) = two_studies_for_a_slow_archive().await;
    let address = archive.address.clone();
    node.stop().await;
    assert_eq!(archive.count(), 1);
    archive.go_on();
    node.start(|config| config.destinations = vec![destination("archive", &address)]).await;
    until("all is delivered", || (node.destination("archive").waiting == 0).then_some(())).await;
    assert_eq!(node.destination("archive").delivered, 4);
}

/// Back-off while it is away, then everything in the order in which it was made; one that is away holds up no other.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_destination_that_was_away_gets_everything_in_order() {
    let (near, far) = (Archive::open().await, Archive::nowhere().await);
    let node = node(&[("near", &near.address), ("far", &far)]).await;
    for n in 1..=3 {
        node.receives(&[frame().in_study(&new_uid(), "1")]).await;
        near.holds(2 * n).await;
    }
    until("it is away, and holds up no other", || {
        let (near, far) = (node.destination("near"), node.destination("far"));
        let is_away = far.trouble.is_some_and(|trouble| trouble.contains("no connection"));
        (near.waiting == 0 && far.waiting == 6 && is_away).then_some(())
    })
    .await;
    let far = Archive::arrive_at(&far).await;
    let held = far.holds(6).await;
    let order = |held: Vec<Held>| held.into_iter().map(|held| held.arrival.sop_instance).collect::<Vec<_>>();
    assert_eq!(order(held), order(near.held()));
    until("its trouble is over", || node.destination("far").trouble.is_none().then_some(())).await;
}

/// The way to an archive that takes associations, and on the first `times` of them nothing more: no answer ever comes.
pub async fn silent_line(to: String, times: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        for n in 0.. {
            let (mut node, _) = listener.accept().await.unwrap();
            let mut archive = TcpStream::connect(&to).await.unwrap();
            tokio::spawn(async move {
                if n >= times {
                    return tokio::io::copy_bidirectional(&mut node, &mut archive).await.map(|_| ());
                }
                let (mut from, mut back) = node.split();
                let (mut answers, mut on) = archive.split();
                let mut head = [0; 6];
                from.read_exact(&mut head).await?;
                let mut request = vec![0; u32::from_be_bytes([head[2], head[3], head[4], head[5]]) as usize];
                from.read_exact(&mut request).await?;
                on.write_all(&[&head[..], &request].concat()).await?;
                let swallow = async { tokio::io::copy(&mut from, &mut tokio::io::sink()).await };
                tokio::select! {
                    ended = swallow => ended.map(|_| ()),
                    ended = tokio::io::copy(&mut answers, &mut back) => ended.map(|_| ()),
                }
            });
        }
    });
    address
}

/// Two studies' results for an archive that is well and for one that is silent so often; what each of them holds.
async fn beside_a_silent_archive(times: usize) -> (Vec<String>, Vec<String>) {
    let (well, silent) = (Archive::open().await, Archive::open().await);
    let line = silent_line(silent.address.clone(), times).await;
    let node = Node::open(|config| {
        let silent = Destination { patience: Duration::from_millis(200), ..destination("silent", &line) };
        config.destinations = vec![destination("well", &well.address), silent];
    })
    .await;
    node.receives(&[frame().in_study(&new_uid(), "1")]).await;
    let trouble = until("it is found to be silent", || node.destination("silent").trouble).await;
    assert!(trouble.contains("the peer was silent"), "{trouble}");
    node.receives(&[frame().in_study(&new_uid(), "1")]).await;
    well.holds(4).await;
    until("all is delivered", || (node.destination("silent").delivered == 4).then_some(())).await;
    let status = node.destination("silent");
    assert_eq!((status.waiting, status.dead, status.trouble), (0, 0, None));
    let order = |archive: &Archive| archive.held().into_iter().map(|held| held.arrival.sop_instance).collect();
    (order(&well), order(&silent))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_archive_that_does_not_answer_is_tried_again_and_gets_everything_in_order() {
    let (well, silent) = beside_a_silent_archive(1).await;
    assert_eq!(silent, well);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_result_over_which_an_archive_is_silent_twice_holds_up_no_other_and_is_not_lost() {
    let (well, mut silent) = beside_a_silent_archive(2).await;
    assert_ne!(silent[0], well[0], "the others went past it");
    silent.retain(|result| *result != well[0]);
    assert_eq!(silent, well[1..]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_destination_refuses_for_good_is_put_aside_with_its_reason() {
    let archive = Archive::open().await;
    archive.refuse(Some(Fault::new("patient-unknown", Blame::Peer, "we know no such patient")));
    let node = node(&[("archive", &archive.address)]).await;
    node.receives(&[frame().in_study(&new_uid(), "1")]).await;
    let study = node.study("it is given up", |study| codes(study).len() == 2).await;
    assert_eq!(codes(&study), ["delivery-dead", "delivery-dead"]);
    assert!(study.timeline.iter().any(|m| m.text.contains("status C000H: patient-unknown")), "{:?}", study.timeline);
    let status = node.destination("archive");
    assert_eq!((status.waiting, status.dead), (0, 2));
    assert!(status.trouble.is_some_and(|trouble| trouble.contains("patient-unknown")));
    let given_up = vec![("archive".to_owned(), "dead".to_owned())];
    node.study("a person is asked to look", |s| s.state == "failed" && s.results[0].delivery == given_up).await;
    until("the audit trail has it", || node.audited(&["delivery-given-up", "delivery-dead"]).then_some(())).await;
    // The next study's results go.
    archive.refuse(None);
    node.receives(&[frame().in_study(&new_uid(), "1")]).await;
    archive.holds(2).await;
}
