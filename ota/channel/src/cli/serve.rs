//! `sund-channel serve`
use super::unwritable;
use crate::limits::http::DRAIN_TIME;
use crate::server::Bound;
use crate::server::config::Config;
use std::path::{Path, PathBuf};
use std::time::Instant;
use sund_ota::fault::Fault;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The configuration, `channel.toml` of the channel's directory without this; its directory is the channel's.
    #[arg(long)]
    config: Option<PathBuf>,
}

pub(super) fn run(home: &Path, arguments: Arguments) -> Result<(), Fault> {
    let config = Config::read(&arguments.config.unwrap_or_else(|| home.join("channel.toml")))?;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(unwritable)?;
    let left = runtime.block_on(async {
        let (stop, stopped) = watch::channel(false);
        let mut terminate = signal(SignalKind::terminate()).map_err(unwritable)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(unwritable)?;
        let bound = Bound::new(config, stopped).await?;
        for address in bound.addresses() {
            tracing::info!(%address, "serving");
        }
        let signalled = tokio::spawn(async move {
            tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} }
            stop.send_replace(true);
            Instant::now()
        });
        bound.serve().await;
        let at = signalled.await.map_err(unwritable)?;
        Ok::<_, Fault>(DRAIN_TIME.saturating_sub(at.elapsed()))
    })?;
    // What is still at the disk then ends as in a power cut.
    runtime.shutdown_timeout(left);
    Ok(())
}
