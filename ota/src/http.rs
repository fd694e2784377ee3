//! HTTP as the updater speaks it: one authority, no redirects, every answer bounded.
use crate::config::{Config, Credentials};
use crate::fault::{Blame, Fault};
use crate::trust::Transport;
use futures_util::StreamExt;
use reqwest::header::{AUTHORIZATION, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Response};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// Longest time for one request of the protocol.
const REQUEST_TIME: Duration = Duration::from_mins(1);
/// Longest time without a byte.
const READ_TIME: Duration = Duration::from_secs(30);
/// Longest wait that `Retry-After` can ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(24);

/// The client, with this box's credentials.
#[derive(Clone, Debug)]
pub struct Http {
    client: Client,
    server: Url,
    authorization: Option<HeaderValue>,
}

impl Http {
    /// A client as the configuration says; reads the certificates.
    pub fn new(config: &Config) -> Result<Self, Fault> {
        let refused = |reason: String| Fault::new("credentials-unusable", Blame::Configuration, reason);
        let mut authorization = None;
        if let Credentials::Token(path) = &config.credentials {
            let token =
                std::fs::read_to_string(path).map_err(|error| refused(format!("{}: {error}", path.display())))?;
            let mut value = HeaderValue::from_str(&format!("TargetToken {}", token.trim()))
                .map_err(|_| refused(format!("{} holds no token", path.display())))?;
            value.set_sensitive(true);
            authorization = Some(value);
        }
        let client = Client::builder()
            .tls_backend_preconfigured(tls(config).map_err(refused)?)
            // What answers is who was asked: a redirect elsewhere is an answer like another, and not followed.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(READ_TIME)
            .user_agent(concat!("sund-updater/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| refused(error.to_string()))?;
        Ok(Self { client, server: config.server.clone(), authorization })
    }

    /// A request to the channel server, and to nobody else: it carries the token.
    pub fn request(&self, method: reqwest::Method, url: Url) -> reqwest::RequestBuilder {
        let headers = self.authorization.iter().map(|token| (AUTHORIZATION, token.clone())).collect();
        self.client.request(method, url).timeout(REQUEST_TIME).headers(headers)
    }

    /// The way to the repository. The token goes to the server alone, also where the repository lies elsewhere.
    pub fn transport(&self, config: &Config) -> Transport {
        let transport = Transport::http(self.client.clone()).capped(config.bytes_per_second);
        match &self.authorization {
            Some(token) => transport.authorized(self.server.origin(), token.clone()),
            None => transport,
        }
    }
}

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It is longer than anything that was asked for.
    #[error("the answer has more than {0} bytes")]
    TooLong(u64),
    /// The connection broke.
    #[error("the answer broke off: {0}")]
    Broken(String),
}

/// The body of an answer, of at most `limit` bytes.
pub async fn body(response: Response, limit: u64) -> Result<Vec<u8>, BodyError> {
    let mut stream = response.bytes_stream();
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        bytes.extend_from_slice(&chunk.map_err(|error| BodyError::Broken(reason(&error)))?);
        if bytes.len() as u64 > limit {
            return Err(BodyError::TooLong(limit));
        }
    }
    Ok(bytes)
}

/// How long the server asks to be left alone, where it says so in seconds.
pub fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
}

/// An error of HTTP in one line, with its cause.
pub fn reason(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

fn tls(config: &Config) -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore::empty();
    if let Some(ca) = &config.ca {
        for certificate in certificates(ca)? {
            roots.add(certificate).map_err(|error| format!("{}: {error}", ca.display()))?;
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    match &config.credentials {
        Credentials::Certificate { certificate, key } => {
            let of_key = |error| format!("{}: {error}", key.display());
            let private = PrivateKeyDer::from_pem_file(key).map_err(|error| of_key(error.to_string()))?;
            let chain = certificates(certificate)?;
            builder.with_client_auth_cert(chain, private).map_err(|error| of_key(error.to_string()))
        }
        Credentials::Token(_) | Credentials::Nobody => Ok(builder.with_no_client_auth()),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let unreadable = |error| format!("{}: {error}", path.display());
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error: rustls_pki_types::pem::Error| unreadable(error.to_string()))
}
