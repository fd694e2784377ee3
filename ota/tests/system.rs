//! The operating system: RAUC and logind are played by a stand-in on a private bus, with real D-Bus messages. Two slots, and a boot
//! loader that starts the one that is active.
use super::appliance::Appliance;
use super::windows::around;
use serde_json::json;
use std::collections::HashMap;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use sund_ota::ddi::Finished;
use sund_ota::descriptor::Descriptor;
use zbus::OwnedVariant;
use zbus::object_server::SignalEmitter;

const MANIFEST: &str = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d";

/// What the two slots hold, and what was asked.
struct Slots {
    directory: PathBuf,
    versions: [String; 2],
    booted: usize,
    active: usize,
    boots: u32,
    /// The boot loader gives the new slot up.
    falls_back: bool,
    operation: &'static str,
    /// Why RAUC refuses every bundle; empty: it takes them.
    refusal: String,
    installs: Vec<(String, HashMap<String, String>)>,
    marks: Vec<(String, String)>,
}

impl Slots {
    fn write(&self) {
        let release = format!("NAME=Sund\nIMAGE_VERSION=\"{}\"\n", self.versions[self.booted]);
        std::fs::write(self.directory.join("os-release"), release).expect("os-release");
        std::fs::write(self.directory.join("boot_id"), format!("boot-{}\n", self.boots)).expect("boot_id");
    }
}

type Shared = Arc<Mutex<Slots>>;

struct Rauc(Shared);

#[zbus::interface(name = "de.pengutronix.rauc.Installer")]
impl Rauc {
    async fn install_bundle(
        &self,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
        source: String,
        args: HashMap<String, OwnedVariant>,
    ) -> zbus::fdo::Result<()> {
        let text = |value: OwnedVariant| format!("{:?}", zbus::Variant::from(value));
        let result = {
            let mut slots = self.0.lock().expect("no test failed while it held this");
            slots.installs.push((source, args.into_iter().map(|(key, value)| (key, text(value))).collect()));
            let other = 1 - slots.booted;
            if slots.refusal.is_empty() {
                "2.0".clone_into(&mut slots.versions[other]);
                slots.active = other;
            }
            i32::from(!slots.refusal.is_empty())
        };
        Self::completed(&emitter, result).await.map_err(zbus::fdo::Error::from)
    }

    fn mark(&self, state: String, slot: String) -> (String, String) {
        let mut slots = self.0.lock().expect("no test failed while it held this");
        match (state.as_str(), slot.as_str()) {
            ("active", "booted") => slots.active = slots.booted,
            ("active", "other") => slots.active = 1 - slots.booted,
            _ => {}
        }
        slots.marks.push((state, slot));
        ("rootfs.0".to_owned(), String::new())
    }

    #[zbus(property)]
    fn operation(&self) -> String {
        self.0.lock().expect("no test failed while it held this").operation.to_owned()
    }

    #[zbus(property)]
    fn last_error(&self) -> String {
        self.0.lock().expect("no test failed while it held this").refusal.clone()
    }

    #[zbus(signal)]
    async fn completed(emitter: &SignalEmitter<'_>, result: i32) -> zbus::Result<()>;
}

struct Login(Shared);

#[zbus::interface(name = "org.freedesktop.login1.Manager")]
impl Login {
    fn reboot(&self, interactive: bool) {
        assert!(!interactive, "nobody is there to be asked");
        let mut slots = self.0.lock().expect("no test failed while it held this");
        slots.boots += 1;
        if !slots.falls_back {
            slots.booted = slots.active;
        }
        slots.write();
    }
}

/// An appliance with two slots. The bus ends with it.
struct System {
    appliance: Appliance,
    slots: Shared,
    bus: Child,
    _service: zbus::Connection,
}

impl Drop for System {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.bus.kill();
        let _ = self.bus.wait();
    }
}

