//! `reset`.
use super::run::failed;
use crate::agent::client::Agent;
use crate::audit::Audit;
use crate::config::{self, Config};
use crate::exit::Exit;
use crate::fault::Fault;
use crate::provision::envelope::Keys;
use crate::reset::{Carried, Places, Signed};
use crate::{rauc, stick};
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The signed order, or the directory (a stick) where it is `sund-reset.json`.
    path: PathBuf,
    /// The region's public keys.
    #[arg(long, default_value = crate::provision::KEYS)]
    keys: PathBuf,
    /// Where the box keeps what it was provisioned with.
    #[arg(long, default_value = crate::provision::SITE)]
    site: PathBuf,
    /// The agent's own socket, which tells what was not sent yet.
    #[arg(long, default_value = crate::reset::AGENT)]
    agent: PathBuf,
    /// The firmware's variable by which the next boot is asked.
    #[arg(long, default_value = crate::reset::VARIABLE)]
    variable: PathBuf,
    /// Where the updater keeps what it knows, its audit events among it; absent: `directory` of its configuration.
    #[arg(long)]
    directory: Option<PathBuf>,
    /// Where the box's screen finds what became of the stick.
    #[arg(long, default_value = crate::stick::SAID)]
    said: PathBuf,
    /// Restarts the box, which erases its data then.
    #[arg(long)]
    restart: bool,
}

pub(super) async fn reset(config: &Path, arguments: Arguments, audit: &Audit) -> Exit {
    // A box whose configuration is damaged can be reset as well.
    let config = Config::read(config).ok();
    let directory = arguments.directory.clone().or_else(|| config.as_ref().map(|config| config.directory.clone()));
    let directory = directory.unwrap_or_else(|| config::DIRECTORY.into());
    audit.keep_in(&directory, "reset");
    let agent = config.as_ref().map(|config| Agent::new(config.agent.socket.clone()));
    let hand_over = async || {
        if let Some(agent) = &agent {
            audit.last_word(agent).await;
        }
    };
    // What the agent takes now counts as its own.
    hand_over().await;
    let carried = carried_out(config.as_ref(), &directory, &arguments).await;
    if let Err(fault) = &carried {
        tracing::warn!(target: "audit", code = %fault.code, reason = fault.reason, "the box was not reset");
    }
    hand_over().await;
    let say = |line: &str| {
        stick::say(&arguments.said, line);
        eprintln!("{line}");
    };
    match carried {
        Ok(Carried::Nobodys) => {
            eprintln!("this box is nobody's: there is nothing to reset");
            Exit::Done
        }
        Ok(Carried::Out(lost)) => {
            for lost in lost {
                eprintln!("lost: {lost}");
            }
            say("the next start erases this box's data, and leaves it as it left the factory");
            let restarts = if arguments.restart { rauc::reboot().await } else { Ok(()) };
            restarts.map_or_else(|fault| failed(&fault), |()| Exit::Done)
        }
        Err(fault) => {
            stick::say(&arguments.said, &fault.to_string());
            failed(&fault)
        }
    }
}

async fn carried_out(config: Option<&Config>, updater: &Path, arguments: &Arguments) -> Result<Carried, Fault> {
    let keys = Keys::read(&arguments.keys)?;
    let signed = Signed::read(&arguments.path, &keys, jiff::Timestamp::now())?;
    let Arguments { site, agent, variable, .. } = arguments;
    signed.carry_out(config, &Places { site, updater, agent, variable }).await
}
