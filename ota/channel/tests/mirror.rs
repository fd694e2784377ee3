//! A mirror over time: a line that breaks, two runs at once, and what the region lists no more.
use crate::copies::{Line, serve_on};
use crate::fixture::{Channel, PLAIN};
use crate::region::{Ended, Region, TWO, block_on, frozen, room, text};
use rcgen::{CertificateParams, KeyPair};
use reqwest::StatusCode;
use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use sund_channel::repository::local;
use sund_channel::rollout::orders::Order;
use sund_channel::server::control::{Answer, Request};
use sund_ota::descriptor::Descriptor;
use sund_ota::documents::{SUSPENSIONS, Suspensions};
use sund_ota::limits::MAX_STATE;
use sund_ota::state::Pin;
use tokio::task::block_in_place;

/// A hospital's copy of a region with one state.
struct Hospital {
    region: Region,
    origin: String,
    line: Arc<Line>,
}

impl Hospital {
    fn new() -> Self {
        let region = Region::with_state();
        let (origin, line) = serve_on(region.home().join("repository"));
        Self { region, origin, line }
    }

    fn copy(&self) -> PathBuf {
        self.region.path("mirror")
    }

    fn mirror(&self) -> Ended {
        let root = self.region.home().join("repository/metadata/1.root.json");
        self.region.run(&["mirror", text(&self.copy()), "--from", &self.origin, "--root", text(&root)])
    }

    /// The same, with a disk that is as [`Region::run_with`] says.
    fn mirror_with(&self, fault: &str, on: Option<&Path>) -> Ended {
        let root = self.region.home().join("repository/metadata/1.root.json");
        self.region.run_with(fault, on, &["mirror", text(&self.copy()), "--from", &self.origin, "--root", text(&root)])
    }

    /// The model's file, which the copy has or may get.
    fn model(&self) -> PathBuf {
        let models = "targets/models/sund";
        let mut there = fs::read_dir(self.region.home().join("repository").join(models)).unwrap().flatten();
        self.copy().join(models).join(there.next().unwrap().file_name())
    }
}

fn part(path: &Path) -> PathBuf {
    path.with_added_extension("part")
}

#[test]
fn a_mirror_goes_on_where_the_line_broke_and_believes_nothing_of_what_lay_there() {
    let hospital = Hospital::new();
    let model = hospital.model();
    let package = fs::read(frozen("format-1.sund")).unwrap();
    hospital.line.breaks_after.store(1000, Ordering::Relaxed);
    let ended = hospital.mirror();
    assert_eq!((ended.code, ended.refusal()), (Some(69), "origin-unreachable"), "{:#}", ended.json);
    assert!(hospital.copy().join("metadata/timestamp.json").exists() && !model.exists());
    assert_eq!(fs::read(part(&model)).unwrap(), package[..1000]);
    hospital.line.breaks_after.store(usize::MAX, Ordering::Relaxed);
    assert_eq!(hospital.mirror().code, Some(0));
    assert_eq!(*hospital.line.ranges.lock().unwrap(), ["bytes=1000-"]);
    assert!(fs::read(&model).unwrap() == package && !part(&model).exists());

    // What a power cut leaves: bytes that never came, too many of them, all of them without their name.
    for left in [vec![0; 500], vec![0; package.len()], vec![0; package.len() + 1], package.clone()] {
        fs::remove_file(&model).unwrap();
        fs::write(part(&model), &left).unwrap();
        let ended = hospital.mirror();
        assert_eq!(ended.code, Some(0), "{} bytes: {:#}", left.len(), ended.json);
        assert!(fs::read(&model).unwrap() == package && !part(&model).exists());
    }
    assert_eq!(*hospital.line.ranges.lock().unwrap(), ["bytes=1000-", "bytes=500-"]);
}

#[test]
fn what_a_disk_has_altered_is_fetched_anew() {
    let hospital = Hospital::new();
    let model = hospital.model();
    assert_eq!(hospital.mirror().code, Some(0));
    let mut bytes = fs::read(&model).unwrap();
    bytes[1000] ^= 1;
    fs::write(&model, &bytes).unwrap();
    let ended = hospital.mirror();
    assert_eq!((ended.code, &ended.json["fetched"]), (Some(0), &1.into()), "{:#}", ended.json);
    assert!(fs::read(&model).unwrap() == fs::read(frozen("format-1.sund")).unwrap() && !part(&model).exists());
}

