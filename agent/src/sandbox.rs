//! What `sund serve` may touch, told to the kernel (Landlock) before it reads the first byte of a peer: a defect in what follows can
//! neither read nor write elsewhere, nor start another program. systemd bounds system calls, users and devices; this bounds files,
//! also where there is no systemd.
//!
//! It reads the system's own folders and the folders that the configuration names; it writes spool, audit log, its record of states,
//! the certificate's folder and the folder of its socket. Where workers are its children, it may start this program, for which
//! the system's loader has to be executable too; they are bound by the same.
use crate::config::Config;
use crate::fault::{Blame, Fault};
use crate::worker::Launcher;
use landlock::{
    ABI, Access, AccessFs, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus,
};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Newest rights that are asked for; an older kernel grants what it knows.
const RIGHTS: ABI = ABI::V3;

/// Of the system: libraries, names, time zones, certificates; what the kernel tells.
const SYSTEM: [&str; 8] = ["/etc", "/usr", "/lib", "/lib64", "/opt", "/run", "/proc", "/sys"];
/// Device nodes that are there, such as a GPU's for workers that are children; which of them may be opened is the unit's.
const DEVICES: &str = "/dev";
/// Where the updater keeps what states are made of.
const UPDATER: &str = "/var/lib/sund-updater";
/// What the kernel starts first of a program that is linked to libraries.
const LOADERS: [&str; 4] = [
    "/lib64/ld-linux-x86-64.so.2",
    "/lib/ld-linux-aarch64.so.1",
    "/lib/ld-musl-x86_64.so.1",
    "/lib/ld-musl-aarch64.so.1",
];

/// How much of it the kernel holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// All.
    Whole,
    /// What this kernel knows.
    Part,
    /// Nothing: the kernel has no Landlock.
    Nothing,
}

/// What may be touched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    read: BTreeSet<PathBuf>,
    write: BTreeSet<PathBuf>,
    start: BTreeSet<PathBuf>,
}

impl Places {
    /// What a configuration needs; of one that the channel brought, `own` is the box's.
    pub fn of(config: &Config, own: &Path) -> Self {
        let mut places = Self::default();
        places.read.extend(SYSTEM.map(PathBuf::from));
        places.read.insert(folder(own));
        // A file that is replaced by a rename is another one: its folder is what stays.
        places.read.extend(config.named.iter().map(|path| if path.is_dir() { path.clone() } else { folder(path) }));
        places.write.extend([config.spool.directory.clone(), config.audit.dir.clone()]);
        places.write.extend(config.certificate.iter().map(|certificate| folder(&certificate.file)));
        let engines = &config.worker.engines;
        let libraries = engines.onnxruntime.iter().chain(engines.libraries.iter().map(|(_, path)| path));
        places.read.extend(libraries.map(|path| folder(path)));
        places.read.extend(std::env::var_os("LD_LIBRARY_PATH").iter().flat_map(std::env::split_paths));
        if let Some(channel) = &config.channel {
            places.read.extend([PathBuf::from(UPDATER), folder(&channel.updater_status)]);
            places.write.extend([channel.directory.clone(), folder(&channel.socket)]);
        }
        if let Launcher::Child { program } = &config.worker.launcher {
            places.start.insert(program.clone());
            places.start.extend(LOADERS.map(PathBuf::from));
        }
        places
    }

    /// The same and more: what another configuration needs.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.read.extend(other.read);
        self.write.extend(other.write);
        self.start.extend(other.start);
        self
    }
}

fn folder(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Confines this thread and all that it starts, for good. It is called before there is another thread.
pub fn confine(places: &Places) -> Result<Held, Fault> {
    let failed = |error: &dyn std::fmt::Display| {
        Fault::new("sandbox", Blame::Box, format!("the kernel does not take the bounds of this process: {error}"))
    };
    let all = AccessFs::from_all(RIGHTS);
    let write = all & !AccessFs::Execute;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let device = read | AccessFs::WriteFile;
    let start = AccessFs::Execute | AccessFs::ReadFile;
    let mut rules = Ruleset::default()
        .handle_access(all)
        .map_err(|error| failed(&error))?
        .create()
        .map_err(|error| failed(&error))?;
    let of = |paths: &BTreeSet<PathBuf>, rights: BitFlags<AccessFs>| {
        paths.iter().map(move |path| (path.clone(), rights)).collect::<Vec<_>>()
    };
    let wanted = [of(&places.read, read), of(&places.write, write), of(&places.start, start)];
    let wanted = wanted.into_iter().flatten().chain([(PathBuf::from(DEVICES), device)]);
    for (path, rights) in wanted {
        // What is not there cannot be touched.
        let Ok(at) = PathFd::new(&path) else { continue };
        let rights = if path.is_dir() { rights } else { rights & AccessFs::from_file(RIGHTS) };
        rules = rules.add_rule(PathBeneath::new(at, rights)).map_err(|error| failed(&error))?;
    }
    let status = rules.restrict_self().map_err(|error| failed(&error))?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => Held::Whole,
        RulesetStatus::PartiallyEnforced => Held::Part,
        RulesetStatus::NotEnforced => Held::Nothing,
    })
}
