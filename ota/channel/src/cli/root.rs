//! `sund-channel root` and `sund-channel delegate`: who may sign.
use super::{Answer, proposals, proposed};
use crate::repository::keys::PublicKey;
use crate::repository::{self, Delegation, First, Home, OnlineKeys};
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::{Path, PathBuf};
use sund_ota::fault::{Blame, Fault};

#[derive(Debug, Subcommand)]
pub(super) enum RootCommand {
    /// Proposes the first root, and the approvers of os, config and state.
    New {
        /// FILE.pub of each person who holds the root.
        #[arg(long, required = true)]
        key: Vec<PathBuf>,
        /// So many of them sign.
        #[arg(long, default_value_t = 2)]
        threshold: u64,
        /// FILE.pub of each approver.
        #[arg(long, required = true)]
        approver: Vec<PathBuf>,
        /// So many of them sign.
        #[arg(long, default_value_t = 2)]
        approver_threshold: u64,
    },
    /// Proposes one more person.
    AddKey {
        /// FILE.pub of the person.
        file: PathBuf,
        #[command(flatten)]
        with: With,
    },
    /// Proposes that a person leaves every role, the root's and the approvers'.
    RemoveKey {
        /// Name of the person.
        #[arg(long)]
        person: String,
        #[command(flatten)]
        with: With,
    },
    /// Proposes another number of persons who sign.
    Threshold {
        /// So many.
        persons: u64,
        #[command(flatten)]
        with: With,
    },
    /// Proposes the same root for another year.
    Rotate {
        /// With new keys for timestamp and snapshot: the server has been in other hands.
        #[arg(long)]
        online_keys: bool,
        #[command(flatten)]
        with: With,
    },
    /// As `sund-channel sign`.
    Sign(proposals::Sign),
    /// As `sund-channel approve`.
    Publish(proposals::Approve),
}

#[derive(Debug, Args)]
pub(super) struct With {
    /// Adds it to a proposal that waits; that one is then signed anew.
    #[arg(long = "with", value_name = "PROPOSAL")]
    pub(super) proposal: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Delegate {
    /// os, config, state or models/VENDOR.
    role: String,
    /// FILE.pub of each approver, instead of those there are.
    #[arg(long, required = true)]
    key: Vec<PathBuf>,
    /// So many of them sign.
    #[arg(long, default_value_t = 2)]
    threshold: u64,
    /// For models/VENDOR: the vendor's name, as in its manifests.
    #[arg(long, requires = "package_key")]
    vendor_name: Option<String>,
    /// For models/VENDOR: a key of its packages (PEM).
    #[arg(long, requires = "vendor_name")]
    package_key: Vec<PathBuf>,
    #[command(flatten)]
    with: With,
}

pub(super) fn run(directory: &Path, command: RootCommand) -> Result<Answer, Fault> {
    let home = || Home::open(directory);
    let proposal = match command {
        RootCommand::New { key, threshold, approver, approver_threshold } => {
            let (root, approvers) = (read(&key)?, read(&approver)?);
            repository::first(&home()?, &First { root, threshold, approvers, approver_threshold })?
        }
        RootCommand::AddKey { file, with } => {
            repository::add_key(&home()?, with.proposal.as_deref(), &PublicKey::read(&file)?)?
        }
        RootCommand::RemoveKey { person, with } => repository::remove_key(&home()?, with.proposal.as_deref(), &person)?,
        RootCommand::Threshold { persons, with } => repository::threshold(&home()?, with.proposal.as_deref(), persons)?,
        RootCommand::Rotate { online_keys, with } => {
            let online = if online_keys { OnlineKeys::Renew } else { OnlineKeys::Keep };
            repository::rotate(&home()?, with.proposal.as_deref(), online)?
        }
        // Also where there is no channel: on an approver's own machine.
        RootCommand::Sign(sign) => return proposals::sign(directory, &sign),
        RootCommand::Publish(approve) => return proposals::approve(directory, &approve),
    };
    proposed(&proposal, json!({}))
}

pub(super) fn delegate(home: &Home, it: Delegate) -> Result<Answer, Fault> {
    let keys = read(&it.key)?;
    if it.vendor_name.is_some() != it.role.starts_with("models/") {
        let reason = "models/VENDOR is delegated with --vendor-name and --package-key, other roles without";
        return Err(Fault::new("vendor-not-named", Blame::Configuration, reason));
    }
    let vendor = it.vendor_name.map(|name| (name, it.package_key));
    let delegation = Delegation { role: it.role, keys, threshold: it.threshold, vendor };
    proposed(&repository::delegate(home, it.with.proposal.as_deref(), &delegation)?, json!({}))
}

fn read(files: &[PathBuf]) -> Result<Vec<PublicKey>, Fault> {
    files.iter().map(|file| PublicKey::read(file)).collect()
}
