//! A certificate is checked against key, names, chain and time, and then put in place by one rename.
use super::request::{kept, pending_path};
use super::{Leaf, Settings, leaf};
use crate::fault::{Blame, Fault};
use crate::limits::certificate::MAX_CHAIN;
use rustls::crypto::ring;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use zeroize::Zeroizing;

/// A certificate that serves: checked, and in its place.
#[derive(Clone)]
pub struct Installed {
    leaf: Leaf,
    pair: Arc<CertifiedKey>,
}

impl Installed {
    /// What it says of itself.
    pub fn leaf(&self) -> &Leaf {
        &self.leaf
    }

    /// Key and chain, for a handshake.
    pub(super) fn pair(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.pair)
    }

    /// Tells it from another one.
    pub(super) fn certificate(&self) -> &CertificateDer<'static> {
        // A pair is made with a chain.
        &self.pair.cert[0]
    }
}

/// The certificate that is in place, whatever its time and chain.
pub fn installed(settings: &Settings) -> Result<Installed, Fault> {
    if matches!(settings.file.try_exists(), Ok(false)) {
        let file = settings.file.display();
        let reason =
            format!("there is no certificate in {file} yet; `sund certificate request` makes a request for one");
        return Err(Fault::new("certificate-unusable", Blame::Configuration, reason));
    }
    let pair = pair(&settings.file, &settings.file)?;
    Ok(Installed { leaf: leaf(&pair.cert[0])?, pair: Arc::new(pair) })
}

/// Chain and key from PEM files, which may be one; at least one certificate, and the key is its.
pub(crate) fn pair(certificate: &Path, key: &Path) -> Result<CertifiedKey, Fault> {
    let unusable = |path: &Path, why: String| {
        let reason = format!("the certificate in {} cannot be used: {why}", path.display());
        Fault::new("certificate-unusable", Blame::Configuration, reason)
    };
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| unusable(certificate, error.to_string()))?;
    if chain.is_empty() {
        return Err(unusable(certificate, "the file holds none".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, error.to_string()))?;
    CertifiedKey::from_der(chain, key, &ring::default_provider())
        .map_err(|error| unusable(certificate, format!("it does not fit its key: {error}")))
}

/// Checks certificates, the leaf among them, and puts them in place with the key that they were requested for.
pub fn install(settings: &Settings, given: &[CertificateDer<'static>]) -> Result<Installed, Fault> {
    if given.len() > MAX_CHAIN {
        return Err(refused("certificate-chain", format!("there are more than {MAX_CHAIN} certificates")));
    }
    let (key, leaf_der) = requested(settings, given)?;
    let leaf_read = leaf(leaf_der)?;
    let chain = chain(leaf_der, &leaf_read, given)?;
    check(settings, &chain, &leaf_read)?;
    let pair = CertifiedKey::from_der(
        chain.clone(),
        PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| {
            Fault::new("certificate-key-unusable", Blame::Box, format!("the key cannot be read: {error}"))
        })?,
        &ring::default_provider(),
    )
    .map_err(|error| refused("certificate-not-for-key", format!("the certificate is of another key: {error}")))?;
    let mut text = Zeroizing::new(key.to_string());
    for certificate in &chain {
        text.push_str(&pem(certificate));
    }
    replace(&settings.file, text.as_bytes())?;
    match std::fs::remove_file(pending_path(&settings.file)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(unwritable(&settings.file, &error)),
        _ => {}
    }
    Ok(Installed { leaf: leaf_read, pair: Arc::new(pair) })
}

/// The key that a certificate was requested for, or the one that serves already, and the certificate that is its.
fn requested<'a>(
    settings: &Settings,
    given: &'a [CertificateDer<'static>],
) -> Result<(Zeroizing<String>, &'a CertificateDer<'static>), Fault> {
    let mut keys = Vec::new();
    if let Some(key) = kept(&settings.file)? {
        keys.push(Zeroizing::new(key.serialize_pem()));
    }
    if let Ok(key) = PrivateKeyDer::from_pem_file(&settings.file) {
        keys.push(Zeroizing::new(key_pem(&key)));
    }
    if keys.is_empty() {
        let reason = "no key was made for it here: sund certificate request";
        return Err(refused("certificate-not-for-key", reason.to_owned()));
    }
    for key in keys {
        for certificate in given {
            let Ok(der) = PrivateKeyDer::from_pem_slice(key.as_bytes()) else { continue };
            if CertifiedKey::from_der(vec![certificate.clone()], der, &ring::default_provider()).is_ok() {
                return Ok((key, certificate));
            }
        }
    }
    let reason = "none of the certificates is of the key that was requested here, nor of the one that serves";
    Err(refused("certificate-not-for-key", reason.to_owned()))
}

