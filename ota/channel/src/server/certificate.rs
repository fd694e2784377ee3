//! The server's own certificate, read or made anew while it serves. What can't take its place leaves the one before where it is, and is told.
use super::config::Config;
use crate::database::now;
use crate::enrol::authorities::Authorities;
use crate::enrol::authority::Authority;
use crate::limits::certificate::{MAX_CHAIN, MAX_KEY};
use crate::repository::{Alarm, files};
use jiff::Timestamp;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::fmt::{self, Debug, Display, Formatter};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use sund_ota::fault::{Blame, Fault};
use sund_ota::identity::Validity;
use x509_parser::prelude::{FromDer, X509Certificate};

const DAY: i64 = 24 * 60 * 60;

/// What is shown to whoever connects.
pub(super) struct Own {
    origin: Origin,
    shown: RwLock<Arc<Shown>>,
}

/// Where it comes from.
enum Origin {
    /// Somebody puts it there.
    Files { certificate: PathBuf, key: PathBuf },
    /// The oldest one of the channel's own authorities makes it: there is no box that does not know that one.
    Made { authorities: Arc<Authorities>, names: Vec<String> },
}

/// A chain and its key that fit together.
struct Shown {
    pair: Arc<CertifiedKey>,
    validity: Validity,
    /// SHA-256 of their files.
    digest: Vec<u8>,
    /// Which of the channel's authorities has made it.
    by: Option<String>,
}

impl Own {
    /// The one that the configuration names, or a new one.
    pub fn open(config: &Config, authorities: &Arc<Authorities>) -> Result<Self, Fault> {
        let origin = match config.identity.clone() {
            Some((certificate, key)) => Origin::Files { certificate, key },
            None => Origin::Made { authorities: Arc::clone(authorities), names: config.names.clone() },
        };
        let shown = RwLock::new(Arc::new(origin.bring()?));
        Ok(Self { origin, shown })
    }

    /// Looks whether another one is there, or has to be made; what is then to be told of it.
    pub fn look(&self) -> Option<Alarm> {
        let seconds = now() / 1000;
        let refused = self.replace(seconds).err();
        let validity = self.shown().validity;
        let advice = match refused {
            Some(fault) => format!("the one before serves on: {}", fault.reason),
            None if validity.is_due(seconds) => {
                "replace the files that `server.certificate` and `server.key` name".to_owned()
            }
            None => return None,
        };
        Some(alarm("server", validity, seconds, advice))
    }

    /// Shows another one, where there is one or it has to be made.
    pub fn replace(&self, seconds: i64) -> Result<(), Fault> {
        let shown = self.shown();
        let is_good = |validity: &Validity| (validity.from..validity.until).contains(&seconds);
        let is_wanted = match &self.origin {
            Origin::Files { .. } => true,
            // The clock may have been wrong when it was made, or who made it counts no more.
            Origin::Made { authorities, .. } => {
                let is_by_oldest = shown.by.as_deref() == Some(authorities.now().oldest().digest());
                !is_good(&shown.validity) || shown.validity.is_due(seconds) || !is_by_oldest
            }
        };
        let Some(next) = is_wanted.then(|| self.origin.bring()).transpose()?.filter(|it| it.digest != shown.digest)
        else {
            return Ok(());
        };
        if !is_good(&next.validity) {
            return Err(refuse(&"it has ended, or is not good yet"));
        }
        tracing::info!(until = next.validity.until, "the server's certificate is another one");
        *self.shown.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        Ok(())
    }

