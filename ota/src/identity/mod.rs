//! Who this box is to the channel: a key that never leaves it, and a certificate from the channel's own authority, by a one-time
//! code at first and by the certificate itself from then on.
mod certificate;
mod pending;
mod standing;

pub use pending::plain;
pub use standing::Standing;

use crate::authorities::Believed;
use crate::config::{Config, Credentials, Key};
use crate::durable;
use crate::fault::{Blame, Fault};
use crate::http::{self, BodyError, Http};
use crate::tpm::{self, TpmKey};
use certificate::Certificate;
use reqwest::{Method, StatusCode};
use rustls::RootCertStore;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use url::Url;

/// The answer with the certificate, in bytes.
const MAX_ANSWER: u64 = 64 * 1024;
/// What the channel says to a code, a request or a certificate that it does not want. Whoever else stands at its address says none of it.
const REFUSALS: [&str; 4] = ["enrol-code", "enrol-request", "enrol-key", "unauthorized"];

#[derive(Serialize)]
struct Enrol<'a> {
    code: &'a str,
    csr_pem: String,
}

#[derive(Serialize)]
struct Renew {
    csr_pem: String,
}

/// A refusal of the channel.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Refusal {
    error_code: String,
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

/// Makes a key, and gets a certificate for it with a one-time code. What the box has been until then it stays until it has both.
pub async fn enrol(config: &Config, server: &Url, code: &str) -> Result<Validity, Fault> {
    let Credentials::Certificate { certificate, key } = &config.credentials else {
        let reason = "`server.certificate` and `server.key` say where to put them: name both";
        return Err(Fault::new("enrol-no-place", Blame::Configuration, reason));
    };
    let _one = one_at_a_time(certificate)?;
    recover(config)?;
    let before = Standing::of(config);
    let validity = match key {
        Key::File(key) => enrol_with_file(config, server, code, certificate, key).await,
        Key::Tpm(place) => enrol_with_tpm(config, server, code, certificate, place).await,
    }?;
    let because = match before {
        Standing::Holds => "a person asked for it".into(),
        Standing::Missing => "it had no certificate".into(),
        Standing::Lapsed(fault) | Standing::Unknown(fault) => fault.code,
    };
    tracing::info!(target: "audit", id = config.id, until = validity.until, %because, "the box was enrolled");
    Ok(validity)
}

async fn enrol_with_tpm(
    config: &Config,
    server: &Url,
    code: &str,
    certificate: &Path,
    place: &tpm::Place,
) -> Result<Validity, Fault> {
    // What has a certificate, or may have one of which the answer was lost, is not given up: its key stays, where it has one.
    let asked = pending::asked(certificate);
    let there = if certificate.exists() || asked.exists() { Some(TpmKey::there(place)) } else { None };
    let key = match there {
        Some(Err(fault)) if fault.code == "tpm-key-gone" => TpmKey::make(place)?,
        Some(key) => key?,
        None => TpmKey::make(place)?,
    };
    let enrol = Enrol { code, csr_pem: csr_by_tpm(&config.id, &key)? };
    durable::replace(&asked, b"", 0o600)?;
    let issued = issue(config, &anonymous(config)?, server, "enrol", &enrol, key.public()).await?;
    durable::replace(certificate, issued.as_bytes(), 0o644)?;
    durable::remove(&asked)?;
    validity(certificate)
}

/// A code may come from a stick and from the screen at once.
fn one_at_a_time(certificate: &Path) -> Result<std::fs::File, Fault> {
    let path = certificate.with_extension("lock");
    let lock = std::fs::File::create(&path)
        .map_err(|error| Fault::new("disk-failed", Blame::Box, format!("{}: {error}", path.display())))?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(|_| {
        let reason = "this box is being enrolled with another code: wait a minute, then look again";
        Fault::new("enrol-under-way", Blame::Box, reason)
    })?;
    Ok(lock)
}

