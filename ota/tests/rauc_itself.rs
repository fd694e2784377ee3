//! RAUC itself (Debian's), with a boot loader that is a script and slots that are files: what the updater asks of it is what it knows. It
//! writes no bundle here: that takes a kernel's loop and network block devices, which the image has.
use super::appliance::Appliance;
use super::rauc::{Listed, bus, listed, state_with};
use rcgen::{CertificateParams, KeyPair};
use serde_json::json;
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use sund_ota::machine::engines::Engines;
use sund_ota::machine::record::{Action, Origin, OsTrial, Record, Slot, Step};

/// RAUC's "custom" boot loader: which slot is started next, and how each is, in files beside it.
const BOOT_LOADER: &str = r#"#!/bin/sh
d=$(dirname "$0")
case "$1" in
get-primary) cat "$d/primary" ;;
set-primary) echo "$2" > "$d/primary" ;;
get-state) cat "$d/state.$2" ;;
set-state) echo "$3" > "$d/state.$2" ;;
esac
"#;

struct Login(Arc<AtomicU32>);

#[zbus::interface(name = "org.freedesktop.login1.Manager")]
impl Login {
    fn reboot(&self, interactive: bool) {
        assert!(!interactive, "nobody is there to be asked");
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// systemd, under which all units stand so.
struct Units(&'static str);

#[zbus::interface(name = "org.freedesktop.systemd1.Manager")]
impl Units {
    fn list_units_by_names(&self, names: Vec<String>) -> Vec<Listed> {
        names.into_iter().map(|name| listed(name, self.0)).collect()
    }
}

/// Ends with what it holds.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).expect("a file");
}

/// RAUC's configuration, as ota/README.md has it, for two slots that are files.
fn configure(directory: &Path) -> PathBuf {
    let path = directory.display();
    write(&directory.join("boot-loader"), BOOT_LOADER);
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(directory.join("boot-loader"), mode).expect("a mode");
    for (name, text) in [("primary", "A"), ("state.A", "good"), ("state.B", "good"), ("slot.0", ""), ("slot.1", "")] {
        write(&directory.join(name), text);
    }
    let key = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::new(Vec::new()).expect("parameters").self_signed(&key).expect("a certificate");
    write(&directory.join("keyring.pem"), &certificate.pem());
    let slot = |number: usize, bootname: &str| {
        format!("[slot.rootfs.{number}]\ndevice={path}/slot.{number}\ntype=raw\nbootname={bootname}\n")
    };
    let text = format!(
        "[system]\ncompatible=sund\nbootloader=custom\nactivate-installed=false\nbundle-formats=-plain\n\
         statusfile={path}/status\nmountprefix={path}/mnt\n[handlers]\nbootloader-custom-backend={path}/boot-loader\n\
         [keyring]\npath={path}/keyring.pem\n{}{}",
        slot(0, "A"),
        slot(1, "B")
    );
    write(&directory.join("system.conf"), &text);
    directory.join("system.conf")
}

async fn start(configuration: &Path, booted: &str, address: &str, connection: &zbus::Connection) -> Ends {
    let service = Command::new("rauc")
        .arg(format!("--conf={}", configuration.display()))
        .arg(format!("--override-boot-slot={booted}"))
        .arg("service")
        .env("DBUS_SYSTEM_BUS_ADDRESS", address)
        .stdout(Stdio::null())
        .spawn()
        .expect("rauc is installed (rauc, Debian)");
    let service = Ends(service);
    let bus = zbus::fdo::DBusProxy::new(connection).await.expect("the bus");
    for _ in 0..200 {
        let name = "de.pengutronix.rauc".try_into().expect("a name");
        if bus.name_has_owner(name).await.expect("the bus answers") {
            return service;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("rauc is not on the bus within 10 s");
}

/// A box on a bus of its own, whose RAUC is to be started. What is not used is held.
struct World {
    appliance: Appliance,
    directory: PathBuf,
    configuration: PathBuf,
    address: String,
    connection: zbus::Connection,
    restarts: Arc<AtomicU32>,
    _bus: Ends,
}

impl World {
    async fn new() -> Self {
        let mut appliance = Appliance::new().await;
        let directory = appliance.directory.path().to_owned();
        let (process, address) = bus(&directory);
        let restarts = Arc::new(AtomicU32::new(0));
        let connection = zbus::connection::Builder::address(address.as_str())
            .name("org.freedesktop.login1")
            .name("org.freedesktop.systemd1")
            .serve_at("/org/freedesktop/login1", Login(Arc::clone(&restarts)))
            .serve_at("/org/freedesktop/systemd1", Units("active"))
            .build()
            .await
            .expect("logind and systemd are on the bus");
        appliance.environment.push(("DBUS_SYSTEM_BUS_ADDRESS".to_owned(), address.clone()));
        let path = directory.display();
        let os = format!("[os]\nrelease = \"{path}/os-release\"\nboot_id = \"{path}/boot_id\"\nhealth_seconds = 2\n");
        appliance.configure(&os);
        let configuration = configure(&directory);
        Self { appliance, directory, configuration, address, connection, restarts, _bus: Ends(process) }
    }

    /// The box runs this version from this slot.
    async fn boots(&self, version: &str, boot: &str, slot: &str) -> Ends {
        write(&self.directory.join("os-release"), &format!("IMAGE_VERSION={version}\n"));
        write(&self.directory.join("boot_id"), boot);
        start(&self.configuration, slot, &self.address, &self.connection).await
    }

    fn of(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.join(name)).expect("a file").trim().to_owned()
    }

    fn restarts(&self) -> u32 {
        self.restarts.load(Ordering::Relaxed)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rauc_itself_is_told_which_slot_to_start_and_which_is_good_and_its_refusal_is_reported() {
    let mut world = World::new().await;
    let service = world.boots("2.0", "first", "A").await;
    // A state on the system that runs; 1.0 lies in the other slot. It is withdrawn.
    let appliance = &mut world.appliance;
    let first = appliance.state("north-1", b"model one", json!({}));
    let second = state_with(appliance, "north-2", "2.0");
    for (id, descriptor) in [("1", &first), ("2", &second)] {
        appliance.channel.deploy(id, descriptor);
        assert_eq!(appliance.once().await, Some(0));
    }
    let mut record = appliance.record();
    record.system.as_mut().expect("it was found good").other = Some("1.0".to_owned());
    record.write(&world.directory.join("updater/state.json")).expect("the record");
    appliance.region.withdraw("state/north-2.json");
    appliance.publish();
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!((world.of("primary").as_str(), world.restarts()), ("B", 1));

    // The other slot runs now, and nobody has called it good yet.
    drop(service);
    write(&world.directory.join("state.B"), "bad");
    let _service = world.boots("1.0", "second", "B").await;
    assert_eq!(world.appliance.once().await, Some(0));
    assert_eq!((world.of("primary").as_str(), world.of("state.B").as_str()), ("B", "good"));

    // What is no bundle it does not take; the boot loader stays with what runs.
    let appliance = &mut world.appliance;
    let descriptor = state_with(appliance, "north-3", "3.0");
    appliance.channel.deploy("3", &descriptor);
    assert_eq!(appliance.once().await, Some(1));
    appliance.channel.action("3", |action| {
        assert!(action.last_words().contains("os-refused"), "{}", action.last_words());
    });
    assert_eq!((world.of("primary").as_str(), world.restarts()), ("B", 1));
}

/// A box that was to start 2.0 runs 2.0.1: it calls itself so, or somebody else has written it there.
#[tokio::test(flavor = "multi_thread")]
async fn what_rauc_itself_says_of_its_slots_tells_a_wrong_name_from_a_rescue() {
    for (written, code) in [("2.0.1", "os-version-differs"), ("2.0", "os-made-anew")] {
        let mut world = World::new().await;
        let service = world.boots("1.0", "first", "B").await;
        assert_eq!(world.appliance.once().await, Some(0));
        drop(service);
        let descriptor = state_with(&mut world.appliance, "north-2", "2.0");
        world.appliance.channel.deploy("1", &descriptor);
        let trial = OsTrial {
            version: "2.0".to_owned(),
            before: "1.0".to_owned(),
            boot: "first".to_owned(),
            slot: Slot::Marked,
            engines: Engines::default(),
            networks: BTreeSet::new(),
            bundle: None,
            broken_streams: 0,
            committed: false,
        };
        let action = Action {
            id: "1".to_owned(),
            origin: Origin::Channel,
            descriptor: Some(descriptor),
            since: 0,
            version: String::new(),
            files: Vec::new(),
            vendors: None,
            os: Some(trial),
            step: Step::Rebooting,
        };
        let record = Record { action: Some(action), ..world.appliance.record() };
        record.write(&world.directory.join("updater/state.json")).expect("the record");
        write(&world.directory.join("status"), &format!("[slot.rootfs.0]\nbundle.version={written}\nstatus=ok\n"));
        let is_rescued = code == "os-made-anew";
        let (before, after) = if is_rescued { ("bad", "good") } else { ("good", "bad") };
        write(&world.directory.join("state.A"), before);

        let _service = world.boots("2.0.1", "second", "A").await;
        assert_eq!(world.appliance.once().await, Some(i32::from(is_rescued)));
        assert_eq!((world.of("state.A").as_str(), world.restarts()), (after, u32::from(!is_rescued)));
        let record = world.appliance.record();
        let step = record.action.or(record.last).expect("an action").step;
        let fault = match step {
            Step::RollingBack { fault, .. } => Some(fault),
            Step::Ended { outcome } => outcome.fault,
            step => panic!("{step:?}"),
        };
        assert_eq!(fault.expect("a reason").code, code);
    }
}
