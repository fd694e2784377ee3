//! `guard`.
use super::run::failed;
use crate::audit::Audit;
use crate::config::{self, Config};
use crate::exit::Exit;
use crate::guard::OnTrial;
use std::path::PathBuf;

/// They are no part of the configuration: whether there is anything to guard has to be known also where that cannot be read.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Where the updater keeps what it knows: `directory` of the configuration.
    #[arg(long, default_value = config::DIRECTORY)]
    directory: PathBuf,
    /// Where the system says what it is: `[os] release` of the configuration.
    #[arg(long, default_value = config::RELEASE)]
    release: PathBuf,
}

pub(super) fn guard(
    arguments: &Arguments,
    audit: &Audit,
    configured: impl Fn(&dyn Fn(Config) -> Exit) -> Exit,
) -> Exit {
    let Some(trial) = OnTrial::read(&arguments.directory, &arguments.release) else { return Exit::Done };
    audit.keep_in(&arguments.directory, "guard");
    let exit = configured(&|config| trial.check(&config).map_or_else(|fault| failed(&fault), |()| Exit::Done));
    if exit != Exit::Done {
        // Kept first: an updater that hangs may hold the trail, and then the box restarts while that is waited for.
        let version = trial.restarts();
        tracing::warn!(target: "audit", code = "os-unattended", version, "the box restarts, to leave a system on trial that nobody looks after");
    }
    exit
}
