//! Who this box is to the channel: a key that never leaves it, and a certificate from the channel's own authority, by a one-time
//! code at first and by the certificate itself from then on.
use crate::config::{Config, Credentials};
use crate::fault::{Blame, Fault};
use crate::http::{self, Http};
use crate::machine::record::persist;
use reqwest::Method;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use std::path::Path;
use url::Url;

/// The answer with the certificate, in bytes.
const MAX_ANSWER: u64 = 64 * 1024;

#[derive(Serialize)]
struct Enrol<'a> {
    code: &'a str,
    csr_pem: String,
}

#[derive(Serialize)]
struct Renew {
    csr_pem: String,
}

#[derive(Deserialize)]
struct Issued {
    certificate_pem: String,
}

/// When a certificate is good, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// From.
    pub from: i64,
    /// Until.
    pub until: i64,
}

impl Validity {
    /// From two thirds of its life on, it is to be renewed.
    pub fn is_due(&self, now: i64) -> bool {
        now >= self.from + (self.until - self.from) / 3 * 2
    }
}

/// Makes a key, and gets a certificate for it with a one-time code.
pub async fn enrol(config: &Config, server: &Url, code: &str) -> Result<Validity, Fault> {
    let Credentials::Certificate { certificate, key } = &config.credentials else {
        let reason = "`server.certificate` and `server.key` say where to put them: name both";
        return Err(Fault::new("enrol-no-place", Blame::Configuration, reason));
    };
    // Before the request: a power cut afterwards must not leave a certificate without its key.
    let pair = rcgen::KeyPair::generate().map_err(|error| failed(&error.to_string()))?;
    persist(key, pair.serialize_pem().as_bytes(), 0o600)?;
    let enrol = Enrol { code, csr_pem: csr(&config.id, &pair)? };
    // The box has no certificate yet.
    let http = Http::new(&Config { credentials: Credentials::Nobody, ..config.clone() })?;
    issue(&http, server, "enrol", &enrol, certificate, &pair).await
}

/// Renews the certificate where it is due. The key stays: two files can't be replaced at one instant.
pub async fn renew_if_due(config: &Config, http: &Http) -> Result<Option<Validity>, Fault> {
    let Credentials::Certificate { certificate, key } = &config.credentials else { return Ok(None) };
    if !validity(certificate)?.is_due(jiff::Timestamp::now().as_second()) {
        return Ok(None);
    }
    let pem = std::fs::read_to_string(key).map_err(|error| failed(&format!("{}: {error}", key.display())))?;
    let pair = rcgen::KeyPair::from_pem(&pem).map_err(|error| failed(&format!("{}: {error}", key.display())))?;
    let renew = Renew { csr_pem: csr(&config.id, &pair)? };
    issue(http, &config.server, "enrol/renew", &renew, certificate, &pair).await.map(Some)
}

/// When the first certificate of a file is good.
pub fn validity(path: &Path) -> Result<Validity, Fault> {
    let unusable = |reason: String| {
        Fault::new("credentials-unusable", Blame::Configuration, format!("{}: {reason}", path.display()))
    };
    let certificate = CertificateDer::from_pem_file(path).map_err(|error| unusable(error.to_string()))?;
    let (_, parsed) = x509_parser::parse_x509_certificate(&certificate).map_err(|error| unusable(error.to_string()))?;
    let validity = parsed.validity();
    Ok(Validity { from: validity.not_before.timestamp(), until: validity.not_after.timestamp() })
}

async fn issue(
    http: &Http,
    server: &Url,
    path: &str,
    asked: &impl Serialize,
    certificate: &Path,
    pair: &rcgen::KeyPair,
) -> Result<Validity, Fault> {
    let url = server.join(path).map_err(|error| failed(&error.to_string()))?;
    let response = http.request(Method::POST, url).json(asked).send().await.map_err(|error| {
        Fault::new("channel-away", Blame::Channel, format!("the channel does not answer: {}", http::reason(&error)))
    })?;
    let status = response.status();
    let body = http::body(response, MAX_ANSWER).await.map_err(|error| failed(&error.to_string()))?;
    if !status.is_success() {
        let reason = format!("the channel issues no certificate ({status}): ask for a new code");
        return Err(Fault::new("enrol-refused", Blame::Channel, reason));
    }
    let issued: Issued = serde_json::from_slice(&body).map_err(|error| failed(&error.to_string()))?;
    if !is_for(&issued.certificate_pem, pair) {
        return Err(failed("it is not for this box's key"));
    }
    persist(certificate, issued.certificate_pem.as_bytes(), 0o644)?;
    validity(certificate)
}

fn is_for(pem: &str, pair: &rcgen::KeyPair) -> bool {
    let Ok(certificate) = CertificateDer::from_pem_slice(pem.as_bytes()) else { return false };
    let parsed = x509_parser::parse_x509_certificate(&certificate);
    parsed.is_ok_and(|(_, parsed)| *parsed.public_key().subject_public_key.data == *pair.public_key_raw())
}

fn csr(id: &str, pair: &rcgen::KeyPair) -> Result<String, Fault> {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, id);
    let request = params.serialize_request(pair).and_then(|request| request.pem());
    request.map_err(|error| failed(&error.to_string()))
}

fn failed(reason: &str) -> Fault {
    Fault::new("enrol-failed", Blame::Updater, format!("no certificate was got: {reason}"))
}
