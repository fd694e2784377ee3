//! What is said to a box on its first day. Read strictly: what is not understood is not applied by half.
use super::invalid;
use crate::config;
use crate::escrow::Recipient;
use crate::fault::Fault;
use crate::limits::MAX_CONFIGURATION;
use crate::limits::metadata::MAX_ROOT;
use crate::tpm;
use jiff::Timestamp;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use tough::schema::{Root, Signed};
use url::Url;

/// Letters of names and codes, at most.
const MAX_NAME: usize = 64;
/// A certificate or a key, in bytes.
const MAX_PEM: usize = 64 * 1024;
/// Vendors whose keys a box is given.
const MAX_VENDORS: usize = 64;
/// Servers of one kind (time, names).
const MAX_SERVERS: usize = 8;

/// The document, format 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// 1.
    pub format: u32,
    /// Whose box it becomes.
    pub region: String,
    /// When it was made: a box that has a newer one takes no older one.
    pub created: Timestamp,
    /// From then on it counts no more.
    pub expires: Timestamp,
    /// Name of the box at the channel.
    #[serde(rename = "box")]
    pub name: String,
    /// Tenant there.
    pub tenant: String,
    /// The channel's server.
    pub server: Url,
    /// Where the key of the box's certificate is made.
    #[serde(default)]
    pub key: KeyPlace,
    /// A one-time code of the channel; absent: it is typed at the box's screen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The region's root metadata (TUF), its very bytes.
    pub root: String,
    /// The authority that has signed the server's certificate, PEM.
    pub channel_ca: String,
    /// The region's public key for what is escrowed, as the recovery key of the disk; PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery_key: Option<String>,
    /// What the channel is told of the box, e.g. its site.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
    /// The agent's configuration, `sund.toml`.
    pub site: String,
    /// The vendors' public keys, PEM, by short name: `vendors/NAME.pem`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vendors: BTreeMap<String, String>,
    /// The networks.
    #[serde(default)]
    pub network: Network,
}

/// Where the key of the certificate is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyPlace {
    /// In the TPM, which it never leaves.
    #[default]
    Tpm,
    /// In a file, for a machine without one.
    File,
}

/// The networks. What is absent is asked of DHCP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Where modalities and the PACS are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clinical: Option<Addresses>,
    /// Where the channel, time and the people with a browser are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub management: Option<Addresses>,
    /// The proxy on the way to the channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<Url>,
    /// Time servers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ntp: Vec<TimeServer>,
}

/// Static addresses of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Addresses {
    /// With the length of its prefix: `10.20.0.5/24`.
    pub address: String,
    /// The way elsewhere; each network has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// Name servers; of the management network alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<IpAddr>,
}

/// A time server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeServer {
    /// Its name or address.
    pub host: String,
    /// Whether it proves who it is (RFC 8915).
    #[serde(default)]
    pub nts: bool,
}

