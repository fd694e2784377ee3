//! Defaults for a laptop: everything in one folder, every port on loopback, keys made on the spot.
use super::node::Node;
use super::service::{Console, DEFAULT_BOUNDS, LogSettings, STUDIES_PER_GPU, WorkerSettings};
use super::value::LogFormat;
use super::{Config, storage};
use crate::fault::{Blame, Fault};
use crate::infer::{AcceptedEngines, Engines};
use crate::limits::association::MAX_ASSOCIATIONS;
use crate::model::Floors;
use crate::pipeline::Activation;
use crate::release::{RELEASE, Release};
use crate::results::UidKey;
use crate::spool::SpoolOptions;
use crate::study::assembly::AssemblyRules;
use crate::worker::Launcher;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

impl Config {
    /// Without models and routes, in `folder`, on free ports of the loopback. The keys live as long as the value: a second
    /// start in the same folder cannot read the first one's audit identifiers.
    pub fn embedded(folder: &Path) -> Result<Self, Fault> {
        let made = |name: &str| {
            let path = folder.join(name);
            match std::fs::create_dir_all(&path) {
                Ok(()) => Ok(path),
                Err(error) => Err(Fault::new(
                    "folder-unwritable",
                    Blame::Box,
                    format!("{} cannot be made: {error}", path.display()),
                )),
            }
        };
        let random = || {
            UidKey::random()
                .ok_or_else(|| Fault::new("no-randomness", Blame::Box, "the system gives no random numbers"))
        };
        let program = std::env::current_exe().map_err(|error| {
            Fault::new("worker-not-started", Blame::Box, format!("this program cannot be found: {error}"))
        })?;
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let ae_title = "SUND".to_owned();
        Ok(Self {
            digest: None,
            device: "embedded".to_owned(),
            variant: Release::read(Path::new(RELEASE)).variant(),
            audit: crate::audit::Options {
                dir: made("audit")?,
                key: crate::audit::Key::new(random()?),
                source: ae_title.clone(),
                max_file: crate::limits::audit::MAX_FILE,
            },
            node: Node {
                ae_title,
                listen: loopback,
                require_called_ae: true,
                max_associations: MAX_ASSOCIATIONS,
                tls: None,
                callers_prove_themselves: false,
                plain_dicom: None,
            },
            callers: Vec::new(),
            console: Some(Console { listen: loopback, tls: None, login: None, allowed_hosts: Vec::new() }),
            spool: SpoolOptions::in_directory(made("spool")?),
            retention: None,
            assembly: AssemblyRules { quiet: storage::DEFAULT_QUIET, complete_on_association_end: true },
            audit_keep: None,
            forward: None,
            certificate: None,
            uid_key: UidKey::new(&random()?),
            packages: Vec::new(),
            accepted: AcceptedEngines::new(),
            floors: Floors::default(),
            destinations: Vec::new(),
            routes: Vec::new(),
            worker: WorkerSettings {
                launcher: Launcher::Child { program },
                bounds: DEFAULT_BOUNDS,
                devices: Vec::new(),
                studies_per_gpu: STUDIES_PER_GPU,
                watches_gpus: true,
                engines: Engines::here(None).with_libraries(&[]),
                compiles: false,
                activation: Activation::OnDemand,
            },
            log: LogSettings { filter: "warn".to_owned(), format: LogFormat::Text },
            channel: None,
            fixed: String::new(),
            named: std::collections::BTreeSet::new(),
            doubts: Vec::new(),
        })
    }
}
