//! HTTP as the updater speaks it: one authority, no redirects, every answer bounded.
use crate::authorities::{Believed, HEADER};
use crate::config::{Config, Credentials, Key};
use crate::fault::{Blame, Fault};
use crate::tpm::TpmKey;
use crate::trust::Transport;
use futures_util::StreamExt;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use reqwest::header::{AUTHORIZATION, DATE, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Response};
use rustls::{AlertDescription, RootCertStore};
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
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);

/// The forms of a date (RFC 9110, 5.6.7), the newest first.
const HTTP_DATES: [&str; 3] = ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];

/// The client, with this box's credentials.
#[derive(Clone, Debug)]
pub struct Http {
    client: Client,
    server: Url,
    authorization: Option<HeaderValue>,
    /// Whom it believes.
    believed: Believed,
    /// The client certificate that it shows, or can't use.
    certificate: Option<CertificateDer<'static>>,
    /// Why it shows none, where it should.
    is_nobody: Option<Fault>,
}

impl Http {
    /// A client as the configuration says; reads the certificates.
    pub fn new(config: &Config) -> Result<Self, Fault> {
        let refused = |reason: String| Fault::new("credentials-unusable", Blame::Configuration, reason);
        // Before the client reads it: what comes in between is found to be another one.
        let certificate = own(config);
        let believed = Believed::of(config).map_err(refused)?;
        let mut authorization = None;
        if let Credentials::Token(path) = &config.credentials {
            let token =
                std::fs::read_to_string(path).map_err(|error| refused(format!("{}: {error}", path.display())))?;
            let mut value = HeaderValue::from_str(&format!("TargetToken {}", token.trim()))
                .map_err(|_| refused(format!("{} holds no token", path.display())))?;
            value.set_sensitive(true);
            authorization = Some(value);
        }
        let mut client = Client::builder()
            .tls_backend_preconfigured(tls(config, &believed)?)
            // What answers is who was asked: a redirect elsewhere is an answer like another, and not followed.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(READ_TIME)
            .user_agent(concat!("sund-updater/", env!("CARGO_PKG_VERSION")));
        if let Some(proxy) = &config.proxy {
            // The proxy carries TLS from end to end; what is on this box it is not asked for.
            let proxy = reqwest::Proxy::all(proxy.clone()).map_err(|error| refused(error.to_string()))?;
            client = client.proxy(proxy.no_proxy(reqwest::NoProxy::from_string("localhost,127.0.0.0/8,::1")));
        }
        let client = client.build().map_err(|error| refused(error.to_string()))?;
        Ok(Self { client, server: config.server.clone(), authorization, believed, certificate, is_nobody: None })
    }

    /// A client that shows no certificate, since that of the configuration can't be used.
    pub fn of_nobody(config: &Config, why: Fault) -> Result<Self, Fault> {
        let certificate = own(config);
        let nobody = Self::new(&Config { credentials: Credentials::Nobody, ..config.clone() })?;
        Ok(Self { certificate, is_nobody: Some(why), ..nobody })
    }

    /// Whether it can say whose it is.
    pub fn is_somebody(&self) -> Result<(), Fault> {
        self.is_nobody.clone().map_or(Ok(()), Err)
    }

    /// Whether it knows the certificate that the box has now, and whom the box believes: one that was enrolled anew has another.
    pub fn is_current(&self, config: &Config) -> bool {
        let now = own(config);
        (now.is_none() || now == self.certificate) && Believed::of(config).is_ok_and(|now| now == self.believed)
    }

    /// A request to the channel server, and to nobody else: it carries the token.
    pub fn request(&self, method: reqwest::Method, url: Url) -> reqwest::RequestBuilder {
        let headers = self.authorization.iter().map(|token| (AUTHORIZATION, token.clone())).collect();
        self.client.request(method, url).timeout(REQUEST_TIME).headers(headers).header(HEADER, self.believed.told())
    }

