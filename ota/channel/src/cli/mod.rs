//! The command line of `sund-channel`.
mod hawkbit;

use clap::{Parser, Subcommand};
use std::io::Write as _;
use std::process::ExitCode;

/// The central side of the signed channel.
#[derive(Debug, Parser)]
#[command(name = "sund-channel", version)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Publishes and rolls out through an Eclipse hawkBit, which then serves the devices.
    Hawkbit(hawkbit::HawkbitCommand),
}

/// Runs a command: data goes to standard output, what failed to standard error.
pub async fn run(arguments: Arguments) -> ExitCode {
    let outcome = match arguments.command {
        Command::Hawkbit(command) => hawkbit::run(command).await,
    };
    match outcome {
        // Standard output or error may be closed; there is nobody to tell then.
        Ok(text) => {
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(fault) => {
            let _ = writeln!(std::io::stderr(), "sund-channel: {fault}");
            ExitCode::FAILURE
        }
    }
}
