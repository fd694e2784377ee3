//! Who is at the other end: an address, and the certificate of the channel's own authority where it showed one.
use super::Server;
use super::refusal::Refusal;
use crate::database::{failed, now};
use crate::enrol;
use crate::enrol::authorities::Set;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::http::{HeaderMap, header};
use rusqlite::{Connection, OptionalExtension, Row, params};
use rustls_pki_types::CertificateDer;
use std::net::SocketAddr;
use sund_ota::fault::Fault;
use x509_parser::prelude::{FromDer, X509Certificate};

/// What a box tells of whom it believes, in bytes: a digest and a comma each.
const MAX_BELIEVES: usize = sund_ota::authorities::MAX_TOLD * 65;

/// The other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// The certificate that its handshake proved.
    pub certificate: Option<Certificate>,
}

/// What a device's certificate says.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// Common name: the device's name.
    pub name: String,
    /// SHA-256 of its public key.
    key: Vec<u8>,
    /// Which of the channel's authorities has issued it.
    authority: String,
    /// When it expires, in milliseconds since 1970. A resumed session is not asked for its certificate again.
    pub until: i64,
}

impl Certificate {
    /// Reads what the handshake has verified.
    pub fn read(der: &CertificateDer<'_>, authorities: &Set) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let name = certificate.subject().iter_common_name().next()?.as_str().ok()?.to_owned();
        let key = enrol::key_hash(&certificate.public_key().subject_public_key.data);
        let authority = authorities.issuer(&certificate)?.name().to_owned();
        Some(Self { name, key, authority, until: certificate.validity().not_after.timestamp() * 1000 })
    }
}

/// A device that has proved who it is.
#[derive(Clone, Debug)]
pub struct Device {
    /// Its row.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// When it has last told its attributes.
    pub reported_at: Option<i64>,
    /// Action of the state that it has installed.
    pub installed: Option<i64>,
    /// Which authority had issued the certificate that it has last shown.
    authority: Option<String>,
    /// Whom it believes, as it has last told.
    believes: Option<String>,
    token: Option<Vec<u8>>,
    /// SHA-256 of the public key that it was last given a certificate for.
    key: Option<Vec<u8>>,
    is_blocked: bool,
    is_mirror: bool,
}

const COLUMNS: &str =
    "SELECT id, name, reported_at, installed, token, key, blocked, mirror, authority, believes FROM device";