impl System {
    async fn new(more: &str) -> Self {
        let mut appliance = Appliance::new().await;
        let directory = appliance.directory.path().to_owned();
        let (bus, address) = bus(&directory);
        let slots = Slots {
            directory: directory.clone(),
            versions: ["1.0".to_owned(), "0.9".to_owned()],
            booted: 0,
            active: 0,
            boots: 1,
            falls_back: false,
            operation: "idle",
            refusal: String::new(),
            installs: Vec::new(),
            marks: Vec::new(),
        };
        slots.write();
        let slots = Arc::new(Mutex::new(slots));
        let service = zbus::connection::Builder::address(address.as_str())
            .name("de.pengutronix.rauc")
            .name("org.freedesktop.login1")
            .serve_at("/", Rauc(Arc::clone(&slots)))
            .serve_at("/org/freedesktop/login1", Login(Arc::clone(&slots)))
            .build()
            .await
            .expect("the services are on the bus");
        appliance.environment.push(("DBUS_SYSTEM_BUS_ADDRESS".to_owned(), address));
        let path = directory.display();
        appliance.configure(&format!(
            "[os]\nrelease = \"{path}/os-release\"\nboot_id = \"{path}/boot_id\"\nhealth_seconds = 2\n{more}"
        ));
        Self { appliance, slots, bus, _service: service }
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().expect("no test failed while it held this")
    }

    /// A state with the operating system 2.0.
    fn state(&mut self) -> Descriptor {
        let mut os = self.appliance.region.approve("os", "os/sund-2.0.raucb", b"a bundle");
        let custom = json!({"manifest_sha256": MANIFEST});
        self.appliance.region.custom.insert("os/sund-2.0.raucb".to_owned(), custom);
        os["version"] = json!("2.0");
        os["manifest_sha256"] = json!(MANIFEST);
        self.appliance.state("north-2", b"model", json!({"os": os}))
    }
}

