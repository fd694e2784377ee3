//! `channel.toml`: what it says, and what of it the server uses. All of it is checked before the first port is bound.
//!
//! The server reads its own table, `[server]`; other tables belong to other commands.
use crate::fleet::{Role, User};
use serde::Deserialize;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use sund_ota::fault::{Blame, Fault};

#[derive(Debug, Deserialize)]
struct File {
    server: RawServer,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawServer {
    listen: Vec<SocketAddr>,
    #[serde(default)]
    names: Vec<String>,
    url: Option<String>,
    #[serde(default = "default_tenant")]
    tenant: String,
    #[serde(default = "default_poll")]
    poll_seconds: u32,
    #[serde(default = "yes")]
    approval: bool,
    #[serde(default)]
    open_repository: bool,
    #[serde(default = "yes")]
    open_rescue: bool,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    #[serde(default)]
    users: Vec<RawUser>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawUser {
    name: String,
    role: Role,
    /// argon2id, PHC form.
    password: String,
}

fn default_tenant() -> String {
    "DEFAULT".to_owned()
}

fn default_poll() -> u32 {
    300
}

fn yes() -> bool {
    true
}

/// What the server uses.
#[derive(Clone, Debug)]
pub struct Config {
    /// The channel's home: the directory of the file.
    pub home: PathBuf,
    /// Where it listens.
    pub listen: Vec<SocketAddr>,
    /// Names by which browsers and boxes reach it.
    pub names: Vec<String>,
    /// Base of the links in answers, where it is not what the caller asked for (behind a proxy that ends no TLS).
    pub url: Option<String>,
    /// First part of the DDI's paths.
    pub tenant: String,
    /// Time between two polls of a box, in seconds.
    pub poll_seconds: u32,
    /// Whether a rollout waits for an approver.
    pub approval: bool,
    /// Whether the repository is served to anybody; else to enrolled boxes alone.
    pub open_repository: bool,
    /// Whether `rescue.json` and the bundle that it names are served to anybody: a box that cannot start has no
    /// certificate.
    pub open_rescue: bool,
    /// Certificate chain and key, PEM files; without them the channel's own authority makes one.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// People.
    pub users: Vec<User>,
}

impl Config {
    /// Reads and checks a file.
    pub fn read(path: &Path) -> Result<Self, Fault> {
        let refuse =
            |why: String| Fault::new("config-invalid", Blame::Configuration, format!("{}: {why}.", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| {
            refuse(match error.kind() {
                ErrorKind::NotFound => "it is not there. Write it, with at least `listen` and `names` under `[server]`, or name another by \
                                        `--config`"
                    .to_owned(),
                _ => error.to_string(),
            })
        })?;
        let home = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        Self::parse(&text, home).map_err(refuse)
    }

    fn parse(text: &str, home: PathBuf) -> Result<Self, String> {
        let raw = toml::from_str::<File>(text).map_err(|error| error.to_string())?.server;
        if raw.listen.is_empty() {
            return Err("`server.listen` names no address".to_owned());
        }
        if !(5..=86_400).contains(&raw.poll_seconds) {
            return Err("`server.poll_seconds` is not 5 to 86400".to_owned());
        }
        let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
        if raw.tenant.is_empty()
            || !plain(&raw.tenant)
            || matches!(raw.tenant.as_str(), "api" | "assets" | "repository")
        {
            return Err("`server.tenant` is no name for a path".to_owned());
        }
        let identity = match (raw.certificate, raw.key) {
            (Some(certificate), Some(key)) => Some((home.join(certificate), home.join(key))),
            (None, None) if raw.names.is_empty() => {
                return Err(
                    "without `server.certificate` and `server.key` it needs `server.names`, to make its own".to_owned()
                );
            }
            (None, None) => None,
            _ => return Err("`server.certificate` and `server.key` go together".to_owned()),
        };
        let users = raw.users.iter().map(|user| User::new(&user.name, user.role, &user.password));
        let users = users.collect::<Result<Vec<_>, _>>()?;
        if users.iter().enumerate().any(|(n, user)| users[..n].iter().any(|known| known.name() == user.name())) {
            return Err("two users have one name".to_owned());
        }
        Ok(Self {
            home,
            listen: raw.listen,
            names: raw.names,
            url: raw.url.map(|url| url.trim_end_matches('/').to_owned()),
            tenant: raw.tenant,
            poll_seconds: raw.poll_seconds,
            approval: raw.approval,
            open_repository: raw.open_repository,
            open_rescue: raw.open_rescue,
            identity,
            users,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said_before_anything_is_bound() {
        let parse = |text: &str| Config::parse(text, PathBuf::from(".")).map(|_| ());
        assert_eq!(parse("[server]\nlisten = ['127.0.0.1:0']\nnames = ['localhost']\n[other]\nx = 1"), Ok(()));
        for wrong in [
            "",
            "[server]\nlisten = []\nnames = ['a']",
            "[server]\nlisten = ['127.0.0.1:0']",
            "[server]\nlisten = ['127.0.0.1:0']\nnames = ['a']\ntypo = 1",
            "[server]\nlisten = ['127.0.0.1:0']\ncertificate = 'a'",
            "[server]\nlisten = ['127.0.0.1:0']\nnames = ['a']\npoll_seconds = 0",
            "[server]\nlisten = ['127.0.0.1:0']\nnames = ['a']\ntenant = 'api'",
            "[server]\nlisten = ['127.0.0.1:0']\nnames = ['a']\nusers = [{name = 'a', role = 'viewer', password = 'secret'}]",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_configuration_that_is_not_there_is_said_to_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let fault = Config::read(&folder.path().join("channel.toml")).unwrap_err();
        assert!(
            fault.code == "config-invalid" && fault.reason.contains("it is not there. Write it"),
            "{}",
            fault.reason
        );
    }
}
