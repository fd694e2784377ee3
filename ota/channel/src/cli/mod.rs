//! The command line of `sund-channel`.
mod backup;
mod ca;
mod enrol;
mod escrow;
mod exit;
mod fleet;
mod hawkbit;
mod keys;
mod proposals;
mod provision;
mod publish;
mod rescue;
mod reset;
mod rollout;
mod root;
mod serve;
mod standing;
mod switches;

pub use exit::Exit;

use crate::repository::{Home, Proposal, describe};
use crate::server::control::{self, Request, ask};
use clap::{Parser, Subcommand};
use serde::Serialize;
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::{Path, PathBuf};
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
    /// Makes the directories of a new channel.
    Init {
        /// Where.
        directory: PathBuf,
    },
    /// Makes keys and shows whose they are.
    #[command(subcommand)]
    Key(keys::KeyCommand),
    /// Proposes who holds the root (CEREMONY.md).
    #[command(subcommand)]
    Root(root::RootCommand),
    /// Proposes who signs a role, and the keys of a vendor.
    Delegate(root::Delegate),
    /// Proposes a release.
    #[command(subcommand)]
    Publish(publish::PublishCommand),
    /// Lists the proposals that wait.
    Proposals,
    /// Shows in words what a proposal would change, and who has signed.
    Show(proposals::Named),
    /// Signs a proposal, also a copied one, with a key of one's own.
    Sign(proposals::Sign),
    /// Collects signatures, and publishes when enough persons have signed.
    Approve(proposals::Approve),
    /// Throws a proposal away.
    Discard(proposals::Named),
    /// Signs timestamp and snapshot anew, and raises the alarm before a role runs out. To be called once a day
    /// where no `serve` runs.
    Renew,
    /// Proposes the same metadata of a role for another year.
    Refresh(standing::Refresh),
    /// Tells what is published.
    Status,
    /// Loads the repository and its states as a box would, and hashes every payload that is listed.
    Verify(standing::Verify),
    /// Removes payloads that neither what is published nor a proposal lists.
    Sweep(standing::Sweep),
    /// Proposes to take a release off the lists, and every state that names it.
    Withdraw(switches::Withdraw),
    /// Proposes that no box takes a new deployment.
    StopAll(switches::StopAll),
    /// Proposes that boxes take deployments again.
    GoOn(switches::With),
    /// Proposes that every box switches a model off.
    Suspend(switches::Suspend),
    /// Proposes that a suspended model may serve again.
    Resume(switches::Resume),
    /// Writes a bundle for a box without a network; proposes its terms first.
    Bundle(standing::Bundle),
    /// Copies a repository for a hospital, verified.
    Mirror(standing::Mirror),
    /// Publishes and rolls out through an Eclipse hawkBit, which then serves the devices.
    Hawkbit(hawkbit::HawkbitCommand),
    /// Serves devices and people as the configuration says, until SIGTERM.
    Serve(serve::Arguments),
    /// Rollouts: make, start, pause, resume, stop, retry, look.
    #[command(subcommand)]
    Rollout(rollout::Command),
    /// Which box runs what.
    Fleet(fleet::Arguments),
    /// The channel's own authorities: by whom boxes know it, and it knows boxes (CEREMONY.md).
    #[command(subcommand)]
    Ca(ca::Command),
    /// Makes boxes known to the channel.
    #[command(subcommand)]
    Enrol(enrol::Command),
    /// Recovery keys of the boxes' disks, sealed to the region's own key.
    #[command(subcommand)]
    Escrow(escrow::Command),
    /// Copies the server's database to a file, also while it serves: a copy of `channel.db` alone would lack what was said last.
    Backup(backup::Backup),
    /// Writes the signed file that makes a box its region's, for a stick.
    Provision(provision::Provision),
    /// Writes the signed order that takes a box back to its factory state, for a stick.
    Reset(reset::Reset),
    /// Reads a password from standard input and prints its hash for `channel.toml`.
    Password,
}

/// What a command has to say: lines for people, JSON for scripts, an exit code.
pub(crate) struct Answer {
    lines: Vec<String>,
    json: Value,
    exit: Exit,
}

impl Answer {
    pub(crate) fn new(lines: Vec<String>, json: impl Serialize) -> Self {
        Self { lines, json: serde_json::to_value(json).unwrap_or_default(), exit: Exit::Ok }
    }

    /// Nothing more: the command has printed what it had to say.
    fn printed() -> Self {
        Self { lines: Vec::new(), json: Value::Null, exit: Exit::Ok }
    }

    pub(crate) fn exits(self, exit: Exit) -> Self {
        Self { exit, ..self }
    }
}

