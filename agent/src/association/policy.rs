//! Who may call.
use crate::fault::{Blame, Fault};
use rustls::pki_types::{CertificateDer, ServerName};
use std::net::IpAddr;
use std::str::FromStr;
use webpki::EndEntityCert;

/// A node that may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its AE title.
    pub ae_title: String,
    /// Where it may call from; `None` for anywhere.
    pub address: Option<Network>,
    /// A name that its certificate must carry as a subject alternative name; `None` for any certificate, or none.
    pub certificate_name: Option<ServerName<'static>>,
}

impl Caller {
    /// True where a certificate, which the handshake has verified, is this caller's.
    fn is_proved_by(&self, certificate: Option<&CertificateDer<'_>>) -> bool {
        let Some(name) = &self.certificate_name else { return true };
        let certificate = certificate.and_then(|certificate| EndEntityCert::try_from(certificate).ok());
        certificate.is_some_and(|certificate| certificate.verify_is_valid_for_subject_name(name).is_ok())
    }
}

/// Who may call and how.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Our AE title.
    pub ae_title: String,
    /// True: a call for another AE title is rejected.
    pub require_called_ae: bool,
    /// Further AE titles that we answer to: routes of their own.
    pub also_called: Vec<String>,
    /// Who may call; empty for anybody, which is for loopback alone.
    pub callers: Vec<Caller>,
    /// Associations at once.
    pub max_associations: usize,
}

impl Policy {
    /// True where a call for this AE title is ours to take.
    pub(super) fn answers_to(&self, called: &str) -> bool {
        !self.require_called_ae || called == self.ae_title || self.also_called.iter().any(|ae| ae == called)
    }

    /// True where this node may call, from this address and with this certificate.
    pub(super) fn admits(&self, calling: &str, address: IpAddr, certificate: Option<&CertificateDer<'_>>) -> bool {
        let is_admitted = |caller: &Caller| {
            caller.ae_title == calling
                && caller.address.is_none_or(|network| network.contains(address))
                && caller.is_proved_by(certificate)
        };
        self.callers.is_empty() || self.callers.iter().any(is_admitted)
    }
}

/// An address, or a network in CIDR notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u32,
}

impl Network {
    /// True where the address lies in it. An IPv4 address that came over an IPv6 socket counts as what it is.
    pub fn contains(self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                // A shift by all bits is none in Rust, and the mask of /0 is 0.
                let mask = u32::MAX.checked_shl(32 - self.prefix).unwrap_or(0);
                ours.to_bits() & mask == theirs.to_bits() & mask
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                let mask = u128::MAX.checked_shl(128 - self.prefix).unwrap_or(0);
                ours.to_bits() & mask == theirs.to_bits() & mask
            }
            _ => false,
        }
    }
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        let prefix = if address.is_ipv4() { 32 } else { 128 };
        Self { address, prefix }
    }
}

/// A text is neither an address nor a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither an IP address nor a network such as 10.20.0.0/16")]
pub struct NotANetwork(String);

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let wrong = || NotANetwork(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let whole = Self::from(address.parse::<IpAddr>().map_err(|_| wrong())?);
        let prefix = prefix.map_or(Ok(whole.prefix), |prefix| prefix.parse().map_err(|_| wrong()))?;
        if prefix > whole.prefix {
            return Err(wrong());
        }
        Ok(Self { prefix, ..whole })
    }
}

/// A refusal of an association.
pub(super) fn refusal(code: &'static str, reason: String) -> Fault {
    Fault::new(code, Blame::Peer, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_is_admitted_by_its_ae_title_and_from_its_network_alone() {
        let callers = vec![Caller {
            ae_title: "CT1".into(),
            address: Some("10.20.0.0/16".parse().unwrap()),
            certificate_name: None,
        }];
        let policy = Policy {
            ae_title: "SUND".into(),
            require_called_ae: true,
            also_called: vec!["SUND_MR".into()],
            callers,
            max_associations: 1,
        };
        assert!(policy.admits("CT1", IpAddr::from([10, 20, 255, 1]), None));
        assert!(policy.admits("CT1", "::ffff:10.20.1.1".parse().unwrap(), None), "IPv4 over an IPv6 socket");
        assert!(!policy.admits("CT1", IpAddr::from([10, 21, 0, 1]), None));
        assert!(!policy.admits("CT2", IpAddr::from([10, 20, 0, 1]), None));
        assert!(policy.answers_to("SUND_MR") && !policy.answers_to("PACS"));
    }

    #[test]
    fn networks_are_read_and_nonsense_is_not() {
        let inside = |network: &str, address: &str| {
            network.parse::<Network>().unwrap().contains(address.parse::<IpAddr>().unwrap())
        };
        assert!(inside("0.0.0.0/0", "8.8.8.8") && inside("fd00::/8", "fd12::1") && inside("10.0.0.7", "10.0.0.7"));
        assert!(!inside("10.0.0.7", "10.0.0.8") && !inside("::/0", "10.0.0.7"));
        for nonsense in ["", "10.0.0.0/33", "10.0.0/8", "fd00::/129", "10.0.0.0/", "10.0.0.0/-1"] {
            assert!(nonsense.parse::<Network>().is_err(), "{nonsense}");
        }
    }
}