    fn shown(&self) -> Arc<Shown> {
        Arc::clone(&self.shown.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What is to be told of an authority that issues and ends one day, since boxes take months to follow to another one; and of what can't be
/// read of others.
pub(super) fn of_authority(issues: &Authority, unusable: &[Fault], seconds: i64) -> Option<Alarm> {
    let bring = |fault: &Fault| format!("{} Bring it back, or let the server's user read it", fault.reason);
    let mut advice: Vec<String> = unusable.iter().map(bring).collect();
    if issues.validity().is_due(seconds) {
        advice.push("make another authority (`sund-channel ca new`, CEREMONY.md)".to_owned());
    }
    (!advice.is_empty()).then(|| alarm("authority", issues.validity(), seconds, advice.join("; ")))
}

fn alarm(role: &str, validity: Validity, seconds: i64, advice: String) -> Alarm {
    let expires = Timestamp::from_second(validity.until).map(|until| until.to_string()).unwrap_or_default();
    let days_left = (validity.until - seconds).div_euclid(DAY);
    Alarm { role: role.to_owned(), expires, days_left, advice }
}

impl Origin {
    fn bring(&self) -> Result<Shown, Fault> {
        match self {
            Self::Files { certificate, key } => {
                let read = |path: &Path, max| files::read(path, max).map_err(|fault| refuse(&fault.reason));
                Shown::new(&read(certificate, MAX_CHAIN)?, &read(key, MAX_KEY)?, None)
            }
            Self::Made { authorities, names } => {
                let set = authorities.now();
                let (certificate, key) = set.oldest().issue_server(names, now())?;
                Shown::new(certificate.as_bytes(), key.as_bytes(), Some(set.oldest().digest()))
            }
        }
    }
}

impl Shown {
    fn new(chain: &[u8], key: &[u8], by: Option<&str>) -> Result<Self, Fault> {
        let digest = files::sha256(&[chain, key].concat());
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
        let chain = chain.map_err(|error| refuse(&error))?;
        let first = chain.first().ok_or_else(|| refuse(&"there is no certificate in its file"))?;
        let (_, parsed) = X509Certificate::from_der(first).map_err(|error| refuse(&error))?;
        let validity = parsed.validity();
        let validity = Validity { from: validity.not_before.timestamp(), until: validity.not_after.timestamp() };
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| refuse(&error))?;
        let pair = CertifiedKey::from_der(chain, key, &default_provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => refuse(&"the key is not that of the certificate"),
            error => refuse(&error),
        })?;
        Ok(Self { pair: Arc::new(pair), validity, digest, by: by.map(str::to_owned) })
    }
}

impl ResolvesServerCert for Own {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.shown().pair))
    }
}

impl Debug for Own {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Own").finish_non_exhaustive()
    }
}

pub(super) fn refuse(why: &dyn Display) -> Fault {
    let reason = format!("The server's certificate and key cannot be used: {why}.");
    Fault::new("server-certificate", Blame::Configuration, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_past_two_thirds_of_its_life_is_alarming() {
        let home = tempfile::tempdir().unwrap();
        let authority = Authority::open(home.path()).unwrap();
        let seconds = now() / 1000;
        assert_eq!(of_authority(&authority, &[], seconds), None);
        let alarm = of_authority(&authority, &[], seconds + 2500 * DAY).unwrap();
        assert!(alarm.role == "authority" && (1149..=1150).contains(&alarm.days_left), "{alarm:?}");
    }

    #[test]
    fn the_servers_own_certificate_is_made_anew_before_it_ends_and_once_a_clock_is_set_right() {
        let home = tempfile::tempdir().unwrap();
        let authorities = Arc::new(Authorities::open(home.path()).unwrap());
        let origin = Origin::Made { authorities, names: vec!["localhost".to_owned()] };
        let shown = RwLock::new(Arc::new(origin.bring().unwrap()));
        let own = Own { origin, shown };
        let digest = || own.shown().digest.clone();
        let (first, seconds) = (digest(), now() / 1000);
        own.replace(seconds + 240 * DAY).unwrap();
        assert_eq!(digest(), first, "it is good for a while");
        own.replace(seconds + 250 * DAY).unwrap();
        let second = digest();
        assert_ne!(second, first);
        assert!(own.look().is_none());
        // It was made by a clock that was a year ahead.
        let ahead = Shown {
            validity: Validity { from: seconds + 365 * DAY, until: seconds + 730 * DAY },
            ..own.origin.bring().unwrap()
        };
        *own.shown.write().unwrap() = Arc::new(ahead);
        assert!(own.look().is_none());
        assert!(own.shown().validity.from <= seconds);
    }
}
