//! `provision`.
use super::run::failed;
use crate::audit::Audit;
use crate::config;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::provision::envelope::Keys;
use crate::provision::{Applied, Provision, Provisioned, finish};
use crate::{firmware, rauc, stick};
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The signed file, or the directory (a stick) where it is `sund-provision.json`.
    #[arg(required_unless_present = "finish")]
    path: Option<PathBuf>,
    /// The region's public keys.
    #[arg(long, default_value = crate::provision::KEYS)]
    keys: PathBuf,
    /// Where the box keeps what it was provisioned with.
    #[arg(long, default_value = crate::provision::SITE)]
    site: PathBuf,
    /// Where the updater keeps what it knows, its audit events among it: `directory` of its configuration.
    #[arg(long, default_value = config::DIRECTORY)]
    directory: PathBuf,
    /// Where the box's screen finds what became of the stick.
    #[arg(long, default_value = crate::stick::SAID)]
    said: PathBuf,
    /// Where the firmware says whether Secure Boot is on: a box that starts anything does not become anybody's.
    #[arg(long, default_value = firmware::SECURE_BOOT)]
    secure_boot: PathBuf,
    /// Restarts the box where it has become another one.
    #[arg(long)]
    restart: bool,
    /// Only finishes what a power cut has ended.
    #[arg(long, conflicts_with = "path")]
    finish: bool,
}

pub(super) async fn provision(arguments: Arguments, audit: &Audit) -> Exit {
    audit.keep_in(&arguments.directory, "provision");
    match provisioned(&arguments) {
        Ok(Applied::Already) => Exit::Done,
        Ok(Applied::Now) if arguments.restart => match rauc::reboot().await {
            Ok(()) => Exit::Done,
            Err(fault) => failed(&fault),
        },
        Ok(Applied::Now) => Exit::Done,
        Err(fault) => {
            tracing::warn!(target: "audit", code = %fault.code, reason = fault.reason, "the box was not provisioned");
            stick::say(&arguments.said, &fault.to_string());
            failed(&fault)
        }
    }
}

fn provisioned(arguments: &Arguments) -> Result<Applied, Fault> {
    let Some(path) = &arguments.path else {
        return finish(&arguments.site).map(|done| if done { Applied::Now } else { Applied::Already });
    };
    if stick::is_for_another(path) {
        return Ok(Applied::Already);
    }
    let keys = Keys::read(&arguments.keys)?;
    let provision = Provision::read(path, &keys, jiff::Timestamp::now())?;
    if Provisioned::read(&arguments.site)?.is_none() {
        firmware::refuse_unsecured(&arguments.secure_boot)?;
    }
    let applied = provision.apply(&arguments.site)?;
    let (name, region) = (&provision.document().name, &provision.document().region);
    let told = match applied {
        Applied::Now => format!("this box is {name} of {region} now"),
        Applied::Already => format!("this box is {name} of {region} already: nothing was changed"),
    };
    stick::say(&arguments.said, &told);
    eprintln!("{told}");
    Ok(applied)
}