fn bus(directory: &Path) -> (Child, String) {
    let mut bus = Command::new("dbus-daemon")
        .args(["--session", "--nofork", "--print-address"])
        .arg(format!("--address=unix:path={}/bus", directory.display()))
        .stdout(Stdio::piped())
        .spawn()
        .expect("dbus-daemon is installed (dbus-daemon, Debian)");
    let mut address = String::new();
    let output = bus.stdout.take().expect("its output");
    std::io::BufReader::new(output).read_line(&mut address).expect("its address");
    (bus, address.trim().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_on_a_stick_is_hashed_whole_before_rauc_gets_the_file() {
    let mut system = System::new("").await;
    let descriptor = system.state();
    let files = system.appliance.region.bundle(&descriptor, "2050-01-01T00:00:00Z");
    system.appliance.channel.told().is_away = true;
    let directory = system.appliance.directory.path().to_owned();

    let mut altered = files.clone();
    altered.iter_mut().filter(|(name, _)| name.contains("targets/os/")).for_each(|(_, bytes)| bytes[3] ^= 1);
    let stick = super::stick::write(&directory, &altered);
    let output = system.appliance.updater(&["install", stick.to_str().expect("UTF-8")]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("[target-altered]"));
    assert!(system.slots().installs.is_empty(), "RAUC was not asked");

    let stick = super::stick::write(&directory, &files);
    let output = system.appliance.updater(&["install", stick.to_str().expect("UTF-8")]).await;
    assert_eq!(output.status.code(), Some(75), "the box restarts");
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(words.contains("the new system is in the other slot") && words.contains("the box restarts"), "{words}");
    assert!(words.contains("systemctl start sund-updater"), "{words}");
    {
        let slots = system.slots();
        let [(source, args)] = &slots.installs[..] else { panic!("{:?}", slots.installs) };
        let file = PathBuf::from(source);
        assert!(file.starts_with(directory.join("updater/store")) && file.extension().is_some_and(|it| it == "raucb"));
        assert_eq!(std::fs::read(file).expect("the bundle"), b"a bundle");
        assert!(args["require-manifest-hash"].contains(MANIFEST), "{args:?}");
        assert!(!args.keys().any(|key| key.starts_with("tls") || key.starts_with("http")), "{args:?}");
    }
    // In the new slot the service goes on, without the stick.
    std::fs::remove_file(stick).expect("the stick");
    assert_eq!(system.appliance.once().await, Some(0));
    assert_eq!(system.slots().marks, [("good".to_owned(), "booted".to_owned())]);
    assert_eq!(system.appliance.agent.serving().commits, 1);
    assert_eq!(system.appliance.agent.serving().state.as_deref(), Some("north-2"));
    let store = std::fs::read_dir(directory.join("updater/store")).expect("the store").flatten();
    let left = store.filter(|entry| entry.path().extension().is_some_and(|it| it == "raucb")).count();
    assert_eq!(left, 0, "the bundle is not kept once it is installed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_on_trial_whose_stick_has_run_out_or_is_gone_is_given_up() {
    let mut system = System::new("").await;
    let descriptor = system.state();
    let files = system.appliance.region.bundle(&descriptor, "2050-01-01T00:00:00Z");
    system.appliance.channel.told().is_away = true;
    let stick = super::stick::write(system.appliance.directory.path(), &files);
    let output = system.appliance.updater(&["install", stick.to_str().expect("UTF-8")]).await;
    assert_eq!(output.status.code(), Some(75));
    let inbox = system.appliance.directory.path().join("updater/inbox");
    for entry in std::fs::read_dir(inbox).expect("the inbox").flatten() {
        std::fs::remove_file(entry.path()).expect("the bundle");
    }
    // The slot is given up and the box restarts; then it is over, and the next stick can come.
    for _ in 0..3 {
        system.appliance.once().await;
    }
    let runs = {
        let slots = system.slots();
        slots.versions[slots.booted].clone()
    };
    assert_eq!(runs, "1.0");
    let record = system.appliance.record();
    assert_eq!(record.action, None);
    assert!(system.appliance.agent.serving().activations.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_system_is_streamed_by_its_manifests_hash_started_tried_and_then_committed() {
    let mut system = System::new("").await;
    let descriptor = system.state();
    system.appliance.channel.deploy("1", &descriptor);
    assert_eq!(system.appliance.once().await, Some(0));
    {
        let slots = system.slots();
        assert_eq!(slots.boots, 2);
        assert!(slots.marks.is_empty(), "nothing is committed before it has proved itself");
        let [(source, args)] = &slots.installs[..] else { panic!("{:?}", slots.installs) };
        let told = system.appliance.channel.told();
        let path =
            source.split_once("/repository/").map(|(_, path)| path.to_owned()).expect("it lies in the repository");
        assert!(told.files.contains_key(&path), "{path} is not there");
        assert!(args["require-manifest-hash"].contains(MANIFEST), "{args:?}");
    }
    assert!(system.appliance.agent.serving().activations.is_empty());

    assert_eq!(system.appliance.once().await, Some(0));
    assert_eq!(system.slots().marks, [("good".to_owned(), "booted".to_owned())]);
    assert_eq!(system.appliance.agent.serving().activations, ["north-2"]);
    system.appliance.channel.action("1", |action| {
        assert_eq!(action.closed()[0].status.result.finished, Finished::Success);
    });
    assert_eq!(system.appliance.channel.told().attributes["os"], "2.0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_system_with_lesser_engines_or_a_failed_trial_is_given_up() {
    for (engine_class, misses, reason) in [("cpu", false, "os-unhealthy"), ("gpu", true, "trial-missed")] {
        let mut system = System::new("").await;
        system.appliance.agent.serving().engine_class = "gpu".to_owned();
        let descriptor = system.state();
        system.appliance.channel.deploy("1", &descriptor);
        assert_eq!(system.appliance.once().await, Some(0));
        {
            let mut serving = system.appliance.agent.serving();
            (serving.engine_class, serving.misses) = (engine_class.to_owned(), misses);
        }
        // Gives it up, and restarts.
        assert_eq!(system.appliance.once().await, Some(0));
        assert_eq!(system.slots().booted, 0, "{reason}");
        assert!(system.slots().marks.contains(&("bad".to_owned(), "booted".to_owned())));
        assert_eq!(system.appliance.once().await, Some(1));
        system.appliance.channel.action("1", |action| {
            assert_eq!(action.closed()[0].status.result.finished, Finished::Failure);
            let words = action.last_words();
            assert!(words.contains(reason) && words.contains("runs 1.0"), "{words}");
        });
        assert!(system.appliance.agent.serving().activations.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_that_the_boot_loader_gave_up_is_reported() {
    let mut system = System::new("").await;
    system.slots().falls_back = true;
    let descriptor = system.state();
    system.appliance.channel.deploy("1", &descriptor);
    assert_eq!(system.appliance.once().await, Some(0));
    assert_eq!(system.appliance.once().await, Some(1));
    system.appliance.channel.action("1", |action| {
        assert!(action.last_words().contains("os-fell-back"), "{}", action.last_words());
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_each_step_of_a_new_system_it_ends_once_and_well() {
    let mut system = System::new("").await;
    let descriptor = system.state();
    system.appliance.channel.deploy("1", &descriptor);
    for rank in 0..=7 {
        let mut updater = system.appliance.run();
        let until = std::time::Instant::now() + Duration::from_secs(30);
        loop {
            let record = system.appliance.record();
            let is_there = record.action.as_ref().is_some_and(|action| action.step.rank() >= rank);
            if is_there || record.last.is_some() {
                break;
            }
            assert!(std::time::Instant::now() < until, "step {rank} is never reached");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        updater.kill().expect("it is killed");
        updater.wait().expect("it ended");
    }
    while system.appliance.channel.action("1", |action| action.is_open) || system.appliance.record().action.is_some() {
        assert_eq!(system.appliance.once().await, Some(0));
    }
    system.appliance.channel.action("1", |action| {
        assert_eq!((action.closed().len(), action.late), (1, 0), "told once");
        assert_eq!(action.closed()[0].status.result.finished, Finished::Success);
    });
    assert_eq!(system.appliance.agent.serving().state.as_deref(), Some("north-2"));
    let slots = system.slots();
    assert_eq!((slots.versions[slots.booted].as_str(), slots.booted, slots.active), ("2.0", 1, 1));
    assert!(slots.marks.contains(&("good".to_owned(), "booted".to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_rauc_refuses_is_reported_in_its_words() {
    let mut system = System::new("").await;
    "manifest hash does not match".clone_into(&mut system.slots().refusal);
    let descriptor = system.state();
    system.appliance.channel.deploy("1", &descriptor);
    assert_eq!(system.appliance.once().await, Some(1));
    system.appliance.channel.action("1", |action| {
        let words = action.last_words();
        assert!(words.contains("os-refused") && words.contains("manifest hash does not match"), "{words}");
    });
    assert_eq!(system.slots().boots, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_restart_waits_for_running_studies_and_an_action_that_waits_can_be_stopped() {
    let mut system = System::new("").await;
    system.appliance.agent.serving().running = 1;
    let descriptor = system.state();
    system.appliance.channel.deploy("1", &descriptor);
    let waiting = system.appliance.once();
    let checked = async {
        while system.slots().installs.is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(system.slots().boots, 1, "a study is worked on");
        system.appliance.channel.action("1", |action| action.is_canceling = true);
    };
    let (code, ()) = tokio::join!(waiting, checked);
    assert_eq!(code, Some(0));
    let slots = system.slots();
    assert_eq!((slots.boots, slots.active), (1, 0), "the new slot is not started");
    assert_eq!(slots.marks, [("active".to_owned(), "booted".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_restart_waits_for_the_maintenance_window() {
    // A window of one minute that is twelve hours away, wherever the clock stands.
    let from = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(12);
    let time = |at: jiff::Timestamp| at.strftime("%H:%M").to_string();
    let until = from + jiff::SignedDuration::from_mins(1);
    let window = format!("[os.window]\nfrom = \"{}\"\nuntil = \"{}\"\ntime_zone = \"UTC\"\n", time(from), time(until));
    let mut system = System::new(&window).await;
    let descriptor = system.state();
    system.appliance.channel.deploy("1", &descriptor);
    let mut updater = system.appliance.run();
    while system.appliance.record().action.is_none_or(|action| action.step.name() != "rebooting") {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    updater.kill().expect("it is killed");
    updater.wait().expect("it ended");
    assert_eq!(system.slots().boots, 1);

    // With the window open the same action goes on.
    let path = system.appliance.directory.path().display().to_string();
    system.appliance.configure(&format!("[os]\nrelease = \"{path}/os-release\"\nboot_id = \"{path}/boot_id\"\n"));
    assert_eq!(system.appliance.once().await, Some(0));
    assert_eq!(system.slots().boots, 2);
    assert_eq!(system.slots().installs.len(), 1, "it was written once");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_system_is_written_or_started_outside_the_rollouts_window() {
    let mut system = System::new("[attributes]\ntimezone = \"UTC\"\n").await;
    let descriptor = system.state();
    system.appliance.channel.deploy("1", &descriptor);
    system.appliance.channel.action("1", |action| action.maintenance = Some(around(12)));
    assert_eq!(system.appliance.once().await, Some(75));
    assert_eq!(system.slots().installs.len(), 0);
    assert_eq!(system.slots().boots, 1);
    system.appliance.channel.action("1", |action| action.maintenance = Some(around(0)));
    assert_eq!(system.appliance.once().await, Some(0));
    assert_eq!(system.slots().installs.len(), 1);
    assert_eq!(system.slots().boots, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_system_that_is_not_healthy_is_given_up_also_while_the_channel_is_away() {
    let mut system = System::new("").await;
    system.appliance.agent.serving().engine_class = "gpu".to_owned();
    let descriptor = system.state();
    system.appliance.channel.deploy("1", &descriptor);
    assert_eq!(system.appliance.once().await, Some(0));
    system.appliance.channel.told().is_away = true;
    system.appliance.agent.serving().engine_class = "cpu".to_owned();
    // Gives it up, and restarts.
    assert_eq!(system.appliance.once().await, Some(0));
    assert_eq!(system.slots().booted, 0);
    assert!(system.slots().marks.contains(&("bad".to_owned(), "booted".to_owned())));
    assert_eq!(system.appliance.once().await, Some(75));
    system.appliance.channel.told().is_away = false;
    assert_eq!(system.appliance.once().await, Some(1));
    system.appliance.channel.action("1", |action| {
        let words = action.last_words();
        assert!(words.contains("os-unhealthy") && words.contains("runs 1.0"), "{words}");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_system_that_is_healthy_stays_on_trial_while_the_region_cannot_be_asked() {
    for expired in [false, true] {
        let mut system = System::new("").await;
        let descriptor = system.state();
        system.appliance.channel.deploy("1", &descriptor);
        assert_eq!(system.appliance.once().await, Some(0));
        if expired {
            system.appliance.region.expires = "2020-01-01T00:00:00Z".to_owned();
            system.appliance.publish();
        }
        system.appliance.channel.told().is_away = !expired;
        assert_eq!(system.appliance.once().await, Some(75));
        assert_eq!(system.slots().booted, 1, "it is not given up");
        assert!(system.slots().marks.is_empty(), "nor committed");
        assert_eq!(system.appliance.agent.serving().trials, 0);

        "2050-01-01T00:00:00Z".clone_into(&mut system.appliance.region.expires);
        system.appliance.publish();
        system.appliance.channel.told().is_away = false;
        assert_eq!(system.appliance.once().await, Some(0));
        assert_eq!(system.slots().marks, [("good".to_owned(), "booted".to_owned())]);
        assert_eq!(system.appliance.agent.serving().activations, ["north-2"]);
    }
}
