//! The command line of `sund`.
mod audit;
mod certificate;
mod model;
mod password;
mod recall;
mod route;
mod serve;
mod status;
mod support;
mod table;

use crate::config;
use crate::demo::{self, Case};
use crate::exit::Exit;
use crate::fault::{Blame, Fault};
use crate::recall::{Reason, Which};
use crate::worker;
use clap::{Parser, Subcommand};
use std::io::{IsTerminal, Write as _};
use std::path::PathBuf;
use tracing_subscriber::EnvFilter;

/// Inference appliance for hospital imaging.
#[derive(Debug, Parser)]
#[command(name = "sund", version)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows the main job on packaged data: sender, node, model, stand-in PACS, console.
    Demo {
        /// Only this case.
        #[arg(long)]
        case: Option<Case>,
        /// End after the story; 0 only if every step held.
        #[arg(long)]
        once: bool,
        /// Folder of the cases' packages.
        #[arg(long, default_value = demo::CASES)]
        cases: PathBuf,
        /// Where spool and results are put; a new temporary folder otherwise.
        #[arg(long)]
        folder: Option<PathBuf>,
    },
    /// Serves as the configuration says, until SIGTERM.
    Serve(ConfigFile),
    /// Says what is wrong with a configuration, line by line.
    CheckConfig(ConfigFile),
    /// Says how the agent on this machine does; no patient's data among it.
    Status {
        #[command(flatten)]
        config: ConfigFile,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Erases a study from the spool of the agent on this machine, for good.
    Erase {
        #[command(flatten)]
        config: ConfigFile,
        /// Study Instance UID.
        study: String,
    },
    /// Queues again what the agent on this machine has given up to send, or holds.
    Requeue {
        #[command(flatten)]
        config: ConfigFile,
        /// Name of the destination in the configuration; all of them otherwise.
        destination: Option<String>,
    },
    /// Recalls what a model package has made: nothing of it that waits is sent, and destinations are told to reject what they have.
    ///
    /// Deliveries that wait are cancelled for good. A destination with `rejection_notes` gets one note for each study; at any other a
    /// person has to withdraw the results, which are listed. Switch the model off first: sund suspend.
    Recall {
        #[command(flatten)]
        config: ConfigFile,
        /// NAME for all versions, NAME@VERSION, or sha256:DIGEST.
        #[arg(value_name = "PACKAGE")]
        package: Which,
        /// Why, in one line that names no patient; it stands in the notes and in the audit log.
        #[arg(long, value_name = "TEXT", required_unless_present = "dry_run")]
        reason: Option<Reason>,
        /// Only say what would be recalled.
        #[arg(long)]
        dry_run: bool,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Switches a model off at once on this machine, until it is resumed; needs no network.
    ///
    /// Its jobs end as failed, with the reason, and are reported so where their routes say so. It holds over a restart, and whatever
    /// the channel brings.
    Suspend {
        #[command(flatten)]
        config: ConfigFile,
        /// Name of the package, as `sund status` has it.
        package: String,
        /// Why, for the audit log and for the reports.
        #[arg(long)]
        reason: String,
    },
    /// Takes a suspension back.
    Resume {
        #[command(flatten)]
        config: ConfigFile,
        /// Name of the package.
        package: String,
    },
    /// Checks and reads the audit log.
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// The clinical certificate, which DICOM peers and browsers see: requested, installed, enrolled by EST.
    #[command(subcommand)]
    Certificate(certificate::CertificateCommand),
    /// Writes one archive for those who help, with nothing of a patient's in it.
    Support(support::SupportArguments),
    /// Makes, checks and runs model packages.
    #[command(subcommand)]
    Model(model::ModelCommand),
    /// Explains routing.
    #[command(subcommand)]
    Route(route::RouteCommand),
    /// Hashes a password, for `password_hash` in `[[console.users]]`.
    ///
    /// It is asked for twice, unseen; from a pipe it is read as it is.
    HashPassword,
    /// Runs jobs for an agent, on the socket that standard input is.
    #[command(hide = true)]
    Worker,
}

#[derive(Debug, clap::Args)]
struct ConfigFile {
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = "/etc/sund/sund.toml")]
    config: PathBuf,
}

/// Runs a command; how the process ends.
pub fn run(arguments: Arguments) -> Exit {
    if let Command::Serve(file) = &arguments.command {
        // Its log is as its configuration says.
        return serve::run(&file.config);
    }
    let filter = EnvFilter::try_from_env("SUND_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    // Data on standard output, logs on standard error.
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    match arguments.command {
        Command::Demo { case, once, cases, folder } => on_runtime(async {
            match demo::run(demo::Options { case, once, cases, folder }).await {
                Ok(()) => Exit::Ok,
                Err(error) => {
                    tracing::error!("the demonstration failed: {error:#}");
                    Exit::Failed
                }
            }
        }),
        Command::Serve(file) => serve::run(&file.config),
        Command::CheckConfig(file) => {
            let (report, exit) = config::report(&file.config);
            match print(&report) {
                Exit::Ok => exit,
                closed => closed,
            }
        }
        Command::Status { config, json } => on_runtime(status::status(&config.config, json)),
        Command::Erase { config, study } => on_runtime(status::erase(&config.config, &study)),
        Command::Requeue { config, destination } => on_runtime(status::requeue(&config.config, destination)),
        Command::Recall { config, package, reason, dry_run, json } => {
            on_runtime(recall::run(&config.config, package, reason.filter(|_| !dry_run), json))
        }
        Command::Suspend { config, package, reason } => {
            on_runtime(status::suspend(&config.config, package, Some(reason)))
        }
        Command::Resume { config, package } => on_runtime(status::suspend(&config.config, package, None)),
        Command::Audit(command) => audit::run(command),
        Command::Certificate(command) => certificate::run(command),
        Command::Support(arguments) => support::run(&arguments),
        Command::Model(command) => model::run(command),
        Command::Route(command) => route::run(command),
        Command::HashPassword => password::run(),
        Command::Worker => match worker::serve() {
            Ok(()) => Exit::Ok,
            Err(error) => {
                tracing::error!(%error, "the worker ends");
                Exit::Internal
            }
        },
    }
}

fn on_runtime(command: impl Future<Output = Exit>) -> Exit {
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(command),
        Err(error) => fail(&Fault::new("runtime", Blame::Box, format!("no threads can be had: {error}"))),
    }
}

/// Says on standard error what was wrong; how the process ends.
#[expect(clippy::print_stderr, reason = "what a person reads where a command fails")]
fn fail(fault: &Fault) -> Exit {
    eprintln!("sund: {fault}");
    Exit::from(fault)
}

/// Writes to standard output, which may be a pipe that nobody reads any more.
fn print(text: &str) -> Exit {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => Exit::Ok,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Exit::Ok,
        Err(error) => fail(&Fault::new("output", Blame::Box, format!("standard output failed: {error}"))),
    }
}
