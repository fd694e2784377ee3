//! `updater.toml`: as typed, then the checked one that the program uses. All of it is checked before the first request.
use crate::bundle::inbox::Inbox;
use crate::window::Window;
use crate::{escrow, firmware, tpm};
use jiff::tz::TimeZone;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::Duration;
use url::Url;

/// A configuration in bytes, against a path that names something else.
const MAX_BYTES: u64 = 64 * 1024;

/// Where the updater keeps what it knows, where nothing else is said.
pub const DIRECTORY: &str = "/var/lib/sund-updater";
/// Where the system says what it is, where nothing else is said.
pub const RELEASE: &str = "/etc/os-release";
/// The attribute that names the box's time zone; the server knows it by that too.
pub const TIME_ZONE: &str = "timezone";
/// Attributes of a box; hawkBit takes a bounded number.
const MAX_ATTRIBUTES: usize = 20;
/// A name or value of an attribute, in bytes; hawkBit refuses longer ones.
const MAX_ATTRIBUTE: usize = 120;
/// How long a watch waits for jobs without a word about it: a night.
const DEFAULT_LONGEST_WATCH: u64 = 12 * 3600;
/// The same, at most: a rollout waits for the box.
const LONGEST_WATCH: u64 = 7 * 86_400;

/// The configuration, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Base of the channel server, with a slash at its end.
    pub server: Url,
    /// Tenant at the server.
    pub tenant: String,
    /// Name of this box at the server.
    pub id: String,
    /// The authority that has signed the server's certificate.
    pub ca: Option<PathBuf>,
    /// The proxy on the way to the server and the repository.
    pub proxy: Option<Url>,
    /// Who this box is to the server.
    pub credentials: Credentials,
    /// Base of the metadata, with a slash at its end.
    pub metadata: Url,
    /// Base of the targets, with a slash at its end.
    pub targets: Url,
    /// The root metadata that this box was provisioned with.
    pub root: PathBuf,
    /// Most bytes of payload in a second.
    pub bytes_per_second: Option<NonZeroU64>,
    /// Where the updater keeps what it knows.
    pub directory: PathBuf,
    /// What the channel is told of this box beside what it finds out itself, e.g. its site: groups are made by it.
    pub attributes: BTreeMap<String, String>,
    /// The box's local time: its attribute `timezone`, else the system's. Windows are in it.
    pub zone: TimeZone,
    /// Whether a deployment that asks for confirmation is confirmed by the box itself.
    pub confirm: bool,
    /// Least and most time between two polls, whatever the server says.
    pub poll: (Duration, Duration),
    /// The agent.
    pub agent: Agent,
    /// The operating system, where the updater looks after it.
    pub os: Option<Os>,
    /// Bounds of the watch after activation.
    pub watch: Watch,
    /// Where a running updater writes its status for others on this box; nothing where its directory is missing.
    pub status: PathBuf,
    /// Whom the recovery key of the disk is sealed to; absent: nobody gets it.
    pub escrow: Option<Escrow>,
}

/// The escrow of the disk's recovery key.
#[derive(Clone, Debug)]
pub struct Escrow {
    /// The region's public key, PEM.
    pub key: PathBuf,
    /// Where the system leaves the recovery key.
    pub recovery: PathBuf,
}

/// Who a box is to the server.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// A client certificate and its key, PEM.
    Certificate {
        /// The chain.
        certificate: PathBuf,
        /// Its key.
        key: Key,
    },
    /// A file that holds the target token.
    Token(PathBuf),
    /// Nobody: a server on this very machine.
    Nobody,
}

/// Where the key of the certificate is.
#[derive(Clone, Debug)]
pub enum Key {
    /// A file: PKCS#8, PEM.
    File(PathBuf),
    /// The TPM, which it never leaves.
    Tpm(tpm::Place),
}

