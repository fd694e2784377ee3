//! The command line of `sund-updater`.
mod enrol;
mod guard;
mod install;
mod provision;
mod reset;
mod run;
mod screen;
mod started;
mod status;

use crate::config::Config;
use crate::exit::Exit;
use clap::{Parser, Subcommand};
use std::path::PathBuf;

/// Keeps this box at what its region has signed.
#[derive(Debug, Parser)]
#[command(name = "sund-updater", version)]
pub struct Cli {
    /// The configuration.
    #[arg(long, global = true, default_value = "/etc/sund/updater.toml")]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Polls the channel and does what it asks, until it is stopped.
    Run,
    /// Polls once, and does what the channel asks to its end.
    Once,
    /// Tells what the updater knows.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Brings this box to the state in a bundle on a stick, without a network.
    Install {
        /// The bundle, as `sund-channel bundle` writes it.
        file: PathBuf,
        /// Says the end as JSON, and no steps.
        #[arg(long)]
        json: bool,
    },
    /// Checks the configuration.
    CheckConfig,
    /// Fails where nobody looks after a system on trial, so that its unit restarts the box.
    Guard(guard::Arguments),
    /// Tells the firmware that this start was good, and what a rescue has to know.
    Started(started::Arguments),
    /// Gets this box's certificate with a one-time code.
    Enrol(enrol::Arguments),
    /// Makes this box its region's, by a signed file from a stick.
    Provision(provision::Arguments),
    /// Goes back to how this box left the factory, by an order of its region from a stick.
    Reset(reset::Arguments),
    /// Shows how this box stands, on a text console, and takes its one-time code there.
    Screen(screen::Arguments),
}

/// Runs a command line to its end.
pub fn main(cli: Cli) -> Exit {
    let Cli { config: path, command } = cli;
    let configured = |run: &dyn Fn(Config) -> Exit| match Config::read(&path) {
        Ok(config) => run(config),
        Err(reason) => {
            eprintln!("{reason}");
            Exit::Usage
        }
    };
    match command {
        Command::CheckConfig => configured(&|_| Exit::Done),
        Command::Guard(arguments) => guard::guard(&arguments, configured),
        Command::Started(arguments) => started::started(&path, &arguments, configured),
        Command::Status { json } => configured(&|config| status::status(&config, json)),
        Command::Run => configured(&|config| in_runtime(run::run(config))),
        Command::Once => configured(&|config| in_runtime(run::once(config))),
        Command::Install { file, json } => configured(&|config| in_runtime(install::install(config, &file, json))),
        Command::Enrol(arguments) => configured(&|config| in_runtime(enrol::enrol(config, arguments.clone()))),
        // These are for a box that may have no configuration, or a damaged one.
        Command::Provision(arguments) => in_runtime(provision::provision(arguments)),
        Command::Reset(arguments) => in_runtime(reset::reset(&path, arguments)),
        Command::Screen(arguments) => in_runtime(screen::screen(path, arguments)),
    }
}

fn in_runtime(command: impl Future<Output = Exit>) -> Exit {
    match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime.block_on(command),
        Err(error) => {
            eprintln!("the runtime does not start: {error}");
            Exit::Failed
        }
    }
}
