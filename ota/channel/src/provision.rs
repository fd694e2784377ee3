//! The file that makes a box its region's: what a description says, what the home knows, signed by the region's provisioning key.
//!
//! README.md has the format; `sund_ota::provision` reads it.
use crate::enrol::{authorities, authority};
use crate::repository::keys::Signer;
use crate::repository::published::role_file;
use crate::repository::rescue::spki;
use crate::repository::{Home, Published, files, in_days};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use sund_ota::fault::{Blame, Fault};
use sund_ota::limits::MAX_CONFIGURATION;
use sund_ota::provision::document::{Document, KeyPlace, Network};
use sund_ota::provision::envelope::{Claim, Envelope, PAYLOAD_TYPE, key_id, message};
use sund_ota::reset::{self, Order};
use url::Url;

/// A description, a certificate or a key, in bytes.
const MAX_FILE: u64 = 64 * 1024;

/// What a person writes of a box, TOML. Paths are relative to it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    region: String,
    #[serde(rename = "box")]
    name: String,
    #[serde(default = "tenant")]
    tenant: String,
    server: Url,
    #[serde(default)]
    key: KeyPlace,
    code: Option<String>,
    /// The agent's configuration.
    site: PathBuf,
    /// The authority of the server's certificate; the channel's own comes with it.
    channel_ca: Option<PathBuf>,
    /// Public key, PEM.
    recovery_key: Option<PathBuf>,
    /// Public keys, PEM, by short name.
    #[serde(default)]
    vendors: BTreeMap<String, PathBuf>,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    #[serde(default)]
    network: Network,
}

fn tenant() -> String {
    "DEFAULT".to_owned()
}

/// Reads a description and all that it names. The root is the newest one of the home.
pub fn describe(home: &Home, directory: &Path, path: &Path, days: u32) -> Result<Document, Fault> {
    let wrong =
        |reason: String| Fault::new("provision-invalid", Blame::Configuration, format!("{}: {reason}", path.display()));
    let said: Description = toml::from_str(&text(path, MAX_FILE)?).map_err(|error| wrong(error.to_string()))?;
    let beside = |name: &PathBuf| path.parent().unwrap_or(Path::new("")).join(name);
    let version = Published::must(home)?.root.signed.version.get();
    let root = role_file(home, "root", version)?;
    let vendors = said.vendors.iter().map(|(name, key)| Ok((name.clone(), text(&beside(key), MAX_FILE)?)));
    let document = Document {
        format: 1,
        region: said.region,
        created: Timestamp::now(),
        expires: in_days(i64::from(days))?,
        name: said.name,
        tenant: said.tenant,
        server: said.server,
        key: said.key,
        code: said.code,
        root: String::from_utf8(root).map_err(|error| wrong(error.to_string()))?,
        channel_ca: believed(directory, said.channel_ca.as_ref().map(beside))?,
        recovery_key: said.recovery_key.as_ref().map(|key| text(&beside(key), MAX_FILE)).transpose()?,
        attributes: said.attributes,
        site: text(&beside(&said.site), MAX_CONFIGURATION)?,
        vendors: vendors.collect::<Result<_, Fault>>()?,
        network: said.network,
    };
    document.check().map_err(wrong)?;
    Ok(document)
}

/// Who vouches for the server, and the channel's own authorities beside it: a box takes no certificate for itself that neither has issued.
fn believed(home: &Path, of_server: Option<PathBuf>) -> Result<String, Fault> {
    match (of_server, authorities::pem(home)?) {
        (None, Some(own)) => Ok(own),
        (None, None) => text(&authority::files(home, authority::FIRST).0, MAX_FILE),
        (Some(other), Some(own)) => Ok(format!("{}\n{own}", text(&other, MAX_FILE)?)),
        (Some(other), None) => text(&other, MAX_FILE),
    }
}

/// Signs a document; the file's bytes.
pub fn sign(document: &Document, signer: &dyn Signer) -> Result<Vec<u8>, Fault> {
    envelope(PAYLOAD_TYPE, document, signer)
}

/// Signs an order to reset a box; the file's bytes.
pub fn sign_reset(order: &Order, signer: &dyn Signer) -> Result<Vec<u8>, Fault> {
    order.check().map_err(|reason| Fault::new("provision-invalid", Blame::Configuration, reason))?;
    envelope(reset::PAYLOAD_TYPE, order, signer)
}

/// What a box takes from a stick is one of these, by the region's provisioning key.
fn envelope(payload_type: &str, document: &impl Serialize, signer: &dyn Signer) -> Result<Vec<u8>, Fault> {
    let spki = spki(&signer.key()).ok_or_else(|| {
        let reason = "boxes are provisioned by keys of Ed25519 alone: take a key of that kind";
        Fault::new("key-unreadable", Blame::Configuration, reason)
    })?;
    let payload = serde_json::to_vec(document)
        .map_err(|error| Fault::new("provision-invalid", Blame::Configuration, error.to_string()))?;
    let envelope = Envelope {
        payload: STANDARD.encode(&payload),
        payload_type: payload_type.to_owned(),
        signatures: vec![Claim {
            keyid: key_id(&spki),
            sig: STANDARD.encode(signer.sign(&message(payload_type, &payload))?),
        }],
    };
    Ok(serde_json::to_vec_pretty(&envelope).unwrap_or_default())
}

fn text(path: &Path, max: u64) -> Result<String, Fault> {
    String::from_utf8(files::read(path, max)?).map_err(|_| {
        Fault::new("provision-invalid", Blame::Configuration, format!("{} is no text in UTF-8", path.display()))
    })
}
