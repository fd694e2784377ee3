//! A mirror's own certificate: the mirror is enrolled as a box is, and renews as a box does, or it would stand still after
//! ninety days, and the boxes behind it with it.
use super::files;
use crate::database::now;
use rcgen::{CertificateParams, KeyPair};
use rustls::RootCertStore;
use serde::Deserialize;
use serde_json::json;
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
    // Its name is the server's to say.
    let request = CertificateParams::default().serialize_request(&pair).and_then(|request| request.pem());
    let asked = json!({ "csr_pem": request.map_err(|error| refuse(&error))? });
    let url = from.join("/enrol/renew").map_err(|error| refuse(&error))?;
    let response = client.post(url).json(&asked).send().await.map_err(|error| refuse(&http::reason(&error)))?;
    if !response.status().is_success() {
        return Err(refuse(&format!("the server answers {}", response.status())));
    }
    let body = http::body(response, MAX_ANSWER).await.map_err(|error| refuse(&error))?;
    let issued: Issued = serde_json::from_slice(&body).map_err(|error| refuse(&error))?;
    // A server in other hands would leave the mirror with a certificate that nobody takes.
    let roots = believed.map_or(Ok(RootCertStore::empty()), Believed::roots).map_err(|error| refuse(&error))?;
    identity::may_replace(path, issued.certificate_pem.as_bytes(), pair.public_key_raw(), roots)
        .map_err(|why| refuse(&format!("what the server sent is not taken: {why}")))?;
    files::write(path, issued.certificate_pem.as_bytes(), 0o644)
}
