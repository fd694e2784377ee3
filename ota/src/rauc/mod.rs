//! The operating system's side: RAUC and logind over D-Bus, and what the box says of itself.
//!
//! A bundle is streamed by RAUC from the repository. What authenticates it is the hash of its manifest, which the region signed:
//! verity then checks each block as it is read.
use crate::config::{Config, Credentials, Os as OsConfig};
use crate::fault::{Blame, Fault};
use crate::trust::Image;
use futures_util::StreamExt;
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;
use zbus::Variant;

/// os-release and the boot id, in bytes.
const MAX_BYTES: usize = 64 * 1024;

#[zbus::proxy(interface = "de.pengutronix.rauc.Installer", default_service = "de.pengutronix.rauc", default_path = "/")]
trait Installer {
    fn install_bundle(&self, source: &str, args: HashMap<&str, Variant<'_>>) -> zbus::Result<()>;
    fn mark(&self, state: &str, slot_identifier: &str) -> zbus::Result<(String, String)>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn operation(&self) -> zbus::Result<String>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn last_error(&self) -> zbus::Result<String>;
    #[zbus(signal)]
    fn completed(&self, result: i32) -> zbus::Result<()>;
}

#[zbus::proxy(
    interface = "org.freedesktop.login1.Manager",
    default_service = "org.freedesktop.login1",
    default_path = "/org/freedesktop/login1"
)]
trait Login {
    fn reboot(&self, interactive: bool) -> zbus::Result<()>;
}

/// What the box runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Version of the operating system.
    pub version: String,
    /// Which boot this is.
    pub boot: String,
}

/// What the box runs, by its own files.
pub fn running(config: &OsConfig) -> Result<Running, Fault> {
    let read = |path: &Path| {
        let unreadable = |reason: String| {
            Fault::new("os-unknown", Blame::Box, format!("{} does not say what runs: {reason}", path.display()))
        };
        let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
        if text.len() > MAX_BYTES { Err(unreadable("it is too long".to_owned())) } else { Ok(text) }
    };
    let release = read(&config.release)?;
    let value = |key: &str| {
        let lines = release.lines().filter_map(|line| line.split_once('='));
        lines.filter(|(name, _)| *name == key).map(|(_, value)| value.trim().trim_matches('"').to_owned()).next_back()
    };
    let version = value("IMAGE_VERSION").or_else(|| value("VERSION_ID")).ok_or_else(|| {
        Fault::new("os-unknown", Blame::Box, format!("{} has no IMAGE_VERSION", config.release.display()))
    })?;
    Ok(Running { version, boot: read(&config.boot_id)?.trim().to_owned() })
}

/// Installs a bundle into the other slot, and waits until RAUC is done.
pub async fn install(config: &Config, image: &Image, limit: Duration) -> Result<(), Fault> {
    tokio::time::timeout(limit, install_unbounded(config, image)).await.map_err(|_| {
        let reason = format!("RAUC is not done after {} s: see its journal", limit.as_secs());
        Fault::new("os-install-slow", Blame::Box, reason)
    })?
}

async fn install_unbounded(config: &Config, image: &Image) -> Result<(), Fault> {
    let source = &image.url;
    let connection = bus().await?;
    let installer = InstallerProxy::new(&connection).await.map_err(|error| away(&error))?;
    let mut completed = installer.receive_completed().await.map_err(|error| away(&error))?;
    // One that an earlier process of ours has begun: RAUC takes one at a time.
    if installer.operation().await.map_err(|error| away(&error))? == "installing" {
        completed.next().await;
    }
    let ca = config.ca.as_ref().map(|path| path.display().to_string());
    let mut args = HashMap::from([("require-manifest-hash", Variant::from(image.manifest_sha256.as_str()))]);
    if let Some(ca) = ca.as_deref().filter(|_| source.scheme() == "https") {
        args.insert("tls-ca", Variant::from(ca));
    }
    let mut owned = Vec::new();
    match &config.credentials {
        Credentials::Certificate { certificate, key } if source.scheme() == "https" => {
            owned.push(("tls-cert", certificate.display().to_string()));
            owned.push(("tls-key", key.display().to_string()));
        }
        Credentials::Token(path) if source.origin() == config.server.origin() => {
            let token = std::fs::read_to_string(path).map_err(|error| {
                Fault::new("credentials-unusable", Blame::Configuration, format!("{}: {error}", path.display()))
            })?;
            let header = format!("Authorization: TargetToken {}", token.trim());
            args.insert("http-headers", Variant::from(vec![header]));
        }
        Credentials::Certificate { .. } | Credentials::Token(_) | Credentials::Nobody => {}
    }
    args.extend(owned.iter().map(|(key, path)| (*key, Variant::from(path.as_str()))));
    installer.install_bundle(&image.source(), args).await.map_err(|error| refused(&error.to_string()))?;
    let signal = completed.next().await.ok_or_else(|| {
        Fault::new("os-service-away", Blame::Box, "RAUC ended while it installed; it is asked again".to_owned())
    })?;
    let result = signal.args().map_err(|error| away(&error))?.result;
    if result == 0 { Ok(()) } else { Err(refused(&installer.last_error().await.unwrap_or_default())) }
}

/// Calls the running slot good: from now on the boot loader stays with it.
pub async fn mark_good() -> Result<(), Fault> {
    mark("good", "booted").await
}

/// Leaves the other slot, which was just installed, alone: the next boot is into the running one.
pub async fn keep_running_slot() -> Result<(), Fault> {
    mark("active", "booted").await
}

/// Gives the running slot up: the next boot is into the other one.
pub async fn give_up_running_slot() -> Result<(), Fault> {
    mark("active", "other").await?;
    mark("bad", "booted").await
}

async fn mark(state: &str, slot: &str) -> Result<(), Fault> {
    let connection = bus().await?;
    let installer = InstallerProxy::new(&connection).await.map_err(|error| away(&error))?;
    installer.mark(state, slot).await.map(|_| ()).map_err(|error| away(&error))
}

/// Asks logind to restart the box: units are stopped in order.
pub async fn reboot() -> Result<(), Fault> {
    let connection = bus().await?;
    let login = LoginProxy::new(&connection).await.map_err(|error| away(&error))?;
    login.reboot(false).await.map_err(|error| away(&error))
}

async fn bus() -> Result<zbus::Connection, Fault> {
    zbus::Connection::system().await.map_err(|error| away(&error))
}

fn away(error: &zbus::Error) -> Fault {
    Fault::new("os-service-away", Blame::Box, format!("D-Bus: {error}; is rauc.service there?"))
}

fn refused(reason: &str) -> Fault {
    Fault::new("os-refused", Blame::Region, format!("RAUC does not install the bundle: {reason}"))
}
