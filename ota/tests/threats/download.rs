//! A target on its way: whole, genuine and durable, or not there.
use super::store::{client, hurried};
use crate::region::{Device, MODEL, Region, code, model_bytes, pin};
use crate::web::{Manner, Web};
use std::fs;
use std::num::NonZeroU64;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use sund_ota::fault::Fault;
use sund_ota::state::Pin;
use sund_ota::trust::{Pace, Transport};

const FILE: &str = "brain.sund";
const LENGTH: usize = 400_000;

async fn fetch(device: &Device, web: &Web, transport: Transport, model: &Pin) -> Result<(), Fault> {
    let trusted = device.load_from(&web.url, transport).await?;
    trusted.fetch(model, &device.store(FILE)).await.map(|_| ())
}

fn model() -> Pin {
    pin(MODEL, &model_bytes())
}

fn is_there(device: &Device) -> bool {
    fs::read(device.store(FILE)).is_ok_and(|bytes| bytes == model_bytes())
}

#[tokio::test]
async fn a_target_that_is_not_what_was_signed_is_refused_and_not_kept() {
    assert_eq!(model_bytes().len(), LENGTH);
    for (manner, expected) in [
        (Some(Manner::Endless), "endless-data"),
        (Some(Manner::Longer(1)), "target-altered"),
        (Some(Manner::Truncated(LENGTH / 2)), "target-truncated"),
        (Some(Manner::Truncated(0)), "target-truncated"),
        (Some(Manner::Redirects), "store-redirects"),
        (Some(Manner::Fails), "store-failed"),
        (None, "target-altered"),
    ] {
        let region = Region::new();
        let device = region.device();
        let web = Web::serve(region.path()).await;
        let path = region.payload(MODEL, &model_bytes());
        match manner {
            Some(manner) => web.behave(MODEL.rsplit_once('/').unwrap().1, manner),
            None => {
                let mut bytes = model_bytes();
                bytes[LENGTH - 1] ^= 1;
                fs::write(&path, bytes).unwrap();
            }
        }
        assert_eq!(code(fetch(&device, &web, hurried(), &model()).await), expected, "{manner:?}");
        assert!(!device.store(FILE).exists(), "{manner:?}");
        assert!(fs::metadata(device.store("brain.part")).map_or(0, |about| about.len()) == 0, "{manner:?}");
        web.behave_well();
        fs::write(&path, model_bytes()).unwrap();
        assert_eq!(code(fetch(&device, &web, hurried(), &model()).await), "", "{manner:?}");
        assert!(is_there(&device));
    }
}

#[tokio::test]
async fn a_slow_target_is_refused_and_what_came_of_it_is_gone_on_with() {
    let region = Region::new();
    let device = region.device();
    let web = Web::serve(region.path()).await;
    web.behave(".brain", Manner::Drips);
    let begun = Instant::now();
    assert_eq!(code(fetch(&device, &web, hurried(), &model()).await), "slow-data");
    assert!(begun.elapsed() < Duration::from_secs(20));
    web.behave_well();
    let came = fs::metadata(device.store("brain.part")).unwrap().len();
    // A server that drips may send wrong bytes as well; here it sent the first byte again and again.
    assert!(came > 0);
    assert_eq!(code(fetch(&device, &web, hurried(), &model()).await), "");
    assert_eq!(web.asked(".brain"), [0, came, 0], "gone on with, found altered, fetched from the beginning");
    assert!(is_there(&device));
}

#[tokio::test]
async fn a_broken_line_is_taken_up_where_it_broke() {
    let region = Region::new();
    let device = region.device();
    let web = Web::serve(region.path()).await;
    web.behave(".brain", Manner::Breaks(100_000));
    assert_eq!(code(fetch(&device, &web, hurried(), &model()).await), "");
    let asked = web.asked(".brain");
    assert_eq!(asked.first(), Some(&0));
    assert!(asked.len() >= 4 && asked.windows(2).all(|pair| pair[0] < pair[1]), "{asked:?}");
    assert!(is_there(&device));
}

#[tokio::test]
async fn a_line_that_brings_nothing_is_left_to_the_next_poll() {
    let region = Region::new();
    let device = region.device();
    let web = Web::serve(region.path()).await;
    web.behave(".brain", Manner::Breaks(0));
    assert_eq!(code(fetch(&device, &web, hurried(), &model()).await), "store-unreachable");
    assert_eq!(web.asked(".brain").len(), 1);
}

#[tokio::test]
async fn a_server_without_ranges_serves_it_from_the_beginning() {
    let region = Region::new();
    let device = region.device();
    let web = Web::serve(region.path()).await;
    fs::create_dir_all(device.store("")).unwrap();
    fs::write(device.store("brain.part"), &model_bytes()[..1000]).unwrap();
    web.behave(".brain", Manner::KnowsNoRanges);
    assert_eq!(code(fetch(&device, &web, hurried(), &model()).await), "");
    assert!(is_there(&device));
}

