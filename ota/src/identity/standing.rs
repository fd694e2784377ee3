//! Whether the box is still who its certificate says. One that has ended, or whose key is gone, is mended by a new one-time code and by
//! nothing else: so a code is asked for then, although a certificate is there.
use super::certificate::Certificate;
use super::unusable;
use crate::config::{Config, Credentials, Key};
use crate::fault::{Blame, Fault};
use crate::http;
use crate::tpm::TpmKey;

/// How a box stands with its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has one that is good, or needs none.
    Holds,
    /// It has none yet.
    Missing,
    /// It has one that the channel believes no more.
    Lapsed(Fault),
    /// Its key cannot be asked for now.
    Unknown(Fault),
}

impl Standing {
    /// Looks at the certificate, and asks for its key.
    pub fn of(config: &Config) -> Self {
        let Credentials::Certificate { certificate, key } = &config.credentials else { return Self::Holds };
        if !certificate.exists() {
            return Self::Missing;
        }
        let roots = match http::authorities(config) {
            Ok(roots) => roots,
            Err(fault) => return Self::Unknown(fault),
        };
        let found = super::read(certificate).and_then(|own| {
            let now = jiff::Timestamp::now();
            if own.validity.until < now.as_second() {
                return Err(ended(own.validity.until, now));
            }
            own.is_issued(roots).map_err(|reason| unusable(certificate, &reason))?;
            has_key(&own, key)
        });
        match found {
            Ok(()) => Self::Holds,
            Err(fault) if MENDED_BY_A_CODE.contains(&fault.code.as_ref()) => Self::Lapsed(fault),
            Err(fault) => Self::Unknown(fault),
        }
    }
}

/// What another certificate, for another key where it must be, puts right.
const MENDED_BY_A_CODE: [&str; 3] = ["certificate-expired", "tpm-key-gone", "credentials-unusable"];

/// Whether the key of a certificate is where it was made.
fn has_key(certificate: &Certificate, key: &Key) -> Result<(), Fault> {
    match key {
        Key::Tpm(place) => TpmKey::of(place, certificate.own())?.is_there(),
        Key::File(path) => {
            let pem = std::fs::read_to_string(path).map_err(|error| unusable(path, &error.to_string()))?;
            let pair = rcgen::KeyPair::from_pem(&pem).map_err(|error| unusable(path, &error.to_string()))?;
            let is_its = certificate.is_for(pair.public_key_raw());
            if is_its { Ok(()) } else { Err(unusable(path, "it is not the key of the certificate")) }
        }
    }
}

fn ended(until: i64, now: jiff::Timestamp) -> Fault {
    let until = jiff::Timestamp::from_second(until).map_or_else(|_| until.to_string(), |time| time.to_string());
    let reason = format!(
        "the certificate of this box was good until {until}, and it is {now:.0}: set the clock where that is wrong, else enrol the box anew \
         with a new one-time code (`sund-channel enrol new`)"
    );
    Fault::new("certificate-expired", Blame::Box, reason)
}
