//! `sund-updater`: parses, runs, and turns the result into an exit code.
#![forbid(unsafe_code)]
use clap::Parser;
use std::process::ExitCode;
use sund_ota::audit::Audit;
use sund_ota::cli::{self, Cli};
use sund_ota::exit::Exit;
use tracing_subscriber::{EnvFilter, Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to stdout and are no error; where nobody reads them there is nothing to be done.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() };
        }
    };
    let filter = EnvFilter::try_from_env("SUND_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let journal = tracing_subscriber::fmt::layer().json().with_writer(std::io::stderr).with_filter(filter);
    let audit = Audit::default();
    tracing_subscriber::registry().with(journal).with(audit.layer()).init();
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tracing::error!(%panic, "the updater ends by a fault of its own");
        hook(panic);
    }));
    cli::main(cli, &audit).into()
}
