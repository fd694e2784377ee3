//! A mirror's own certificate: the mirror is enrolled as a box is, and renews as a box does, or it would stand still after
//! ninety days, and the boxes behind it with it.
use super::files;
use super::limits::MAX_KEY;
use crate::database::now;
use rcgen::{CertificateParams, KeyPair};
use rustls::RootCertStore;
use serde::Deserialize;
use serde_json::{Value, json};
use std::fmt::Display;
use std::path::Path;
use sund_ota::authorities::Believed;
use sund_ota::fault::{Blame, Fault};
use sund_ota::{http, identity};
use url::Url;

/// Longest answer with a certificate, in bytes.
const MAX_ANSWER: u64 = 64 * 1024;

#[derive(Deserialize)]
struct Issued {
    certificate_pem: String,
}

/// Renews it from two thirds of its life on, and where the region has signed a newer authority than that which has issued it, at the server
/// that the mirror reads. It is held to the authorities that are believed.
pub async fn renew_if_due(
    path: &Path,
    key: &[u8],
    believed: Option<&Believed>,
    from: &Url,
    client: &reqwest::Client,
) -> Result<(), Fault> {
    let is_old = believed.is_some_and(|believed| identity::is_old(path, believed));
    if !identity::validity(path)?.is_due(now() / 1000) && !is_old {
        return Ok(());
    }
    let refuse = |why: &dyn Display| {
        let reason =
            format!("{} is due and was not renewed: {why}; enrol the mirror anew before it ends", path.display());
        Fault::new("mirror-certificate", Blame::Channel, reason)
    };
    let pair = KeyPair::from_pem(&String::from_utf8_lossy(key)).map_err(|error| refuse(&error))?;
    let asked = json!({ "csr_pem": request(&pair).map_err(|error| refuse(&error))? });
    let issued = ask(from, "/enrol/renew", &asked, client).await.map_err(|why| refuse(&why))?;
    // A server in other hands would leave the mirror with a certificate that nobody takes.
    let roots = believed.map_or(Ok(RootCertStore::empty()), Believed::roots).map_err(|error| refuse(&error))?;
    identity::may_replace(path, issued.certificate_pem.as_bytes(), pair.public_key_raw(), roots)
        .map_err(|why| refuse(&format!("what the server sent is not taken: {why}")))?;
    files::write(path, issued.certificate_pem.as_bytes(), 0o644)
}

/// Gets the first one by a one-time code, where there is none that is good. The key is on the disk before it is sent: where the answer is
/// lost, the same code is good for the same key once more.
pub async fn enrol(
    path: &Path,
    key: &Path,
    code: &str,
    believed: Option<&Believed>,
    from: &Url,
    client: &reqwest::Client,
) -> Result<(), Fault> {
    if identity::validity(path).is_ok_and(|validity| validity.until > now() / 1000) {
        return Ok(());
    }
    let refuse = |why: &dyn Display| {
        let reason = format!("{} was not got: {why}; another code is given by `enrol new --mirror`", path.display());
        Fault::new("mirror-certificate", Blame::Channel, reason)
    };
    let pair = match files::read_if_there(key, MAX_KEY)? {
        Some(pem) => KeyPair::from_pem(&String::from_utf8_lossy(&pem)),
        None => KeyPair::generate(),
    };
    let pair = pair.map_err(|error| refuse(&format!("its key {}: {error}", key.display())))?;
    files::write(key, pair.serialize_pem().as_bytes(), 0o600)?;
    let asked = json!({ "code": code, "csr_pem": request(&pair).map_err(|error| refuse(&error))? });
    let issued = ask(from, "/enrol", &asked, client).await.map_err(|why| refuse(&why))?;
    let roots = believed.map_or(Ok(RootCertStore::empty()), Believed::roots).map_err(|error| refuse(&error))?;
    identity::may_be_first(issued.certificate_pem.as_bytes(), pair.public_key_raw(), roots)
        .map_err(|why| refuse(&format!("what the server sent is not taken: {why}")))?;
    files::write(path, issued.certificate_pem.as_bytes(), 0o644)
}

/// A request for a certificate, PEM. Its name is the server's to say.
fn request(pair: &KeyPair) -> Result<String, rcgen::Error> {
    CertificateParams::default().serialize_request(pair)?.pem()
}

async fn ask(from: &Url, path: &str, asked: &Value, client: &reqwest::Client) -> Result<Issued, String> {
    let url = from.join(path).map_err(|error| error.to_string())?;
    let response = client.post(url).json(asked).send().await.map_err(|error| http::reason(&error))?;
    if !response.status().is_success() {
        return Err(format!("the server answers {}", response.status()));
    }
    let body = http::body(response, MAX_ANSWER).await.map_err(|error| error.to_string())?;
    serde_json::from_slice(&body).map_err(|error| error.to_string())
}
