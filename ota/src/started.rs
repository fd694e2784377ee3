//! What a good start leaves in the firmware's memory for a bad one. The initramfs counts the starts there, and leaves a system after
//! three that were not good; where neither slot starts, the rescue asks the channel for a recovery bundle, and learns there where
//! that is: the data partition, which knows it too, may not open then.
use crate::authorities::{self, Believed};
use crate::config::Config;
use crate::durable;
use crate::fault::{Blame, Fault};
use serde::Serialize;
use std::net::IpAddr;
use std::path::Path;

/// The starts since the last good one, which the initramfs counts.
pub const STARTS: &str = "/sys/firmware/efi/efivars/SundStarts-5a6d0020-7375-4e64-8000-000000000020";
/// What a rescue has to know of the site.
pub const SITE: &str = "/sys/firmware/efi/efivars/SundRescue-5a6d0020-7375-4e64-8000-000000000020";
/// The drop-in of systemd-networkd with the addresses of the network where the channel is.
pub const NETWORK: &str = "/etc/sund/network/50-management.network.d/10-site.conf";
/// Files that the site is made of, in bytes: firmware has little room.
const MAX_FILE: u64 = 16 * 1024;

/// As `sund-rescue` reads it.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Site {
    sources: Vec<String>,
    authorities: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<Network>,
}

/// Static addresses.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Network {
    address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<IpAddr>,
    dns: Vec<IpAddr>,
}

/// This start was good: none is counted any more.
pub fn is_good(starts: &Path) -> Result<(), Fault> {
    durable::remove_variable(starts).map_err(|error| failed(starts, &error.to_string()))
}

/// Keeps what a rescue has to know of the site, written only where it has changed. A box whose server nobody vouches for has none.
pub fn keep_site(config: &Config, network: &Path, variable: &Path) -> Result<(), Fault> {
    let Some(ca) = &config.ca else { return Ok(()) };
    let site = Site {
        sources: vec![config.targets.to_string()],
        authorities: authorities(config, ca)?,
        network: read(network)?.and_then(|text| addresses(&text)),
    };
    let text = toml::to_string(&site).map_err(|error| failed(variable, &error.to_string()))?;
    let value = [&durable::VARIABLE_ATTRIBUTES.to_le_bytes(), text.as_bytes()].concat();
    if std::fs::read(variable).is_ok_and(|kept| kept == value) {
        return Ok(());
    }
    durable::variable(variable, &value).map_err(|error| failed(variable, &error.to_string()))
}

/// Whom the box believes now: a rescue that asked an authority of before would find a server that shows none of it.
fn authorities(config: &Config, ca: &Path) -> Result<String, Fault> {
    let provisioned = read(ca)?.ok_or_else(|| failed(ca, "it is not there"))?;
    match authorities::kept_by(config) {
        None => Ok(provisioned),
        Some(signed) => Believed::from(provisioned.as_bytes(), Some(&signed))
            .map(|believed| believed.pem())
            .map_err(|reason| failed(ca, &reason)),
    }
}

/// A file, where it is there.
fn read(path: &Path) -> Result<Option<String>, Fault> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Ok(metadata) if metadata.len() > MAX_FILE => {
            return Err(failed(path, &format!("it has more than {MAX_FILE} bytes, and firmware has little room")));
        }
        _ => {}
    }
    std::fs::read_to_string(path).map(Some).map_err(|error| failed(path, &error.to_string()))
}

/// The addresses of a drop-in; nothing where they come by DHCP.
fn addresses(text: &str) -> Option<Network> {
    let mut network = Network::default();
    for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
        match key {
            "Address" => value.clone_into(&mut network.address),
            "Gateway" => network.gateway = value.parse().ok(),
            "DNS" => network.dns.extend(value.parse::<IpAddr>().ok()),
            _ => {}
        }
    }
    (!network.address.is_empty()).then_some(network)
}

fn failed(path: &Path, reason: &str) -> Fault {
    let reason = format!(
        "{}: {reason}: the firmware does not know what a start or a rescue needs to know; see the firmware's setup",
        path.display()
    );
    Fault::new("firmware-failed", Blame::Box, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_of_a_site_go_with_it_and_none_where_they_come_by_dhcp() {
        let network =
            addresses("[Network]\nDHCP=no\nAddress=10.20.0.5/24\nGateway=10.20.0.1\nDNS=10.20.0.2\nDNS=fd00::1\n")
                .expect("a network");
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert_eq!((network.address.as_str(), network.gateway), ("10.20.0.5/24", Some(ip("10.20.0.1"))));
        assert_eq!(network.dns, [ip("10.20.0.2"), ip("fd00::1")]);
        assert_eq!(addresses("# Addresses come by DHCP.\n"), None);
    }
}