impl Device {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            name: row.get(1)?,
            reported_at: row.get(2)?,
            installed: row.get(3)?,
            token: row.get(4)?,
            key: row.get(5)?,
            is_blocked: row.get(6)?,
            is_mirror: row.get(7)?,
            authority: row.get(8)?,
            believes: row.get(9)?,
        })
    }

    pub(super) fn by(c: &Connection, column: &str, value: impl rusqlite::ToSql) -> rusqlite::Result<Option<Self>> {
        c.prepare_cached(&format!("{COLUMNS} WHERE {column} = ?1"))?.query_row([value], Self::read).optional()
    }

    /// The device `name`, when the caller is that device, and a box: a mirror has nothing to ask here.
    pub fn named(server: &Server, peer: &Peer, headers: &HeaderMap, name: &str) -> Result<Self, Refusal> {
        // The answer is the same whether there is no such device or this is not it.
        let found = server.database.read(|c| Self::by(c, "name", name))?;
        let device = found.filter(|it| !it.is_blocked && !it.is_mirror).ok_or_else(Refusal::unauthorized)?;
        let certificate = certified(server, peer);
        let by_certificate = certificate.is_some_and(|certificate| device.is_of(certificate));
        let by_token = match (token(headers), &device.token) {
            (Some(given), Some(kept)) => verify_slices_are_equal(&enrol::hash(given), kept).is_ok(),
            _ => false,
        };
        if !by_certificate && !by_token {
            return Err(Refusal::unauthorized());
        }
        device.seen(server, certificate.filter(|_| by_certificate), headers);
        Ok(device)
    }

    /// It was heard, and says by its certificate and by a header how it stands with the channel's authorities.
    fn seen(&self, server: &Server, certificate: Option<&Certificate>, headers: &HeaderMap) {
        server.presence.saw(self.id);
        let (authority, believes) = (certificate.map(|it| it.authority.as_str()), believes(headers));
        let is_new = |known: &Option<String>, now: Option<&str>| now.is_some() && known.as_deref() != now;
        if is_new(&self.authority, authority) || is_new(&self.believes, believes) {
            server.presence.stands(self.id, authority, believes);
        }
    }

    /// The device of a certificate that is still good.
    pub(super) fn certified(server: &Server, peer: &Peer) -> Result<Self, Refusal> {
        let certificate = certified(server, peer).ok_or_else(Refusal::unauthorized)?;
        let found = server.database.read(|c| Self::by(c, "name", &certificate.name))?;
        found.filter(|device| !device.is_blocked && device.is_of(certificate)).ok_or_else(Refusal::unauthorized)
    }

    /// Whether a certificate is this device's: of its name, and of the key that it has now.
    fn is_of(&self, certificate: &Certificate) -> bool {
        certificate.name == self.name && self.key.as_ref() == Some(&certificate.key)
    }

    /// Refuses what has waited for its turn while the device was enrolled anew, given another token, or shut out: who sent it holds what is
    /// worth nothing any more.
    pub(super) fn check_still(&self, c: &Connection) -> Result<(), Fault> {
        let row = "SELECT 1 FROM device WHERE id = ?1 AND key IS ?2 AND token IS ?3 AND blocked = 0";
        let found = c.query_row(row, params![self.id, self.key, self.token], |_| Ok(())).optional().map_err(failed)?;
        found.ok_or_else(|| Refusal::unauthorized().1)
    }

    /// Whatever device the caller is.
    pub fn any(server: &Server, peer: &Peer, headers: &HeaderMap) -> Result<Self, Refusal> {
        let certificate = certified(server, peer);
        let found = match (certificate, token(headers)) {
            (Some(_), _) => Some(Self::certified(server, peer)?),
            (None, Some(token)) => server.database.read(|c| Self::by(c, "token", enrol::hash(token)))?,
            (None, None) => None,
        };
        let device = found.filter(|device| !device.is_blocked).ok_or_else(Refusal::unauthorized)?;
        device.seen(server, certificate, headers);
        Ok(device)
    }
}

/// A certificate that is still good, of an authority that still counts: a connection may be older than what the region has signed since.
fn certified<'a>(server: &Server, peer: &'a Peer) -> Option<&'a Certificate> {
    let is_good = |it: &&Certificate| it.until > now() && server.authorities.now().counts(&it.authority);
    peer.certificate.as_ref().filter(is_good)
}

/// Whom a box believes, as it tells.
pub(super) fn believes(headers: &HeaderMap) -> Option<&str> {
    let is_told = |told: &&str| !told.is_empty() && told.len() <= MAX_BELIEVES;
    headers.get(sund_ota::authorities::HEADER)?.to_str().ok().filter(is_told)
}

fn token(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("TargetToken ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::in_memory;

    #[test]
    fn what_waits_behind_a_new_enrolment_a_new_token_or_a_block_is_refused() {
        for change in ["key = x'02'", "token = x'02'", "blocked = 1"] {
            let c = in_memory();
            c.execute("INSERT INTO device (id, name, enrolled_at, key) VALUES (1, 'a', 1, x'01')", []).unwrap();
            let device = Device::by(&c, "name", "a").unwrap().unwrap();
            device.check_still(&c).unwrap();
            c.execute(&format!("UPDATE device SET {change}"), []).unwrap();
            assert_eq!(device.check_still(&c).unwrap_err().code, "unauthorized", "{change}");
        }
    }
}
