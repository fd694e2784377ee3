//! `sund-channel publish`.
use super::root::With;
use super::{Answer, proposed, rescue};
use crate::repository::rescue::propose;
use crate::repository::{self, Home, Operating};
use clap::Subcommand;
use serde_json::json;
use std::path::PathBuf;
use sund_ota::fault::Fault;

#[derive(Debug, Subcommand)]
pub(super) enum PublishCommand {
    /// A packed model, signed by its vendor.
    Model {
        /// The packed file (`sund model pack`).
        file: PathBuf,
        /// Short name of the vendor, as delegated.
        #[arg(long)]
        vendor: String,
        #[command(flatten)]
        with: With,
    },
    /// An operating system: a RAUC bundle.
    Os {
        /// The bundle.
        file: PathBuf,
        /// Version, as in its manifest.
        #[arg(long)]
        version: String,
        /// SHA-256 of its manifest, as `rauc info` tells it.
        #[arg(long)]
        manifest_sha256: String,
        #[command(flatten)]
        with: With,
    },
    /// A configuration of the agent.
    Config {
        /// The file.
        file: PathBuf,
        /// Name of the site.
        #[arg(long)]
        name: String,
        #[command(flatten)]
        with: With,
    },
    /// The recovery bundle of boxes of which no slot starts: an operating system that is listed, for `sund-rescue`.
    Rescue {
        /// Version of the operating system.
        os: String,
        /// Version that the boxes' minimum is compared with; one more than the last without this.
        #[arg(long)]
        version: Option<u64>,
        /// Days for which it holds.
        #[arg(long, default_value_t = 365)]
        lifetime: i64,
    },
    /// A desired state. Hashes, lengths and versions that it leaves out are those that are listed.
    State {
        /// The document (README.md).
        file: PathBuf,
        #[command(flatten)]
        with: With,
    },
}

pub(super) fn run(home: &Home, command: PublishCommand) -> Result<Answer, Fault> {
    let (proposal, pin) = match command {
        PublishCommand::Model { file, vendor, with } => {
            repository::model(home, with.proposal.as_deref(), &vendor, &file)?
        }
        PublishCommand::Os { file, version, manifest_sha256, with } => {
            let os = Operating { file, version, manifest_sha256 };
            repository::operating_system(home, with.proposal.as_deref(), &os)?
        }
        PublishCommand::Config { file, name, with } => {
            repository::configuration(home, with.proposal.as_deref(), &name, &file)?
        }
        PublishCommand::State { file, with } => repository::state(home, with.proposal.as_deref(), &file)?,
        PublishCommand::Rescue { os, version, lifetime } => {
            return Ok(rescue::proposed(&propose(home, &os, version, lifetime)?));
        }
    };
    proposed(&proposal, json!({ "target": pin }))
}
