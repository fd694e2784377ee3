//! A certificate for handshakes that is read anew when its file is another one.
use super::install::pair;
use crate::fault::Fault;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// Chain and key, as the files have them now. Where they do not hold, the pair before goes on serving: a file that is being
/// written ends no service.
pub struct Live {
    certificate: PathBuf,
    key: PathBuf,
    now: Mutex<Now>,
}

struct Now {
    pair: Arc<CertifiedKey>,
    seen: [Option<Stamp>; 2],
}

/// What tells a file from another one of its name: device, inode, length, and when it was written.
type Stamp = (u64, u64, u64, i64, i64);

impl Live {
    /// Reads the pair; a fault where it does not hold.
    pub fn open(certificate: PathBuf, key: PathBuf) -> Result<Arc<Self>, Fault> {
        let seen = [&certificate, &key].map(stamp);
        let now = Mutex::new(Now { pair: Arc::new(pair(&certificate, &key)?), seen });
        Ok(Arc::new(Self { certificate, key, now }))
    }

    /// The pair for the next handshake.
    fn current(&self) -> Arc<CertifiedKey> {
        let seen = [&self.certificate, &self.key].map(stamp);
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if now.seen != seen {
            // One that can't be read now is tried again with the next connection.
            match pair(&self.certificate, &self.key) {
                Ok(pair) => {
                    (now.pair, now.seen) = (Arc::new(pair), seen);
                    tracing::info!(file = %self.certificate.display(), "another certificate serves from now on");
                }
                Err(fault) => {
                    tracing::warn!(code = %fault.code, reason = %fault.reason, "the certificate before serves on");
                }
            }
        }
        Arc::clone(&now.pair)
    }
}

fn stamp(path: &PathBuf) -> Option<Stamp> {
    let meta = fs::metadata(path).ok()?;
    Some((meta.dev(), meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()))
}

impl ResolvesServerCert for Live {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

impl ResolvesClientCert for Live {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}
