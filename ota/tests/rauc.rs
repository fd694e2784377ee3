//! RAUC, logind and systemd, played by a stand-in on a private bus, with real D-Bus messages: two slots, a boot loader that starts the one that is
//! active, and power that can be cut at any point.
use super::appliance::Appliance;
use super::web::plain_client;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use sund_ota::descriptor::Descriptor;
use tokio::sync::Notify;
use zbus::object_server::SignalEmitter;
use zbus::{OwnedObjectPath, OwnedVariant, Variant};

pub const MANIFEST: &str = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d";
/// What a slot holds that is half written.
pub const TORN: &str = "torn";
const NAMES: [&str; 2] = ["rootfs.0", "rootfs.1"];

/// Where the box stops: nothing that it asks there is answered until the power is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// RAUC has begun to write, and goes on.
    Writing,
    /// The boot loader is to be told, and is not.
    BeforeMark,
    /// It was told.
    AfterMark,
    /// The box is to restart.
    BeforeRestart,
    /// The restart was agreed to, and services end before it comes.
    WhileServicesEnd,
}

/// What the two slots hold, and what was asked.
pub struct Slots {
    directory: PathBuf,
    pub versions: [String; 2],
    pub booted: usize,
    pub active: usize,
    pub boots: u32,
    /// The boot loader gives the new slot up.
    pub falls_back: bool,
    /// RAUC marks what it has written by itself, as it does without `activate-installed=false`.
    pub activates: bool,
    operation: &'static str,
    /// How long RAUC writes.
    pub writes_for: Duration,
    /// What bundle and written system call themselves, where that is not what the region says.
    pub calls_itself: Option<String>,
    /// What RAUC has written to each slot; who writes there without it is not seen.
    written: [Option<String>; 2],
    /// Counts what ends a writing: it knows by that whether it is still the one.
    writes: u32,
    /// Why RAUC refuses every bundle; empty: it takes them.
    pub refusal: String,
    last_error: String,
    pub installs: Vec<(String, HashMap<String, String>)>,
    pub marks: Vec<(String, String)>,
    /// The boot loader was told something while RAUC wrote, which RAUC may undo at its end.
    pub marked_too_early: bool,
    pub stops_at: Option<Stop>,
    pub has_stopped: bool,
    /// Units that are not active, and what they are, in that order of looks: the last one stays.
    pub units: HashMap<String, Vec<&'static str>>,
    /// Interfaces that have an address, in that order of looks: the last one stays.
    pub networks: Vec<Vec<&'static str>>,
}

impl Slots {
    fn write(&self) {
        let release = format!("NAME=Sund\nIMAGE_VERSION=\"{}\"\n", self.versions[self.booted]);
        std::fs::write(self.directory.join("os-release"), release).expect("os-release");
        std::fs::write(self.directory.join("boot_id"), format!("boot-{}\n", self.boots)).expect("boot_id");
    }

    fn boot(&mut self) {
        self.boots += 1;
        self.booted = if self.versions[self.active] == TORN { 1 - self.active } else { self.active };
        self.write();
    }

    pub fn runs(&self) -> String {
        self.versions[self.booted].clone()
    }

    pub fn has_marked(&self, state: &str, slot: &str) -> bool {
        self.marks.contains(&(state.to_owned(), slot.to_owned()))
    }

    fn stops(&mut self, at: Stop) -> bool {
        self.has_stopped |= self.stops_at == Some(at);
        self.stops_at == Some(at)
    }
}

type Shared = Arc<(Mutex<Slots>, Notify)>;

fn slots(shared: &Shared) -> MutexGuard<'_, Slots> {
    shared.0.lock().expect("no test failed while it held this")
}

struct Rauc(Shared);

