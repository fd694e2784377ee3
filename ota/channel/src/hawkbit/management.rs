//! hawkBit's Management API: one login, bounded answers, no answer waited for without end, and an error that says what to do.
use super::{CONNECT, MAX_ANSWER, MAX_ENTRIES, PAGE};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use sund_ota::fault::{Blame, Fault};
use url::{Host, Url};

/// Where a hawkBit is and who asks.
pub struct Login {
    /// Its base, e.g. `https://hawkbit.region.example/`.
    pub url: String,
    /// User, with the tenant before it where there are several: `TENANT\user`.
    pub user: String,
    /// Password.
    pub password: String,
    /// Certificates (PEM) that its server may have been issued by, beside the system's.
    pub ca: Option<Vec<u8>>,
    /// Until an answer is there in full: a hawkBit that sends slowly holds nobody up for longer. [`super::ANSWER`] suits.
    pub within: Duration,
}

/// The Management API of one hawkBit, as one user.
pub struct Management {
    http: reqwest::Client,
    base: Url,
    user: String,
    password: String,
}

/// A list, or a page of one.
#[derive(Deserialize)]
struct Page<T> {
    content: Vec<T>,
    total: usize,
}

/// What hawkBit says when it refuses.
#[derive(Deserialize)]
struct Refusal {
    message: String,
}

impl Management {
    /// A client; nothing is asked yet.
    pub fn new(login: Login) -> Result<Self, Fault> {
        let unfit = |reason: String| Fault::new("hawkbit-login-invalid", Blame::Configuration, reason);
        let mut base =
            Url::parse(&login.url).map_err(|error| unfit(format!("{} is no address: {error}", login.url)))?;
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        if base.scheme() != "https" && !(base.scheme() == "http" && is_loopback(&base)) {
            let reason = format!("{base}: a password travels to another machine by https alone");
            return Err(unfit(reason));
        }
        // Another part of the process may have installed the same one before.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        // A redirect would take the password elsewhere.
        let mut http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .timeout(login.within);
        if let Some(pem) = &login.ca {
            let mut certificates = Vec::new();
            for der in CertificateDer::pem_slice_iter(pem) {
                let certificate = der
                    .map_err(|error| error.to_string())
                    .and_then(|der| reqwest::Certificate::from_der(&der).map_err(|error| error.to_string()));
                certificates.push(certificate.map_err(|error| unfit(format!("the CA file: {error}")))?);
            }
            if certificates.is_empty() {
                return Err(unfit("the CA file has no certificate (PEM)".to_owned()));
            }
            http = http.tls_certs_merge(certificates);
        }
        let http = http.build().map_err(|error| unfit(format!("no TLS client can be made: {}", chain(&error))))?;
        Ok(Self { http, base, user: login.user, password: login.password })
    }

    /// One entity, or what is at a path. `None`: there is nothing (404, or 204 of what may be empty).
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, Fault> {
        let url = self.url(path, &[])?;
        match self.answer(self.http.get(url)).await {
            Ok(Some(bytes)) => read(path, &bytes).map(Some),
            Ok(None) => Ok(None),
            Err(Refused::Missing) => Ok(None),
            Err(refused) => Err(refused.fault(path)),
        }
    }

    /// A list, all its pages.
    pub(super) async fn list<T: DeserializeOwned>(&self, path: &str, query: Option<&str>) -> Result<Vec<T>, Fault> {
        let mut entries: Vec<T> = Vec::new();
        loop {
            let (offset, limit) = (entries.len().to_string(), PAGE.to_string());
            let mut parameters = vec![("offset", offset.as_str()), ("limit", limit.as_str())];
            parameters.extend(query.map(|query| ("q", query)));
            let request = self.http.get(self.url(path, &parameters)?);
            let bytes = self.answer(request).await.map_err(|refused| refused.fault(path))?.unwrap_or_default();
            let page: Page<T> = read(path, &bytes)?;
            let ends = page.content.is_empty();
            entries.extend(page.content);
            if page.total > MAX_ENTRIES || entries.len() > MAX_ENTRIES {
                let reason = format!("{path}: more than {MAX_ENTRIES} entries: narrow it by a filter");
                return Err(Fault::new("hawkbit-answer", Blame::Channel, reason));
            }
            if ends || entries.len() >= page.total {
                return Ok(entries);
            }
        }
    }

    /// The newest entry of a list, where there is one.
    pub(super) async fn newest<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, Fault> {
        let page: Option<Page<T>> = self.get(&format!("{path}?limit=1&sort=id:DESC")).await?;
        Ok(page.and_then(|page| page.content.into_iter().next()))
    }

    /// Makes something. `None`: it is there already.
    pub(super) async fn make<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Option<T>, Fault> {
        let url = self.url(path, &[])?;
        self.made(path, self.http.post(url).json(body)).await
    }

