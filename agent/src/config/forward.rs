//! Where the audit log is collected.
use super::node::{authorities, live_pair};
use super::reader::Section;
use super::value::{ForwardFormat, HostPort};
use crate::audit::forward::{Collector, Format};
use rustls::crypto::ring;
use rustls_pki_types::ServerName;
use std::path::PathBuf;
use std::sync::Arc;

/// Reads `[forward]`. There is no plain connection: what is collected says who did what.
pub(super) fn forward(root: &Section<'_, '_>) -> Option<Collector> {
    let section = root.section("forward", "forward")?;
    let address = section.require::<HostPort>("collector");
    section.require::<PathBuf>("authorities");
    let authorities = authorities(&section, "authorities");
    let name = section.require::<String>("server_name").and_then(|name| match ServerName::try_from(name) {
        Ok(name) => Some(name),
        Err(_) => {
            section.complain("server_name", "is neither a DNS name nor an address", "e.g. \"logs.example.org\"");
            None
        }
    });
    let named = section.entry("certificate").is_some() || section.entry("key").is_some();
    let pair = named.then(|| live_pair(&section));
    let format = section.value("format").unwrap_or(ForwardFormat(Format::Dicom)).0;
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().ok()?.with_root_certificates(authorities?);
    let tls = match pair {
        None => builder.with_no_client_auth(),
        Some(pair) => builder.with_client_cert_resolver(pair?),
    };
    Some(Collector { address: address?.0, name: name?, tls: Arc::new(tls), format })
}