/// From the leaf up, each certificate followed by its issuer, as TLS wants it; without the root, which peers have themselves.
fn chain(
    first: &CertificateDer<'static>,
    first_read: &Leaf,
    given: &[CertificateDer<'static>],
) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let mut links = Vec::new();
    for certificate in given.iter().filter(|certificate| *certificate != first) {
        links.push((certificate, leaf(certificate)?));
    }
    links.retain(|(_, read)| !read.is_own_issuer());
    let mut chain = vec![first.clone()];
    let mut issuer = first_read.issuer_der.clone();
    while let Some(place) = links.iter().position(|(_, read)| read.subject_der == issuer) {
        let (certificate, read) = links.swap_remove(place);
        chain.push(certificate.clone());
        issuer = read.issuer_der;
    }
    Ok(chain)
}

/// RFC 5280 6: a path to one of the region's authorities at this time, for a server, with every name that peers call us by.
fn check(settings: &Settings, chain: &[CertificateDer<'static>], read: &Leaf) -> Result<(), Fault> {
    let untrusted = |error: &dyn std::fmt::Display| {
        refused("certificate-chain", format!("the certificate does not lead to the region's authorities: {error}"))
    };
    let end = webpki::EndEntityCert::try_from(&chain[0]).map_err(|error| untrusted(&error))?;
    let now = UnixTime::now();
    let verified = end.verify_for_usage(
        webpki::ALL_VERIFICATION_ALGS,
        &settings.authorities.roots,
        &chain[1..],
        now,
        webpki::KeyUsage::server_auth(),
        None,
        None,
    );
    if let Err(error) = verified {
        let time = |at| humantime::format_rfc3339_seconds(at);
        return Err(match error {
            webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. } => refused(
                "certificate-not-in-time",
                format!("it holds from {} to {}", time(read.not_before), time(read.not_after)),
            ),
            other => untrusted(&other),
        });
    }
    for name in &settings.names {
        let known =
            ServerName::try_from(name.as_str()).is_ok_and(|name| end.verify_is_valid_for_subject_name(&name).is_ok());
        if !known {
            let reason = format!("it does not carry the name {name}, but {}", read.names.join(", "));
            return Err(refused("certificate-lacks-name", reason));
        }
    }
    Ok(())
}

fn refused(code: &'static str, reason: String) -> Fault {
    Fault { code: code.into(), blame: Blame::Configuration, reason: format!("not installed: {reason}") }
}

fn pem(certificate: &CertificateDer<'_>) -> String {
    section("CERTIFICATE", certificate)
}

fn key_pem(key: &PrivateKeyDer<'_>) -> String {
    let label = match key {
        PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
        PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
        _ => "PRIVATE KEY",
    };
    section(label, key.secret_der())
}

/// RFC 7468: lines of 64 characters.
fn section(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(der));
    let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// Puts bytes in the place of a file as a whole, durably, readable by its owner alone: the owner of the folder, also where root
/// writes it.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), Fault> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = || -> io::Result<()> {
        let private = std::fs::Permissions::from_mode(0o600);
        let mut file = tempfile::Builder::new().prefix(".certificate-").permissions(private).tempfile_in(folder)?;
        file.write_all(bytes)?;
        if rustix::process::geteuid().is_root() {
            let owner = std::fs::metadata(folder)?;
            std::os::unix::fs::fchown(file.as_file(), Some(owner.uid()), Some(owner.gid()))?;
        }
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(|error| unwritable(path, &error))
}

fn unwritable(path: &Path, error: &io::Error) -> Fault {
    Fault::new("certificate-unwritable", Blame::Box, format!("{} cannot be written: {error}", path.display()))
}
