//! The channel's side of the configuration: where the updater reaches the agent, and what a state that it brings puts in the place
//! of a configuration's own models.
use super::files::directory;
use super::ports::FIREWALL;
use super::problem::Problem;
use super::reader::Section;
use super::routing::Vendor;
use crate::model::Package;
use crate::route::Mode;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Who the system's users are, one in a line.
const USERS: &str = "/etc/passwd";
/// Where the updater's unit has it write its status.
const UPDATER_STATUS: &str = "/run/sund-updater/status.json";

/// How the updater reaches the agent. Always the box's own: a state that could change it could cut itself off from its repair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// The socket.
    pub socket: PathBuf,
    /// Where the agent keeps what serves.
    pub directory: PathBuf,
    /// Where the updater writes its status, for the console.
    pub updater_status: PathBuf,
    /// The updater's user, beside root and the agent's own.
    pub updater: Option<u32>,
    /// The box's own configuration.
    pub own: PathBuf,
    /// The box's own spool.
    pub spool: PathBuf,
    /// Where the box's firewall says which ports it lets through.
    pub firewall: PathBuf,
    /// The site's acceptance cohort: a state that answers it otherwise does not serve.
    pub acceptance: Option<PathBuf>,
}

impl Channel {
    /// Relative paths begin here, also in a configuration that the channel brings.
    pub(super) fn folder(&self) -> &Path {
        self.own.parent().unwrap_or(Path::new("."))
    }
}

/// What a route runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoutePlan {
    /// Names of packages.
    pub models: Vec<String>,
    /// Where results go.
    pub mode: Mode,
}

/// What a state puts in the place of a configuration's models.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// Packages, opened.
    pub packages: Vec<Package>,
    /// Their signatures were looked for by the keys that the region pins: the configuration's own are not asked.
    pub is_pinned: bool,
    /// What each route runs; one that is not named runs nothing.
    pub routes: BTreeMap<String, RoutePlan>,
}

/// Reads `[channel]` of the box's own configuration.
pub(super) fn channel(root: &Section<'_, '_>, own: &Path, spool: &Path) -> Option<Channel> {
    let section = root.section("channel", "channel")?;
    section.require::<PathBuf>("socket");
    let directory = directory(&section, "directory");
    let is_open = |path: &PathBuf| std::fs::metadata(path).is_ok_and(|folder| folder.permissions().mode() & 0o022 != 0);
    if let Some(path) = directory.as_ref().filter(|path| is_open(path)) {
        let help = format!("who writes there says what serves: chmod go-w {}", path.display());
        section.complain("directory", "can be written by others", &help);
    }
    let updater = section.value::<String>("updater_user").and_then(|name| {
        let user = number_of(&name);
        if user.is_none() {
            section.complain("updater_user", &format!("there is no user `{name}`"), "write its name, or its number");
        }
        user
    });
    let acceptance = section.path("acceptance");
    if let Some(path) = acceptance.as_ref().filter(|path| !path.is_dir()) {
        section.complain(
            "acceptance",
            &format!("is not a directory: {}", path.display()),
            "agent/MODELS.md says what is in it",
        );
    }
    let own = std::path::absolute(own).unwrap_or_else(|_| own.to_owned());
    let updater_status = section.path("updater_status").unwrap_or_else(|| UPDATER_STATUS.into());
    Some(Channel {
        socket: section.path("socket")?,
        directory: directory?,
        updater_status,
        firewall: section.path("firewall").unwrap_or_else(|| FIREWALL.into()),
        updater,
        own,
        spool: spool.to_owned(),
        acceptance,
    })
}

/// What a configuration that the channel brings may not say: what is the box's own.
pub(super) fn check_foreign(root: &Section<'_, '_>, channel: &Channel, spool: Option<&Path>) {
    if root.entry("channel").is_some() {
        root.complain("channel", "is the box's own", "leave it out of what the channel brings");
    }
    if let (Some(section), Some(spool)) = (root.section_quietly("spool", "spool"), spool)
        && spool != channel.spool
    {
        let message = format!("is not the box's own, {}: what it holds would be left behind", channel.spool.display());
        section.complain("directory", &message, "");
    }
}

/// The packages of a state, in the place of `[[models]]`: each with the key of its vendor that has signed it, by the configuration's own
/// `[[vendors]]` where the region pins none.
pub(super) fn packages(root: &Section<'_, '_>, deployment: &Deployment, vendors: &[Vendor]) -> Vec<Package> {
    let mut packages: Vec<Package> = Vec::new();
    for package in &deployment.packages {
        let name = &package.manifest.name;
        let package = package.clone();
        let signed = if deployment.is_pinned { Ok(package) } else { super::routing::signed(package, vendors) };
        match signed {
            Ok(_) if packages.iter().any(|known| known.manifest.name == *name) => {
                root.complain("models", &format!("the state brings two packages named `{name}`"), "");
            }
            Ok(package) => packages.push(package),
            Err(fault) => root.complain("models", &format!("`{name}`: {fault}"), ""),
        }
    }
    packages
}

/// What of a configuration cannot change while the agent runs, as one text that can be compared: all but what is named here.
pub(super) fn fixed_part(text: &str) -> Result<String, Problem> {
    const LIVE: [&str; 7] = ["callers", "vendors", "models", "golden", "destinations", "routes", "channel"];
    let told = |message: String| Problem { line: 1, column: 1, key: String::new(), message, help: String::new() };
    let mut table: toml::Table =
        toml::from_str(text).map_err(|error| told(format!("is not TOML: {}", error.message())))?;
    table.retain(|section, _| !LIVE.contains(&section));
    toml::to_string(&table).map_err(|error| told(error.to_string()))
}

/// The number of a user that is named, or given as a number.
fn number_of(name: &str) -> Option<u32> {
    if let Ok(number) = name.parse() {
        return Some(number);
    }
    let users = std::fs::read_to_string(USERS).ok()?;
    let mut fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    fields.find(|fields| fields.first() == Some(&name))?.get(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_known_by_name_and_by_number() {
        assert_eq!((number_of("root"), number_of("4711")), (Some(0), Some(4711)));
        assert_eq!((number_of("nobody-of-this-name"), number_of("")), (None, None));
    }

    #[test]
    fn what_asks_for_a_restart_is_what_no_running_agent_can_change() {
        let fixed = |text: &str| fixed_part(text).unwrap();
        let node = "[node]\nae_title = \"SUND\"\n";
        assert_eq!(fixed(node), fixed(&format!("{node}# A remark.\n[[callers]]\nae_title = \"CT\"\n[channel]\n")));
        assert_ne!(fixed(node), fixed("[node]\nae_title = \"OTHER\"\n"));
        assert_ne!(fixed(node), fixed(&format!("{node}[worker]\ntimeout = \"1min\"\n")));
    }
}