/// The agent.
#[derive(Clone, Debug)]
pub struct Agent {
    /// Its channel socket.
    pub socket: PathBuf,
    /// How long it may take to answer after a start.
    pub start: Duration,
    /// How long a trial may take.
    pub trial: Duration,
}

/// The operating system.
#[derive(Clone, Debug)]
pub struct Os {
    /// Where it says what it is (os-release; `IMAGE_VERSION`, else `VERSION_ID`).
    pub release: PathBuf,
    /// Where the kernel says which boot this is.
    pub boot_id: PathBuf,
    /// Where it shows the firmware's variable `SecureBoot`.
    pub secure_boot: PathBuf,
    /// How long RAUC may take.
    pub install: Duration,
    /// How long the new system may take to be healthy.
    pub health: Duration,
    /// When the box may restart; absent: at any time.
    pub window: Option<Window>,
}

/// Bounds of the watch.
#[derive(Clone, Debug)]
pub struct Watch {
    /// Time between two looks.
    pub every: Duration,
    /// Most of the jobs that may fail, from 0 to 1.
    pub max_failed_share: f64,
    /// Jobs before the share counts.
    pub min_jobs: u64,
    /// Longest median time of an answer, in milliseconds.
    pub max_median_ms: Option<f64>,
    /// Jobs that the watch waits for, also where its time is over.
    pub jobs: u64,
    /// How long it waits for them at most, from its beginning.
    pub longest: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    id: String,
    #[serde(default = "tenant")]
    tenant: String,
    #[serde(default = "directory")]
    directory: PathBuf,
    #[serde(default)]
    confirm: bool,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    server: RawServer,
    repository: RawRepository,
    #[serde(default)]
    poll: RawPoll,
    agent: RawAgent,
    os: Option<RawOs>,
    #[serde(default)]
    watch: RawWatch,
    #[serde(default = "status")]
    status: PathBuf,
    escrow: Option<RawEscrow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEscrow {
    key: PathBuf,
    #[serde(default = "recovery")]
    recovery: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawServer {
    url: Url,
    ca: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<String>,
    #[serde(default = "tpm_device")]
    tpm: PathBuf,
    token: Option<PathBuf>,
    proxy: Option<Url>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRepository {
    metadata: Url,
    targets: Url,
    root: PathBuf,
    bytes_per_second: Option<NonZeroU64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPoll {
    min_seconds: u64,
    max_seconds: u64,
}

impl Default for RawPoll {
    fn default() -> Self {
        Self { min_seconds: 10, max_seconds: 3600 }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAgent {
    socket: PathBuf,
    #[serde(default = "start_seconds")]
    start_seconds: u64,
    #[serde(default = "trial_seconds")]
    trial_seconds: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawOs {
    #[serde(default = "release")]
    release: PathBuf,
    #[serde(default = "boot_id")]
    boot_id: PathBuf,
    #[serde(default = "secure_boot")]
    secure_boot: PathBuf,
    #[serde(default = "install_seconds")]
    install_seconds: u64,
    #[serde(default = "health_seconds")]
    health_seconds: u64,
    window: Option<RawWindow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWindow {
    from: String,
    until: String,
    #[serde(default)]
    days: Vec<String>,
    time_zone: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawWatch {
    every_seconds: u64,
    max_failed_share: f64,
    min_jobs: u64,
    max_median_ms: Option<f64>,
    jobs: u64,
    longest_seconds: u64,
}

impl Default for RawWatch {
    fn default() -> Self {
        let longest_seconds = DEFAULT_LONGEST_WATCH;
        Self { every_seconds: 10, max_failed_share: 0.1, min_jobs: 5, max_median_ms: None, jobs: 0, longest_seconds }
    }
}

fn tpm_device() -> PathBuf {
    tpm::DEVICE.into()
}
fn recovery() -> PathBuf {
    escrow::RECOVERY.into()
}
fn tenant() -> String {
    "DEFAULT".to_owned()
}
fn directory() -> PathBuf {
    DIRECTORY.into()
}
fn status() -> PathBuf {
    "/run/sund-updater/status.json".into()
}
fn release() -> PathBuf {
    RELEASE.into()
}
fn boot_id() -> PathBuf {
    "/proc/sys/kernel/random/boot_id".into()
}
fn secure_boot() -> PathBuf {
    firmware::SECURE_BOOT.into()
}
fn install_seconds() -> u64 {
    7200
}
fn health_seconds() -> u64 {
    600
}
fn start_seconds() -> u64 {
    300
}
fn trial_seconds() -> u64 {
    7200
}

impl Config {
    /// Reads and checks a configuration. The error is a sentence that names the file, and the line where there is one.
    pub fn read(path: &Path) -> Result<Self, String> {
        let name = path.display();
        let length = std::fs::metadata(path).map_err(|error| format!("{name} cannot be read: {error}"))?.len();
        if length > MAX_BYTES {
            return Err(format!("{name} has more than {MAX_BYTES} bytes: it is no configuration"));
        }
        let text = std::fs::read_to_string(path).map_err(|error| format!("{name} cannot be read: {error}"))?;
        let raw: Raw = toml::from_str(&text).map_err(|error| format!("{name}: {error}"))?;
        check(raw).map_err(|reason| format!("{name}: {reason}"))
    }

    /// File of the persisted machine.
    pub fn record_file(&self) -> PathBuf {
        self.directory.join("state.json")
    }

    /// File with what the running updater does now; nothing depends on it.
    pub fn now_file(&self) -> PathBuf {
        self.directory.join("now.json")
    }

    /// Where a bundle from a stick waits.
    pub fn inbox(&self) -> Inbox {
        Inbox::new(self.directory.join("inbox"))
    }

    /// Directory of the payloads.
    pub fn store(&self) -> PathBuf {
        self.directory.join("store")
    }

    /// Directory of the newest metadata seen.
    pub fn tuf(&self) -> PathBuf {
        self.directory.join("tuf")
    }
}

fn check(raw: Raw) -> Result<Config, String> {
    for (key, name) in [("id", &raw.id), ("tenant", &raw.tenant)] {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
        if name.is_empty() || name.len() > 64 || !name.chars().all(is_plain) {
            return Err(format!("`{key}` has 1 to 64 letters, digits, `-`, `_`, `.` or `:`"));
        }
    }
    let is_short = |text: &String| !text.is_empty() && text.len() <= MAX_ATTRIBUTE;
    if raw.attributes.len() > MAX_ATTRIBUTES
        || !raw.attributes.iter().all(|(key, value)| is_short(key) && is_short(value))
    {
        return Err(format!("`attributes` has at most {MAX_ATTRIBUTES} keys and values of 1 to {MAX_ATTRIBUTE} bytes"));
    }
    if ![&raw.directory, &raw.agent.socket, &raw.status].iter().all(|path| path.is_absolute()) {
        return Err("`directory`, `status` and `agent.socket` are absolute paths".to_owned());
    }
    if raw.poll.min_seconds == 0 || raw.poll.min_seconds > raw.poll.max_seconds || raw.poll.max_seconds > 86_400 {
        return Err("`poll`: 1 <= min_seconds <= max_seconds <= 86400".to_owned());
    }
    if raw.watch.longest_seconds > LONGEST_WATCH {
        return Err(format!("`watch`: longest_seconds is at most {LONGEST_WATCH}"));
    }
    if !(0.0..=1.0).contains(&raw.watch.max_failed_share) || raw.watch.every_seconds == 0 {
        return Err("`watch`: max_failed_share is from 0 to 1, every_seconds at least 1".to_owned());
    }
    let named = raw.attributes.get(TIME_ZONE).map(|name| zone("attributes.timezone", name));
    let own_zone = named.unwrap_or_else(|| Ok(TimeZone::system()))?;
    let server = base("server.url", raw.server.url)?;
    let RawServer { ca, certificate, key, tpm, token, proxy, .. } = raw.server;
    if proxy.as_ref().is_some_and(|proxy| !["http", "https"].contains(&proxy.scheme())) {
        return Err("`server.proxy` is an address of http or https".to_owned());
    }
    let credentials = match (certificate, key, token) {
        (Some(certificate), Some(key), None) => Credentials::Certificate { certificate, key: place_of_key(&key, tpm)? },
        (None, None, Some(token)) => Credentials::Token(token),
        (None, None, None) if is_loopback(&server) => Credentials::Nobody,
        _ => return Err("`server`: give `certificate` and `key`, or `token`".to_owned()),
    };
    let metadata = base("repository.metadata", raw.repository.metadata)?;
    let targets = base("repository.targets", raw.repository.targets)?;
    if ca.is_none() && [&server, &metadata, &targets].iter().any(|url| url.scheme() == "https") {
        return Err("`server.ca` names the authority of the server's certificate: nothing else is believed".to_owned());
    }
    Ok(Config {
        server,
        tenant: raw.tenant,
        id: raw.id,
        ca,
        proxy,
        credentials,
        metadata,
        targets,
        root: raw.repository.root,
        bytes_per_second: raw.repository.bytes_per_second,
        directory: raw.directory,
        attributes: raw.attributes,
        zone: own_zone.clone(),
        confirm: raw.confirm,
        poll: (Duration::from_secs(raw.poll.min_seconds), Duration::from_secs(raw.poll.max_seconds)),
        agent: Agent {
            socket: raw.agent.socket,
            start: Duration::from_secs(raw.agent.start_seconds),
            trial: Duration::from_secs(raw.agent.trial_seconds),
        },
        os: raw.os.map(|raw| os(raw, &own_zone)).transpose()?,
        watch: Watch {
            every: Duration::from_secs(raw.watch.every_seconds),
            max_failed_share: raw.watch.max_failed_share,
            min_jobs: raw.watch.min_jobs,
            max_median_ms: raw.watch.max_median_ms,
            jobs: raw.watch.jobs,
            longest: Duration::from_secs(raw.watch.longest_seconds),
        },
        status: raw.status,
        escrow: raw.escrow.map(|RawEscrow { key, recovery }| Escrow { key, recovery }),
    })
}

fn place_of_key(key: &str, device: PathBuf) -> Result<Key, String> {
    if !key.starts_with(tpm::SCHEME) {
        return Ok(Key::File(key.into()));
    }
    let handle = key.parse().map_err(|reason| format!("`server.key`: {reason}"))?;
    Ok(Key::Tpm(tpm::Place { device, handle }))
}

fn os(raw: RawOs, zone: &TimeZone) -> Result<Os, String> {
    Ok(Os {
        release: raw.release,
        boot_id: raw.boot_id,
        secure_boot: raw.secure_boot,
        install: Duration::from_secs(raw.install_seconds),
        health: Duration::from_secs(raw.health_seconds),
        window: raw.window.map(|raw| window(&raw, zone)).transpose()?,
    })
}

fn window(raw: &RawWindow, own: &TimeZone) -> Result<Window, String> {
    let zone = raw.time_zone.as_deref().map_or_else(|| Ok(own.clone()), |name| zone("os.window.time_zone", name))?;
    Window::new(&raw.from, &raw.until, &raw.days, zone).map_err(|reason| format!("`os.window`: {reason}"))
}

fn zone(key: &str, name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name).map_err(|error| format!("`{key}`: {error}"))
}

/// A base of addresses: https, or http on this machine alone, with a slash at its end.
pub fn base(key: &str, mut url: Url) -> Result<Url, String> {
    if url.scheme() != "https" && !(url.scheme() == "http" && is_loopback(&url)) {
        return Err(format!("`{key}` is an https address; http does for this machine alone"));
    }
    if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
        return Err(format!("`{key}` has no query, no fragment and no user"));
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