#[test]
fn what_a_disk_does_not_read_any_more_is_fetched_anew() {
    let hospital = Hospital::new();
    let model = hospital.model();
    assert_eq!(hospital.mirror().code, Some(0));
    // Whoever opens it gets an error, and not that it isn't there.
    fs::remove_file(&model).unwrap();
    std::os::unix::fs::symlink(&model, &model).unwrap();
    let ended = hospital.mirror();
    assert_eq!((ended.code, &ended.json["fetched"]), (Some(0), &1.into()), "{:#}", ended.json);
    assert!(fs::read(&model).unwrap() == fs::read(frozen("format-1.sund")).unwrap() && !model.is_symlink());
}

#[test]
fn what_the_region_says_does_not_wait_for_a_payload_that_a_disk_has_altered() {
    let hospital = Hospital::new();
    let (region, model) = (&hospital.region, hospital.model());
    assert_eq!(hospital.mirror().code, Some(0));
    let mut bytes = fs::read(&model).unwrap();
    bytes[1000] ^= 1;
    fs::write(&model, &bytes).unwrap();
    // It can't be had anew at present.
    let origin = region.home().join("repository").join(model.strip_prefix(hospital.copy()).unwrap());
    fs::rename(&origin, origin.with_extension("away")).unwrap();
    region.must(&["stop-all", "--reason", "a test"]);
    region.publish("state-3", &TWO);
    let ended = hospital.mirror();
    assert_eq!(ended.refusal(), "origin-altered", "{:#}", ended.json);
    let shown = |home: &Path| fs::read(home.join("metadata/timestamp.json")).unwrap();
    assert!(shown(&hospital.copy()) == shown(&region.home().join("repository")), "it stops all the same");
    fs::rename(origin.with_extension("away"), &origin).unwrap();
    let ended = hospital.mirror();
    assert_eq!((ended.code, &ended.json["fetched"]), (Some(0), &1.into()), "{:#}", ended.json);
}

#[test]
fn what_the_region_suspends_does_not_wait_for_a_payload_that_the_origin_lacks() {
    let hospital = Hospital::new();
    let (region, origin) = (&hospital.region, hospital.region.home().join("repository"));
    assert_eq!(hospital.mirror().code, Some(0));
    let (os, south) = (region.file("os.raucb", "an operating system"), region.file("south.toml", "title = \"S\"\n"));
    let digest = "a".repeat(64);
    region.must(&["publish", "os", text(&os), "--version", "1.2.0", "--manifest-sha256", &digest]);
    region.must(&["publish", "config", text(&south), "--name", "south", "--with", "os-2"]);
    region.must(&["suspend", "brain", "--unlisted", "--reason", "drift", "--with", "os-2"]);
    region.publish("os-2", &TWO);
    let place = only(&origin.join("targets/os"));
    let bytes = fs::read(&place).unwrap();
    let mut altered = bytes.clone();
    altered[0] ^= 1;
    let shown = |home: &Path| fs::read(home.join("metadata/timestamp.json")).unwrap();
    for damage in [Some(altered), Some(bytes[1..].to_vec()), None] {
        match damage {
            Some(bytes) => fs::write(&place, bytes).unwrap(),
            None => fs::remove_file(&place).unwrap(),
        }
        let ended = hospital.mirror();
        assert_eq!((ended.code, ended.refusal()), (Some(65), "origin-altered"), "{:#}", ended.json);
        let reason = ended.json["error"]["reason"].as_str().unwrap();
        assert!(reason.contains("os/sund-1.2.0.raucb"), "{reason}");
        assert!(shown(&hospital.copy()) == shown(&origin));
    }
    // A box behind it hears the suspension, has all that its own state names, and is told that the system is not there yet.
    let datastore = tempfile::tempdir().unwrap();
    let root = fs::read(origin.join("metadata/1.root.json")).unwrap();
    let trusted = block_on(local::load(&hospital.copy(), root, datastore.path().to_owned())).unwrap();
    let suspensions = block_on(trusted.document(SUSPENSIONS, MAX_STATE)).unwrap().unwrap();
    assert!(Suspensions::parse(suspensions.get()).unwrap().of("brain", "1.0.0").is_some());
    let status = region.must(&["status"]);
    let listed = |target: &str| Pin {
        target: target.to_owned(),
        sha256: status["targets"][target]["sha256"].as_str().unwrap().to_owned(),
        length: status["targets"][target]["length"].as_u64().unwrap(),
    };
    let Pin { target, sha256, length } = listed("state/north-1.json");
    let state = block_on(trusted.state(&Descriptor { format: 1, target, sha256, length })).unwrap();
    let into = datastore.path().join("payload");
    for pin in state.get().pins() {
        block_on(trusted.fetch(pin, &into)).unwrap();
    }
    let missing = block_on(trusted.fetch(&listed("os/sund-1.2.0.raucb"), &into)).unwrap_err();
    assert_eq!(missing.code, "store-incomplete");
    assert_eq!(fs::read_dir(hospital.copy().join("targets/config")).unwrap().count(), 2, "what can be had comes");

    fs::write(&place, bytes).unwrap();
    let ended = hospital.mirror();
    assert_eq!((ended.code, &ended.json["fetched"]), (Some(0), &1.into()), "{:#}", ended.json);
}

