//! Taking back: `withdraw`, `stop-all`, `go-on`, `suspend`, `resume`.
pub(super) use super::root::With;
use super::{Answer, proposed};
use crate::repository::{self, Home, Suspended, Withdrawn};
use clap::Args;
use serde_json::json;
use sund_ota::fault::Fault;

#[derive(Debug, Args)]
pub(super) struct Withdraw {
    /// Path of the target, e.g. models/acme/brain-1.0.2.sund.
    target: String,
    /// Why, for people.
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    with: With,
}

#[derive(Debug, Args)]
pub(super) struct StopAll {
    /// Why, for people.
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    with: With,
}

#[derive(Debug, Args)]
pub(super) struct Suspend {
    /// Name of the package.
    package: String,
    /// This version alone.
    #[arg(long)]
    version: Option<String>,
    /// Why, for people.
    #[arg(long)]
    reason: String,
    /// A package that a box has of its own, and not from the channel: its name is compared with nothing.
    #[arg(long)]
    unlisted: bool,
    #[command(flatten)]
    with: With,
}

#[derive(Debug, Args)]
pub(super) struct Resume {
    /// Name of the package.
    package: String,
    /// The version that was suspended alone.
    #[arg(long)]
    version: Option<String>,
    #[command(flatten)]
    with: With,
}

pub(super) fn withdraw(home: &Home, it: &Withdraw) -> Result<Answer, Fault> {
    let (proposal, withdrawn) = repository::withdraw(home, it.with.proposal.as_deref(), &it.target, &it.reason)?;
    let Withdrawn { gone, unread } = withdrawn;
    let mut told = proposed(&proposal, json!({ "withdrawn": gone, "unread": unread }))?;
    told.lines.extend(unread.iter().map(|(name, why)| {
        format!("NOT READ, and listed as before: {name} ({why}); bring it back from a copy, or withdraw it as well")
    }));
    Ok(told)
}

pub(super) fn stop_all(home: &Home, it: &StopAll) -> Result<Answer, Fault> {
    proposed(&repository::stop_all(home, it.with.proposal.as_deref(), &it.reason)?, json!({}))
}

pub(super) fn go_on(home: &Home, with: &With) -> Result<Answer, Fault> {
    proposed(&repository::go_on(home, with.proposal.as_deref())?, json!({}))
}

pub(super) fn suspend(home: &Home, it: &Suspend) -> Result<Answer, Fault> {
    let what = Suspended { package: &it.package, version: it.version.as_deref() };
    let with = it.with.proposal.as_deref();
    proposed(&repository::suspend(home, with, &what, &it.reason, it.unlisted)?, json!({}))
}

pub(super) fn resume(home: &Home, it: &Resume) -> Result<Answer, Fault> {
    let what = Suspended { package: &it.package, version: it.version.as_deref() };
    proposed(&repository::resume(home, it.with.proposal.as_deref(), &what)?, json!({}))
}
