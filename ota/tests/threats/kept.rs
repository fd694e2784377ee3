//! What a box keeps of the repository so as not to fetch it again is no more believed than what comes.
use super::store::client;
use crate::appliance::Appliance;
use crate::region::{Device, Region, after, code};
use crate::web::Web;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;
use sund_ota::documents::SUSPENSIONS;
use sund_ota::trust::{Transport, Trusted};

/// What a poll that finds nothing new asks the repository for: whether the root was rotated, and whether anything is new.
const NOTHING_NEW: [&str; 2] = ["/repository/metadata/2.root.json", "/repository/metadata/timestamp.json"];

/// Polls once, and tells what the repository was asked for.
async fn asked(appliance: &Appliance) -> Vec<String> {
    appliance.channel.told().asked.clear();
    assert_eq!(appliance.once().await, Some(0));
    let mut told = appliance.channel.told();
    let mut asked: Vec<String> = told.asked.drain(..).filter(|path| path.starts_with("/repository")).collect();
    asked.sort();
    asked
}

fn kept(appliance: &Appliance) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(appliance.directory.path().join("updater/tuf/kept")).expect("a directory");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

async fn box_that_knows_what_is_listed() -> Appliance {
    let mut appliance = Appliance::serving().await;
    let suspensions = json!({"format": 1, "suspensions": []}).to_string();
    appliance.region.approve("state", SUSPENSIONS, suspensions.as_bytes());
    appliance.publish();
    assert!(asked(&appliance).await.iter().any(|path| path.contains("suspensions")));
    appliance
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_that_finds_the_same_timestamp_asks_for_nothing_else() {
    let mut appliance = box_that_knows_what_is_listed().await;
    assert_eq!(asked(&appliance).await, NOTHING_NEW);

    // What is new is fetched, and what it replaces is kept no longer.
    let before = kept(&appliance).len();
    appliance.publish();
    let new = asked(&appliance).await;
    assert!(new.len() > 2 && !new.iter().any(|path| path.contains("/targets/")), "{new:?}");
    assert_eq!(kept(&appliance).len(), before);
    assert_eq!(asked(&appliance).await, NOTHING_NEW);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_file_that_is_damaged_cut_or_gone_is_fetched_anew() {
    let appliance = box_that_knows_what_is_listed().await;
    let damages: [fn(&PathBuf); 3] = [
        |path| {
            let mut bytes = std::fs::read(path).expect("a file");
            let at = bytes.len() / 2;
            bytes[at] ^= 1;
            std::fs::write(path, bytes).expect("the disk");
        },
        |path| std::fs::write(path, b"{").expect("the disk"),
        |path| std::fs::remove_file(path).expect("the disk"),
    ];
    for damage in damages {
        let files = kept(&appliance);
        files.iter().for_each(damage);
        assert_eq!(asked(&appliance).await.len(), NOTHING_NEW.len() + files.len());
        assert_eq!(asked(&appliance).await, NOTHING_NEW);
    }
}

#[tokio::test]
async fn a_box_that_is_shown_the_same_for_ever_finds_what_it_has_kept_expired() {
    let mut frozen = Vec::new();
    for (role, expected) in [
        ("timestamp", "timestamp-expired"),
        ("snapshot", "snapshot-expired"),
        ("targets", "targets-expired"),
        ("state", "role-expired"),
    ] {
        let mut region = Region::new();
        let (device, state) = (region.device(), region.state());
        // Each has its own time to be loaded in, however slow the machine is.
        let expires = after(SignedDuration::from_secs(10));
        region.role(role).expires = expires;
        region.release(role);
        let web = Web::serve(region.path()).await;
        assert_eq!(code(load(&device, &web).await.expect("it holds").state(&state).await), "", "{role}");
        frozen.push((region, device, state, web, expires, expected));
    }
    for (_region, device, state, web, expires, expected) in &frozen {
        while Timestamp::now() < *expires {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let refused = match load(device, web).await {
            Ok(trusted) => code(trusted.state(state).await),
            Err(fault) => fault.code.into_owned(),
        };
        assert_eq!(refused, *expected);
        assert_eq!(web.asked("snapshot.json").len(), 1, "{expected}: it comes from what is kept");
    }
}

async fn load(device: &Device, web: &Web) -> Result<Trusted, sund_ota::fault::Fault> {
    device.load_from(&web.url, Transport::http(client())).await
}
