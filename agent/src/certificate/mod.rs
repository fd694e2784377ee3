//! The clinical certificate: what this node shows to DICOM peers and browsers. It comes from the region's PKI, apart from the
//! channel's, by a request that a person carries (`sund certificate request`, `install`) or by EST (RFC 7030).
//!
//! Key and chain are one file, so that one rename puts both in place. Whoever serves with it looks at each handshake whether the
//! file is another by now ([`Live`]): nothing is restarted, and what is open stays open. No key ever leaves the box.
mod est;
mod install;
mod keep;
mod leaf;
mod live;
mod pkcs7;
mod request;

pub use est::{Est, Proof, Url};
pub use install::{Installed, install, installed};
pub use keep::keep;
pub use leaf::{Leaf, leaf};
pub use live::Live;
pub use pkcs7::certificates;
pub(crate) use request::write as write_request;
pub use request::{Pending, pending};

use crate::fault::Fault;
use rustls::RootCertStore;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Where the certificate lies, what it must say and where it comes from.
#[derive(Clone)]
pub struct Settings {
    /// Key and chain, PEM.
    pub file: PathBuf,
    /// DNS names and addresses that it must carry; the first is the subject's common name.
    pub names: Vec<String>,
    /// The region's authorities for clinical certificates.
    pub authorities: Arc<RootCertStore>,
    /// Where it is renewed; `None`: a person carries requests.
    pub est: Option<Est>,
    /// So long before its end it is an alarm.
    pub alarm: Duration,
}

impl Settings {
    /// Where it is renewed: `host:port`.
    pub(crate) fn est_address(&self) -> Option<String> {
        self.est.as_ref().map(Est::address)
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("file", &self.file)
            .field("names", &self.names)
            .field("est", &self.est)
            .field("alarm", &self.alarm)
            .finish_non_exhaustive()
    }
}

/// Asks the region's EST server for a certificate with `proof`, checks what comes and puts it in place. The key is made before and
/// kept until then: a server whose people approve by hand is asked again with the same request.
pub async fn enrol(settings: &Settings, est: &Est, proof: Proof) -> Result<Installed, Fault> {
    let current = match &proof {
        Proof::Password { .. } => None,
        Proof::Current => Some(installed(settings)?),
    };
    let pending = pending(settings, current.as_ref().map(Installed::leaf))?;
    let issued = est.enrol(&pending, &proof, current.as_ref()).await?;
    let settings = settings.clone();
    // It is written and synced.
    tokio::task::spawn_blocking(move || install(&settings, &issued)).await.map_err(|error| {
        Fault::new("certificate-unwritable", crate::fault::Blame::Sund, format!("the install did not end: {error}"))
    })?
}
