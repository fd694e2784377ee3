//! Where a mirror fetches: plain files over HTTP, of which nothing is believed.
use reqwest::StatusCode;
use reqwest::header::{HeaderName, HeaderValue, RANGE};
use std::time::Duration;
use sund_ota::authorities::{Believed, HEADER};
use sund_ota::fault::{Blame, Fault};
use url::Url;

/// A line that brings nothing for so long is given up.
const IDLE: Duration = Duration::from_secs(30);

/// Where it comes from.
pub(super) struct Origin<'a> {
    pub(super) base: &'a Url,
    pub(super) client: &'a reqwest::Client,
}

impl Origin<'_> {
    pub(super) async fn must(&self, name: &str, max: u64) -> Result<Vec<u8>, Fault> {
        self.maybe(&format!("metadata/{name}"), max).await?.ok_or_else(|| {
            let reason = format!("{} has no metadata/{name}: name the address of a repository", self.base);
            Fault::new("origin-incomplete", Blame::Channel, reason)
        })
    }

    pub(super) async fn maybe(&self, name: &str, max: u64) -> Result<Option<Vec<u8>>, Fault> {
        let mut response = self.get(name, 0).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        while let Some(more) = chunk(&mut response).await? {
            if (bytes.len() + more.len()) as u64 > max {
                return Err(Fault::new(
                    "metadata-too-large",
                    Blame::Channel,
                    format!("{name} has more than {max} bytes"),
                ));
            }
            bytes.extend_from_slice(&more);
        }
        Ok(Some(bytes))
    }

    /// A file from an offset on. The origin may send all of it nevertheless.
    pub(super) async fn get(&self, path: &str, from: u64) -> Result<reqwest::Response, Fault> {
        let url = self.base.join(path).map_err(|error| {
            Fault::new("origin-unreachable", Blame::Configuration, format!("{} {path}: {error}", self.base))
        })?;
        let mut request = self.client.get(url);
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        let response = request.send().await.map_err(|error| unreachable(&error))?;
        match response.status() {
            StatusCode::OK | StatusCode::NOT_FOUND => Ok(response),
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE if from > 0 => Ok(response),
            status => {
                let reason = format!("{} answers {status} for {path}", self.base);
                Err(Fault::new("origin-failed", Blame::Channel, reason))
            }
        }
    }
}

/// A client for mirroring, which believes these authorities, or those of the system; `identity` is its own certificate and the key of that,
/// PEM.
pub fn client(believed: Option<&Believed>, identity: Option<&[u8]>) -> Result<reqwest::Client, Fault> {
    // Another part of the program may have chosen the same provider before.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let failed = |error: reqwest::Error| Fault::new("client-failed", Blame::Configuration, error.to_string());
    let builder = reqwest::Client::builder().read_timeout(IDLE).connect_timeout(IDLE);
    let mut builder = builder.redirect(reqwest::redirect::Policy::none());
    if let Some(pem) = identity {
        builder = builder.identity(reqwest::Identity::from_pem(pem).map_err(failed)?);
    }
    match believed {
        None => builder.build().map_err(failed),
        Some(believed) => {
            let authorities = reqwest::Certificate::from_pem_bundle(believed.pem().as_bytes()).map_err(failed)?;
            let told = HeaderValue::from_str(&believed.told()).map(|told| (HeaderName::from_static(HEADER), told));
            builder.default_headers(told.into_iter().collect()).tls_certs_only(authorities).build().map_err(failed)
        }
    }
}

pub(super) async fn chunk(response: &mut reqwest::Response) -> Result<Option<bytes::Bytes>, Fault> {
    response.chunk().await.map_err(|error| unreachable(&error))
}

fn unreachable(error: &reqwest::Error) -> Fault {
    Fault::new("origin-unreachable", Blame::Channel, format!("the origin cannot be reached: {error}"))
}
