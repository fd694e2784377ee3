//! A bundle on a stick that is put into a box, as its unit takes it: nobody types, and nobody but the screen is told.
use super::appliance::Appliance;
use super::audit::codes;
use super::conversation::{Running, until};
use super::stick::{FAR, write};
use serde_json::json;
use std::path::PathBuf;
use std::process::Command;
use sund_ota::descriptor::Descriptor;
use sund_ota::machine::record::End;
use sund_ota::status::Status;

/// A box whose channel is away, and the stick in it.
struct World {
    appliance: Appliance,
    stick: PathBuf,
}

impl World {
    async fn new() -> Self {
        let mut appliance = Appliance::new().await;
        let descriptor = appliance.state("north-1", &vec![7; 300_000], json!({}));
        appliance.channel.told().is_away = true;
        let stick = appliance.directory.path().join("stick");
        std::fs::create_dir(&stick).expect("a stick");
        // As macOS leaves it there.
        std::fs::write(stick.join("._north-1.sund-bundle"), b"Mac OS X").expect("a file");
        let mut world = Self { appliance, stick };
        world.brings("north-1.sund-bundle", &descriptor);
        world.restarts("first");
        world
    }

    fn brings(&mut self, name: &str, descriptor: &Descriptor) {
        let files = self.appliance.region.bundle(descriptor, FAR);
        let bundle = write(self.appliance.directory.path(), &files);
        std::fs::rename(bundle, self.stick.join(name)).expect("a bundle");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.appliance.directory.path().join(name)
    }

    /// The box is in another boot; what was said at the screen is gone with the one before.
    fn restarts(&self, boot: &str) {
        std::fs::write(self.path("boot"), format!("{boot}\n")).expect("a boot");
        let _ = std::fs::remove_file(self.path("said"));
    }

