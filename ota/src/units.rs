//! What systemd says of the units that a box cannot be without: a system under which one of them does not run is no healthy one, though its
//! agent answers. It is asked over D-Bus and told nothing.
use crate::fault::{Blame, Fault};
use crate::limits::BUS_ANSWER;
use zbus::OwnedObjectPath;

/// Each unit, and what a box lacks where it is not active. All of them are enabled in the image, and none waits for anything that a site may lack.
/// RAUC is not among them: it is started when it is asked, and nothing is committed without it.
pub const NEEDED: [(&str, &str); 7] = [
    ("sund.service", "nothing starts the agent again"),
    ("sund-worker.socket", "no model runs"),
    ("nftables.service", "no firewall stands"),
    ("sund-network.service", "the box has not the addresses and time servers of its site"),
    ("systemd-networkd.service", "the box has no network"),
    ("systemd-resolved.service", "the box finds nobody by a name"),
    ("chronyd.service", "nothing sets the clock, by which certificates are judged"),
];

/// As systemd lists a unit: its name, what it is, whether its file was read, whether it is active, and more.
type Listed = (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Manager {
    fn list_units_by_names(&self, names: &[&str]) -> zbus::Result<Vec<Listed>>;
}

/// The first of these units that is not active, if any. One that is starting still is not, and neither is any where systemd does not answer: who
/// waits asks again.
pub async fn missing() -> Option<Fault> {
    let why = match tokio::time::timeout(BUS_ANSWER, listed()).await {
        Ok(Ok(listed)) => return missing_of(&listed),
        Ok(Err(error)) => format!("D-Bus: {error}"),
        Err(_) => "it does not answer".to_owned(),
    };
    Some(fault(format!("systemd does not say which units run: {why}")))
}

fn missing_of(listed: &[Listed]) -> Option<Fault> {
    let missing = NEEDED.iter().find_map(|&(name, lacks)| {
        let standing = listed.iter().find(|unit| unit.0 == name).map_or("unknown to systemd", |unit| unit.3.as_str());
        (!is_active(standing)).then(|| format!("{name} is {standing}: {lacks}"))
    });
    missing.map(fault)
}

async fn listed() -> zbus::Result<Vec<Listed>> {
    let connection = zbus::Connection::system().await?;
    ManagerProxy::new(&connection).await?.list_units_by_names(&NEEDED.map(|(name, _)| name)).await
}

/// A unit that is reloaded or refreshed runs meanwhile.
fn is_active(standing: &str) -> bool {
    matches!(standing, "active" | "reloading" | "refreshing")
}

fn fault(reason: String) -> Fault {
    Fault::new("os-unit-failed", Blame::Region, reason)
}
