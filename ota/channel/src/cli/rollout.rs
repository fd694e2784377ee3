//! `sund-channel rollout …`
use super::fleet::failure;
use super::{attribute, print, print_json, request, unexpected};
use crate::rollout::orders::Order;
use crate::rollout::view::Rollout;
use crate::rollout::{New, NewWave};
use crate::server::control::{Answer, Request};
use clap::Subcommand;
use serde_json::json;
use std::fmt::Write;
use std::path::Path;
use sund_ota::ddi::Maintenance;
use sund_ota::fault::Fault;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Makes a rollout of a state that the repository lists.
    New {
        /// Its name.
        name: String,
        /// The desired state, e.g. `north-1`.
        #[arg(long)]
        state: String,
        /// Boxes of one wave, canaries first: `ring=canary`, `site=odense 10%`, `100%` for all that are left.
        #[arg(long = "group", required = true)]
        groups: Vec<String>,
        /// Percent of a wave that has to end well before the next one begins.
        #[arg(long, default_value_t = 95)]
        success: u8,
        /// Percent of a wave that may fail; one box more, and the rollout pauses.
        #[arg(long, default_value_t = 0)]
        error: u8,
        /// Hours without a word after which a box counts as failed.
        #[arg(long, default_value_t = 24)]
        silence_hours: u32,
        /// When boxes may install, in their local time: `22:00-05:00`.
        #[arg(long, value_parser = window)]
        maintenance: Option<(String, String)>,
        /// Days on which that window opens: `mon`, `tue`, …; every day without this.
        #[arg(long = "day", requires = "maintenance")]
        days: Vec<String>,
        /// Somebody has to confirm at each box.
        #[arg(long)]
        confirm: bool,
        /// Without canaries.
        #[arg(long)]
        all_at_once: bool,
    },
    /// Plans the waves and begins.
    Start(Named),
    /// Offers nothing more; boxes that have begun go on.
    Pause(Named),
    /// Goes on: the boxes that failed, fell silent or were taken over so far are accepted.
    Resume(Named),
    /// Ends a rollout: what boxes have not finished is taken back.
    Stop {
        /// Its name.
        #[arg(required_unless_present = "all")]
        name: Option<String>,
        /// Every rollout, at once.
        #[arg(long, conflicts_with = "name")]
        all: bool,
    },
    /// Offers it again to the boxes that failed.
    Retry(Named),
    /// How rollouts stand.
    Status {
        /// One alone.
        name: Option<String>,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct Named {
    /// Its name.
    name: String,
}

pub(super) fn run(home: &Path, json: bool, command: Command) -> Result<(), Fault> {
    match command {
        Command::New {
            name,
            state,
            groups,
            success,
            error,
            silence_hours,
            maintenance,
            days,
            confirm,
            all_at_once,
        } => {
            let waves = groups.into_iter().map(|filter| NewWave { filter, success, error }).collect();
            let maintenance = maintenance.map(|(from, until)| Maintenance { from, until, days });
            let new = New { name, state, waves, silence_hours, maintenance, confirm, all_at_once };
            let name = new.name.clone();
            request(home, &Request::NewRollout(new))?;
            tell(home, json, name)
        }
        Command::Start(named) => order(home, json, named, Order::Start),
        Command::Pause(named) => order(home, json, named, Order::Pause),
        Command::Resume(named) => order(home, json, named, Order::Resume),
        Command::Stop { name: Some(name), .. } => order(home, json, Named { name }, Order::Stop),
        Command::Stop { name: None, .. } => match request(home, &Request::StopAll)? {
            Answer::Stopped(count) if json => print_json(&json!({ "stopped": count })),
            Answer::Stopped(count) => print(&format!("stopped: {count}")),
            _ => Err(unexpected()),
        },
        Command::Retry(named) => order(home, json, named, Order::Retry),
        Command::Status { name } => {
            let Answer::Rollouts(rollouts) = request(home, &Request::Rollouts { name })? else {
                return Err(unexpected());
            };
            if json {
                print_json(&rollouts)
            } else {
                let Answer::Overview(overview) = request(home, &Request::Overview)? else { return Err(unexpected()) };
                rollouts.iter().try_for_each(|rollout| {
                    print(describe(rollout).trim_end())?;
                    let failed = overview.failures.iter().filter(|it| it.rollout == rollout.name);
                    failed.map(|it| format!("  {}", failure(it))).try_for_each(|line| print(&line))
                })
            }
        }
    }
}

fn order(home: &Path, json: bool, named: Named, order: Order) -> Result<(), Fault> {
    request(home, &Request::Order { name: named.name.clone(), order })?;
    tell(home, json, named.name)
}

/// How a rollout stands after what was ordered of it.
fn tell(home: &Path, json: bool, name: String) -> Result<(), Fault> {
    let Answer::Rollouts(rollouts) = request(home, &Request::Rollouts { name: Some(name) })? else {
        return Err(unexpected());
    };
    let rollout = rollouts.first().ok_or_else(unexpected)?;
    if json { print_json(rollout) } else { print(describe(rollout).trim_end()) }
}

fn describe(rollout: &Rollout) -> String {
    let mut text = format!("{}: {} ({})\n", rollout.name, rollout.status.word(), rollout.state);
    if let Some(reason) = &rollout.reason {
        // Writing into a String cannot fail, here and below.
        let _ = writeln!(text, "  {reason}");
    }
    if let Some(Maintenance { from, until, days }) = &rollout.maintenance {
        let days = if days.is_empty() { "every day".to_owned() } else { days.join(", ") };
        let _ = writeln!(text, "  boxes install from {from} to {until} of their own time, {days}");
    }
    for (n, wave) in rollout.waves.iter().enumerate() {
        let boxes: Vec<String> = wave.boxes.iter().map(|(status, count)| format!("{count} {status}")).collect();
        let begun = if wave.begun_at.is_some() { "" } else { ", not begun" };
        let _ = writeln!(text, "  wave {}, {}{begun}: {}", n + 1, wave.filter, boxes.join(", "));
    }
    text
}

/// `22:00-05:00`
fn window(text: &str) -> Result<(String, String), String> {
    attribute(&text.replacen('-', "=", 1)).map_err(|_| "a window is HH:MM-HH:MM".to_owned())
}