async fn enrol_with_file(
    config: &Config,
    server: &Url,
    code: &str,
    certificate: &Path,
    key: &Path,
) -> Result<Validity, Fault> {
    let pair = pending::key_for(key, code)?;
    let enrol = Enrol { code, csr_pem: csr(&config.id, &pair)? };
    let issued = issue(config, &anonymous(config)?, server, "enrol", &enrol, pair.public_key_raw()).await;
    if issued.as_ref().is_err_and(|fault| fault.code == "enrol-refused") {
        pending::give_up(key, code)?;
    }
    durable::replace(&next(certificate), issued?.as_bytes(), 0o644)?;
    recover_pair(certificate, key)?;
    validity(certificate)
}

/// The box has no certificate yet, or one that no longer counts.
fn anonymous(config: &Config) -> Result<Http, Fault> {
    Http::new(&Config { credentials: Credentials::Nobody, ..config.clone() })
}

/// Finishes an enrolment that a power cut has ended after the box had its new certificate. One that ended before is taken up by the
/// same code.
pub fn recover(config: &Config) -> Result<(), Fault> {
    match &config.credentials {
        Credentials::Certificate { certificate, key: Key::File(key) } => recover_pair(certificate, key),
        // The key is where it is: the certificate is all that is written.
        Credentials::Certificate { key: Key::Tpm(_), .. } | Credentials::Token(_) | Credentials::Nobody => Ok(()),
    }
}

fn recover_pair(certificate: &Path, key: &Path) -> Result<(), Fault> {
    let issued = std::fs::read(next(certificate)).ok().and_then(|pem| Certificate::parse(&pem).ok());
    let Some(issued) = issued else { return Ok(()) };
    let is_of = |key: &Path| pending::read(key).is_some_and(|pair| issued.is_for(pair.public_key_raw()));
    // The key first: where it has its name already, the certificate is all that is left.
    let waiting = pending::all(key);
    if let Some(aside) = waiting.iter().find(|aside| is_of(aside)) {
        durable::put(aside, key)?;
    }
    if !is_of(key) {
        return Ok(());
    }
    // What was asked for with other codes, and not answered, is worth nothing from now on.
    waiting.iter().try_for_each(|aside| durable::remove(aside))?;
    durable::put(&next(certificate), certificate)
}

/// Where the next certificate waits for its key to have its name.
fn next(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".next");
    path.with_file_name(name)
}

/// The client of this box. One whose certificate can't be used is nobody to the channel until it is enrolled anew; what comes on a stick it
/// takes all the same.
pub fn client(config: &Config) -> Result<Http, Fault> {
    Http::new(config).or_else(|fault| match config.credentials {
        Credentials::Certificate { .. } => Http::of_nobody(config, fault),
        Credentials::Token(_) | Credentials::Nobody => Err(fault),
    })
}

/// Whether an authority has issued the certificate that issues no more, since the region has signed a newer one: it is renewed early.
pub fn is_of_old(config: &Config) -> bool {
    let Credentials::Certificate { certificate, .. } = &config.credentials else { return false };
    Believed::of(config).is_ok_and(|believed| is_old(certificate, &believed))
}

/// The same of any certificate, by what is believed.
pub fn is_old(certificate: &Path, believed: &Believed) -> bool {
    let newest = believed.newest().zip(read(certificate).ok());
    newest.is_some_and(|(newest, own)| own.is_issued(newest).is_err())
}

/// Renews the certificate where it is due. The key stays: two files can't be replaced at one instant.
pub async fn renew_if_due(config: &Config, http: &Http) -> Result<Option<Validity>, Fault> {
    let Credentials::Certificate { certificate, .. } = &config.credentials else { return Ok(None) };
    if !validity(certificate)?.is_due(jiff::Timestamp::now().as_second()) {
        return Ok(None);
    }
    renew(config, http).await
}

