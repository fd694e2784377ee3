//! `escrow.json`: what was sealed, and since when the region has it. The recovery key itself is in none of it.
use super::{Recipient, RecoveryKey, digest};
use crate::durable;
use crate::fault::Fault;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The record, format 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    format: u32,
    pub sealed: Option<Sealed>,
    /// Since when the region has what is sealed, in seconds since 1970.
    pub kept_since: Option<i64>,
    /// Why it has not.
    pub trouble: Option<Fault>,
}

/// A sealed recovery key. The same bytes are sent until they were acknowledged, and offered again to a channel that may have lost them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sealed {
    /// SHA-256 of the recovery key: 256 random bits, which nobody finds by it.
    of: String,
    /// Whom it is sealed to.
    pub recipient: String,
    /// Base64.
    pub bytes: String,
}

impl Default for Record {
    fn default() -> Self {
        Self { format: 1, sealed: None, kept_since: None, trouble: None }
    }
}

impl Record {
    /// What is known. One that is damaged is begun anew: what the region has, it has.
    pub fn read(path: &Path) -> Self {
        let Ok(bytes) = std::fs::read(path) else { return Self::default() };
        serde_json::from_slice(&bytes).unwrap_or_else(|error| {
            tracing::warn!(target: "audit", code = "escrow-record-unreadable", reason = %error, "what is known of the escrow is begun anew");
            Self::default()
        })
    }

    pub fn write(&self, path: &Path) -> Result<(), Fault> {
        durable::replace(path, &serde_json::to_vec_pretty(self).unwrap_or_default(), 0o640)
    }

    /// Whether that very key was sealed to that very recipient.
    pub fn is_of(&self, key: &RecoveryKey, recipient: &Recipient) -> bool {
        self.sealed.as_ref().is_some_and(|sealed| sealed.is_of(key) && sealed.recipient == recipient.id())
    }

    pub fn of(key: &RecoveryKey, recipient: &Recipient) -> Result<Self, Fault> {
        let bytes = STANDARD.encode(recipient.seal(key.bytes())?);
        let sealed = Sealed { of: digest(key.bytes()), recipient: recipient.id().to_owned(), bytes };
        Ok(Self { sealed: Some(sealed), ..Self::default() })
    }
}

impl Sealed {
    pub fn is_of(&self, key: &RecoveryKey) -> bool {
        self.of == digest(key.bytes())
    }

    /// SHA-256 of what is sent, which an acknowledgment names.
    pub fn sha256(&self) -> String {
        digest(&STANDARD.decode(&self.bytes).unwrap_or_default())
    }
}
