//! Whom this box believes as the channel: the authorities that it was provisioned with (`server.ca`), and what the region has signed of the
//! channel's own since (`trust/authorities.json`). The channel's server has no word in this: whoever has taken it over adds no authority and
//! takes none away.
use crate::config::Config;
use crate::documents::{Authorities, MAX_AUTHORITIES, digest};
use crate::durable;
use crate::fault::Fault;
use crate::hex::hex;
use crate::limits::MAX_STATE;
use aws_lc_rs::digest::SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The header by which a box tells whom it believes: the digests of their certificates. It is issued no certificate by anybody else.
pub const HEADER: &str = "sund-authorities";
/// Digests in that header, at most.
pub const MAX_TOLD: usize = 4 * MAX_AUTHORITIES;
/// Characters of a line of PEM (RFC 7468, 2).
const LINE: usize = 64;

/// The authorities that are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Believed {
    certificates: Vec<CertificateDer<'static>>,
    newest: Option<CertificateDer<'static>>,
}

impl Believed {
    /// Those of a box.
    pub fn of(config: &Config) -> Result<Self, String> {
        let Some(ca) = &config.ca else { return Ok(Self::default()) };
        let pem = std::fs::read(ca).map_err(|error| format!("{}: {error}", ca.display()))?;
        Self::from(&pem, kept_by(config).as_ref()).map_err(|reason| format!("{}: {reason}", ca.display()))
    }

    /// Those of a file, PEM, by what the region has signed since.
    pub fn from(pem: &[u8], signed: Option<&Authorities>) -> Result<Self, String> {
        let provisioned = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
        let mut certificates: Vec<CertificateDer> = provisioned.map_err(|error| error.to_string())?;
        let signed_ones = signed.map(Authorities::certificates).transpose()?.unwrap_or_default();
        certificates.retain(|known| signed.is_none_or(|signed| !signed.dropped.contains(&digest(known))));
        let newest = signed_ones.last().cloned();
        certificates.extend(signed_ones);
        let mut seen = BTreeSet::new();
        certificates.retain(|one| seen.insert(digest(one)));
        Ok(Self { certificates, newest })
    }

    /// As TLS wants them.
    pub fn roots(&self) -> Result<RootCertStore, String> {
        Self::store(&self.certificates)
    }

    /// The one that issues from now on, alone; nothing where the region has signed none.
    pub fn newest(&self) -> Option<RootCertStore> {
        self.newest.as_ref().and_then(|newest| Self::store([newest]).ok())
    }

    fn store<'a>(all: impl IntoIterator<Item = &'a CertificateDer<'static>>) -> Result<RootCertStore, String> {
        let mut roots = RootCertStore::empty();
        all.into_iter().try_for_each(|one| roots.add(one.clone())).map_err(|error| error.to_string())?;
        Ok(roots)
    }

    /// What the channel is told of them, [`HEADER`].
    pub fn told(&self) -> String {
        self.certificates.iter().take(MAX_TOLD).map(digest).collect::<Vec<_>>().join(",")
    }

    /// The same in PEM.
    pub fn pem(&self) -> String {
        let mut text = String::new();
        for certificate in &self.certificates {
            let body = STANDARD.encode(certificate);
            text.push_str("-----BEGIN CERTIFICATE-----\n");
            for line in body.as_bytes().chunks(LINE) {
                // Base64 is text, and nothing can fail in memory.
                let _ = writeln!(text, "{}", String::from_utf8_lossy(line));
            }
            text.push_str("-----END CERTIFICATE-----\n");
        }
        text
    }
}

/// What is kept: what was signed, and by whose root. A box that is provisioned with another root forgets what the one before had signed:
/// that may be the reason why.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// SHA-256 of the root metadata that was trusted.
    root: String,
    signed: Authorities,
}

/// Where a directory keeps what the region has signed.
pub fn file(directory: &Path) -> PathBuf {
    directory.join("authorities.json")
}

/// What the region has signed, as a box has kept it.
pub fn kept_by(config: &Config) -> Option<Authorities> {
    kept(&config.directory, &std::fs::read(&config.root).ok()?)
}

