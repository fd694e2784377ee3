//! `started`.
use super::run::failed;
use crate::config::Config;
use crate::exit::Exit;
use crate::started;
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
}

/// A box that was not provisioned yet has a good start too, and nothing to keep.
pub(super) fn started(
    config: &Path,
    arguments: &Arguments,
    configured: impl Fn(&dyn Fn(Config) -> Exit) -> Exit,
) -> Exit {
    if let Err(fault) = started::is_good(&arguments.starts) {
        return failed(&fault);
    }
    if !config.exists() {
        return Exit::Done;
    }
    configured(&|config| {
        started::keep_site(&config, &arguments.network, &arguments.site)
            .map_or_else(|fault| failed(&fault), |()| Exit::Done)
    })
}
