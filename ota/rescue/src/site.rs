//! What a rescue has to know of the site: where the channel is. The data partition, where a box has it, may not open here, so the
//! firmware keeps a copy (`sund-updater started` writes it). It is not signed: whoever alters it has the rescue fail, and no more. Who
//! signs, and what is too old, stands in the signed initramfs and in the TPM.
use crate::fault::{Blame, Fault};
use crate::firmware;
use crate::limits::MAX_NAME_SERVERS;
use serde::Deserialize;
use std::fmt;
use std::net::IpAddr;
use std::path::Path;

/// Of one site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Who is asked, in this order.
    pub sources: Vec<String>,
    /// Who vouches for their certificates, PEM.
    pub authorities: Vec<u8>,
    /// Its addresses; absent: DHCP.
    pub network: Option<Network>,
}

/// Static addresses.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    address: String,
    gateway: Option<IpAddr>,
    #[serde(default)]
    dns: Vec<IpAddr>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSite {
    sources: Vec<String>,
    authorities: String,
    network: Option<Network>,
}

impl Site {
    /// Reads it from the firmware's variable.
    pub fn read(variable: &Path) -> Result<Self, Fault> {
        let refused = |reason: String| {
            let reason = format!("{}: {reason}: what the firmware keeps of the site is of no use", variable.display());
            Fault::new("site-invalid", Blame::Configuration, reason)
        };
        let bytes = firmware::value(variable)?.ok_or_else(|| refused("there is none".to_owned()))?;
        let text = String::from_utf8(bytes).map_err(|_| refused("it is not UTF-8".to_owned()))?;
        let RawSite { sources, authorities, network } =
            toml::from_str(&text).map_err(|error| refused(error.to_string()))?;
        if let Some(network) = &network
            && !network.is_plain()
        {
            return Err(refused("network.address is no address with its prefix".to_owned()));
        }
        Ok(Self { sources, authorities: authorities.into_bytes(), network })
    }
}

impl Network {
    fn is_plain(&self) -> bool {
        let plain = self.address.split_once('/').is_some_and(|(address, prefix)| {
            address.parse::<IpAddr>().is_ok() && prefix.parse::<u8>().is_ok_and(|bits| bits <= 128)
        });
        plain && self.dns.len() <= MAX_NAME_SERVERS
    }
}

/// As words for the initramfs: address, gateway or `-`, name servers.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gateway = self.gateway.map_or_else(|| "-".to_owned(), |gateway| gateway.to_string());
        write!(f, "{} {gateway}", self.address)?;
        self.dns.iter().try_for_each(|server| write!(f, " {server}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Site, Fault> {
        let directory = tempfile::tempdir().expect("a directory");
        let variable = directory.path().join("variable");
        std::fs::write(&variable, [&[7, 0, 0, 0], text.as_bytes()].concat()).expect("it is written");
        Site::read(&variable)
    }

    #[test]
    fn a_site_is_read_with_its_addresses_or_without() {
        let site = read("sources = [\"https://a/\"]\nauthorities = \"PEM\"\n").expect("a site");
        assert_eq!((site.sources, site.authorities, site.network), (vec!["https://a/".into()], b"PEM".into(), None));
        let site = "sources = []\nauthorities = ''\n[network]\naddress = '10.20.0.5/24'\ngateway = '10.20.0.1'\ndns = ['10.20.0.2', 'fd00::1']\n";
        let network = read(site).expect("a site").network.expect("a network");
        assert_eq!(network.to_string(), "10.20.0.5/24 10.20.0.1 10.20.0.2 fd00::1");
    }

    #[test]
    fn a_site_says_nothing_that_stands_in_the_signed_initramfs_and_no_words_that_are_no_addresses() {
        let head = "sources = []\nauthorities = ''\n";
        for more in [
            "destination = '/dev/sda'",
            "threshold = 1",
            "[[person]]\nname = 'x'\nkey = 'y'",
            "[minimum]\nfile = '/dev/null'",
            "[network]\naddress = '10.20.0.5'",
            "[network]\naddress = '10.20.0.5/24 dev lo'",
            "[network]\naddress = '10.20.0.5/24'\ngateway = '$(reboot)'",
        ] {
            assert_eq!(read(&format!("{head}{more}\n")).map_err(|fault| fault.code), Err("site-invalid"), "{more}");
        }
        assert_eq!(Site::read(Path::new("/no/such/variable")).map_err(|fault| fault.code), Err("site-invalid"));
    }
}