    /// The stick is put in, or found in the box by a start; the unit's exit code and log.
    async fn put_in(&self) -> (Option<i32>, String) {
        let (stick, said, boot) = (self.stick.clone(), self.path("said"), self.path("boot"));
        let arguments = [stick, "--said".into(), said, "--boot".into(), boot];
        let arguments: Vec<&str> = std::iter::once("install")
            .chain(arguments.iter().map(|argument| argument.to_str().expect("UTF-8")))
            .collect();
        let output = self.appliance.updater(&arguments).await;
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.path("said")).unwrap_or_default()
    }

    async fn screen(&self) -> String {
        let said = self.path("said");
        let output = self.appliance.updater(&["screen", "--once", "--stick", said.to_str().expect("UTF-8")]).await;
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        // Between words the picture breaks lines.
        lines.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn last(&self) -> Option<(End, String)> {
        let config = sund_ota::config::Config::read(&self.appliance.configuration()).expect("a configuration");
        let last = Status::read(&config).expect("a status").last?;
        Some((last.end?, last.id))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stick_with_a_bundle_brings_a_box_without_a_network_to_its_state_and_the_screen_tells_the_end() {
    let world = World::new().await;
    let running = Running(world.appliance.run());
    let (code, log) = world.put_in().await;
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("\"target\":\"audit\"") && log.contains("a bundle was taken from a stick"), "{log}");
    assert!(world.said().contains("north-1.sund-bundle is on this box"), "{}", world.said());
    assert!(world.screen().await.contains("the stick can be taken out"));
    std::fs::remove_dir_all(&world.stick).expect("it is taken out");
    until("it serves", || world.last().is_some()).await;
    assert_eq!(world.last().expect("an end").0, End::Active);
    assert_eq!(world.appliance.agent.serving().state.as_deref(), Some("north-1"));
    // Of a later end than what was said of the stick, the end is what counts.
    let screen = world.screen().await;
    assert!(screen.contains("The stick: bundle stick-") && screen.contains("(north-1): active"), "{screen}");
    drop(running);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stick_that_stays_in_the_box_over_restarts_is_taken_once_and_again_where_it_is_put_in_again() {
    let world = World::new().await;
    let mut ids = Vec::new();
    // It does not hold, so that the box is at what it had.
    world.appliance.agent.serving().misses = true;
    assert_eq!(world.put_in().await.0, Some(0));
    world.appliance.once().await;
    ids.extend(world.last());
    assert_eq!(ids[0].0, End::Refused);

    world.restarts("second");
    let (code, log) = world.put_in().await;
    assert!(code == Some(0) && log.contains("was taken before this start"), "{log}");
    world.appliance.once().await;
    assert_eq!(world.last(), ids.first().cloned(), "nothing was taken up");
    assert!(world.said().contains("put in once more it is taken again"), "{}", world.said());
    assert!(world.screen().await.contains("refused"), "{}", world.screen().await);

    assert_eq!(world.put_in().await.0, Some(0));
    world.appliance.once().await;
    assert_ne!(world.last(), ids.first().cloned(), "it was put in once more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stick_that_is_put_in_while_another_bundle_is_copied_is_not_taken_and_the_audit_log_says_so() {
    let world = World::new().await;
    std::fs::create_dir_all(world.path("updater/inbox")).expect("an inbox");
    let other = std::fs::File::create(world.path("updater/inbox/lock")).expect("its lock");
    other.lock().expect("another one copies");
    let (code, log) = world.put_in().await;
    assert!(code == Some(1) && log.contains("[inbox-taken]"), "{log}");
    assert_eq!(codes(&world.appliance.agent), ["inbox-taken"]);
    drop(other);
    assert_eq!(world.put_in().await.0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stick_of_which_the_power_was_cut_before_it_was_taken_asks_to_be_put_in_once_more() {
    let world = World::new().await;
    assert_eq!(world.put_in().await.0, Some(0));
    std::fs::remove_dir_all(world.path("updater/inbox")).expect("what the power cut took");
    world.restarts("second");
    assert_eq!(world.put_in().await.0, Some(0));
    assert!(world.said().contains("put the stick in once more"), "{}", world.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_whose_copy_was_cut_off_asks_to_be_put_in_once_more_also_where_another_one_was_taken_before() {
    let mut world = World::new().await;
    world.appliance.agent.serving().misses = true;
    assert_eq!(world.put_in().await.0, Some(0));
    world.appliance.once().await;
    let first = world.last().expect("it ended");
    assert_eq!(first.0, End::Refused);

    std::fs::remove_file(world.stick.join("north-1.sund-bundle")).expect("it was there");
    let second = world.appliance.state("north-2", b"model two", json!({}));
    world.brings("north-2.sund-bundle", &second);
    assert_eq!(world.put_in().await.0, Some(0));
    std::fs::remove_dir_all(world.path("updater/inbox")).expect("what the power cut took");
    world.restarts("second");
    assert_eq!(world.put_in().await.0, Some(0));
    assert!(world.said().contains("north-2.sund-bundle was in the box before this start"), "{}", world.said());
    assert!(world.said().contains("put the stick in once more"), "{}", world.said());

    assert_eq!(world.put_in().await.0, Some(0));
    world.appliance.once().await;
    assert_ne!(world.last().expect("it ended").1, first.1, "it was taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_waits_is_gone_on_with_and_what_a_copy_left_that_was_cut_off_goes() {
    let world = World::new().await;
    assert_eq!(world.put_in().await.0, Some(0));
    let left = world.path("updater/inbox/copy.part");
    std::fs::write(&left, vec![1; 4096]).expect("a part");
    assert_eq!(world.put_in().await.0, Some(0));
    assert!(!left.exists());
    world.restarts("second");
    assert_eq!(world.put_in().await.0, Some(0));
    assert!(world.said().contains("is on this box, which takes it up by itself"), "{}", world.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn why_another_file_of_the_stick_was_refused_stays_on_the_screen_beside_what_became_of_its_bundle() {
    let world = World::new().await;
    let refused = async |program: &str, file: &str| {
        std::fs::write(world.stick.join(file), b"{}").expect("a file");
        let mut arguments = vec![program.to_owned(), world.stick.display().to_string()];
        for (option, name) in
            [("--said", "said"), ("--keys", "keys.pem"), ("--site", "site"), ("--directory", "updater")]
        {
            arguments.extend([option.to_owned(), world.path(name).display().to_string()]);
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        assert_eq!(world.appliance.updater(&arguments).await.status.code(), Some(1));
        world.said()
    };
    let why = refused("reset", "sund-reset.json").await;
    for _ in 0..2 {
        assert_eq!(world.put_in().await.0, Some(0));
        let said = world.said();
        let (before, of_bundle) = said.split_once('\n').expect("two lines");
        assert!(before == why && of_bundle.contains("is on this box, which takes it up by itself"), "{said}");
    }
    std::fs::remove_file(world.stick.join("sund-reset.json")).expect("it was there");

    std::fs::remove_file(world.appliance.configuration()).expect("it was there");
    let why = refused("provision", "sund-provision.json").await;
    assert_eq!(world.put_in().await.0, Some(64));
    assert_eq!(world.said(), why);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stick_that_cannot_be_taken_says_why_on_the_screen_and_in_the_audit_trail() {
    let world = World::new().await;
    let bundle = world.stick.join("north-1.sund-bundle");
    let another = world.stick.join("north-2.sund-bundle");
    std::fs::copy(&bundle, &another).expect("another one");
    std::fs::write(world.stick.join("holiday.jpg"), b"not ours").expect("another file");
    let refused = async |code: &str| {
        let (exit, log) = world.put_in().await;
        assert_eq!(exit, Some(1), "{log}");
        assert!(log.contains("a bundle on a stick was not taken") && log.contains(code), "{log}");
        assert!(world.said().contains(&format!("[{code}]")), "{}", world.said());
    };
    refused("bundle-unreadable").await;
    assert!(world.said().contains("leave the one that is meant"));
    std::fs::remove_file(&another).expect("it was there");
    std::fs::write(&bundle, vec![1; 4096]).expect("nonsense");
    refused("bundle-invalid").await;
    std::fs::remove_file(&bundle).expect("it was there");
    refused("bundle-unreadable").await;
    // What was not taken is not remembered as taken: a start tries it again.
    assert!(!world.path("updater/stick.json").exists());

    std::fs::remove_file(world.appliance.configuration()).expect("it was there");
    assert_eq!(world.put_in().await.0, Some(64));
    assert!(world.said().contains("nobody's yet"), "{}", world.said());
}

#[test]
fn a_stick_with_a_bundle_or_an_order_alone_is_no_wrong_one_for_a_boxs_first_day() {
    let directory = tempfile::tempdir().expect("a directory");
    let provision = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sund-updater"));
        command.arg("provision").arg(directory.path().join("stick"));
        for option in ["--keys", "--site", "--directory", "--said"] {
            command.arg(option).arg(directory.path().join(&option[2..]));
        }
        let output = command.output().expect("sund-updater starts");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let file = |name: &str| directory.path().join("stick").join(name);
    std::fs::create_dir(directory.path().join("stick")).expect("a stick");
    for name in ["north-1.sund-bundle", "sund-reset.json"] {
        std::fs::write(file(name), b"{}").expect("a file");
        assert_eq!(provision(), (Some(0), String::new()), "{name}");
        assert!(!directory.path().join("said").exists(), "{name}");
        std::fs::remove_file(file(name)).expect("it was there");
    }
    // One with nothing of ours, and one for its first day, are told of.
    assert_eq!(provision().0, Some(1));
    std::fs::write(file("north-1.sund-bundle"), b"").expect("a file");
    std::fs::write(file("sund-provision.json"), b"{}").expect("a file");
    assert_eq!(provision().0, Some(1));
    assert!(directory.path().join("said").exists());
}
