//! The command line of `sund-channel`.
mod enrol;
mod fleet;
mod rollout;
mod serve;

use crate::server::control::{Answer, Request, ask};
use clap::{Parser, Subcommand};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use sund_ota::fault::{Blame, Fault};

/// The central side of the signed channel.
#[derive(Debug, Parser)]
#[command(name = "sund-channel", version)]
pub struct Arguments {
    /// The channel's directory.
    #[arg(long, global = true, env = "SUND_CHANNEL_HOME", default_value = ".")]
    home: PathBuf,
    /// Answers as JSON on standard output.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves devices and people as the configuration says, until SIGTERM.
    Serve(serve::Arguments),
    /// Rollouts: make, start, pause, resume, stop, retry, look.
    #[command(subcommand)]
    Rollout(rollout::Command),
    /// Which box runs what.
    Fleet(fleet::Arguments),
    /// Makes boxes known to the channel.
    #[command(subcommand)]
    Enrol(enrol::Command),
    /// Reads a password from standard input and prints its hash for `channel.toml`.
    Password,
}

/// Runs a command.
pub fn run(arguments: Arguments) -> ExitCode {
    let Arguments { home, json, command } = arguments;
    let done = match command {
        Command::Serve(arguments) => serve::run(&home, arguments),
        Command::Rollout(command) => rollout::run(&home, json, command),
        Command::Fleet(arguments) => fleet::run(&home, json, arguments),
        Command::Enrol(command) => enrol::run(&home, json, command),
        Command::Password => password(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            // Standard error may be closed; the exit code says it too.
            let _ = writeln!(std::io::stderr(), "sund-channel: {fault}");
            ExitCode::from(match (fault.code.as_ref(), fault.blame) {
                ("server-away" | "port-unavailable" | "control-unavailable", _) => 69,
                (_, Blame::Configuration) => 64,
                (_, Blame::Region | Blame::Package | Blame::Box) => 65,
                _ => 70,
            })
        }
    }
}

fn password() -> Result<(), Fault> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).map_err(unwritable)?;
    print(&crate::fleet::hash_password(line.trim_end_matches(['\r', '\n']))?)
}

/// One question to the server of a home.
fn request(home: &Path, request: &Request) -> Result<Answer, Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(unwritable)?;
    runtime.block_on(ask(home, request))
}

/// Data goes to standard output.
fn print(text: &str) -> Result<(), Fault> {
    writeln!(std::io::stdout(), "{text}").map_err(unwritable)
}

fn print_json(value: &impl serde::Serialize) -> Result<(), Fault> {
    print(&serde_json::to_string_pretty(value).map_err(unwritable)?)
}

fn unwritable(error: impl std::fmt::Display) -> Fault {
    Fault::new("io-failed", Blame::Channel, error.to_string())
}

fn unexpected() -> Fault {
    Fault::new("server-answer", Blame::Channel, "The server answered something else: is it of another version?")
}

/// `key=value`, as often as it is given.
fn attribute(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("an attribute is KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}
