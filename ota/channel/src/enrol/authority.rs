//! An authority of the channel's own: for devices, and for the server where it was given no certificate.
//!
//! It stands for "this box was enrolled" and for nothing else: what may run on a box, the region signs.
use crate::limits::enrol::{CERTIFICATE_DAYS, MAX_REQUEST};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use sund_ota::documents::digest;
use sund_ota::fault::{Blame, Fault};
use sund_ota::identity::Validity;
use x509_parser::prelude::{FromDer, X509Certificate};

const DAY: u64 = 24 * 60 * 60;
/// Life of the authority, in days: as long as a box stands in a rack.
const AUTHORITY_DAYS: u64 = 3650;

/// Name of the first one, which a server makes by itself.
pub const FIRST: &str = "ca";
/// What devices and people read as its name, with that of a later one behind it.
const COMMON_NAME: &str = "Sund channel devices";

/// An authority, and its key where that can be read: without it, it is believed and issues nothing.
pub struct Authority {
    name: String,
    digest: String,
    /// Its name in certificates (DER).
    subject: Vec<u8>,
    validity: Validity,
    issuer: Result<Issuer<'static, KeyPair>, Fault>,
    pem: String,
    certificate: CertificateDer<'static>,
}

/// A certificate for a device.
pub struct Issued {
    /// The certificate, PEM.
    pub pem: String,
    /// When it expires, in milliseconds since 1970.
    pub until: i64,
}

impl Authority {
    /// The first one of a channel's home (`ca/`); made where there is none yet.
    pub fn open(home: &Path) -> Result<Self, Fault> {
        if !files(home, FIRST).1.exists() {
            return Self::make(home, FIRST);
        }
        Self::read(home, FIRST)
    }

    /// Makes one of this name.
    pub fn make(home: &Path, name: &str) -> Result<Self, Fault> {
        make(home, name).map_err(|why| unusable(&folder(home), &why))?;
        Self::read(home, name)
    }

    /// Reads the one of this name, with its key.
    pub fn read(home: &Path, name: &str) -> Result<Self, Fault> {
        let it = Self::without_key(home, name)?;
        it.issuer()?;
        Ok(it)
    }

    /// The same, also where its key can't be read.
    pub fn without_key(home: &Path, name: &str) -> Result<Self, Fault> {
        let (path, _) = files(home, name);
        let read = || Self::of(home, &fs::read_to_string(&path).map_err(|error| error.to_string())?, Some(name));
        read().map_err(|why| unusable(&path, &why))
    }

    /// The one of a certificate, PEM, which needs not lie in the home; of this name, or of the one that it says itself.
    pub fn of(home: &Path, pem: &str, name: Option<&str>) -> Result<Self, String> {
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| error.to_string())?;
        let (_, parsed) = X509Certificate::from_der(&certificate).map_err(|error| error.to_string())?;
        let (subject, validity) = (parsed.subject().as_raw().to_vec(), parsed.validity());
        let validity = Validity { from: validity.not_before.timestamp(), until: validity.not_after.timestamp() };
        let digest = digest(&certificate);
        let name = name.or_else(|| said(&parsed)).unwrap_or(&digest).to_owned();
        let (_, key) = files(home, &name);
        let public = &parsed.public_key().subject_public_key.data;
        let issuer = issuer(&certificate, public, &key).map_err(|why| unusable(&key, &why));
        Ok(Self { name, digest, subject, validity, issuer, pem: pem.to_owned(), certificate })
    }

    /// Whether it can issue; why not.
    pub fn issues(&self) -> Result<(), &Fault> {
        self.issuer.as_ref().map(|_| ())
    }

    /// The name of its files.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256 of its certificate, in digits.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Whether it has issued a certificate of which the handshake has proved that one of these authorities has: no two have one name.
    pub fn has_issued(&self, certificate: &X509Certificate<'_>) -> bool {
        certificate.issuer().as_raw() == self.subject
    }

    /// When it is good.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// When it ends, in milliseconds since 1970.
    pub fn until(&self) -> i64 {
        self.validity.until * 1000
    }

    /// Its certificate, PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Its certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Reads a request: its own signature holds, and its key is of a kind that we take.
    pub fn request(pem: &str) -> Result<Request, Fault> {
        let refuse =
            |why: &str| Fault::new("enrol-request", Blame::Box, format!("The certificate request is refused: {why}."));
        if pem.len() > MAX_REQUEST {
            return Err(refuse("it is too long"));
        }
        let request = CertificateSigningRequestParams::from_pem(pem).map_err(|error| refuse(&error.to_string()))?;
        let kinds = [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519];
        if !kinds.contains(&request.public_key.algorithm()) {
            return Err(refuse("its key is neither P-256 nor P-384 nor Ed25519"));
        }
        Ok(Request(request))
    }

    /// A client certificate. The name is ours to say: whatever else the request asks for is not taken.
    pub fn issue(&self, request: &Request, name: &str, at: i64) -> Result<Issued, Fault> {
        let mut params = CertificateParams::default();
        params.distinguished_name = named(name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = self.sign(params, &request.0.public_key, at, CERTIFICATE_DAYS)?;
        Ok(Issued { pem: certificate.pem(), until: at + (CERTIFICATE_DAYS * DAY * 1000) as i64 })
    }

    /// A server certificate and its key, PEM, for `names`.
    pub fn issue_server(&self, names: &[String], at: i64) -> Result<(String, String), Fault> {
        let refused = |error: rcgen::Error| {
            Fault::new("server-names", Blame::Configuration, format!("No certificate for {names:?}: {error}."))
        };
        let pair = KeyPair::generate().map_err(refused)?;
        let mut params = CertificateParams::new(names.to_vec()).map_err(refused)?;
        params.distinguished_name = named(names.first().map_or("sund-channel", String::as_str));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = self.sign(params, &pair, at, 365)?;
        Ok((certificate.pem(), pair.serialize_pem()))
    }

    fn issuer(&self) -> Result<&Issuer<'static, KeyPair>, Fault> {
        self.issuer.as_ref().map_err(Clone::clone)
    }

    fn sign(
        &self,
        mut params: CertificateParams,
        key: &impl rcgen::PublicKeyData,
        at: i64,
        days: u64,
    ) -> Result<Certificate, Fault> {
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        lifetime(&mut params, (at / 1000).unsigned_abs(), days).map_err(|why| failed(&why))?;
        params.signed_by(key, self.issuer()?).map_err(|error| failed(&error.to_string()))
    }
}

