//! The signed repository, served as files.
use crate::fixture::{Channel, PLAIN};
use reqwest::{Method, StatusCode};
use std::fs;

#[tokio::test(flavor = "multi_thread")]
async fn payloads_are_for_enrolled_boxes_and_resume() {
    let channel = Channel::start(PLAIN).await;
    let odense = channel.device("odense-1", &[]).await;
    let folder = channel.home.path().join("repository/targets/models/north");
    fs::create_dir_all(&folder).unwrap();
    let payload: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    fs::write(folder.join("ab.brain.sund"), &payload).unwrap();
    fs::write(channel.home.path().join("repository/metadata/1.models%2Fnorth.json"), "{}").unwrap();
    let url = channel.url("/repository/targets/models/north/ab.brain.sund");
    assert_eq!(channel.client(None).get(&url).send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    let whole = odense.request(Method::GET, &url).send().await.unwrap();
    assert_eq!(whole.headers()["content-length"], "3000000");
    let tag = whole.headers()["etag"].clone();
    assert!(whole.bytes().await.unwrap() == payload);
    let rest = odense
        .request(Method::GET, &url)
        .header("range", "bytes=1999999-")
        .header("if-range", tag)
        .send()
        .await
        .unwrap();
    assert_eq!(rest.status(), StatusCode::PARTIAL_CONTENT);
    assert!(rest.bytes().await.unwrap() == payload[1_999_999..]);
    let head = odense.request(Method::HEAD, &url).send().await.unwrap();
    assert_eq!((head.status(), head.headers()["content-length"].to_str().unwrap()), (StatusCode::OK, "3000000"));
    let metadata = channel.url("/repository/metadata/1.models%2Fnorth.json");
    assert_eq!(odense.request(Method::GET, &metadata).send().await.unwrap().status(), StatusCode::OK);
    for outside in [
        "metadata/..%2f..%2fchannel.toml",
        "targets/..%2fchannel.toml",
        "targets/models",
        "targets/models/north/",
        "metadata/missing.json",
    ] {
        let url = channel.url(&format!("/repository/{outside}"));
        assert_eq!(
            odense.request(Method::GET, &url).send().await.unwrap().status(),
            StatusCode::NOT_FOUND,
            "{outside}"
        );
    }
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_repository_is_for_anybody() {
    let channel = Channel::start("open_repository = true").await;
    let url = channel.url("/repository/metadata/timestamp.json");
    let answer = channel.client(None).get(&url).send().await.unwrap();
    assert_eq!((answer.status(), answer.headers()["cache-control"].to_str().unwrap()), (StatusCode::OK, "no-cache"));
    channel.stop().await;
}