/// Renews the certificate now.
pub async fn renew(config: &Config, http: &Http) -> Result<Option<Validity>, Fault> {
    let Credentials::Certificate { certificate, key } = &config.credentials else { return Ok(None) };
    let (csr_pem, public) = match key {
        Key::File(key) => {
            let unreadable = |error: &dyn std::fmt::Display| failed(&format!("{}: {error}", key.display()));
            let pem = std::fs::read_to_string(key).map_err(|error| unreadable(&error))?;
            let pair = rcgen::KeyPair::from_pem(&pem).map_err(|error| unreadable(&error))?;
            (csr(&config.id, &pair)?, pair.public_key_raw().to_vec())
        }
        Key::Tpm(place) => {
            let key = TpmKey::there(place)?;
            (csr_by_tpm(&config.id, &key)?, key.public().to_vec())
        }
    };
    let issued = issue(config, http, &config.server, "enrol/renew", &Renew { csr_pem }, &public).await?;
    durable::replace(certificate, issued.as_bytes(), 0o644)?;
    validity(certificate).map(Some)
}

/// When the certificate of a file is good.
pub fn validity(path: &Path) -> Result<Validity, Fault> {
    read(path).map(|certificate| certificate.validity)
}

/// Whether what a channel sends may take the place of a certificate: of the same name, for this key and this time, and issued by one of
/// these authorities. What is said of a box's holds for a mirror's.
pub fn may_replace(path: &Path, sent: &[u8], public: &[u8], roots: RootCertStore) -> Result<(), String> {
    let before = read(path).map_err(|fault| fault.reason)?;
    Certificate::parse(sent)?.fits(&before.name, public, jiff::Timestamp::now().as_second(), roots)
}

/// The same of a first one. Its name is the channel's to say: the code was given for it.
pub fn may_be_first(sent: &[u8], public: &[u8], roots: RootCertStore) -> Result<(), String> {
    let certificate = Certificate::parse(sent)?;
    certificate.fits(&certificate.name, public, jiff::Timestamp::now().as_second(), roots)
}

fn read(path: &Path) -> Result<Certificate, Fault> {
    let pem = std::fs::read(path).map_err(|error| unusable(path, &error.to_string()))?;
    Certificate::parse(&pem).map_err(|reason| unusable(path, &reason))
}

fn unusable(path: &Path, reason: &str) -> Fault {
    let reason = format!("{}: {reason}: enrol anew with a new one-time code", path.display());
    Fault::new("credentials-unusable", Blame::Configuration, reason)
}

/// A certificate for a key, PEM. What the channel sends is looked at before it takes the place of another one.
async fn issue(
    config: &Config,
    http: &Http,
    server: &Url,
    path: &str,
    asked: &impl Serialize,
    public: &[u8],
) -> Result<String, Fault> {
    let url = server.join(path).map_err(|error| failed(&error.to_string()))?;
    let response = http.request(Method::POST, url).json(asked).send().await.map_err(|error| {
        let away = || format!("the channel does not answer: {}", http::reason(&error));
        http::own_fault(&error).unwrap_or_else(|| Fault::new("channel-away", Blame::Channel, away()))
    })?;
    let status = response.status();
    // A server that has too much to do, or that this address is locked out at, has not looked at the code, or not said what it found.
    if status.is_server_error() || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT) {
        let reason =
            format!("the channel issues no certificate now ({status}): wait a quarter of an hour, then try again");
        return Err(Fault::new("channel-away", Blame::Channel, reason));
    }
    let body = http::body(response, MAX_ANSWER).await.map_err(|error| match error {
        BodyError::TooLong(_) => failed(&error.to_string()),
        // What the channel has answered is not known: it is asked again.
        BodyError::Broken(_) => Fault::new("channel-away", Blame::Channel, error.to_string()),
    })?;
    let refusal = serde_json::from_slice::<Refusal>(&body);
    if status.is_client_error() && refusal.is_ok_and(|refusal| REFUSALS.contains(&refusal.error_code.as_str())) {
        let reason = format!("the channel issues no certificate ({status}): ask for a new code");
        return Err(Fault::new("enrol-refused", Blame::Channel, reason));
    }
    // A proxy, a portal that wants a login, another server: none of them has looked at the code.
    let issued = serde_json::from_slice::<Issued>(&body).ok().filter(|_| status.is_success());
    let issued = issued.ok_or_else(|| {
        let reason = format!(
            "what answers at {server} is not the channel ({status}): see to the address, and to a proxy on the way; the code is as good \
             as before"
        );
        Fault::new("channel-away", Blame::Channel, reason)
    })?;
    let (roots, now) = (http::authorities(config)?, jiff::Timestamp::now().as_second());
    let fits = Certificate::parse(issued.certificate_pem.as_bytes())
        .and_then(|certificate| certificate.fits(&config.id, public, now, roots));
    match fits {
        Ok(()) => Ok(issued.certificate_pem),
        Err(reason) => {
            let reason = format!("what {server} sends as a certificate is not taken: {reason}");
            Err(Fault::new("enrol-failed", Blame::Channel, reason))
        }
    }
}

