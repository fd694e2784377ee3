//! `sund-channel fleet`
use super::standing::alarm;
use super::{print, print_json, request, unexpected};
use crate::enrol::standing::Counts;
use crate::repository::plain;
use crate::rollout::hearing::{Applied, Hearing, Unheard};
use crate::rollout::view::Failure;
use crate::server::control::{Answer, Request};
use std::path::Path;
use sund_ota::fault::Fault;

/// Where a box runs none.
const NO_STATE: &str = "no state";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Boxes whose name, attributes or state contain this.
    search: Option<String>,
    /// Page of the list, from 0.
    #[arg(long, default_value_t = 0)]
    page: u32,
}

pub(super) fn run(home: &Path, json: bool, arguments: Arguments) -> Result<(), Fault> {
    let Arguments { search, page } = arguments;
    let Answer::Overview(overview) = request(home, &Request::Overview)? else { return Err(unexpected()) };
    let search = search.unwrap_or_default();
    let Answer::Devices(devices, matching) = request(home, &Request::Devices { search, page })? else {
        return Err(unexpected());
    };
    if json {
        return print_json(&serde_json::json!({ "overview": overview, "devices": devices, "matching": matching }));
    }
    print(&format!("{} boxes, {} reachable", overview.devices, overview.reachable))?;
    if let Some(fault) = &overview.repository.trouble {
        print(&format!("ALARM: the repository is not renewed: {fault}"))?;
    }
    overview.repository.alarms.iter().try_for_each(|it| print(&alarm(it)))?;
    tell_hearing(&overview.hearing)?;
    for Applied { suspension, boxes, off } in &overview.suspensions {
        let version = suspension.version.as_deref().map_or_else(String::new, |version| format!(" {version}"));
        print(&format!(
            "suspended: {}{version}: applied on {off} of {boxes}: {}",
            suspension.package, suspension.reason
        ))?;
    }
    for (state, count) in &overview.installed {
        print(&format!("  {count} on {}", state.as_deref().unwrap_or(NO_STATE)))?;
    }
    if overview.others > 0 {
        print(&format!("  {} on other states", overview.others))?;
    }
    let issues = overview.authorities.iter().find(|it| it.counts == Counts::Issues).map(|it| it.name.as_str());
    for it in overview.authorities.iter().filter(|it| it.counts == Counts::Good) {
        print(&format!("{} certificates are of the authority {}, which is old", it.held_by, it.name))?;
    }
    for device in &devices {
        let doing = device.doing.as_ref().map(|(rollout, status)| format!(", {rollout}: {}", status.word()));
        let installed = if device.mirror { "mirror" } else { device.installed.as_deref().unwrap_or(NO_STATE) };
        let variant = device.attributes.get("variant").map(|variant| format!(", variant {variant}"));
        let is_off = device.attributes.get("secure_boot").is_some_and(|secure_boot| secure_boot == "off");
        let unsecured = if is_off { ", SECURE BOOT OFF" } else { "" };
        let old = device.authority.as_deref().filter(|authority| Some(*authority) != issues);
        let old = old.map(|authority| format!(", of the old authority {authority}")).unwrap_or_default();
        let (doing, variant) = (doing.unwrap_or_default(), variant.unwrap_or_default());
        print(&format!("{}  {installed}{variant}{unsecured}{old}{doing}", device.name))?;
    }
    if (devices.len() as i64) < matching {
        print(&format!("{} of {matching} are shown; --page shows more", devices.len()))?;
    }
    overview.failures.iter().try_for_each(|it| print(&failure(it)))?;
    if (overview.failures.len() as i64) < overview.failed {
        print(&format!("{} failures in all; the newest are shown", overview.failed))?;
    }
    Ok(())
}

/// A box that failed or is silent, and why. The reason is the box's own word.
pub(super) fn failure(it: &Failure) -> String {
    let reason = it.reason.as_deref().map_or_else(|| "it gave no reason".to_owned(), plain);
    format!("{} {} in {}: {reason}", it.device, it.status.word(), it.rollout)
}

fn boxes(count: i64) -> String {
    if count == 1 { "1 box".to_owned() } else { format!("{count} boxes") }
}

/// Which boxes a suspension or a withdrawal does not reach.
fn tell_hearing(hearing: &Hearing) -> Result<(), Fault> {
    if let Some(version) = hearing.version {
        print(&format!("the repository is at version {version}"))?;
    }
    if hearing.untold > 0 {
        print(&format!("  {} never said which version was heard", boxes(hearing.untold)))?;
    }
    if hearing.behind == 0 {
        return Ok(());
    }
    print(&format!(
        "ALARM: {} without word of the region for more than {} hours: a suspension or a withdrawal does not get there",
        boxes(hearing.behind),
        hearing.hours
    ))?;
    for Unheard { device, version, since, trouble } in &hearing.boxes {
        let since =
            jiff::Timestamp::from_millisecond(*since).map_or_else(|_| since.to_string(), |since| since.to_string());
        let version =
            version.map_or_else(|| "it has heard nothing yet".to_owned(), |it| format!("it has heard version {it}"));
        let trouble = trouble.as_deref().unwrap_or("it finds nothing wrong: see to its mirror");
        print(&format!("  {device} since {since}: {version}; {trouble}"))?;
    }
    Ok(())
}
