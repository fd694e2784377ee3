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
mod stick;

use crate::agent::client::Agent;
use crate::audit::Audit;
use crate::config::Config;
use crate::durable;
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
        /// The bundle, as `sund-channel bundle` writes it; or the directory (a stick) where it is `NAME.sund-bundle`, which is left to the
        /// updater that runs.
        file: PathBuf,
        /// Says the end as JSON, and no steps.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        places: stick::Places,
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
pub fn main(cli: Cli, audit: &Audit) -> Exit {
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
        Command::Guard(arguments) => guard::guard(&arguments, audit, configured),
        Command::Started(arguments) => started::started(&path, &arguments, audit, configured),
        Command::Status { json } => configured(&|config| status::status(&config, json)),
        Command::Run => configured(&|config| audited(audit, "run", config, run::run)),
        Command::Once => configured(&|config| audited(audit, "once", config, run::once)),
        Command::Install { file, places, .. } if file.is_dir() => {
            if !path.exists() {
                stick::nobodys(&file, &places);
            }
            configured(&|config| audited(audit, "install", config, |config| stick::take(config, &file, &places)))
        }
        Command::Install { file, json, .. } => {
            configured(&|config| audited(audit, "install", config, |config| install::install(config, &file, json)))
        }
        Command::Enrol(arguments) => {
            configured(&|config| audited(audit, "enrol", config, |config| enrol::enrol(config, arguments.clone())))
        }
        // These are for a box that may have no configuration, or a damaged one.
        Command::Provision(arguments) => in_runtime(provision::provision(arguments, audit)),
        Command::Reset(arguments) => in_runtime(reset::reset(&path, arguments, audit)),
        Command::Screen(arguments) => in_runtime(screen::screen(path, arguments, audit)),
    }
}

/// Runs a command, whose audit events are kept, and handed over meanwhile and at its end.
fn audited<F: Future<Output = Exit>>(
    audit: &Audit,
    by: &'static str,
    config: Config,
    command: impl FnOnce(Config) -> F,
) -> Exit {
    if let Err(fault) = durable::directory(&config.directory, 0o750) {
        tracing::error!(%fault, "the updater's directory can't be made");
    }
    audit.keep_in(&config.directory, by);
    let agent = Agent::new(config.agent.socket.clone());
    in_runtime(async {
        let exit = tokio::select! {
            exit = command(config) => exit,
            never = audit.hand_over_on(&agent) => match never {},
        };
        audit.last_word(&agent).await;
        exit
    })
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
