//! The fleet page in a real browser, over a server whose boxes really report.
use crate::enrol::request;
use crate::fixture::{Channel, Device, new};
use crate::people::{PASSWORD, settings};
use crate::region::{ROOT, Region, TWO};
use rcgen::KeyPair;
use reqwest::Method;
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use sund_channel::enrol::authority::Authority;
use sund_channel::rollout::filter::Attributes;
use sund_channel::rollout::orders::Order;
use sund_channel::rollout::{New, NewWave};
use sund_channel::server::control::Request;
use sund_ota::authorities::HEADER;
use tempfile::TempDir;
use tokio::task::block_in_place;

const SITES: [&str; 4] = ["odense", "vejle", "aalborg", "esbjerg"];

async fn fleet(channel: &Channel) -> Vec<Device> {
    let mut devices = Vec::new();
    for n in 0..24 {
        let ring = if n < 2 { "canary" } else { "standard" };
        let site = SITES[n % SITES.len()];
        devices.push(
            channel.device(&format!("{site}-{:02}", n / SITES.len() + 1), &[("site", site), ("ring", ring)]).await,
        );
    }
    devices
}

fn waves(name: &str, state: &str) -> New {
    let wave = |filter: &str| NewWave { filter: filter.into(), success: 100, error: 5 };
    New { waves: vec![wave("ring=canary"), wave("25%"), wave("100%")], all_at_once: false, ..new(name, state, &[]) }
}

/// A home whose region has suspended a model, has signed a second authority, and is asked to drop the first. Its timestamp cannot be renewed.
fn home() -> TempDir {
    let region = Region::with_state();
    let config =
        region.metadata("2.config.json")["signed"]["targets"].as_object().unwrap().keys().next().unwrap().clone();
    region.propose_state("north-2", &config, &[]);
    let reason = "drift at three sites";
    let suspended = region.must(&["suspend", "positive-values", "--reason", reason, "--with", "state-3"]);
    region.publish(suspended["proposal"].as_str().unwrap(), &TWO);
    let second = region.must(&["ca", "new"]);
    region.publish(second["proposal"].as_str().unwrap(), &ROOT[..2]);
    region.must(&["ca", "drop", "ca", "--force"]);
    let home = region.into_home();
    for key in fs::read_dir(home.path().join("keys")).unwrap().map(|entry| entry.unwrap().path()) {
        if key.file_name().unwrap().to_string_lossy().starts_with("timestamp") {
            fs::remove_file(key).unwrap();
        }
    }
    home
}

/// Gives boxes certificates as well, of the newest authority that is among those that they know.
async fn certify(channel: &Channel, devices: &[Device], knows: &str) {
    for device in devices {
        let name = device.name.clone();
        let code = channel.secret(Request::Enrol { name, attributes: Attributes::new(), hours: 1 }).await;
        let key = KeyPair::generate().unwrap();
        let asked = json!({ "code": code, "csr_pem": request(&key, &device.name) });
        let asked = device.client.post(channel.url("/enrol")).header(HEADER, knows).json(&asked);
        let answer: Value = asked.send().await.unwrap().json().await.unwrap();
        let identity = format!("{}{}", answer["certificate_pem"].as_str().unwrap(), key.serialize_pem());
        let polled = channel.client(Some(&identity)).get(&device.root).header(HEADER, knows).send().await.unwrap();
        assert!(polled.status().is_success(), "{answer}");
    }
}

/// A box says of itself what it is told to.
async fn tells(device: &Device, data: Value) {
    let told = device.request(Method::PUT, &format!("{}/configData", device.root));
    let told = told.json(&json!({ "mode": "replace", "data": data })).send().await.unwrap();
    assert!(told.status().is_success());
}

#[tokio::test(flavor = "multi_thread")]
async fn people_can_use_the_page_in_a_browser() {
    let channel = Channel::start_on(block_in_place(home), &settings()).await;
    let devices = fleet(&channel).await;
    let [first, second] =
        ["ca", "ca-2"].map(|name| Authority::read(channel.home.path(), name).unwrap().digest().to_owned());
    certify(&channel, &devices[..3], &first).await;
    certify(&channel, &devices[3..12], &format!("{first},{second}")).await;
    // The first on the page: `aalborg-01`.
    let offer = json!({ "format": 1, "recipient": "a".repeat(64), "sealed": "AAAA" });
    let kept = devices[2].request(Method::POST, &channel.url("/escrow")).json(&offer).send().await.unwrap();
    assert!(kept.status().is_success());
    let told = json!({ "variant": "debug", "repository": "1", "repository.trouble": "store-unreachable since 2026-11-01T12:00:00Z",
        "model.positive-values": "1.0.0 active" });
    tells(&devices[2], told).await;
    tells(&devices[6], json!({ "model.positive-values": "1.0.0 suspended" })).await;
    let python = std::env::var("SUND_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let shots = tempfile::tempdir().unwrap();
    let shots = std::env::var("SUND_TEST_SCREENSHOTS").unwrap_or_else(|_| shots.path().to_string_lossy().into_owned());
    let mut browser = Command::new(&python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/fleet.py"))
        .args([&channel.url(""), PASSWORD, &shots])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{python}: {error}: install Python 3 and set SUND_TEST_PYTHON"));
    let mut lines = BufReader::new(browser.stdout.take().unwrap()).lines();
    // The script says when it is ready for the next change, and looks for it without a reload.
    while let Some(line) = block_in_place(|| lines.next()).transpose().unwrap() {
        eprintln!("{line}");
        match line.as_str() {
            "NEXT made" => drop(channel.ask(Request::NewRollout(waves("spring", "north-1"))).await.unwrap()),
            "NEXT canaries" => {
                for device in &devices[..2] {
                    device.install("success", &["all golden cases hold"]).await;
                }
            }
            "NEXT failure" => {
                let hostile = "<img src=x onerror=\"document.title='hit'\">";
                let mut offered = Vec::new();
                channel.until("spring", |rollout| rollout.waves[1].begun_at.is_some()).await;
                for device in &devices[2..] {
                    if device.poll().await.contains_key("deploymentBase") {
                        offered.push(device);
                    }
                }
                // The failure last: it pauses the rollout, and a box that has not begun is then offered nothing.
                offered[1].install("success", &[]).await;
                offered[2].await_link("deploymentBase").await;
                offered[0].install("failure", &["golden case 3: dice 0.41, at least 0.90 is asked for", hostile]).await;
            }
            "NEXT later" => {
                channel.ask(Request::NewRollout(waves("summer", "north-2"))).await.unwrap();
                channel.until("spring", |rollout| rollout.status.word() == "running").await;
                channel.order("spring", Order::Pause).await.unwrap();
            }
            // Each box says that it runs a state of its own.
            "NEXT apart" => {
                for (n, device) in devices.iter().enumerate() {
                    let data = json!({ "data": { "state": format!("south-{n}") } });
                    let told = device.request(Method::PUT, &format!("{}/configData", device.root)).json(&data);
                    assert!(told.send().await.unwrap().status().is_success());
                }
            }
            _ => {}
        }
    }
    let needs = "it needs Chromium, chromedriver, and selenium in the Python of SUND_TEST_PYTHON";
    assert!(browser.wait().unwrap().success(), "the browser test failed, see above; {needs}");
    channel.stop().await;
}