#[test]
fn what_the_region_suspends_does_not_wait_for_a_payload_that_is_being_fetched() {
    let hospital = Hospital::new();
    let region = &hospital.region;
    assert_eq!(hospital.mirror().code, Some(0));
    let (os, digest) = (region.file("os.raucb", "an operating system"), "a".repeat(64));
    region.must(&["publish", "os", text(&os), "--version", "1.2.0", "--manifest-sha256", &digest]);
    region.publish("os-2", &TWO);
    hospital.line.is_slow.store(true, Ordering::Relaxed);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| hospital.mirror());
        let end = Instant::now() + Duration::from_secs(20);
        while hospital.line.systems.load(Ordering::Relaxed) == 0 {
            assert!(Instant::now() < end, "the system is not asked for");
            std::thread::sleep(Duration::from_millis(20));
        }
        region.must(&["suspend", "brain", "--unlisted", "--reason", "drift"]);
        region.publish("state-3", &TWO);
        let second = hospital.mirror();
        assert_eq!((second.code, &second.json["busy"]), (Some(0), &true.into()), "{:#}", second.json);
        let shown = |home: &Path| fs::read(home.join("metadata/timestamp.json")).unwrap();
        assert!(shown(&hospital.copy()) == shown(&region.home().join("repository")));
        let documents = fs::read_dir(hospital.copy().join("targets/state")).unwrap().flatten();
        assert_eq!(documents.filter(|it| text(&it.path()).ends_with(".suspensions.json")).count(), 1);
        assert!(!first.is_finished(), "it was still being fetched");
        hospital.line.is_slow.store(false, Ordering::Relaxed);
        let first = first.join().unwrap();
        assert_eq!((first.code, &first.json["fetched"]), (Some(0), &1.into()), "{:#}", first.json);
    });
    let third = hospital.mirror();
    assert_eq!((third.code, &third.json["fetched"], &third.json["busy"]), (Some(0), &0.into(), &false.into()));
}

#[test]
fn what_the_region_suspends_does_not_wait_for_a_payload_that_does_not_fit() {
    let hospital = Hospital::new();
    let (region, origin) = (&hospital.region, hospital.region.home().join("repository"));
    assert_eq!(hospital.mirror().code, Some(0));
    let (os, digest) = (region.path("os.raucb"), "a".repeat(64));
    fs::write(&os, vec![7; 1024 * 1024]).unwrap();
    region.must(&["publish", "os", text(&os), "--version", "1.2.0", "--manifest-sha256", &digest]);
    region.must(&["suspend", "brain", "--unlisted", "--reason", "drift", "--with", "os-2"]);
    region.publish("os-2", &TWO);
    // 64 MiB are kept for what the region says.
    let almost = room(65 * 1024 * 1024 - 1);
    let ended = hospital.mirror_with(&almost, None);
    assert_eq!((ended.code, ended.refusal()), (Some(74), "disk-full"), "{:#}", ended.json);
    let shown = |home: &Path| fs::read(home.join("metadata/timestamp.json")).unwrap();
    assert!(shown(&hospital.copy()) == shown(&origin));
    let systems = hospital.copy().join("targets/os");
    assert!(!systems.exists(), "it is not begun");

    // What is there of it has its room already.
    fs::create_dir(&systems).unwrap();
    let place = systems.join(only(&origin.join("targets/os")).file_name().unwrap());
    fs::write(part(&place), [7]).unwrap();
    let ended = hospital.mirror_with(&almost, None);
    assert_eq!((ended.code, &ended.json["fetched"]), (Some(0), &1.into()), "{:#}", ended.json);
}

