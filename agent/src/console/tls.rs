//! Certificate and key from PEM files.
use crate::certificate::Live;
use crate::fault::{Blame, Fault};
use rustls::ServerConfig;
use rustls::crypto::ring;
use std::path::Path;
use std::sync::Arc;

/// TLS 1.2 and 1.3 with the certificate chain in `certificate` and its key in `key`, both PEM; read anew when they change.
pub fn tls_from_pem(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, Fault> {
    let pair = Live::open(certificate.to_owned(), key.to_owned()).map_err(|fault| {
        Fault::new("console-certificate", Blame::Configuration, format!("The console's TLS: {}.", fault.reason))
    })?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Fault::new("console-tls", Blame::Sund, error.to_string()))?
        .with_no_client_auth()
        .with_cert_resolver(pair);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