/// Runs a command.
pub fn run(arguments: Arguments) -> Exit {
    let Arguments { home, json, command } = arguments;
    match answer(home, json, command) {
        Ok(answer) => {
            let text = if json { format!("{:#}", answer.json) } else { answer.lines.join("\n") };
            if !answer.json.is_null() {
                // Standard output may be closed; there is nobody to tell then.
                let _ = writeln!(std::io::stdout(), "{text}");
            }
            answer.exit
        }
        Err(fault) => {
            if json {
                let _ = writeln!(std::io::stdout(), "{:#}", json!({ "error": fault }));
            }
            let _ = writeln!(std::io::stderr(), "sund-channel: {fault}");
            Exit::from(&fault)
        }
    }
}

fn answer(directory: PathBuf, json: bool, command: Command) -> Result<Answer, Fault> {
    let home = || Home::open(&directory);
    match command {
        Command::Init { directory } => {
            Home::create(&directory)?;
            let line =
                format!("{} is a channel's home; next: `sund-channel root new` (CEREMONY.md)", directory.display());
            Ok(Answer::new(vec![line], json!({ "home": directory })))
        }
        Command::Key(command) => keys::run(command),
        Command::Root(command) => root::run(&directory, command),
        Command::Delegate(delegate) => root::delegate(&home()?, delegate),
        Command::Publish(command) => publish::run(&home()?, command),
        Command::Proposals => proposals::list(&home()?),
        Command::Show(named) => proposals::show(&directory, &named),
        Command::Sign(sign) => proposals::sign(&directory, &sign),
        Command::Approve(approve) => proposals::approve(&directory, &approve),
        Command::Discard(named) => proposals::discard(&home()?, &named),
        Command::Renew => standing::renew(&home()?),
        Command::Refresh(refresh) => standing::refresh(&home()?, &refresh),
        Command::Status => standing::status(&home()?),
        Command::Verify(verify) => runtime()?.block_on(standing::verify(&home()?, &directory, &verify)),
        Command::Sweep(sweep) => standing::sweep(&home()?, &sweep),
        Command::Withdraw(withdraw) => switches::withdraw(&home()?, &withdraw),
        Command::StopAll(stop) => switches::stop_all(&home()?, &stop),
        Command::GoOn(with) => switches::go_on(&home()?, &with),
        Command::Suspend(suspend) => switches::suspend(&home()?, &suspend),
        Command::Resume(resume) => switches::resume(&home()?, &resume),
        Command::Bundle(bundle) => standing::bundle(&home()?, &bundle),
        Command::Mirror(mirror) => runtime()?.block_on(standing::mirror(&mirror)),
        Command::Hawkbit(command) => runtime()?.block_on(hawkbit::run(&directory, command)),
        Command::Serve(arguments) => serve::run(&directory, arguments).map(|()| Answer::printed()),
        Command::Rollout(command) => rollout::run(&directory, json, command).map(|()| Answer::printed()),
        Command::Fleet(arguments) => fleet::run(&directory, json, arguments).map(|()| Answer::printed()),
        Command::Ca(command) => ca::run(&directory, command),
        Command::Enrol(command) => enrol::run(&directory, json, command).map(|()| Answer::printed()),
        Command::Escrow(command) => escrow::run(&directory, json, command).map(|()| Answer::printed()),
        Command::Backup(it) => backup::run(&directory, &it),
        Command::Provision(it) => provision::run(&directory, &it),
        Command::Reset(it) => reset::run(&it),
        Command::Password => password(),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Fault::new("runtime-failed", Blame::Box, error.to_string()))
}

/// What is said of a new proposal.
pub(crate) fn proposed(proposal: &Proposal, more: Value) -> Result<Answer, Fault> {
    let words = describe(proposal)?;
    let id = &proposal.cover.id;
    let mut lines = vec![format!("proposal {id}: {}", proposal.cover.reason)];
    lines.extend(words.iter().cloned());
    lines.push(format!("fingerprint: {}", proposal.fingerprint()?));
    lines.push(format!(
        "next: enough persons sign it (`sund-channel sign {id} --key FILE`), then `sund-channel approve {id}`"
    ));
    let mut json = json!({
        "proposal": id,
        "directory": proposal.directory,
        "fingerprint": proposal.fingerprint()?,
        "words": words,
        "standing": proposal.standing()?,
    });
    if let (Some(json), Value::Object(more)) = (json.as_object_mut(), more) {
        json.extend(more);
    }
    Ok(Answer::new(lines, json))
}

fn password() -> Result<Answer, Fault> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).map_err(unwritable)?;
    let hash = crate::fleet::hash_password(line.trim_end_matches(['\r', '\n']))?;
    Ok(Answer::new(vec![hash.clone()], json!({ "password": hash })))
}

/// One question to the server of a home.
fn request(home: &Path, request: &Request) -> Result<control::Answer, Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(unwritable)?;
    runtime.block_on(ask(home, request))
}

/// Data goes to standard output.
fn print(text: &str) -> Result<(), Fault> {
    writeln!(std::io::stdout(), "{text}").map_err(unwritable)
}

fn print_json(value: &impl Serialize) -> Result<(), Fault> {
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
