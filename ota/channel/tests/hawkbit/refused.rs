//! What no box would take is not handed to hawkBit.
use super::region::Region;
use jiff::{SignedDuration, Timestamp};
use std::path::Path;
use sund_channel::hawkbit::{Release, Repository};

fn repository(region: &Region, root: &Path) -> Repository {
    Repository { directory: region.path().to_owned(), root: root.to_owned() }
}

async fn code(region: &Region, root: &Path, name: &str) -> String {
    Release::read(&repository(region, root), name).await.map_err(|fault| fault.code.to_string()).expect_err("refused")
}

#[tokio::test]
async fn a_state_is_read_as_a_box_reads_it() {
    let region = Region::new(&["north-1"]).await;
    let root = region.path().join("metadata/1.root.json");
    let release = Release::read(&repository(&region, &root), "north-1").await.expect("listed and whole");
    let descriptor = release.descriptor().expect("bytes");
    let read = sund_ota::descriptor::Descriptor::parse(&descriptor).expect("a box reads it");
    assert_eq!((read.target.as_str(), read.sha256.as_str()), ("state/north-1.json", release.version()));
}

#[tokio::test]
async fn a_state_that_the_region_does_not_list_is_not_pushed() {
    let region = Region::new(&["north-1"]).await;
    let root = region.path().join("metadata/1.root.json");
    assert_eq!(code(&region, &root, "north-2").await, "target-not-approved");
    assert_eq!(code(&region, &root, "*").await, "name-invalid");
    assert_eq!(code(&region, &root, "../north-1").await, "name-invalid");
}

#[tokio::test]
async fn an_altered_state_is_not_pushed() {
    let region = Region::new(&["north-1"]).await;
    let root = region.path().join("metadata/1.root.json");
    std::fs::write(region.file_of("north-1"), r#"{"format":1,"name":"north-2"}"#).expect("written");
    assert_eq!(code(&region, &root, "north-1").await, "metadata-refused");
}

#[tokio::test]
async fn another_regions_state_is_not_pushed() {
    let (region, other) = (Region::new(&["north-1"]).await, Region::new(&["north-1"]).await);
    assert_eq!(code(&region, &other.path().join("metadata/1.root.json"), "north-1").await, "metadata-refused");
}

#[tokio::test]
async fn expired_metadata_pushes_nothing() {
    let yesterday = Timestamp::from_second(Timestamp::now().as_second()).expect("now") - SignedDuration::from_hours(24);
    let region = Region::signed(&["north-1"], yesterday).await;
    assert_eq!(code(&region, &region.path().join("metadata/1.root.json"), "north-1").await, "metadata-refused");
}