    /// Hangs a file on something. `None`: one of that name is there already.
    pub(super) async fn upload<T: DeserializeOwned>(
        &self,
        path: &str,
        name: &str,
        bytes: &[u8],
    ) -> Result<Option<T>, Fault> {
        // RFC 7578: one part. What is sent is JSON on one line, which has no line that begins like the boundary.
        const BOUNDARY: &str = "sund-descriptor-boundary";
        let disposition = format!("Content-Disposition: form-data; name=\"file\"; filename=\"{name}\"");
        let mut body = format!("--{BOUNDARY}\r\n{disposition}\r\nContent-Type: application/json\r\n\r\n").into_bytes();
        body.extend_from_slice(bytes);
        body.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
        let kind = format!("multipart/form-data; boundary={BOUNDARY}");
        self.made(path, self.http.post(self.url(path, &[])?).header("Content-Type", kind).body(body)).await
    }

    /// Asks for something to be done that has no answer.
    pub(super) async fn act(&self, path: &str) -> Result<(), Fault> {
        let url = self.url(path, &[])?;
        self.answer(self.http.post(url)).await.map(|_| ()).map_err(|refused| refused.fault(path))
    }

    async fn made<T: DeserializeOwned>(
        &self,
        path: &str,
        request: reqwest::RequestBuilder,
    ) -> Result<Option<T>, Fault> {
        match self.answer(request).await {
            Ok(bytes) => read(path, &bytes.unwrap_or_default()).map(Some),
            Err(Refused::There(_)) => Ok(None),
            Err(refused) => Err(refused.fault(path)),
        }
    }

    fn url(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Url, Fault> {
        let mut url = self.base.join(&format!("rest/v1/{path}")).map_err(|error| {
            Fault::new("hawkbit-login-invalid", Blame::Configuration, format!("{}{path}: {error}", self.base))
        })?;
        if !parameters.is_empty() {
            url.query_pairs_mut().extend_pairs(parameters);
        }
        Ok(url)
    }

    /// The body of an answer that is well; `None` where it has none.
    async fn answer(&self, request: reqwest::RequestBuilder) -> Result<Option<Vec<u8>>, Refused> {
        let unreachable = |error: reqwest::Error| Refused::Unreachable(self.base.to_string(), chain(&error));
        let request = request.basic_auth(&self.user, Some(&self.password)).header("Accept", "application/json");
        let mut answer = request.send().await.map_err(unreachable)?;
        let status = answer.status();
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(unreachable)? {
            if bytes.len() + chunk.len() > MAX_ANSWER {
                return Err(Refused::TooLarge);
            }
            bytes.extend_from_slice(&chunk);
        }
        let said = || match serde_json::from_slice::<Refusal>(&bytes) {
            Ok(refusal) => refusal.message,
            Err(_) => format!("HTTP {status}"),
        };
        match status.as_u16() {
            204 => Ok(None),
            200..=299 => Ok(Some(bytes)),
            401 => Err(Refused::Login),
            403 => Err(Refused::Permission(said())),
            404 => Err(Refused::Missing),
            409 => Err(Refused::There(said())),
            _ => Err(Refused::Other(said())),
        }
    }
}

/// Why there is no answer that can be used.
enum Refused {
    Unreachable(String, String),
    TooLarge,
    Login,
    Permission(String),
    Missing,
    There(String),
    Other(String),
}

impl Refused {
    fn fault(self, path: &str) -> Fault {
        let channel = |code, reason: String| Fault::new(code, Blame::Channel, reason);
        let configuration = |code, reason: String| Fault::new(code, Blame::Configuration, reason);
        match self {
            Self::Unreachable(base, why) => {
                channel("hawkbit-unreachable", format!("{base} does not answer ({path}): {why}"))
            }
            Self::TooLarge => channel("hawkbit-answer", format!("{path}: the answer has more than {MAX_ANSWER} bytes")),
            Self::Login => configuration(
                "hawkbit-login-refused",
                "hawkBit does not know that user with that password: with several tenants it is TENANT\\user"
                    .to_owned(),
            ),
            Self::Permission(said) => configuration(
                "hawkbit-permission",
                format!("{path}: the user lacks a permission ({said}): give it those that ota/README.md lists"),
            ),
            Self::Missing => channel("hawkbit-refused", format!("{path}: there is nothing of that name")),
            Self::There(said) => channel("hawkbit-there-already", format!("{path}: {said}")),
            Self::Other(said) => channel("hawkbit-refused", format!("{path}: {said}")),
        }
    }
}

fn read<T: DeserializeOwned>(path: &str, bytes: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(bytes).map_err(|error| {
        let reason = format!("{path}: not what hawkBit answers ({error}): is something else behind that address?");
        Fault::new("hawkbit-answer", Blame::Channel, reason)
    })
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// An error with all that it comes from: reqwest keeps the cause, such as a refused connection, behind a general sentence.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