/// What a bundle holds, which says so in its text: a file, or streamed range by range. Why it cannot be read, otherwise.
async fn version(source: &str) -> Result<String, String> {
    let text = if source.starts_with("http") {
        streamed(source).await?
    } else {
        std::fs::read_to_string(source).map_err(|error| error.to_string())?
    };
    text.strip_prefix("a bundle of ").map(str::to_owned).ok_or_else(|| "signature verification failed".to_owned())
}

async fn streamed(source: &str) -> Result<String, String> {
    let client = plain_client();
    let mut bytes = Vec::new();
    loop {
        let range = format!("bytes={}-{}", bytes.len(), bytes.len() + 9);
        let response = client.get(source).header("range", range).send().await;
        let response = response.and_then(reqwest::Response::error_for_status).map_err(|error| error.to_string())?;
        let all = response.headers().get("content-range").and_then(|range| range.to_str().ok());
        let all: usize = all.and_then(|range| range.rsplit_once('/')?.1.parse().ok()).ok_or("no range came")?;
        bytes.extend(response.bytes().await.map_err(|error| error.to_string())?);
        if bytes.len() >= all {
            return String::from_utf8(bytes).map_err(|error| error.to_string());
        }
    }
}

#[zbus::interface(name = "de.pengutronix.rauc.Installer")]
impl Rauc {
    fn install_bundle(
        &self,
        #[zbus(connection)] connection: &zbus::Connection,
        source: String,
        args: HashMap<String, OwnedVariant>,
    ) -> zbus::fdo::Result<()> {
        let text = |value: OwnedVariant| format!("{:?}", Variant::from(value));
        let (time, write) = {
            let mut slots = slots(&self.0);
            if slots.operation != "idle" {
                return Err(zbus::fdo::Error::Failed("already processing a different method".to_owned()));
            }
            slots.operation = "installing";
            slots.installs.push((source.clone(), args.into_iter().map(|(key, value)| (key, text(value))).collect()));
            let other = 1 - slots.booted;
            if slots.refusal.is_empty() {
                TORN.clone_into(&mut slots.versions[other]);
            }
            let time = if slots.stops(Stop::Writing) { Duration::from_hours(1) } else { slots.writes_for };
            (time, slots.writes)
        };
        let (shared, connection) = (Arc::clone(&self.0), connection.clone());
        tokio::spawn(async move {
            let version = version(&source).await;
            tokio::time::sleep(time).await;
            let result = {
                let mut slots = slots(&shared);
                if slots.writes != write {
                    return;
                }
                let other = 1 - slots.booted;
                let written = if slots.refusal.is_empty() { version } else { Err(slots.refusal.clone()) };
                let result = i32::from(written.is_err());
                match written {
                    Ok(version) => {
                        slots.versions[other] = slots.calls_itself.clone().unwrap_or(version);
                        slots.written[other] = Some(slots.versions[other].clone());
                        if slots.activates {
                            slots.active = other;
                        }
                        slots.last_error.clear();
                    }
                    Err(error) => slots.last_error = error,
                }
                result
            };
            let emitter = SignalEmitter::new(&connection, "/").expect("a path");
            // As RAUC does it: the signal, and then it is idle.
            Self::completed(&emitter, result).await.expect("it is sent");
            slots(&shared).operation = "idle";
        });
        Ok(())
    }

    async fn mark(&self, state: String, slot: String) -> zbus::fdo::Result<(String, String)> {
        let (starts_other, other) = {
            let mut slots = slots(&self.0);
            slots.marked_too_early |= slots.operation != "idle";
            let other = NAMES[1 - slots.booted];
            (state == "active" && slot == other, other)
        };
        if starts_other && slots(&self.0).stops(Stop::BeforeMark) {
            self.0.1.notified().await;
            return Err(zbus::fdo::Error::NoReply("the power is cut".to_owned()));
        }
        {
            let mut slots = slots(&self.0);
            match (state.as_str(), slot.as_str()) {
                ("active", "booted") => slots.active = slots.booted,
                ("active", name) if name == other => slots.active = 1 - slots.booted,
                (_, "booted") => {}
                (_, name) => return Err(zbus::fdo::Error::Failed(format!("no slot {name}"))),
            }
            slots.marks.push((state, slot));
        }
        if starts_other && slots(&self.0).stops(Stop::AfterMark) {
            self.0.1.notified().await;
        }
        Ok((other.to_owned(), String::new()))
    }

