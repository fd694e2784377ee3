//! The operating system's side: RAUC and logind over D-Bus, and what the box says of itself.
//!
//! A bundle is streamed by RAUC from the repository, through this updater. What authenticates it is the hash of its manifest, which the region signed:
//! verity then checks each block as it is read.
mod head;
pub mod relay;
mod slots;

use crate::config::{Config, Os as OsConfig};
use crate::fault::{Blame, Fault};
use crate::http::Http;
use crate::release::{self, Release};
use crate::trust::Served;
use futures_util::StreamExt;
use relay::Relay;
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;
use zbus::{OwnedVariant, Variant};

/// Time between two looks at a RAUC that works, beside its signals: one that ended says nothing more.
const LOOK: Duration = Duration::from_secs(1);

/// What RAUC says of a slot.
type SlotStatus = HashMap<String, OwnedVariant>;

#[zbus::proxy(interface = "de.pengutronix.rauc.Installer", default_service = "de.pengutronix.rauc", default_path = "/")]
trait Installer {
    fn install_bundle(&self, source: &str, args: HashMap<&str, Variant<'_>>) -> zbus::Result<()>;
    fn mark(&self, state: &str, slot_identifier: &str) -> zbus::Result<(String, String)>;
    fn get_slot_status(&self) -> zbus::Result<Vec<(String, SlotStatus)>>;
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
    /// Which variant of it, where it is not the one for patients.
    pub variant: Option<release::Variant>,
}

/// What the box runs, by its own files.
pub fn running(config: &OsConfig) -> Result<Running, Fault> {
    let system = Release::read(&config.release)?;
    Ok(Running {
        version: versioned(&system, &config.release)?,
        boot: release::text(&config.boot_id)?.trim().to_owned(),
        variant: system.variant(),
    })
}

/// The version of the system that runs, by its os-release.
pub fn version(release: &Path) -> Result<String, Fault> {
    versioned(&Release::read(release)?, release)
}

fn versioned(system: &Release, path: &Path) -> Result<String, Fault> {
    let unknown = || Fault::new("os-unknown", Blame::Box, format!("{} has no IMAGE_VERSION", path.display()));
    system.version().map(str::to_owned).ok_or_else(unknown)
}

/// Installs a bundle into the other slot, and waits until RAUC is done. The boot loader is told nothing of it (`activate-installed=false` in
/// RAUC's system.conf): that is [`start_other_slot`].
pub async fn install(config: &Config, image: &Served, limit: Duration) -> Result<(), Fault> {
    tokio::time::timeout(limit, install_unbounded(config, image)).await.map_err(|_| slow(limit))?
}

/// Waits until RAUC writes nothing any more: what it is told of a slot before that, it may forget at its end.
pub async fn idle(limit: Duration) -> Result<(), Fault> {
    let idle = async {
        let connection = bus().await?;
        until_idle(&InstallerProxy::new(&connection).await.map_err(|error| away(&error))?).await
    };
    tokio::time::timeout(limit, idle).await.map_err(|_| slow(limit))?
}

async fn until_idle(installer: &InstallerProxy<'_>) -> Result<(), Fault> {
    let mut completed = installer.receive_completed().await.map_err(|error| away(&error))?;
    while installer.operation().await.map_err(|error| away(&error))? != "idle" {
        // The signal comes a little before that; without one it is looked at again.
        let _ = tokio::time::timeout(LOOK, completed.next()).await;
    }
    Ok(())
}

async fn install_unbounded(config: &Config, image: &Served) -> Result<(), Fault> {
    let image = image.get();
    let source = &image.url;
    let connection = bus().await?;
    let installer = InstallerProxy::new(&connection).await.map_err(|error| away(&error))?;
    // One that an earlier process of ours has begun: RAUC takes one at a time.
    until_idle(&installer).await?;
    let mut completed = installer.receive_completed().await.map_err(|error| away(&error))?;
    let relay = match source.scheme() {
        "http" | "https" => Some(Relay::start(Http::new(config)?, source.clone(), config.bytes_per_second).await?),
        _ => None,
    };
    let args = HashMap::from([("require-manifest-hash", Variant::from(image.manifest_sha256.as_str()))]);
    let from = relay.as_ref().map_or_else(|| image.source(), |relay| relay.url.to_string());
    installer.install_bundle(&from, args).await.map_err(|error| refused(&error.to_string()))?;
    let ended = || Fault::new("os-service-away", Blame::Box, "RAUC ended while it installed; it is asked again");
    let mut looks_idle = false;
    let signal = loop {
        match tokio::time::timeout(LOOK, completed.next()).await {
            Ok(signal) => break signal.ok_or_else(ended)?,
            // One that was started anew knows nothing of it, and sends no signal.
            Err(_) if looks_idle => return Err(ended()),
            Err(_) => looks_idle = installer.operation().await.map_err(|error| away(&error))? == "idle",
        }
    };
    let result = signal.args().map_err(|error| away(&error))?.result;
    if result == 0 {
        if let Some(relay) = &relay {
            tracing::info!(bytes = relay.fetched(), "RAUC has fetched what neither slot had");
        }
        return Ok(());
    }
    let refusal = refused(&installer.last_error().await.unwrap_or_default());
    // RAUC says the same of a line that broke and of a bundle that is none: who fetched for it knows more.
    Err(match relay.and_then(|relay| relay.trouble()) {
        Some(trouble) => stream_failed(Blame::Channel, &trouble, &refusal),
        None => refusal,
    })
}

/// RAUC could not read a bundle to its end: that says nothing of the bundle.
pub fn stream_failed(blame: Blame, trouble: &str, refusal: &Fault) -> Fault {
    Fault::new("os-stream-failed", blame, format!("the bundle did not come whole: {trouble}; {}", refusal.reason))
}

/// Calls the running slot good: from now on the boot loader stays with it.
pub async fn mark_good() -> Result<(), Fault> {
    mark("good", "booted").await
}

/// Leaves the other slot alone: the next boot is into the running one.
pub async fn keep_running_slot() -> Result<(), Fault> {
    mark("active", "booted").await
}

/// Has the boot loader start the other slot next.
pub async fn start_other_slot() -> Result<(), Fault> {
    let connection = bus().await?;
    let installer = InstallerProxy::new(&connection).await.map_err(|error| away(&error))?;
    let slots = installer.get_slot_status().await.map_err(|error| away(&error))?;
    let other = slots::other(&slots)?;
    installer.mark("active", other).await.map(|_| ()).map_err(|error| away(&error))
}

/// The version of the system that RAUC has written to the running slot; nothing where it has written none there.
pub async fn written_version() -> Result<Option<String>, Fault> {
    let connection = bus().await?;
    let installer = InstallerProxy::new(&connection).await.map_err(|error| away(&error))?;
    let slots = installer.get_slot_status().await.map_err(|error| away(&error))?;
    Ok(slots::written(&slots).map(str::to_owned))
}

/// Gives the running slot up: the next boot is into the other one.
pub async fn give_up_running_slot() -> Result<(), Fault> {
    start_other_slot().await?;
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

fn slow(limit: Duration) -> Fault {
    let reason = format!("RAUC is not done after {} s: see its journal", limit.as_secs());
    Fault::new("os-install-slow", Blame::Box, reason)
}

fn refused(reason: &str) -> Fault {
    Fault::new("os-refused", Blame::Region, format!("RAUC does not install the bundle: {reason}"))
}
