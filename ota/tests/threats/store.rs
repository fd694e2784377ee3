//! A store that is slow, endless, too large, elsewhere or broken.
use crate::region::{Device, Region, code};
use crate::web::{Manner, Web};
use std::time::{Duration, Instant};
use sund_ota::trust::{Pace, Source, Transport, Trusted};

/// As the updater makes its client: no redirect is followed.
pub fn client() -> reqwest::Client {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap()
}

/// A pace at which a test can wait.
pub fn hurried() -> Transport {
    Transport::http(client()).paced(Pace { window: Duration::from_millis(1500), least: 4096, ..Pace::default() })
}

async fn load(device: &Device, web: &Web) -> Result<Trusted, sund_ota::fault::Fault> {
    device.load_from(&web.url, hurried()).await
}

const METADATA: [&str; 4] = ["timestamp.json", "1.snapshot.json", "1.targets.json", "2.root.json"];

async fn each_metadata_file(manner: Manner, expected: &str) {
    for file in METADATA {
        let mut region = Region::new();
        let device = region.device();
        region.root.version = 2;
        region.publish();
        let web = Web::serve(region.path()).await;
        web.behave(file, manner);
        assert_eq!(code(load(&device, &web).await), expected, "{file}");
        web.behave_well();
        assert_eq!(code(load(&device, &web).await), "", "{file}");
    }
}

#[tokio::test]
async fn endless_metadata_is_refused() {
    each_metadata_file(Manner::Endless, "endless-data").await;
}

#[tokio::test]
async fn oversized_metadata_is_refused_before_it_is_read() {
    each_metadata_file(Manner::Longer(8 * 1024 * 1024), "metadata-oversized").await;
}

#[tokio::test]
async fn slow_metadata_is_refused_in_time() {
    let begun = Instant::now();
    each_metadata_file(Manner::Drips, "slow-data").await;
    assert!(begun.elapsed() < Duration::from_mins(1), "each ends with its window");
}

#[tokio::test]
async fn metadata_that_drips_just_fast_enough_is_refused_in_time() {
    let region = Region::new();
    let web = Web::serve(region.path()).await;
    web.behave("1.snapshot.json", Manner::Drips);
    let pace = Pace { least: 1, metadata: Duration::from_secs(3), ..Pace::default() };
    let begun = Instant::now();
    let device = region.device();
    assert_eq!(code(device.load_from(&web.url, Transport::http(client()).paced(pace)).await), "slow-data");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_store_that_sends_the_box_elsewhere_is_not_followed() {
    each_metadata_file(Manner::Redirects, "store-redirects").await;
    // A client that follows by itself is not believed either.
    let region = Region::new();
    let web = Web::serve(region.path()).await;
    std::fs::create_dir_all(region.path().join("elsewhere/metadata")).unwrap();
    std::fs::copy(region.metadata().join("timestamp.json"), region.path().join("elsewhere/metadata/timestamp.json"))
        .unwrap();
    web.behave("/metadata/timestamp.json", Manner::Redirects);
    let follows = reqwest::Client::builder().no_proxy().build().unwrap();
    let device = region.device();
    assert_eq!(code(device.load_from(&web.url, Transport::http(follows)).await), "store-redirects");
}

#[tokio::test]
async fn a_store_that_fails_is_not_taken_for_one_without_a_newer_root() {
    each_metadata_file(Manner::Fails, "store-failed").await;
}

#[tokio::test]
async fn truncated_metadata_is_refused() {
    for (file, expected) in [("timestamp.json", "metadata-malformed"), ("1.snapshot.json", "metadata-mixed")] {
        let region = Region::new();
        let web = Web::serve(region.path()).await;
        web.behave(file, Manner::Truncated(100));
        assert_eq!(code(load(&region.device(), &web).await), expected);
    }
}

#[tokio::test]
async fn a_store_without_metadata_or_without_an_answer_is_named() {
    let region = Region::new();
    let web = Web::serve(region.path()).await;
    std::fs::remove_file(region.metadata().join("timestamp.json")).unwrap();
    assert_eq!(code(load(&region.device(), &web).await), "store-incomplete");
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = url::Url::parse(&format!("http://{}/", nobody.local_addr().unwrap())).unwrap();
    drop(nobody);
    assert_eq!(code(region.device().load_from(&url, hurried()).await), "store-unreachable");
}

#[tokio::test]
async fn a_base_that_nothing_lies_below_is_refused() {
    let region = Region::new();
    let device = region.device();
    let source = Source {
        metadata: "mailto:channel@region.example".parse().unwrap(),
        targets: "mailto:channel@region.example".parse().unwrap(),
        root: device.root.clone(),
        datastore: device.datastore(),
    };
    assert_eq!(code(Trusted::load(&source, hurried()).await), "store-address");
}

#[tokio::test]
async fn a_token_goes_to_its_own_server_alone() {
    let region = Region::new();
    let (web, other) = (Web::serve(region.path()).await, Web::serve(region.path()).await);
    let token = reqwest::header::HeaderValue::from_static("TargetToken secret");
    let transport = hurried().authorized(web.url.origin(), token);
    let arrived = transport.arrived();
    assert_eq!(code(region.device().load_from(&web.url, transport.clone()).await), "");
    assert!(!web.tokens().is_empty() && web.tokens().iter().all(|token| token == "TargetToken secret"));
    assert!(arrived.load(std::sync::atomic::Ordering::Relaxed) > 1000, "what arrives is counted");
    assert_eq!(code(region.device().load_from(&other.url, transport).await), "");
    assert!(other.tokens().is_empty());
}