#[test]
fn what_there_is_of_a_payload_makes_room_where_something_else_has_filled_the_disk() {
    let hospital = Hospital::new();
    let part = part(&hospital.model());
    hospital.line.breaks_after.store(1000, Ordering::Relaxed);
    hospital.mirror();
    assert_eq!(fs::metadata(&part).unwrap().len(), 1000);
    hospital.line.breaks_after.store(usize::MAX, Ordering::Relaxed);
    assert_eq!(hospital.mirror_with("write:error=ENOSPC", Some(&part)).refusal(), "disk-failed");
    assert_eq!(fs::metadata(&part).unwrap().len(), 0);
    assert_eq!(hospital.mirror().code, Some(0));
}

#[test]
fn a_line_that_breaks_at_each_payload_is_given_up_until_the_next_run() {
    let hospital = Hospital::new();
    let region = &hospital.region;
    hospital.line.breaks_after.store(1, Ordering::Relaxed);
    let digest = "a".repeat(64);
    for version in 0..4 {
        let os = region.file("os.raucb", &format!("operating system {version}"));
        let publish =
            ["publish", "os", text(&os), "--version", &format!("1.{version}.0"), "--manifest-sha256", &digest];
        let with: &[&str] = if version == 0 { &[] } else { &["--with", "os-2"] };
        region.must(&[&publish[..], with].concat());
    }
    region.publish("os-2", &TWO);
    let ended = hospital.mirror();
    assert_eq!((ended.code, ended.refusal()), (Some(69), "origin-unreachable"), "{:#}", ended.json);
    assert_eq!(fs::read_dir(hospital.copy().join("targets/os")).unwrap().count(), 3, "the fourth is not asked for");
    hospital.line.breaks_after.store(usize::MAX, Ordering::Relaxed);
    assert_eq!(hospital.mirror().code, Some(0));
}

/// The file in a directory.
fn only(directory: &Path) -> PathBuf {
    fs::read_dir(directory).unwrap().next().unwrap().unwrap().path()
}

#[test]
fn two_mirrors_do_not_work_in_one_directory() {
    let hospital = Hospital::new();
    fs::create_dir(hospital.copy()).unwrap();
    let other = File::open(hospital.copy()).unwrap();
    flock(&other, FlockOperation::LockExclusive).unwrap();
    let ended = hospital.mirror();
    assert_eq!((ended.code, ended.refusal()), (Some(64), "mirror-busy"));
    // Not by its end alone: a program that another test is just starting may have it for an instant.
    flock(&other, FlockOperation::Unlock).unwrap();
    assert_eq!(hospital.mirror().code, Some(0));
}

