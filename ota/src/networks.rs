//! What systemd-networkd says of the networks of a box: a system under which it is not in one that it was in before is no healthy one, though all of
//! its services run. Nobody would reach it there, and it would wait for its region for ever. It is asked over D-Bus and told nothing.
use crate::fault::{Blame, Fault};
use crate::limits::{BUS_ANSWER, MAX_INTERFACES};
use serde::Deserialize;
use std::collections::BTreeSet;

#[zbus::proxy(
    interface = "org.freedesktop.network1.Manager",
    default_service = "org.freedesktop.network1",
    default_path = "/org/freedesktop/network1"
)]
trait Manager {
    fn describe(&self) -> zbus::Result<String>;
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Described {
    #[serde(default)]
    interfaces: Vec<Interface>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Interface {
    name: String,
    #[serde(default)]
    address_state: String,
}

/// The interfaces with an address that reaches further than their own link (networkctl(1): `routable`), by name; no error, but none, where networkd
/// does not answer: who compares with none misses none.
pub async fn joined() -> BTreeSet<String> {
    asked().await.unwrap_or_else(|error| {
        tracing::warn!(%error, "systemd-networkd does not say which networks the box is in");
        BTreeSet::new()
    })
}

/// The first of these interfaces that has no such address now, if any; each of them where networkd does not answer.
pub async fn left(before: &BTreeSet<String>) -> Option<Fault> {
    let first = before.first()?;
    let why = match asked().await {
        Ok(now) => {
            let left = before.difference(&now).next()?;
            format!(
                "`{left}` has no address, as it had before: the system lets it down, or what gives addresses there (DHCP) is away"
            )
        }
        Err(error) => {
            format!("systemd-networkd does not say whether `{first}` has an address, as it had before: {error}")
        }
    };
    Some(Fault::new("os-without-network", Blame::Region, why))
}

async fn asked() -> Result<BTreeSet<String>, String> {
    let described = async {
        let connection = zbus::Connection::system().await?;
        ManagerProxy::new(&connection).await?.describe().await
    };
    let described = tokio::time::timeout(BUS_ANSWER, described).await.map_err(|_| "it does not answer".to_owned())?;
    let described = described.map_err(|error| format!("D-Bus: {error}"))?;
    let described: Described = serde_json::from_str(&described).map_err(|error| error.to_string())?;
    let routable = described.interfaces.into_iter().filter(|interface| interface.address_state == "routable");
    Ok(routable.take(MAX_INTERFACES).map(|interface| interface.name).filter(|name| name != "lo").collect())
}