/// A certificate request whose signature held.
pub struct Request(CertificateSigningRequestParams);

impl Request {
    /// SHA-256 of its public key.
    pub fn key(&self) -> Vec<u8> {
        use rcgen::PublicKeyData;
        super::key_hash(self.0.public_key.der_bytes())
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// From an hour ago, for boxes whose clock is behind, for so many days; with a random serial number.
fn lifetime(params: &mut CertificateParams, now: u64, days: u64) -> Result<(), String> {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_secs(now.saturating_sub(3600));
    params.not_after = epoch + Duration::from_secs(now + days * DAY);
    let mut serial = [0; 16];
    aws_lc_rs::rand::fill(&mut serial).map_err(|error| error.to_string())?;
    serial[0] &= 0x7f; // RFC 5280 4.1.2.2: a positive number
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(())
}

/// Where authorities lie.
pub fn folder(home: &Path) -> PathBuf {
    home.join("ca")
}

/// Certificate and key of one.
pub fn files(home: &Path, name: &str) -> (PathBuf, PathBuf) {
    let folder = folder(home);
    (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")))
}

/// The name that a certificate of ours says, in that of its subject.
fn said<'a>(certificate: &X509Certificate<'a>) -> Option<&'a str> {
    let common = certificate.subject.iter_common_name().next()?.as_str().ok()?;
    match common.strip_prefix(COMMON_NAME)? {
        "" => Some(FIRST),
        later => later.strip_prefix(", ").filter(|name| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')),
    }
}

fn issuer(certificate: &CertificateDer<'_>, public: &[u8], key: &Path) -> Result<Issuer<'static, KeyPair>, String> {
    let text = fs::read_to_string(key).map_err(|error| error.to_string())?;
    let pair = KeyPair::from_pem(&text).map_err(|error| error.to_string())?;
    if pair.public_key_raw() != public {
        return Err("it is not the key of the certificate".to_owned());
    }
    Issuer::from_ca_cert_der(certificate, pair).map_err(|error| error.to_string())
}

fn make(home: &Path, name: &str) -> Result<(), String> {
    let (certificate, key) = files(home, name);
    let text = |error: rcgen::Error| error.to_string();
    let pair = KeyPair::generate().map_err(text)?;
    let mut params = CertificateParams::default();
    let common = if name == FIRST { COMMON_NAME.to_owned() } else { format!("{COMMON_NAME}, {name}") };
    params.distinguished_name = named(&common);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    lifetime(&mut params, (crate::database::now() / 1000).unsigned_abs(), AUTHORITY_DAYS)?;
    let signed = params.self_signed(&pair).map_err(text)?;
    fs::create_dir_all(folder(home)).map_err(|error| error.to_string())?;
    write(&certificate, signed.pem().as_bytes(), 0o644)?;
    // Last: where there is a key there is a certificate.
    write(&key, pair.serialize_pem().as_bytes(), 0o600)
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), String> {
    let new = path.with_extension("new");
    let put = || {
        // What a crash left of an earlier try may have another mode.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    put().map_err(|error: std::io::Error| format!("{} cannot be written: {error}", path.display()))
}

fn unusable(path: &Path, why: &str) -> Fault {
    Fault::new("authority-unusable", Blame::Channel, format!("The channel's own authority, {}: {why}.", path.display()))
}

fn failed(why: &str) -> Fault {
    Fault::new("authority-failed", Blame::Channel, format!("A certificate cannot be made: {why}."))
}
