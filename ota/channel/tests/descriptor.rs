//! The one thing that DDI carries, to the byte, whoever carries it.
use crate::fixture::{Channel, PLAIN};
use crate::region::Region;
use std::fs;
use std::path::Path;
use sund_channel::hawkbit::{Release, Repository};
use sund_channel::rollout::orders::Order;
use sund_ota::descriptor::{Descriptor, FILE_NAME};
use sund_ota::limits::MAX_DESCRIPTOR;

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_hands_out_is_the_golden_descriptor() {
    let channel = Channel::start(PLAIN).await;
    let device = channel.device("a", &[]).await;
    channel.rollout("r1", "north-1", &["100%"]).await.unwrap();
    channel.order("r1", Order::Start).await.unwrap();
    let (_, answer) = device.await_link("deploymentBase").await;
    let artifact = &answer["deployment"]["chunks"][0]["artifacts"][0];
    assert_eq!(artifact["filename"], FILE_NAME);
    let served = device.request(reqwest::Method::GET, artifact["_links"]["download"]["href"].as_str().unwrap());
    let served = served.send().await.unwrap().bytes().await.unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/goldens/descriptor.json");
    assert_eq!(String::from_utf8_lossy(&served), String::from_utf8_lossy(&fs::read(golden).unwrap()));
    channel.stop().await;
}

#[test]
fn hawkbit_gets_the_bytes_that_the_server_would_hand_out() {
    let region = Region::with_state();
    let directory = region.home().join("repository");
    let root = directory.join("metadata/1.root.json");
    let release = crate::region::block_on(Release::read(&Repository { directory, root }, "north-1")).unwrap();
    let bytes = release.descriptor().unwrap();
    assert!(bytes.len() <= MAX_DESCRIPTOR as usize);
    let read: Descriptor = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(serde_json::to_vec(&read).unwrap(), bytes);
    assert_eq!(read.target, "state/north-1.json");
}