#[test]
fn what_is_listed_no_more_goes_one_snapshot_later_and_not_before() {
    let hospital = Hospital::new();
    let (region, model) = (&hospital.region, hospital.model());
    assert_eq!(hospital.mirror().code, Some(0));
    region.must(&["withdraw", "models/sund/positive-values-1.0.0.sund", "--reason", "a test"]);
    region.publish("models.sund-3", &TWO);
    for _ in 0..2 {
        let ended = hospital.mirror();
        assert_eq!((ended.code, &ended.json["removed"]), (Some(0), &0.into()), "{:#}", ended.json);
        assert!(model.exists(), "a box may be fetching it");
    }
    for stray in [part(&model), hospital.copy().join("targets/state/left")] {
        fs::write(stray, "left").unwrap();
    }
    region.must(&["stop-all", "--reason", "a test"]);
    region.publish("state-4", &TWO);
    let ended = hospital.mirror();
    // The model, its state, and what had been left.
    assert_eq!((ended.code, &ended.json["removed"]), (Some(0), &4.into()), "{:#}", ended.json);
    assert!(!model.exists() && !part(&model).exists());
    let configurations = fs::read_dir(hospital.copy().join("targets/config")).unwrap().count();
    assert_eq!(configurations, 1, "what is listed stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_is_enrolled_is_no_box() {
    let channel = Channel::start(PLAIN).await;
    let code = channel.secret(Request::EnrolMirror { name: "mirror".into(), hours: 1 }).await;
    let pair = KeyPair::generate().unwrap();
    let request = CertificateParams::default().serialize_request(&pair).unwrap().pem().unwrap();
    let request = json!({ "code": code, "csr_pem": request });
    let answer = channel.client(None).post(channel.url("/enrol")).json(&request).send().await.unwrap();
    let enrolled: Value = answer.json().await.unwrap();
    let identity = format!("{}{}", enrolled["certificate_pem"].as_str().unwrap(), pair.serialize_pem());
    let mirror = channel.client(Some(&identity));

    let asked = Request::Enrol { name: "mirror".into(), attributes: [].into(), hours: 1 };
    assert_eq!(channel.ask(asked).await.unwrap_err().code, "enrol-kind", "a code for a box would make one of it");
    assert_eq!(mirror.get(channel.root("mirror")).send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    channel.rollout("r1", "north-1", &["name=mirror"]).await.unwrap();
    assert_eq!(channel.order("r1", Order::Start).await.unwrap_err().code, "rollout-group-empty");

    // What it fetches is a word of it all the same.
    let timestamp = mirror.get(channel.url("/repository/metadata/timestamp.json")).send().await.unwrap();
    assert_eq!(timestamp.status(), StatusCode::OK);
    let heard = async || {
        let Answer::Overview(overview) = channel.ask(Request::Overview).await.unwrap() else { panic!() };
        let all = Request::Devices { search: String::new(), page: 0 };
        let Answer::Devices(devices, _) = channel.ask(all).await.unwrap() else { panic!() };
        assert_eq!((overview.devices, overview.installed.len(), devices.len(), devices[0].mirror), (0, 0, 1, true));
        devices[0].seen_at.is_some()
    };
    let end = Instant::now() + Duration::from_secs(20);
    while !heard().await {
        assert!(Instant::now() < end, "it is not heard");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_is_enrolled_by_its_code_as_a_box_is() {
    let channel = Channel::start_on(Region::with_state().into_home(), PLAIN).await;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (home, from) = (channel.home.path(), channel.url("/repository/"));
    let (root, ca) = (home.join("repository/metadata/1.root.json"), home.join("ca/ca.pem"));
    let mirror = |code: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sund-channel"));
        command.args(["--json", "mirror", &at("copy"), "--from", &from, "--root", text(&root), "--ca", text(&ca)]);
        command.args(["--certificate", &at("mirror.pem"), "--key", &at("mirror.key")]).args(code);
        let output = block_in_place(|| command.output().unwrap());
        (output.status.code(), serde_json::from_slice::<Value>(&output.stdout).unwrap_or_default())
    };
    let (code, told) = mirror(&["--code", "AB1CD-2EF3G-4HJ5K-6MN7P"]);
    assert_eq!((code, &told["error"]["code"]), (Some(65), &json!("mirror-certificate")), "{told:#}");
    assert!(!folder.path().join("copy/metadata").exists());
    let key = fs::read(at("mirror.key")).unwrap();
    let code = channel.secret(Request::EnrolMirror { name: "mirror".into(), hours: 1 }).await;
    // The answer of the first time is lost: the same code and the same key get another.
    for _ in 0..2 {
        let _ = fs::remove_file(at("mirror.pem"));
        let (ended, told) = mirror(&["--code", &code]);
        assert_eq!(ended, Some(0), "{told:#}");
        assert!(folder.path().join("copy/metadata/timestamp.json").exists());
        assert_eq!(fs::read(at("mirror.key")).unwrap(), key, "it is made once");
    }
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(at("mirror.key")).unwrap().permissions());
    assert_eq!(mode & 0o077, 0, "{mode:o}");
    // A code that stays in a unit does no harm, and none is needed from now on.
    let certificate = fs::read(at("mirror.pem")).unwrap();
    for code in [&["--code", "AB1CD-2EF3G-4HJ5K-6MN7P"][..], &[]] {
        assert_eq!(mirror(code).0, Some(0));
    }
    assert_eq!(fs::read(at("mirror.pem")).unwrap(), certificate);
    let all = Request::Devices { search: String::new(), page: 0 };
    let Answer::Devices(devices, _) = channel.ask(all).await.unwrap() else { panic!() };
    assert_eq!((devices.len(), devices[0].name.as_str(), devices[0].mirror), (1, "mirror", true));
    channel.stop().await;
}
