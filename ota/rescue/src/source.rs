//! Where a descriptor and its bundle lie: an https address, and nothing that a URL could say beside it.
use crate::fault::{Blame, Fault};
use rustls_pki_types::ServerName;
use std::fmt;

/// A source: `https://HOST[:PORT]/[PATH/]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    host: String,
    port: u16,
    base: String,
}

impl Source {
    /// Reads an address. No user, no query, no fragment; the path ends with a slash.
    pub fn parse(address: &str) -> Result<Self, Fault> {
        let refused = |why: &str| {
            let reason = format!("{address:?} is no source: {why}; it is written like https://channel.example/rescue/");
            Fault::new("source-invalid", Blame::Configuration, reason)
        };
        let rest = address.strip_prefix("https://").ok_or_else(|| refused("it does not begin with https://"))?;
        let (authority, path) = rest.split_once('/').ok_or_else(|| refused("it has no path"))?;
        // An IPv6 address stands in brackets (RFC 3986 3.2.2).
        let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':').ok_or_else(|| refused("its port is no number"))?)),
            None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map_or(Some(443), |port| port.parse().ok()).ok_or_else(|| refused("its port is no number"))?;
        if ServerName::try_from(host).is_err() {
            return Err(refused("its host is neither a name nor an IP address"));
        }
        let base = format!("/{path}");
        if !base.ends_with('/') || !base.bytes().all(is_plain) {
            return Err(refused("its path does not end with a slash, or holds more than letters, digits and /._-+~"));
        }
        Ok(Self { host: host.to_owned(), port, base })
    }

    /// Name or address to connect to.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Path of a file below it; `file` has been checked by [`is_plain_path`].
    pub fn path_of(&self, file: &str) -> String {
        format!("{}{file}", self.base)
    }

    /// Host and port as HTTP names them.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}{}", self.authority(), self.base)
    }
}

/// True for a relative path of plain names: it cannot leave the source, and it cannot break out of a line of HTTP.
pub fn is_plain_path(path: &str) -> bool {
    path.split('/').all(|name| !matches!(name, "" | "." | "..") && name.bytes().all(is_plain))
}

const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'_' | b'-' | b'+' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_read_with_its_port_and_its_path() {
        for (address, host, port, path, authority) in [
            ("https://channel.example/", "channel.example", 443, "/rescue.json", "channel.example:443"),
            ("https://10.1.2.3:8443/a/b/", "10.1.2.3", 8443, "/a/b/rescue.json", "10.1.2.3:8443"),
            ("https://[fd00::1]:8443/a/", "fd00::1", 8443, "/a/rescue.json", "[fd00::1]:8443"),
            ("https://[fd00::1]/", "fd00::1", 443, "/rescue.json", "[fd00::1]:443"),
        ] {
            let source = Source::parse(address).expect(address);
            assert_eq!((source.host(), source.port(), source.path_of("rescue.json").as_str()), (host, port, path));
            assert_eq!(source.authority(), authority);
        }
    }

    #[test]
    fn an_address_that_says_anything_else_is_refused() {
        for address in [
            "http://channel.example/",
            "https://channel.example",
            "https://user@channel.example/",
            "https://channel.example:99999/",
            "https://channel.example:/",
            "https:///",
            "https://channel.example/file",
            "https://channel.example/a b/",
            "https://channel.example/a\r\nHost: other/",
            "https://channel.example/?q=/",
            "https://[fd00::1]x/",
            "https://[fd00::1/",
        ] {
            assert_eq!(Source::parse(address).map_err(|fault| fault.code), Err("source-invalid"), "{address}");
        }
    }
}
