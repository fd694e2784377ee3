//! `started`.
use super::run::failed;
use crate::audit::Audit;
use crate::config::{self, Config};
use crate::exit::Exit;
use crate::tpm::{self, counter};
use crate::{recovery, started};
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The firmware's variable that counts the starts.
    #[arg(long, default_value = started::STARTS)]
    starts: PathBuf,
    /// The firmware's variable with what a rescue has to know.
    #[arg(long, default_value = started::SITE)]
    site: PathBuf,
    /// The addresses of the network where the channel is.
    #[arg(long, default_value = started::NETWORK)]
    network: PathBuf,
    /// The TPM with the counter below which a rescue takes nothing.
    #[arg(long, default_value = tpm::DEVICE)]
    tpm: PathBuf,
    /// Where the updater keeps what it knows: `directory` of its configuration.
    #[arg(long, default_value = config::DIRECTORY)]
    directory: PathBuf,
}

/// A box that was not provisioned yet has a good start too, and nothing of a site to keep. What fails keeps nothing else from being done.
pub(super) fn started(
    config: &Path,
    arguments: &Arguments,
    audit: &Audit,
    configured: impl Fn(&dyn Fn(Config) -> Exit) -> Exit,
) -> Exit {
    audit.keep_in(&arguments.directory, "started");
    let is_good = started::is_good(&arguments.starts);
    let keep_site = |config| started::keep_site(&config, &arguments.network, &arguments.site);
    // Before the TPM is asked, which may be slow.
    let kept = if config.exists() {
        configured(&|config| keep_site(config).map_or_else(|fault| failed(&fault), |()| Exit::Done))
    } else {
        Exit::Done
    };
    let counted = recovery::keep_counter(&arguments.tpm, counter::INDEX, &arguments.directory);
    let ended =
        [is_good, counted].iter().filter_map(|done| done.as_ref().err()).fold(Exit::Done, |_, fault| failed(fault));
    if kept == Exit::Done { ended } else { kept }
}
