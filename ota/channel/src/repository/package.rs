//! As much of a packed model as the centre has to know: whose it says it is, and whether its vendor has signed it. The rest,
//! every file's digest among it, the agent checks at each load (agent/MODELS.md).
use super::files;
use super::keys::holds;
use super::limits::{MAX_KEY, MAX_MANIFEST, MAX_MEMBERS, MAX_TEXT};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;
use serde::Deserialize;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use sund_ota::documents::Vendor;
use sund_ota::fault::{Blame, Fault};
use sund_ota::hex::hex;
use tough::schema::key::Key;

/// A block of a ustar archive, in bytes.
const BLOCK: usize = 512;
/// The list of a package: 20,000 lines of 166 bytes.
const MAX_LIST: u64 = 20_000 * 167;
/// The signatures of a package (agent/MODELS.md).
const MAX_SIGNATURES: u64 = 64 * 1024;

/// What a packed model says of itself.
#[derive(Clone, Debug)]
pub struct Package {
    /// Its manifest.
    pub manifest: Manifest,
    list: Vec<u8>,
    signatures: Option<Vec<u8>>,
}

/// The keys of a manifest that the centre reads; the others are the agent's.
#[derive(Clone, Debug, Deserialize)]
pub struct Manifest {
    /// Name of the package.
    pub name: String,
    /// Version of the package.
    pub version: String,
    /// Who answers for it.
    pub vendor: String,
    /// What it is for, on whom.
    pub intended_use: String,
    /// What it may be used for where.
    pub regulatory_status: String,
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "payloadType")]
    payload_type: String,
    payload: String,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Deserialize)]
struct EnvelopeSignature {
    sig: String,
}

#[derive(Deserialize)]
struct Statement {
    subject: Vec<Subject>,
}

#[derive(Deserialize)]
struct Subject {
    digest: Digest,
}

#[derive(Deserialize)]
struct Digest {
    sha256: String,
}

impl Package {
    /// Reads a packed model.
    pub fn read(path: &Path) -> Result<Self, Fault> {
        let mut file = File::open(path).map_err(|error| files::disk("read", path, &error))?;
        let (mut list, mut manifest, mut signatures) = (None, None, None);
        for _ in 0..MAX_MEMBERS {
            let mut header = [0; BLOCK];
            file.read_exact(&mut header).map_err(|_| refused(path, "it ends within its archive"))?;
            if header == [0; BLOCK] {
                break;
            }
            let (name, length) = member(&header).ok_or_else(|| refused(path, "its archive cannot be read"))?;
            let wanted = match name.as_str() {
                "SHA256SUMS" => Some((&mut list, MAX_LIST)),
                "model.toml" => Some((&mut manifest, MAX_MANIFEST)),
                "SIGNATURES.dsse.json" => Some((&mut signatures, MAX_SIGNATURES)),
                _ => None,
            };
            let end = file.stream_position().ok().and_then(|at| at.checked_add(length.next_multiple_of(BLOCK as u64)));
            let end = end.ok_or_else(|| refused(path, "its archive cannot be read"))?;
            if let Some((place, max)) = wanted {
                let mut bytes = Vec::new();
                let read = (&mut file).take(length.min(max + 1)).read_to_end(&mut bytes);
                if length > max || !matches!(read, Ok(read) if read as u64 == length) {
                    return Err(refused(path, &format!("{name} cannot be read")));
                }
                *place = Some(bytes);
            }
            file.seek(SeekFrom::Start(end)).map_err(|error| files::disk("read", path, &error))?;
        }
        let manifest = manifest.and_then(|bytes| toml::from_slice::<Manifest>(&bytes).ok());
        let texts = |it: &Manifest| [it.vendor.len(), it.intended_use.len(), it.regulatory_status.len()];
        let manifest =
            manifest.filter(|it| texts(it).into_iter().all(|length| length <= MAX_TEXT)).ok_or_else(|| {
                refused(path, "it has no model.toml with name, version, vendor, intended use and regulatory status")
            })?;
        let list = list.ok_or_else(|| refused(path, "it has no SHA256SUMS"))?;
        Ok(Self { manifest, list, signatures })
    }

    /// Its digest, as `sund model inspect` shows it: that of the list of its files.
    pub fn digest(&self) -> String {
        format!("sha256:{}", hex(&files::sha256(&self.list)))
    }

    /// Holds it to the vendor that it is published for: the name in the manifest, and a signature by a key that the region
    /// has pinned.
    pub fn check(&self, vendor: &Vendor) -> Result<(), Fault> {
        if self.manifest.vendor != vendor.vendor {
            let reason = format!(
                "the package says it is by `{}` and is published for `{}`: name the right vendor",
                self.manifest.vendor, vendor.vendor
            );
            return Err(Fault::new("package-of-another-vendor", Blame::Package, reason));
        }
        if self.is_signed_by(vendor) {
            return Ok(());
        }
        let reason = format!(
            "no key that is pinned for `{}` has signed the package: every box would refuse it; have it signed \
             (`sund model sign`), or pin the key (`sund-channel delegate`)",
            vendor.vendor
        );
        Err(Fault::new("package-not-signed", Blame::Package, reason))
    }

    fn is_signed_by(&self, vendor: &Vendor) -> bool {
        let envelope = self.signatures.as_deref().and_then(|bytes| serde_json::from_slice::<Envelope>(bytes).ok());
        let Some(envelope) = envelope else { return false };
        let Ok(payload) = STANDARD.decode(&envelope.payload) else { return false };
        let statement: Option<Statement> = serde_json::from_slice(&payload).ok();
        let digest = hex(&files::sha256(&self.list));
        let is_of_this = statement.is_some_and(|it| it.subject.iter().any(|subject| subject.digest.sha256 == digest));
        // DSSE 1.0, "PAE": what is signed is the type and the payload, each behind its length.
        let kind = &envelope.payload_type;
        let mut message = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
        message.extend_from_slice(&payload);
        let signatures: Vec<Vec<u8>> =
            envelope.signatures.iter().take(16).filter_map(|it| STANDARD.decode(&it.sig).ok()).collect();
        let keys: Vec<Key> = vendor.keys.iter().filter_map(|pem| vendor_key(pem)).collect();
        is_of_this && signatures.iter().any(|signature| keys.iter().any(|key| holds(key, &message, signature)))
    }
}

/// An Ed25519 public key (PEM), the only kind that signs packages.
pub fn vendor_key(pem: &str) -> Option<Key> {
    if pem.len() as u64 > MAX_KEY {
        return None;
    }
    let spki = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).ok()?;
    hex(spki.strip_prefix(super::keys::ED25519_SPKI.as_slice())?).parse().ok()
}

/// Name and length of a member (IEEE Std 1003.1, ustar).
fn member(header: &[u8; BLOCK]) -> Option<(String, u64)> {
    let name = header[..100].split(|byte| *byte == 0).next()?;
    let length = std::str::from_utf8(&header[124..135]).ok()?;
    Some((std::str::from_utf8(name).ok()?.to_owned(), u64::from_str_radix(length, 8).ok()?))
}

fn refused(path: &Path, why: &str) -> Fault {
    let reason = format!("{} is no packed model: {why}; `sund model pack` makes one", path.display());
    Fault::new("package-unreadable", Blame::Package, reason)
}
