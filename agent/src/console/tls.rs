//! Certificate and key from PEM files.
use crate::fault::{Blame, Fault};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;
use std::sync::Arc;

/// TLS 1.2 and 1.3 with the certificate chain in `certificate` and its key in `key`, both PEM.
pub fn tls_from_pem(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, Fault> {
    let unreadable = |what: &str, path: &Path, why: String| {
        let reason = format!("Cannot read the console's {what} from {}: {why}.", path.display());
        Fault::new("console-certificate", Blame::Configuration, reason)
    };
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| unreadable("certificate", certificate, error.to_string()))?;
    if chain.is_empty() {
        return Err(unreadable("certificate", certificate, "the file has no CERTIFICATE section".into()));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable("key", key, error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Fault::new("console-tls", Blame::Sund, error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| unreadable("certificate and key", certificate, format!("they do not fit: {error}")))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
