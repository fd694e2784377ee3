//! The console, the worker and the log.
use super::files::{file, private_file, secret};
use super::reader::Section;
use super::value::{LauncherKind, LogFormat, Size, Time};
use crate::console::{Login, User, tls_from_pem};
use crate::infer::Engines;
use crate::limits::job::WORKER_WAIT;
use crate::limits::worker::{MAX_DEVICES, MAX_PLACES};
use crate::pipeline::Activation;
use crate::worker::{Bounds, Launcher, Seat};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tracing_subscriber::EnvFilter;

/// The console.
#[derive(Clone)]
pub struct Console {
    /// Where it listens.
    pub listen: SocketAddr,
    /// TLS.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Users and the token for `/metrics`.
    pub login: Option<Login>,
    /// Names by which browsers reach it.
    pub allowed_hosts: Vec<String>,
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console")
            .field("listen", &self.listen)
            .field("tls", &self.tls.is_some())
            .field("login", &self.login.is_some())
            .field("allowed_hosts", &self.allowed_hosts)
            .finish()
    }
}

/// How jobs are run.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// How workers are started.
    pub launcher: Launcher,
    /// Bounds on one job.
    pub bounds: Bounds,
    /// GPUs, and parts of them, by the names that `nvidia-smi -L` gives: one worker for each. None: one worker.
    pub devices: Vec<String>,
    /// Studies at once on each GPU, in one worker.
    pub studies_per_gpu: usize,
    /// Whether a worker of its own tells of the GPUs; a file cannot ask for less.
    pub watches_gpus: bool,
    /// What is there to run networks with.
    pub engines: Engines,
    /// Whether engines that lack are compiled on the box.
    pub compiles: bool,
    /// When golden cases are run; a file cannot ask for less than before the first job.
    pub activation: Activation,
}

impl WorkerSettings {
    /// A seat for the worker that compiles engines, on the first GPU; `None` where none does.
    pub fn compiler(&self) -> Option<Seat> {
        self.compiles.then(|| Seat::new(self.launcher.clone(), self.devices.first().cloned()))
    }

    /// The seats of all workers. On the processor one study at a time: more would only share its cores.
    pub fn seats(&self) -> Vec<Seat> {
        let has_gpu = !self.engines.libraries.is_empty() || !self.engines.tensorrt.is_empty();
        let places = if has_gpu { self.studies_per_gpu } else { 1 };
        let seats = |device: Option<String>| Seat::several(self.launcher.clone(), device, places);
        match self.devices.as_slice() {
            [] => seats(None),
            devices => devices.iter().cloned().map(Some).flat_map(seats).collect(),
        }
    }
}

/// How the log is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// Which events, as `tracing` directives.
    pub filter: String,
    /// Lines for people, or JSON.
    pub format: LogFormat,
}

/// Studies at once on each GPU, unless the configuration says otherwise: the samples of one travel while another runs.
pub const STUDIES_PER_GPU: usize = 2;
/// Memory and time of one job, unless the configuration says otherwise.
pub const DEFAULT_BOUNDS: Bounds = Bounds { memory: 4 << 30, time: Duration::from_mins(10), wait: WORKER_WAIT };
/// Less than this no engine loads in.
const LEAST_MEMORY: u64 = 64 << 20;

/// Reads `[console]`.
pub(super) fn console(root: &Section<'_, '_>) -> Option<Console> {
    let section = root.section("console", "console")?;
    let listen = section.require::<SocketAddr>("listen");
    let tls = section.section("tls", "console.tls");
    if let (None, Some(_)) = (&tls, section.entry("users")) {
        section.complain("users", "would send their passwords in the clear", "set [console.tls]");
    }
    let tls = tls.and_then(|tls| {
        tls.require::<PathBuf>("certificate");
        tls.require::<PathBuf>("key");
        let (certificate, key) = (file(&tls, "certificate"), private_file(&tls, "key"));
        match tls_from_pem(&certificate?, &key?) {
            Ok(config) => Some(config),
            Err(fault) => {
                tls.complain("certificate", &fault.reason, "");
                None
            }
        }
    });
    let token = section.entry("metrics_token_file").and_then(|_| secret(&section, "metrics_token_file"));
    let login = login(&section, token.map(|token| token.to_string()));
    Some(Console { listen: listen?, tls, login, allowed_hosts: section.value_or("allowed_hosts", Vec::new()) })
}

