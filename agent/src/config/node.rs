//! The DICOM node and who may call it.
use super::files::{file, private_file};
use super::reader::Section;
use super::value::{AeTitle, Day};
use crate::association::{Caller, Network};
use crate::certificate::Live;
use crate::limits::association::MAX_ASSOCIATIONS;
use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

/// The DICOM node.
#[derive(Clone)]
pub struct Node {
    /// Our AE title.
    pub ae_title: String,
    /// Where it listens.
    pub listen: SocketAddr,
    /// True: a call for an AE title that is not ours is rejected.
    pub require_called_ae: bool,
    /// Associations at once.
    pub max_associations: usize,
    /// TLS; `None` for plain DICOM.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// True where callers prove who they are by a certificate.
    pub callers_prove_themselves: bool,
    /// Who approved plain DICOM off loopback; the audit log opens with it.
    pub plain_dicom: Option<PlainDicom>,
}

/// A plain DICOM port that can be reached from the network: an exception with a name, a reason and an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlainDicom {
    /// Why it is needed.
    pub reason: String,
    /// The person who answers for it.
    pub approved_by: String,
    /// Its last day.
    pub until: Day,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("ae_title", &self.ae_title)
            .field("listen", &self.listen)
            .field("require_called_ae", &self.require_called_ae)
            .field("max_associations", &self.max_associations)
            .field("tls", &self.tls.is_some())
            .field("plain_dicom", &self.plain_dicom)
            .finish_non_exhaustive()
    }
}

/// Reads `[node]`.
pub(super) fn node(root: &Section<'_, '_>) -> Option<Node> {
    let Some(section) = root.section("node", "node") else {
        if root.entry("node").is_none() {
            root.complain("node", "is missing", "the node needs an AE title and an address: [node]");
        }
        return None;
    };
    let ae_title = section.require::<AeTitle>("ae_title");
    let listen = section.require::<SocketAddr>("listen");
    let max_associations = section.value_or("max_associations", MAX_ASSOCIATIONS);
    if max_associations > MAX_ASSOCIATIONS {
        let message = format!("is above {MAX_ASSOCIATIONS}, the most that this node serves at once");
        section.complain("max_associations", &message, "");
    }
    let require_called_ae = section.value_or("require_called_ae", true);
    let tls = section.section("tls", "node.tls");
    let callers_prove_themselves = tls.as_ref().is_some_and(|tls| tls.entry("client_authorities").is_some());
    let tls = tls.and_then(|tls| server_tls(&tls));
    let plain_dicom =
        section.section("plain_dicom_exception", "node.plain_dicom_exception").and_then(|section| exception(&section));
    // Only now: what is missing above does not keep the rest from being read.
    Some(Node {
        ae_title: ae_title?.0,
        listen: listen?,
        require_called_ae,
        max_associations,
        tls,
        callers_prove_themselves,
        plain_dicom,
    })
}

fn exception(section: &Section<'_, '_>) -> Option<PlainDicom> {
    let reason = section.require("reason");
    let approved_by = section.require("approved_by");
    let until = section.require("until");
    Some(PlainDicom { reason: reason?, approved_by: approved_by?, until: until? })
}

/// Reads `[[callers]]`.
pub(super) fn callers(root: &Section<'_, '_>) -> Vec<Caller> {
    let mut callers: Vec<Caller> = Vec::new();
    for section in root.sections("callers", "callers") {
        let ae_title = section.require::<AeTitle>("ae_title");
        let address = section.value::<String>("address").and_then(|text| match text.parse::<Network>() {
            Ok(network) => Some(network),
            Err(error) => {
                section.complain("address", &error.to_string(), "e.g. \"10.20.0.5\" or \"10.20.0.0/16\"");
                None
            }
        });
        let certificate_name = section.value::<String>("certificate_name").and_then(|text| {
            let name = ServerName::try_from(text).ok();
            if name.is_none() {
                section.complain(
                    "certificate_name",
                    "is neither a DNS name nor an address",
                    "e.g. \"ct4.example.org\"",
                );
            }
            name
        });
        let Some(AeTitle(ae_title)) = ae_title else { continue };
        let caller = Caller { ae_title, address, certificate_name };
        if callers.contains(&caller) {
            section.complain("ae_title", "stands here twice with the same address", "");
        }
        callers.push(caller);
    }
    callers
}

/// PS3.15 B.9, BCP 195 profile: TLS 1.2 and 1.3; with `client_authorities` callers prove who they are.
fn server_tls(section: &Section<'_, '_>) -> Option<Arc<rustls::ServerConfig>> {
    let pair = live_pair(section);
    let authorities = section.entry("client_authorities").map(|_| authorities(section, "client_authorities"));
    let builder = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().ok()?;
    let builder = match authorities {
        None => builder.with_no_client_auth(),
        Some(authorities) => {
            let provider = Arc::new(ring::default_provider());
            match WebPkiClientVerifier::builder_with_provider(Arc::new(authorities?), provider).build() {
                Ok(verifier) => builder.with_client_cert_verifier(verifier),
                Err(error) => {
                    section.complain("client_authorities", &format!("cannot be used: {error}"), "");
                    return None;
                }
            }
        }
    };
    Some(Arc::new(builder.with_cert_resolver(pair?)))
}

/// A certificate chain and its key, both PEM, or both in one file; read anew when they change.
pub(super) fn live_pair(section: &Section<'_, '_>) -> Option<Arc<Live>> {
    section.require::<std::path::PathBuf>("certificate");
    section.require::<std::path::PathBuf>("key");
    let certificate = file(section, "certificate").filter(|path| certificates(section, "certificate", path).is_some());
    let key = private_file(section, "key").filter(|path| match PrivateKeyDer::from_pem_file(path) {
        Ok(_) => true,
        Err(error) => {
            section.complain("key", &format!("holds no private key: {error}"), "write it as PEM");
            false
        }
    });
    match Live::open(certificate?, key?) {
        Ok(pair) => Some(pair),
        Err(fault) => {
            section.complain("certificate", &fault.reason, "");
            None
        }
    }
}

/// Authorities whose certificates are trusted.
pub(super) fn authorities(section: &Section<'_, '_>, key: &'static str) -> Option<RootCertStore> {
    let path = file(section, key)?;
    let mut store = RootCertStore::empty();
    for certificate in certificates(section, key, &path)? {
        if let Err(error) = store.add(certificate) {
            section.complain(key, &format!("holds a certificate that cannot be used: {error}"), "");
            return None;
        }
    }
    Some(store)
}

fn certificates(section: &Section<'_, '_>, key: &'static str, path: &Path) -> Option<Vec<CertificateDer<'static>>> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Some(certificates),
        Ok(_) => {
            section.complain(key, "holds no certificate", "write it as PEM");
            None
        }
        Err(error) => {
            section.complain(key, &format!("cannot be read: {error}"), "write it as PEM");
            None
        }
    }
}