    /// A request to the store: it carries the token where that is the channel server.
    pub fn request_of_store(&self, method: reqwest::Method, url: Url) -> reqwest::RequestBuilder {
        if url.origin() == self.server.origin() { self.request(method, url) } else { self.client.request(method, url) }
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

/// How long the server asks to be left alone (RFC 9110, 10.2.3), in seconds or until a date.
pub fn retry_after(response: &Response) -> Option<Duration> {
    let said = |name| response.headers().get(name)?.to_str().ok();
    // By the server's own clock, where it tells it: the box's may be wrong.
    let now = said(DATE).and_then(http_date).unwrap_or_else(Timestamp::now);
    wait(said(RETRY_AFTER)?, now)
}

fn wait(said: &str, now: Timestamp) -> Option<Duration> {
    let seconds = said.trim().parse().ok().map(Duration::from_secs);
    let until = || http_date(said)?.duration_since(now).try_into().ok();
    // Zero, and a date that is over, ask for nothing: the box backs off as it does by itself.
    Some(seconds.or_else(until)?.min(MAX_RETRY_AFTER)).filter(|wait| !wait.is_zero())
}

fn http_date(text: &str) -> Option<Timestamp> {
    let date = HTTP_DATES.iter().find_map(|form| DateTime::strptime(form, text.trim()).ok())?;
    date.to_zoned(TimeZone::UTC).ok().map(|date| date.timestamp())
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

/// What of this box is the reason that no connection was made, as its TPM or its certificate, where it is that.
pub fn own_fault(error: &reqwest::Error) -> Option<Fault> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        // An I/O error has its inner one not as a source.
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let tls = inner.and_then(|inner| inner.downcast_ref()).or_else(|| error.downcast_ref::<rustls::Error>());
        match tls {
            Some(rustls::Error::Other(other)) => return other.0.downcast_ref::<Fault>().cloned(),
            Some(rustls::Error::AlertReceived(AlertDescription::CertificateExpired)) => {
                let reason = "the channel takes this box's certificate for one that has ended: enrol the box anew with a new one-time \
                              code (`sund-channel enrol new`)";
                return Some(Fault::new("certificate-expired", Blame::Box, reason));
            }
            _ => {}
        }
        cause = inner.map(|inner| inner as &(dyn std::error::Error + 'static)).or_else(|| error.source());
    }
    None
}

/// The certificate of this box, where it has one.
fn own(config: &Config) -> Option<CertificateDer<'static>> {
    match &config.credentials {
        Credentials::Certificate { certificate, .. } => CertificateDer::from_pem_file(certificate).ok(),
        Credentials::Token(_) | Credentials::Nobody => None,
    }
}

/// The only authorities that are believed; none where the configuration names none.
pub(crate) fn authorities(config: &Config) -> Result<RootCertStore, Fault> {
    let roots = Believed::of(config).and_then(|believed| believed.roots());
    roots.map_err(|reason| Fault::new("credentials-unusable", Blame::Configuration, reason))
}

fn tls(config: &Config, believed: &Believed) -> Result<rustls::ClientConfig, Fault> {
    let refused = |reason: String| Fault::new("credentials-unusable", Blame::Configuration, reason);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| refused(error.to_string()))?
        .with_root_certificates(believed.roots().map_err(refused)?);
    let (certificate, key) = match &config.credentials {
        Credentials::Certificate { certificate, key } => (certificate, key),
        Credentials::Token(_) | Credentials::Nobody => return Ok(builder.with_no_client_auth()),
    };
    let chain = certificates(certificate).map_err(refused)?;
    match key {
        Key::File(key) => {
            let of_key = |error: &dyn std::fmt::Display| refused(format!("{}: {error}", key.display()));
            let private = PrivateKeyDer::from_pem_file(key).map_err(|error| of_key(&error))?;
            builder.with_client_auth_cert(chain, private).map_err(|error| of_key(&error))
        }
        Key::Tpm(place) => {
            let first = chain.first().ok_or_else(|| refused(format!("{} is empty", certificate.display())))?;
            let key = Arc::new(TpmKey::of(place, first)?);
            let own = rustls::sign::SingleCertAndKey::from(rustls::sign::CertifiedKey::new(chain, key));
            Ok(builder.with_client_cert_resolver(Arc::new(own)))
        }
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let unreadable = |error| format!("{}: {error}", path.display());
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error: rustls_pki_types::pem::Error| unreadable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_may_ask_to_be_left_alone_in_seconds_or_until_a_date_and_for_an_hour_at_most() {
        let now = "1994-11-06T08:47:37Z".parse().expect("a time");
        let after = |said: &str| wait(said, now).map(|wait| wait.as_secs());
        assert_eq!(after("120"), Some(120));
        for date in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(after(date), Some(120), "{date}");
        }
        for over in ["0", "Sun, 06 Nov 1994 08:47:37 GMT", "Sun, 06 Nov 1994 08:47:36 GMT"] {
            assert_eq!(after(over), None, "{over}");
        }
        let hour = Some(MAX_RETRY_AFTER.as_secs());
        assert_eq!((after("99999999"), after("Thu, 31 Dec 9998 23:59:59 GMT")), (hour, hour));
        for nonsense in ["", "soon", "-1", "1994-11-06T08:49:37Z", "Sun, 36 Nov 1994 08:49:37 GMT"] {
            assert_eq!(after(nonsense), None, "{nonsense}");
        }
    }
}
