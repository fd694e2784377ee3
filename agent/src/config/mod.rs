//! Configuration: as typed, then as checked. All of it is checked before the first port is bound, and all that is wrong
//! is told at once, each with its line.
//!
//! A [`Config`] is a proof: its keys were read, its packages opened, its directories can be written, its routes name
//! what there is, and nothing stands open beyond what was said by name.
mod certificate;
mod channel;
mod date;
mod embedded;
mod exposure;
mod files;
mod forward;
mod keys;
mod node;
mod pinned;
mod ports;
mod problem;
mod reader;
mod routing;
mod service;
mod storage;
mod value;

pub use certificate::certificate_settings;
pub use channel::{Channel, Deployment, RoutePlan};
pub use keys::KEYS;
pub use node::{Node, PlainDicom};
pub use pinned::{Pinned, VendorKeys};
pub use problem::{Problem, meant, place, render};
pub use service::{Console, DEFAULT_BOUNDS, LogSettings, STUDIES_PER_GPU, WorkerSettings};
pub use storage::Retention;
pub use value::{Day, LogFormat};

use crate::association::{Caller, Policy};
use crate::deliver::Destination;
use crate::exit::Exit;
use crate::fault::{Blame, Fault};
use crate::hex::hex;
use crate::infer::AcceptedEngines;
use crate::limits::config::MAX_FILE;
use crate::model::{Floors, Package};
use crate::release::{RELEASE, Release, Variant};
use crate::results::UidKey;
use crate::route::Route;
use crate::spool::SpoolOptions;
use crate::study::assembly::AssemblyRules;
use date::today;
use reader::{Document, Section};
use std::collections::BTreeSet;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A configuration that holds.
pub struct Config {
    /// SHA-256 of the file, hex; `None` for the embedded defaults.
    pub digest: Option<String>,
    /// Name of this device in results.
    pub device: String,
    /// Which variant the system is that it was read on; `None`: the one for patients.
    pub variant: Option<Variant>,
    /// The DICOM node.
    pub node: Node,
    /// Who may call; empty for anybody on loopback.
    pub callers: Vec<Caller>,
    /// The console, where there is one.
    pub console: Option<Console>,
    /// Where the spool lies and how much it may hold.
    pub spool: SpoolOptions,
    /// How long a study is kept; `None`: until a person erases it.
    pub retention: Retention,
    /// When a study is complete.
    pub assembly: AssemblyRules,
    /// The key of the result UIDs.
    pub uid_key: UidKey,
    /// The audit log.
    pub audit: crate::audit::Options,
    /// A file of it that was collected is removed after this time; `None`: never.
    pub audit_keep: Retention,
    /// Who collects it.
    pub forward: Option<crate::audit::forward::Collector>,
    /// The clinical certificate, where the agent looks after it.
    pub certificate: Option<crate::certificate::Settings>,
    /// Model packages, opened and checked.
    pub packages: Vec<Package>,
    /// Engines that the site's acceptance cohort was run on; none but of a state that the channel has brought.
    pub accepted: AcceptedEngines,
    /// What golden cases must ask for.
    pub floors: Floors,
    /// Where results go.
    pub destinations: Vec<Destination>,
    /// Which studies, by which models, to where.
    pub routes: Vec<Route>,
    /// The worker.
    pub worker: WorkerSettings,
    /// The log.
    pub log: LogSettings,
    /// How the updater reaches the agent; `None`: not at all.
    pub channel: Option<Channel>,
    /// What of it cannot change while the agent runs, as one text.
    pub fixed: String,
    /// Files and directories that it names.
    pub named: BTreeSet<PathBuf>,
    /// What would keep it from serving if it were new, and is only said where it serves already.
    pub doubts: Vec<Problem>,
}