/// A request that the TPM signs.
fn csr_by_tpm(id: &str, key: &TpmKey) -> Result<String, Fault> {
    let requester = Requester { key, fault: RefCell::default() };
    let request = csr(id, &requester);
    requester.fault.take().map_or(request, Err)
}

/// Remembers why the TPM has not signed: rcgen takes no reason.
struct Requester<'a> {
    key: &'a TpmKey,
    fault: RefCell<Option<Fault>>,
}

impl rcgen::PublicKeyData for Requester<'_> {
    fn der_bytes(&self) -> &[u8] {
        rcgen::PublicKeyData::der_bytes(self.key)
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        rcgen::PublicKeyData::algorithm(self.key)
    }
}

impl rcgen::SigningKey for Requester<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.key.signature(message).map_err(|fault| {
            self.fault.replace(Some(fault));
            rcgen::Error::RemoteKeyError
        })
    }
}

fn csr(id: &str, pair: &impl rcgen::SigningKey) -> Result<String, Fault> {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, id);
    let request = params.serialize_request(pair).and_then(|request| request.pem());
    request.map_err(|error| failed(&error.to_string()))
}

fn failed(reason: &str) -> Fault {
    Fault::new("enrol-failed", Blame::Updater, format!("no certificate was got: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable::{cut, put_on, replace_on};

    /// A key and a certificate for it.
    fn pair() -> (String, String) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
        (key.serialize_pem(), params.self_signed(&key).expect("a certificate").pem())
    }

    #[test]
    fn a_power_cut_while_the_box_is_enrolled_anew_leaves_it_who_it_was_or_who_it_becomes() {
        let ((old_key, old), (new_key, new), (lost, _)) = (pair(), pair(), pair());
        let (key, certificate) = (Path::new("box.key"), Path::new("box.pem"));
        let (asked, unanswered) = (pending::place(key, "ABCDE"), pending::place(key, "FGHJK"));
        let mut became = 0;
        let states = cut::after_each_cut(
            &[
                ("box.key", old_key.as_bytes()),
                ("box.pem", old.as_bytes()),
                (&unanswered.display().to_string(), lost.as_bytes()),
            ],
            |disk| {
                replace_on(disk, &asked, new_key.as_bytes(), 0o600)?;
                replace_on(disk, &next(certificate), new.as_bytes(), 0o644)?;
                put_on(disk, &asked, key)?;
                put_on(disk, &next(certificate), certificate)
            },
            |directory| {
                let (key, certificate) = (directory.join(key), directory.join(certificate));
                recover_pair(&certificate, &key).expect("it is finished, or was not begun");
                let found = (std::fs::read_to_string(key).unwrap(), std::fs::read_to_string(certificate).unwrap());
                became += u32::from(found.0 == new_key);
                assert!(found == (old_key.clone(), old.clone()) || found == (new_key.clone(), new.clone()));
            },
        );
        assert!(became > 0 && states > 30, "{became} of {states}");
    }
}