#[tokio::test]
async fn what_is_complete_already_is_hashed_and_not_asked_for() {
    let region = Region::new();
    let device = region.device();
    let web = Web::serve(region.path()).await;
    fs::create_dir_all(device.store("")).unwrap();
    fs::write(device.store("brain.part"), model_bytes()).unwrap();
    assert_eq!(code(fetch(&device, &web, hurried(), &model()).await), "");
    assert_eq!(code(fetch(&device, &web, hurried(), &model()).await), "");
    assert!(web.asked(".brain").is_empty());
    // A file that a disk has altered is fetched again.
    let mut bytes = model_bytes();
    bytes[7] ^= 1;
    fs::write(device.store(FILE), bytes).unwrap();
    assert_eq!(code(fetch(&device, &web, hurried(), &model()).await), "");
    assert!(is_there(&device));
    // So is a part that a power cut tore.
    fs::remove_file(device.store(FILE)).unwrap();
    fs::write(device.store("brain.part"), [&[0; 5000][..], &model_bytes()[5000..9000]].concat()).unwrap();
    assert_eq!(code(fetch(&device, &web, hurried(), &model()).await), "");
    assert!(is_there(&device));
}

#[tokio::test]
async fn a_target_that_does_not_fit_on_the_disk_is_not_begun() {
    let mut region = Region::new();
    let device = region.device();
    let huge = region.role("models/acme").list("models/acme/huge-1.sund", b"small in the store");
    region.release("models/acme");
    let signers = region.role("models/acme").signers.clone();
    region.alter("2.models/acme.json", &signers, |signed| {
        signed["targets"]["models/acme/huge-1.sund"]["length"] = serde_json::json!(1_u64 << 60);
    });
    region.snapshot.version += 1;
    region.timestamp.version += 1;
    region.publish_online();
    let web = Web::serve(region.path()).await;
    let huge = Pin { length: 1 << 60, ..huge };
    assert_eq!(code(fetch(&device, &web, hurried(), &huge).await), "disk-full");
    assert!(web.asked("huge").is_empty());
}

#[tokio::test]
async fn a_cap_is_kept_and_makes_no_slow_server() {
    let region = Region::new();
    let device = region.device();
    let web = Web::serve(region.path()).await;
    let pace = Pace { window: Duration::from_secs(1), least: 300_000, ..Pace::default() };
    let transport = Transport::http(client()).paced(pace).capped(NonZeroU64::new(250_000));
    let begun = Instant::now();
    assert_eq!(code(fetch(&device, &web, transport, &model()).await), "");
    let seconds = begun.elapsed().as_secs_f64();
    assert!(seconds >= LENGTH as f64 / 250_000.0, "{LENGTH} bytes came in {seconds:.2} s");
}

const CHILD: &str = "SUND_TEST_FETCH_INTO";

/// The test runs itself once more as the process that is killed.
#[tokio::test]
async fn a_fetch_that_was_killed_goes_on_where_it_stopped() {
    if let Ok(told) = std::env::var(CHILD) {
        let told: Vec<&str> = told.split(' ').collect();
        let device = Device::at(told[1].as_ref());
        let trusted = device.load_from(&told[0].parse().unwrap(), Transport::http(client())).await.unwrap();
        let _ = trusted.fetch(&model(), &device.store(FILE)).await;
        return;
    }
    let region = Region::new();
    let device = region.device();
    fs::write(device.path().join("root.json"), &device.root).unwrap();
    let web = Web::serve(region.path()).await;
    web.behave(".brain", Manner::Slowly);
    let part = device.store("brain.part");
    let length = || fs::metadata(&part).map_or(0, |about| about.len());
    for _ in 0..3 {
        let before = length();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "threats::download::a_fetch_that_was_killed_goes_on_where_it_stopped"])
            .env(CHILD, format!("{} {}", web.url, device.path().display()))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while length() < before + 30_000 {
            assert!(begun.elapsed() < Duration::from_secs(30), "nothing came");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!device.store(FILE).exists());
    }
    let came = length();
    web.behave_well();
    assert_eq!(code(fetch(&device, &web, hurried(), &model()).await), "");
    assert_eq!(web.asked(".brain").last(), Some(&came), "only the rest was asked for");
    assert!(is_there(&device));
}

#[tokio::test]
async fn a_disk_that_takes_nothing_is_named() {
    let region = Region::new();
    let device = region.device();
    let web = Web::serve(region.path()).await;
    // A directory lies where the part is to be written.
    fs::create_dir_all(device.store("brain.part")).unwrap();
    assert_eq!(code(fetch(&device, &web, hurried(), &model()).await), "disk-failed");
}
