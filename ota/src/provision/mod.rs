//! A box becomes a region's by a file on a stick, without a shell: whose it is, where its channel is, how its networks are.
//!
//! The file is signed by the region's provisioning key, whose public half is in the image ([`envelope`]), says all of it at once
//! ([`document`]), and is written all at once ([`place`]). Nothing of it is believed before its signature holds.
pub mod document;
pub mod envelope;
mod files;
mod place;

pub use document::Document;
pub use place::{Applied, Provisioned, finish};

use crate::fault::{Blame, Fault};
use crate::hex::hex;
use aws_lc_rs::digest::{SHA256, digest};
use envelope::Keys;
use jiff::Timestamp;
use std::io::Read;
use std::path::Path;

/// The file's name on a stick.
pub const FILE: &str = "sund-provision.json";
/// Where an image has its region's public keys.
pub const KEYS: &str = "/usr/share/sund/provisioning.pem";
/// What a box is provisioned with lies here.
pub const SITE: &str = "/etc/sund";
/// The file in bytes, as base64: a root, a site's configuration, a few certificates. A longer one wants to fill the memory.
pub const MAX_FILE: u64 = 4 * 1024 * 1024;

/// A document that the region has signed, good now.
#[derive(Debug)]
pub struct Provision {
    document: Document,
    /// Whose signature it was: SHA-256 of the key's SubjectPublicKeyInfo.
    key: String,
    /// SHA-256 of the payload.
    sha256: String,
}

impl Provision {
    /// Reads a file, or the one of that name in a directory, and believes nothing of it before its signature holds.
    pub fn read(path: &Path, keys: &Keys, now: Timestamp) -> Result<Self, Fault> {
        Self::open(&read(path, FILE)?, keys, now)
    }

    /// The same of bytes.
    pub fn open(bytes: &[u8], keys: &Keys, now: Timestamp) -> Result<Self, Fault> {
        let (payload, key) = envelope::open(bytes, envelope::PAYLOAD_TYPE, keys)?;
        let document = Document::parse(&payload)?;
        if document.expires < now {
            let reason = format!(
                "the file was good until {}, and it is {now}: make a new one (`sund-channel provision`), or set the clock in the \
                 firmware's setup",
                document.expires
            );
            return Err(Fault::new("provision-expired", Blame::Region, reason));
        }
        Ok(Self { document, key, sha256: hex(digest(&SHA256, &payload).as_ref()) })
    }

    /// What it says.
    pub fn document(&self) -> &Document {
        &self.document
    }
}

/// The bytes of a file, or of the one of that name in a directory, as anybody may have written them.
pub(crate) fn read(path: &Path, name: &str) -> Result<Vec<u8>, Fault> {
    let file = if path.is_dir() { path.join(name) } else { path.to_owned() };
    let unreadable = |reason: String| {
        let reason = format!("{} cannot be read: {reason}", file.display());
        Fault::new("provision-unreadable", Blame::Box, reason)
    };
    let kind = std::fs::symlink_metadata(&file).map_err(|error| unreadable(error.to_string()))?;
    if !kind.is_file() {
        return Err(unreadable("it is no file".to_owned()));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(&file)
        .and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes))
        .map_err(|error| unreadable(error.to_string()))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(invalid(format!("the file has more than {MAX_FILE} bytes")));
    }
    Ok(bytes)
}

pub(crate) fn invalid(reason: impl Into<String>) -> Fault {
    Fault::new("provision-invalid", Blame::Region, reason)
}
