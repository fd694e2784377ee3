//! What is signed: an in-toto statement about the list of members.
use crate::model::Package;
use crate::model::packed::LIST;
use serde_json::{Value, json};

/// The payload type of the envelope.
pub(super) const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const PREDICATE: &str = "urn:sund:model-package:v1";

/// The statement about a package: its subject is the list of members by its SHA-256, which is the digest of the package.
pub fn statement(package: &Package) -> Value {
    let manifest = &package.manifest;
    let sha256 = package.digest.strip_prefix("sha256:").unwrap_or(&package.digest);
    json!({
        "_type": STATEMENT,
        "subject": [{ "name": LIST, "digest": { "sha256": sha256 } }],
        "predicateType": PREDICATE,
        "predicate": {
            "format": manifest.format,
            "name": manifest.name,
            "vendor": manifest.vendor,
            "version": manifest.version,
        },
    })
}