    fn get_slot_status(&self) -> Vec<(String, HashMap<String, OwnedVariant>)> {
        let slots = slots(&self.0);
        let value = |text: &str| OwnedVariant::try_from(Variant::from(text.to_owned())).expect("a text");
        let slot = |number: usize| {
            let state = if number == slots.booted { "booted" } else { "inactive" };
            let pairs = [("class", "rootfs"), ("bootname", ["A", "B"][number]), ("state", state)];
            let written = slots.written[number].iter().map(|version| ("bundle.version", version.as_str()));
            (
                NAMES[number].to_owned(),
                pairs.into_iter().chain(written).map(|(key, text)| (key.to_owned(), value(text))).collect(),
            )
        };
        vec![slot(0), slot(1)]
    }

    #[zbus(property)]
    fn operation(&self) -> String {
        slots(&self.0).operation.to_owned()
    }

    #[zbus(property)]
    fn last_error(&self) -> String {
        slots(&self.0).last_error.clone()
    }

    #[zbus(signal)]
    async fn completed(emitter: &SignalEmitter<'_>, result: i32) -> zbus::Result<()>;
}

struct Login(Shared);

#[zbus::interface(name = "org.freedesktop.login1.Manager")]
impl Login {
    async fn reboot(&self, interactive: bool) {
        assert!(!interactive, "nobody is there to be asked");
        if slots(&self.0).stops(Stop::BeforeRestart) {
            self.0.1.notified().await;
            return;
        }
        if slots(&self.0).stops(Stop::WhileServicesEnd) {
            return;
        }
        let mut slots = slots(&self.0);
        if slots.falls_back {
            slots.boots += 1;
            slots.write();
        } else {
            slots.boot();
        }
    }
}

/// As systemd lists a unit.
pub type Listed = (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

struct Units(Shared);

#[zbus::interface(name = "org.freedesktop.systemd1.Manager")]
impl Units {
    fn list_units_by_names(&self, names: Vec<String>) -> Vec<Listed> {
        let mut slots = slots(&self.0);
        let unit = |name: String| {
            let standings = slots.units.get_mut(&name);
            let standing = standings.map_or("active", |left| if left.len() > 1 { left.remove(0) } else { left[0] });
            listed(name, standing)
        };
        names.into_iter().map(unit).collect()
    }
}

struct Networks(Shared);

#[zbus::interface(name = "org.freedesktop.network1.Manager")]
impl Networks {
    /// As networkctl(1) has it with `--json`, and more in each.
    fn describe(&self) -> String {
        let mut slots = slots(&self.0);
        let left = &mut slots.networks;
        let joined = if left.len() > 1 { left.remove(0) } else { left[0].clone() };
        let interface = |name: &str, state: &str| json!({"Name": name, "AddressState": state, "Type": "ether"});
        let mut interfaces = vec![interface("lo", "routable"), interface("spare", "degraded")];
        interfaces.extend(joined.iter().map(|name| interface(name, "routable")));
        json!({ "Interfaces": interfaces }).to_string()
    }
}

/// A unit as systemd lists it.
pub fn listed(name: String, standing: &str) -> Listed {
    let (none, path) = (String::new, || OwnedObjectPath::try_from("/").expect("a path"));
    (name, none(), "loaded".to_owned(), standing.to_owned(), none(), none(), path(), 0, none(), path())
}

/// An appliance with two slots. The bus ends with it.
pub struct System {
    pub appliance: Appliance,
    shared: Shared,
    bus: Child,
    service: zbus::Connection,
}

impl Drop for System {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.bus.kill();
        let _ = self.bus.wait();
    }
}

impl System {
    /// It runs 1.0.
    pub async fn new(more: &str) -> Self {
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
            activates: false,
            operation: "idle",
            writes_for: Duration::ZERO,
            calls_itself: None,
            written: [None, None],
            writes: 0,
            refusal: String::new(),
            last_error: String::new(),
            installs: Vec::new(),
            marks: Vec::new(),
            marked_too_early: false,
            stops_at: None,
            has_stopped: false,
            units: HashMap::new(),
            networks: vec![vec!["clinical", "management"]],
        };
        slots.write();
        let shared: Shared = Arc::new((Mutex::new(slots), Notify::new()));
        let service = zbus::connection::Builder::address(address.as_str())
            .name("de.pengutronix.rauc")
            .name("org.freedesktop.login1")
            .name("org.freedesktop.systemd1")
            .name("org.freedesktop.network1")
            .serve_at("/", Rauc(Arc::clone(&shared)))
            .serve_at("/org/freedesktop/login1", Login(Arc::clone(&shared)))
            .serve_at("/org/freedesktop/systemd1", Units(Arc::clone(&shared)))
            .serve_at("/org/freedesktop/network1", Networks(Arc::clone(&shared)))
            .build()
            .await
            .expect("the services are on the bus");
        appliance.environment.push(("DBUS_SYSTEM_BUS_ADDRESS".to_owned(), address));
        let system = Self { appliance, shared, bus, service };
        system.configure(more);
        system
    }