/// What was kept under a trusted root. What a disk has spoilt comes again with the next look at the repository.
pub fn kept(directory: &Path, root: &[u8]) -> Option<Authorities> {
    let path = file(directory);
    let length = std::fs::metadata(&path).ok()?.len();
    let bytes = (length <= 2 * MAX_STATE).then(|| std::fs::read(path).ok())??;
    let kept = serde_json::from_slice::<Kept>(&bytes).ok().filter(|kept| kept.root == of_root(root))?;
    kept.signed.check().ok().map(|()| kept.signed)
}

/// Keeps what the region has signed, by a root that was trusted; whether it is another thing than before.
pub fn keep(directory: &Path, root: &[u8], signed: &[u8]) -> Result<bool, Fault> {
    let signed = Authorities::parse(signed)?;
    if !is_news(directory, root, &signed) {
        return Ok(false);
    }
    // Texts always serialize.
    let bytes = serde_json::to_vec(&Kept { root: of_root(root), signed }).unwrap_or_default();
    durable::replace(&file(directory), &bytes, 0o644).map(|()| true)
}

/// Whether that is another thing than what is kept.
pub fn is_news(directory: &Path, root: &[u8], signed: &Authorities) -> bool {
    kept(directory, root).is_none_or(|kept| kept != *signed)
}

fn of_root(root: &[u8]) -> String {
    hex(aws_lc_rs::digest::digest(&SHA256, root).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority() -> String {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
        let key = rcgen::KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("a certificate").pem()
    }

    fn digest_of(pem: &str) -> String {
        digest(&CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate"))
    }

    #[test]
    fn what_the_region_drops_is_believed_no_more_although_the_box_was_provisioned_with_it() {
        let (old, new, of_server) = (authority(), authority(), authority());
        let provisioned = format!("{of_server}{old}");
        let told =
            |signed: Option<&Authorities>| Believed::from(provisioned.as_bytes(), signed).expect("authorities").told();
        let [old_one, new_one, other] = [&old, &new, &of_server].map(|pem| digest_of(pem));
        assert_eq!(told(None), format!("{other},{old_one}"));
        let both = Authorities { format: 1, authorities: vec![old.clone(), new.clone()], dropped: Vec::new() };
        assert_eq!(told(Some(&both)), format!("{other},{old_one},{new_one}"));
        let one = Authorities { format: 1, authorities: vec![new], dropped: vec![old_one] };
        assert_eq!(told(Some(&one)), format!("{other},{new_one}"));
        let believed = Believed::from(provisioned.as_bytes(), Some(&one)).expect("authorities");
        assert_eq!(Believed::from(believed.pem().as_bytes(), None).expect("PEM").told(), believed.told());
    }

    #[test]
    fn a_list_that_leaves_nobody_to_believe_or_contradicts_itself_is_none() {
        let (one, directory) = (authority(), tempfile::tempdir().expect("a directory"));
        let keep = |authorities: Vec<String>, dropped: Vec<String>| {
            let document = Authorities { format: 1, authorities, dropped };
            keep(directory.path(), b"root", &serde_json::to_vec(&document).expect("JSON"))
        };
        assert_eq!(keep(vec![one.clone()], Vec::new()).ok(), Some(true));
        assert_eq!(keep(vec![one.clone()], Vec::new()).ok(), Some(false));
        for (authorities, dropped) in [
            (Vec::new(), Vec::new()),
            (vec![one.clone(), one.clone()], Vec::new()),
            (vec![one.clone()], vec![digest_of(&one)]),
            (vec!["no certificate".to_owned()], Vec::new()),
            ((0..=MAX_AUTHORITIES).map(|_| authority()).collect(), Vec::new()),
        ] {
            assert!(keep(authorities, dropped).is_err());
        }
        assert_eq!(kept(directory.path(), b"root").expect("it is kept").authorities, [one]);
        assert_eq!(kept(directory.path(), b"another"), None, "what the root before had signed is forgotten");
    }
}