fn login(section: &Section<'_, '_>, token: Option<String>) -> Option<Login> {
    let mut users: Vec<(String, User)> = Vec::new();
    for entry in section.sections("users", "console.users") {
        let name = entry.require::<String>("name");
        let hash = entry.require::<String>("password_hash");
        let (Some(name), Some(hash)) = (name, hash) else { continue };
        if users.iter().any(|(known, _)| *known == name) {
            entry.complain("name", &format!("`{name}` stands here twice"), "");
        }
        match User::new(&name, &hash) {
            Ok(user) => users.push((name, if entry.value_or("orders", false) { user.ordering() } else { user })),
            Err(fault) => entry.complain("password_hash", &fault.reason, "make one: sund hash-password"),
        }
    }
    if users.is_empty() {
        if token.is_some() {
            section.complain("metrics_token_file", "has no use without users", "add [[console.users]]");
        }
        return None;
    }
    match Login::new(users.into_iter().map(|(_, user)| user).collect(), token) {
        Ok(login) => Some(login),
        Err(fault) => {
            section.complain("metrics_token_file", &fault.reason, "make one: openssl rand -hex 32");
            None
        }
    }
}

/// Reads `[worker]`.
pub(super) fn worker(root: &Section<'_, '_>) -> Option<WorkerSettings> {
    let section = root.section("worker", "worker");
    let section = section.as_ref();
    let kind = section.and_then(|s| s.value("launcher")).unwrap_or(LauncherKind::Child);
    let socket = section.and_then(|s| s.path("socket"));
    let launcher = match (kind, socket, section) {
        (LauncherKind::Child, None, _) => std::env::current_exe().ok().map(|program| Launcher::Child { program }),
        (LauncherKind::Systemd, Some(socket), _) => Some(Launcher::Unit { socket }),
        (LauncherKind::Child, Some(_), Some(s)) => {
            s.complain("socket", "has no use with launcher \"child\"", "remove it, or set launcher = \"systemd\"");
            None
        }
        (LauncherKind::Systemd, None, Some(s)) => {
            s.complain("socket", "is missing", "the socket of the worker's unit, e.g. \"/run/sund/worker.sock\"");
            None
        }
        (_, _, None) => None,
    };
    let memory = section.and_then(|s| s.value::<Size>("memory_limit")).map_or(DEFAULT_BOUNDS.memory, |size| size.0);
    if let Some(section) = section.filter(|_| memory < LEAST_MEMORY) {
        section.complain("memory_limit", "is too small for any model", "write e.g. \"4GiB\"");
    }
    let time = section.and_then(|s| s.value::<Time>("timeout")).map_or(DEFAULT_BOUNDS.time, |time| time.0);
    let onnxruntime = section.and_then(|s| s.entry("onnxruntime").and_then(|_| file(s, "onnxruntime")));
    let library = |class, key| {
        let path = section.and_then(|s| s.entry(key).and_then(|_| file(s, key)))?;
        Some((class, path))
    };
    let tensorrt = [library("tensorrt-rtx", "tensorrt_rtx"), library("tensorrt", "tensorrt")];
    let tensorrt: Vec<_> = tensorrt.into_iter().flatten().collect();
    let bounds = Bounds { memory, time, wait: WORKER_WAIT };
    let engines = Engines::here(onnxruntime.as_deref()).with_libraries(&tensorrt);
    let devices = section.map(devices).unwrap_or_default();
    let studies_per_gpu = section.and_then(|s| s.value("studies_per_gpu")).unwrap_or(STUDIES_PER_GPU);
    if let Some(section) = section.filter(|_| !(1..=MAX_PLACES).contains(&studies_per_gpu)) {
        section.complain("studies_per_gpu", "is out of range", &format!("write a number from 1 to {MAX_PLACES}"));
    }
    Some(WorkerSettings {
        launcher: launcher?,
        bounds,
        devices,
        studies_per_gpu,
        watches_gpus: true,
        engines,
        compiles: true,
        activation: Activation::AtStart,
    })
}

/// The names of GPUs, each once.
fn devices(section: &Section<'_, '_>) -> Vec<String> {
    const LIST: &str = "nvidia-smi -L lists them";
    let devices: Vec<String> = section.value_or("devices", Vec::new());
    if devices.len() > MAX_DEVICES {
        section.complain("devices", &format!("names more than {MAX_DEVICES}"), LIST);
    }
    for (n, device) in devices.iter().enumerate() {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-/".contains(&byte);
        let is_name = device.starts_with("GPU-") || device.starts_with("MIG-");
        if !is_name || !device.bytes().all(is_plain) {
            section.complain("devices", &format!("`{device}` is neither GPU-… nor MIG-…"), LIST);
        }
        if devices[..n].contains(device) {
            section.complain("devices", &format!("`{device}` stands here twice"), LIST);
        }
    }
    devices
}

/// Reads `[log]`.
pub(super) fn log(root: &Section<'_, '_>) -> Option<LogSettings> {
    let section = root.section("log", "log");
    let section = section.as_ref();
    let filter = section.and_then(|s| s.value::<String>("filter")).unwrap_or_else(|| "info".to_owned());
    if let (Err(error), Some(section)) = (EnvFilter::try_new(&filter), section) {
        section.complain("filter", &format!("cannot be used: {error}"), "e.g. \"info\" or \"warn,sund_agent=debug\"");
        return None;
    }
    Some(LogSettings { filter, format: section.and_then(|s| s.value("format")).unwrap_or_default() })
}