    /// A box that has just been started into 2.0, which is on trial, and was not heard of there yet.
    pub async fn on_trial() -> Self {
        let mut system = Self::new("").await;
        let descriptor = system.state();
        system.appliance.channel.deploy("1", &descriptor);
        assert_eq!(system.appliance.once().await, Some(0));
        assert_eq!(system.slots().runs(), "2.0");
        system
    }

    pub fn configure(&self, more: &str) {
        let path = self.appliance.directory.path().display();
        self.appliance.configure(&format!(
            "[os]\nrelease = \"{path}/os-release\"\nboot_id = \"{path}/boot_id\"\n\
             secure_boot = \"{path}/firmware/SecureBoot\"\nhealth_seconds = 2\n{more}"
        ));
    }

    pub fn slots(&self) -> MutexGuard<'_, Slots> {
        slots(&self.shared)
    }

    /// Nobody is this service on the bus any more.
    pub async fn without(&self, name: &str) {
        self.service.release_name(name).await.expect("the name was its own");
    }

    /// The power fails and comes back. Who ran was killed before.
    pub fn cut_power(&self) {
        {
            let mut slots = self.slots();
            slots.writes += 1;
            (slots.operation, slots.stops_at, slots.has_stopped) = ("idle", None, false);
            slots.boot();
        }
        self.shared.1.notify_waiters();
    }

    /// The state `north-2` with the operating system 2.0.
    pub fn state(&mut self) -> Descriptor {
        self.state_with("north-2", "2.0")
    }

    /// A state with an operating system.
    pub fn state_with(&mut self, name: &str, version: &str) -> Descriptor {
        state_with(&mut self.appliance, name, version)
    }
}

/// A state with an operating system; published.
pub fn state_with(appliance: &mut Appliance, name: &str, version: &str) -> Descriptor {
    let target = format!("os/sund-{version}.raucb");
    let mut os: Value = appliance.region.approve("os", &target, format!("a bundle of {version}").as_bytes());
    appliance.region.custom.insert(target, json!({"manifest_sha256": MANIFEST}));
    os["version"] = json!(version);
    os["manifest_sha256"] = json!(MANIFEST);
    appliance.state(name, name.as_bytes(), json!({"os": os}))
}

/// A private bus, and its address.
pub fn bus(directory: &Path) -> (Child, String) {
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