impl Config {
    /// Who may call and how, as the node is told it. The AE titles of routes are answered to as well.
    pub fn policy(&self) -> Policy {
        let own = &self.node.ae_title;
        let mut also_called: Vec<String> = self.routes.iter().flat_map(|route| route.called_ae.clone()).collect();
        also_called.retain(|title| title != own);
        also_called.sort();
        also_called.dedup();
        Policy {
            ae_title: own.clone(),
            require_called_ae: self.node.require_called_ae,
            also_called,
            callers: self.callers.clone(),
            max_associations: self.node.max_associations,
        }
    }
}

/// Keys, tokens and password hashes are left out: what is shown is what a log may hold.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("node", &self.node)
            .field("callers", &self.callers)
            .field("console", &self.console)
            .field("spool", &self.spool)
            .field("retention", &self.retention)
            .field("assembly", &self.assembly)
            .field("audit", &self.audit.dir)
            .field("forward", &self.forward)
            .field("certificate", &self.certificate)
            .field("packages", &self.packages.iter().map(|package| &package.digest).collect::<Vec<_>>())
            .field("floors", &self.floors)
            .field("destinations", &self.destinations)
            .field("routes", &self.routes)
            .field("worker", &self.worker)
            .field("log", &self.log)
            .field("channel", &self.channel)
            .finish_non_exhaustive()
    }
}

/// Reads and checks a configuration; everything that is wrong with it, in the order of lines.
pub fn check(path: &Path) -> Result<Config, Vec<Problem>> {
    let text = read(path).map_err(|problem| vec![problem])?;
    check_text(&text, path.parent().unwrap_or(Path::new(".")), &Origin::Own(path))
}

/// The same of a state that the channel has brought: `text` is its configuration, or the box's own where `is_own`; its models are in
/// the place of those that are written there. Paths are relative to the box's own file.
pub fn check_deployed(
    text: &str,
    is_own: bool,
    channel: &Channel,
    deployment: &Deployment,
) -> Result<Config, Vec<Problem>> {
    check_text(text, channel.folder(), &Origin::Deployed { is_own, channel, deployment })
}

/// Where a configuration comes from.
enum Origin<'a> {
    /// The box's own file.
    Own(&'a Path),
    /// A state of the channel.
    Deployed { is_own: bool, channel: &'a Channel, deployment: &'a Deployment },
}

fn check_text(text: &str, folder: &Path, origin: &Origin<'_>) -> Result<Config, Vec<Problem>> {
    let (document, table) = Document::parse(text, folder).map_err(|problem| vec![problem])?;
    let fixed = channel::fixed_part(text).map_err(|problem| vec![problem])?;
    let config = config(&Section::root(&document, &table), origin, today());
    let (named, doubts) = (document.named(), document.doubts());
    match (config, document.into_problems()) {
        (Some(config), problems) if problems.is_empty() => {
            Ok(Config { digest: Some(sha256(text)), fixed, named, doubts, ..config })
        }
        (_, problems) => Err(problems),
    }
}

/// What `sund check-config` says, and how it ends: 64 where anything is wrong.
pub fn report(path: &Path) -> (String, Exit) {
    match check(path) {
        Ok(config) if !config.doubts.is_empty() => (render(path, &config.doubts), Exit::Usage),
        Ok(config) => {
            let count = |n: usize, one: &str| format!("{n} {one}{}", if n == 1 { "" } else { "s" });
            let text = format!(
                "{}: holds: {} at {}, {}, {}, {}, {}\n",
                path.display(),
                config.node.ae_title,
                config.node.listen,
                count(config.callers.len(), "caller"),
                count(config.packages.len(), "model"),
                count(config.routes.len(), "route"),
                count(config.destinations.len(), "destination"),
            );
            (text, Exit::Ok)
        }
        Err(problems) => (render(path, &problems), Exit::Usage),
    }
}

