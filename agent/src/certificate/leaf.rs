//! What is read of a certificate: its time, its subject and its names.
use crate::fault::{Blame, Fault};
use rcgen::string::PrintableString;
use rcgen::{DistinguishedName, DnType, DnValue};
use rustls_pki_types::CertificateDer;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use x509_parser::asn1_rs::Tag;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// What a certificate says of itself. It says nothing of whether it is trusted.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// From when it holds.
    pub not_before: SystemTime,
    /// Until when.
    pub not_after: SystemTime,
    /// DNS names and addresses (subject alternative names).
    pub names: Vec<String>,
    /// Subject, as a request for its successor must have it.
    pub(super) subject: DistinguishedName,
    /// Subject and issuer, DER.
    pub(super) subject_der: Vec<u8>,
    pub(super) issuer_der: Vec<u8>,
}

impl Leaf {
    /// From two thirds of its life on it is renewed: a third is left for a server that is away.
    pub fn renew_after(&self) -> SystemTime {
        let life = self.not_after.duration_since(self.not_before).unwrap_or_default();
        self.not_before + life * 2 / 3
    }

    /// True where it has signed itself: an authority, and no link of a chain.
    pub(super) fn is_own_issuer(&self) -> bool {
        self.subject_der == self.issuer_der
    }
}

/// Reads a certificate.
pub fn leaf(certificate: &CertificateDer<'_>) -> Result<Leaf, Fault> {
    let malformed = |why: String| {
        Fault::new("certificate-malformed", Blame::Configuration, format!("a certificate cannot be read: {why}"))
    };
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| malformed(error.to_string()))?;
    let names = match parsed.subject_alternative_name().map_err(|error| malformed(error.to_string()))? {
        Some(extension) => extension.value.general_names.iter().filter_map(name).collect(),
        None => Vec::new(),
    };
    Ok(Leaf {
        not_before: instant(parsed.validity().not_before.timestamp()),
        not_after: instant(parsed.validity().not_after.timestamp()),
        names,
        subject: subject(&parsed),
        subject_der: parsed.subject().as_raw().to_vec(),
        issuer_der: parsed.issuer().as_raw().to_vec(),
    })
}

fn instant(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|bytes| IpAddr::from(bytes).to_string()),
            16 => <[u8; 16]>::try_from(*bytes).ok().map(|bytes| IpAddr::from(bytes).to_string()),
            _ => None,
        },
        _ => None,
    }
}

/// RFC 7030 4.2.2: a request for renewal has the subject of the certificate that it is to replace.
fn subject(certificate: &X509Certificate<'_>) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    for attribute in certificate.subject().iter_attributes() {
        let Some(oid) = attribute.attr_type().iter().map(Iterator::collect::<Vec<u64>>) else { continue };
        let Ok(text) = attribute.as_str() else { continue };
        let printable = (attribute.attr_value().tag() == Tag::PrintableString)
            .then(|| PrintableString::try_from(text).ok())
            .flatten();
        let value = printable.map_or_else(|| DnValue::Utf8String(text.to_owned()), DnValue::PrintableString);
        subject.push(DnType::from_oid(&oid), value);
    }
    subject
}