impl Document {
    /// Reads and checks it.
    pub fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let document: Self = serde_json::from_slice(bytes).map_err(|error| invalid(format!("the file: {error}")))?;
        document
            .check()
            .map_err(|reason| invalid(format!("the file: {reason}: make it anew (`sund-channel provision`)")))?;
        Ok(document)
    }

    /// Whether a box can become what it says.
    pub fn check(&self) -> Result<(), String> {
        if self.format != 1 {
            return Err(format!("format {}; this version reads 1", self.format));
        }
        for (key, name) in [("region", &self.region), ("box", &self.name), ("tenant", &self.tenant)] {
            if !is_name(name) {
                return Err(format!("`{key}` has 1 to {MAX_NAME} letters, digits, `-`, `_` and `.`"));
            }
        }
        config::base("server", self.server.clone())?;
        if self.code.as_ref().is_some_and(|code| !is_code(code)) {
            return Err("`code` is none of the channel's one-time codes".to_owned());
        }
        let root = self.root.as_bytes();
        if root.len() as u64 > MAX_ROOT {
            return Err(format!("`root` has more than {MAX_ROOT} bytes"));
        }
        let root: Signed<Root> = serde_json::from_slice(root).map_err(|error| format!("`root`: {error}"))?;
        root.signed.verify_role(&root).map_err(|error| format!("`root`: {error}"))?;
        let certificates: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(pem("channel_ca", &self.channel_ca)?).collect();
        if !certificates.is_ok_and(|certificates| !certificates.is_empty()) {
            return Err("`channel_ca` is no certificate in PEM".to_owned());
        }
        if self.vendors.len() > MAX_VENDORS || !self.vendors.keys().all(|name| is_name(name)) {
            return Err(format!("`vendors` has at most {MAX_VENDORS} short names"));
        }
        for text in self.vendors.values() {
            SubjectPublicKeyInfoDer::from_pem_slice(pem("vendors", text)?)
                .map_err(|_| "`vendors` is no public key in PEM".to_owned())?;
        }
        if let Some(text) = &self.recovery_key {
            Recipient::of_pem(pem("recovery_key", text)?).map_err(|reason| format!("`recovery_key` {reason}"))?;
        }
        if self.site.len() as u64 > MAX_CONFIGURATION {
            return Err(format!("`site` has more than {MAX_CONFIGURATION} bytes"));
        }
        self.site.parse::<toml::Table>().map_err(|error| format!("`site`: {error}"))?;
        self.network.check()
    }
}

impl Network {
    fn check(&self) -> Result<(), String> {
        for (key, addresses) in [("clinical", &self.clinical), ("management", &self.management)] {
            let Some(addresses) = addresses else { continue };
            if !is_network(&addresses.address) {
                return Err(format!("`network.{key}.address` is an address with its prefix, as 10.20.0.5/24"));
            }
            if addresses.dns.len() > MAX_SERVERS {
                return Err(format!("`network.{key}.dns` has at most {MAX_SERVERS} servers"));
            }
        }
        if self.clinical.as_ref().is_some_and(|clinical| !clinical.dns.is_empty()) {
            return Err("`network.clinical.dns`: names are asked for on the management network alone; put them under \
                        `network.management`"
                .to_owned());
        }
        if self.proxy.as_ref().is_some_and(|proxy| !["http", "https"].contains(&proxy.scheme())) {
            return Err("`network.proxy` is an address of http or https".to_owned());
        }
        let is_host = |host: &str| host.parse::<IpAddr>().is_ok() || is_name(host);
        if self.ntp.len() > MAX_SERVERS || !self.ntp.iter().all(|server| is_host(&server.host)) {
            return Err(format!("`network.ntp` has at most {MAX_SERVERS} names or addresses of servers"));
        }
        Ok(())
    }
}

/// Whether that can be a one-time code of the channel, as a person types it.
pub fn is_code(code: &str) -> bool {
    (1..=MAX_NAME).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// It stands in file names, and in files that others read line by line.
pub(crate) fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(is_plain) && !name.starts_with('.')
}

fn is_network(text: &str) -> bool {
    let Some((address, prefix)) = text.split_once('/') else { return false };
    match (address.parse(), prefix.parse::<u8>()) {
        (Ok(IpAddr::V4(_)), Ok(prefix)) => (1..=32).contains(&prefix),
        (Ok(IpAddr::V6(_)), Ok(prefix)) => (1..=128).contains(&prefix),
        _ => false,
    }
}

fn pem<'a>(key: &str, text: &'a str) -> Result<&'a [u8], String> {
    if text.len() > MAX_PEM { Err(format!("`{key}` has more than {MAX_PEM} bytes")) } else { Ok(text.as_bytes()) }
}

impl KeyPlace {
    /// As `server.key` says it.
    pub(super) fn named(self) -> String {
        match self {
            Self::Tpm => format!("{}{:#010x}", tpm::SCHEME, tpm::HANDLE),
            Self::File => "/etc/sund/updater/box.key".to_owned(),
        }
    }
}