/// Where the spool of a configuration lies. Nothing else is read of it: a command beside the agent need not see its keys.
pub fn spool_directory(path: &Path) -> Result<PathBuf, Fault> {
    let wrong = |problem: &Problem| {
        Fault::new("configuration-invalid", Blame::Configuration, render(path, std::slice::from_ref(problem)))
    };
    let text = read(path).map_err(|problem| wrong(&problem))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let (document, table) = Document::parse(&text, folder).map_err(|problem| wrong(&problem))?;
    let root = Section::root(&document, &table);
    root.section("spool", "spool").and_then(|section| section.path("directory")).ok_or_else(|| {
        let reason = format!("{} does not say where the spool lies: [spool] directory", path.display());
        Fault::new("configuration-invalid", Blame::Configuration, reason)
    })
}

pub(crate) fn sha256(text: &str) -> String {
    hex(ring::digest::digest(&ring::digest::SHA256, text.as_bytes()).as_ref())
}

/// The text of a configuration.
pub(crate) fn read(path: &Path) -> Result<String, Problem> {
    let problem = |message: String, help: &str| Problem {
        line: 1,
        column: 1,
        key: String::new(),
        message,
        help: help.to_owned(),
    };
    let unreadable = |error: std::io::Error| problem(format!("cannot be read: {error}"), "");
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(problem(format!("has more than {MAX_FILE} bytes"), "this is hardly a configuration"));
    }
    String::from_utf8(bytes).map_err(|_| problem("is not UTF-8".to_owned(), "save it as UTF-8"))
}

/// Every section is read, whatever the ones before it said.
fn config(root: &Section<'_, '_>, origin: &Origin<'_>, today: Day) -> Option<Config> {
    let node = node::node(root);
    let callers = node::callers(root);
    let console = service::console(root);
    let spool = storage::spool(root);
    let assembly = storage::study(root);
    let uid_key = storage::uid_key(root);
    let audit = storage::audit(root, node.as_ref().map_or("", |node| &node.ae_title));
    let audit_keep = storage::audit_keep(root);
    let forward = forward::forward(root);
    let certificate = certificate::certificate(root);
    let vendors = routing::vendors(root);
    let (packages, plans) = match origin {
        Origin::Own(_) => (routing::packages(root, &vendors), None),
        Origin::Deployed { deployment, .. } => {
            (channel::packages(root, deployment, &vendors), Some(&deployment.routes))
        }
    };
    let floors = routing::floors(root);
    let destinations = routing::destinations(root, node.as_ref().map_or("", |node| &node.ae_title));
    let routes = routing::routes(root, &packages, &callers, plans);
    let worker = service::worker(root);
    let log = service::log(root);
    exposure::check(root, node.as_ref(), &callers, console.as_ref(), today);
    let spool_directory = spool.as_ref().map(|(spool, _)| spool.directory.as_path());
    let channel = match origin {
        Origin::Own(path) => channel::channel(root, path, spool_directory.unwrap_or(Path::new(""))),
        Origin::Deployed { is_own, channel, .. } => {
            if !is_own {
                channel::check_foreign(root, channel, spool_directory);
            }
            Some(Channel::clone(channel))
        }
    };
    let used = ports::Used {
        node: node.as_ref(),
        console: console.as_ref(),
        forward: forward.as_ref(),
        certificate: certificate.as_ref(),
    };
    ports::check(root, channel.as_ref(), &used);
    let (spool, retention) = spool?;
    let node = node?;
    Some(Config {
        digest: None,
        device: node.ae_title.clone(),
        variant: Release::read(Path::new(RELEASE)).variant(),
        node,
        callers,
        console,
        spool,
        retention,
        assembly,
        uid_key: uid_key?,
        audit: audit?,
        audit_keep,
        forward,
        certificate,
        packages,
        accepted: AcceptedEngines::new(),
        floors,
        destinations,
        routes,
        worker: worker?,
        log: log?,
        channel,
        fixed: String::new(),
        named: BTreeSet::new(),
        doubts: Vec::new(),
    })
}
