//! The key that is to come, and the request for its certificate (PKCS#10).
use super::{Leaf, Settings};
use crate::fault::{Blame, Fault};
use crate::limits::certificate::MAX_FILE;
use rcgen::{CertificateParams, CertificateSigningRequest, DnType, KeyPair};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The request for a key without a certificate, which is kept beside the one that serves until its certificate comes.
pub struct Pending {
    request: CertificateSigningRequest,
}

impl Pending {
    /// The request, PEM.
    pub fn pem(&self) -> Result<String, Fault> {
        self.request.pem().map_err(|error| unmade(&error))
    }

    /// The request, DER.
    pub fn der(&self) -> &[u8] {
        self.request.der()
    }
}

/// Where the key lies that is to come.
pub(super) fn pending_path(file: &Path) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".next-key");
    file.with_file_name(name)
}

/// The key that is to come, made where there is none, and its request: with the subject and names of `current` where that is to be
/// renewed, else with the configured ones.
pub fn pending(settings: &Settings, current: Option<&Leaf>) -> Result<Pending, Fault> {
    let key = match kept(&settings.file)? {
        Some(key) => key,
        None => {
            let key = KeyPair::generate().map_err(|error| unmade(&error))?;
            put(&pending_path(&settings.file), &key)?;
            key
        }
    };
    let names = current.map_or(&settings.names, |leaf| &leaf.names);
    let mut params = CertificateParams::new(names.clone()).map_err(|error| unmade(&error))?;
    params.distinguished_name = match current {
        Some(leaf) => leaf.subject.clone(),
        None => {
            let mut subject = rcgen::DistinguishedName::new();
            subject.push(DnType::CommonName, names.first().map_or("sund", String::as_str));
            subject
        }
    };
    let request = params.serialize_request(&key).map_err(|error| unmade(&error))?;
    Ok(Pending { request })
}

/// The key that is to come, where one was made.
pub(super) fn kept(file: &Path) -> Result<Option<KeyPair>, Fault> {
    let path = pending_path(file);
    let unreadable = |why: String| {
        let reason = format!("the key {} cannot be read: {why}; remove it, and request anew", path.display());
        Fault::new("certificate-key-unusable", Blame::Box, reason)
    };
    let mut text = Zeroizing::new(String::new());
    match File::open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened
            .and_then(|file| file.take(MAX_FILE).read_to_string(&mut text))
            .map_err(|error| unreadable(error.to_string()))?,
    };
    KeyPair::from_pem(&text).map(Some).map_err(|error| unreadable(error.to_string()))
}

fn put(path: &Path, key: &KeyPair) -> Result<(), Fault> {
    let pem = Zeroizing::new(key.serialize_pem());
    super::install::replace(path, pem.as_bytes())
}

fn unmade(error: &dyn std::fmt::Display) -> Fault {
    Fault::new("certificate-request", Blame::Configuration, format!("the request cannot be made: {error}"))
}

/// Writes a request where a person fetches it.
pub(crate) fn write(to: &Path, pem: &str) -> Result<(), Fault> {
    File::create(to).and_then(|mut file| file.write_all(pem.as_bytes())).map_err(|error| {
        Fault::new("certificate-unwritable", Blame::Box, format!("{} cannot be written: {error}", to.display()))
    })
}
