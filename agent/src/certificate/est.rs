//! Enrolment over secure transport (RFC 7030), the client's side: the authorities' certificates, a first certificate by a one-time
//! password, its successors by the certificate before. The server is known by an explicit trust anchor, never by the system's.
use super::{Installed, Pending, certificates};
use crate::fault::{Blame, Fault};
use crate::limits::certificate::{EST_TIME, MAX_ANSWER, MAX_RETRY, MAX_TEXT};
use axum::body::{Body, to_bytes};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use rustls::client::ResolvesClientCert;
use rustls::crypto::ring;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls_pki_types::{CertificateDer, ServerName};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

/// Where RFC 7030 3.2.2 has the operations.
const WELL_KNOWN: &str = "/.well-known/est";
const HTTPS: u16 = 443;

/// `https://host[:port][/path]`; without a path the well-known one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    host: String,
    port: u16,
    path: String,
}

impl FromStr for Url {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let uri: hyper::Uri = text.parse().map_err(|_| "is no URL")?;
        if uri.scheme_str() != Some("https") {
            return Err("does not begin with https://");
        }
        let host = uri.host().ok_or("has no host")?.trim_matches(['[', ']']).to_owned();
        ServerName::try_from(host.as_str()).map_err(|_| "has a host that is neither a DNS name nor an address")?;
        let path = match uri.path().trim_end_matches('/') {
            "" => WELL_KNOWN,
            path => path,
        };
        Ok(Self { host, port: uri.port_u16().unwrap_or(HTTPS), path: path.to_owned() })
    }
}

/// How we prove who asks.
#[derive(Clone)]
pub enum Proof {
    /// A one-time password (RFC 7030 3.2.3, HTTP Basic): the first certificate.
    Password {
        /// User name.
        user: String,
        /// Password.
        password: Zeroizing<String>,
    },
    /// The certificate that serves (RFC 7030 3.3.2): its successor.
    Current,
}

/// The region's EST server.
#[derive(Clone)]
pub struct Est {
    url: Url,
    authorities: Arc<RootCertStore>,
}

impl fmt::Debug for Est {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}:{}{}", self.url.host, self.url.port, self.url.path)
    }
}

impl Est {
    /// Where the server is: `host:port`.
    pub(super) fn address(&self) -> String {
        format!("{}:{}", self.url.host, self.url.port)
    }

    /// A server whose certificate comes from one of `authorities`.
    pub fn new(url: Url, authorities: Arc<RootCertStore>) -> Self {
        Self { url, authorities }
    }

    /// What was issued for a request, and the authorities' certificates with it: what a chain is made of.
    pub(super) async fn enrol(
        &self,
        pending: &Pending,
        proof: &Proof,
        current: Option<&Installed>,
    ) -> Result<Vec<CertificateDer<'static>>, Fault> {
        let pair = current.map(Installed::pair);
        // RFC 7030 4.1, 4.2.1, 4.2.2.
        let operation = if pair.is_some() { "simplereenroll" } else { "simpleenroll" };
        let body = STANDARD.encode(pending.der());
        let mut issued = self.ask(operation, Some(body), proof, pair.clone()).await?;
        let authorities = self.ask("cacerts", None, &Proof::Current, None).await?;
        issued.extend(authorities);
        Ok(issued)
    }

    async fn ask(
        &self,
        operation: &str,
        body: Option<String>,
        proof: &Proof,
        pair: Option<Arc<CertifiedKey>>,
    ) -> Result<Vec<CertificateDer<'static>>, Fault> {
        let exchange = self.exchange(operation, body, proof, pair);
        let answer = timeout(EST_TIME, exchange)
            .await
            .map_err(|_| self.away(&format!("nothing came in {} s", EST_TIME.as_secs())))??;
        let (head, bytes) = answer;
        match head.status() {
            StatusCode::OK => {}
            // RFC 7030 4.2.3: it is not refused, but not issued yet either.
            StatusCode::ACCEPTED => {
                let after = head.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
                let after = after.unwrap_or_default().min(MAX_RETRY.as_secs());
                let reason = format!("the EST server has the request and issues later; ask again in {after} s");
                return Err(Fault::new("est-pending", Blame::Destination, reason));
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let reason = format!("the EST server does not accept who asks ({})", head.status());
                return Err(Fault::new("est-denied", Blame::Configuration, reason));
            }
            status => {
                let said = said(&bytes);
                let reason = format!("the EST server answered /{operation} with {status}: {said}");
                return Err(Fault::new("est-refused", Blame::Destination, reason));
            }
        }
        let text: Vec<u8> = bytes.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let der = STANDARD.decode(&text).ok();
        der.and_then(|der| certificates(&der)).filter(|found| !found.is_empty()).ok_or_else(|| {
            let reason = format!("what the EST server answered /{operation} with is no PKCS#7 of certificates");
            Fault::new("est-answer", Blame::Destination, reason)
        })
    }

    async fn exchange(
        &self,
        operation: &str,
        body: Option<String>,
        proof: &Proof,
        pair: Option<Arc<CertifiedKey>>,
    ) -> Result<(Response<()>, Vec<u8>), Fault> {
        let away = |error: &dyn fmt::Display| self.away(error);
        let name = ServerName::try_from(self.url.host.clone()).map_err(|error| away(&error))?;
        let socket = TcpStream::connect((self.url.host.as_str(), self.url.port)).await.map_err(|error| away(&error))?;
        let connector = TlsConnector::from(self.tls(pair)?);
        let stream = connector.connect(name, socket).await.map_err(|error| {
            let reason = format!("no TLS with the EST server {self:?}: {error}");
            Fault::new("est-tls", Blame::Configuration, reason)
        })?;
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_ANSWER)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| away(&error))?;
        let request = self.request(operation, body, proof).map_err(|error| away(&error))?;
        let answering = async {
            let answer = sender.send_request(request).await.map_err(|error| away(&error))?;
            let (head, body) = answer.into_parts();
            let bytes = to_bytes(Body::new(body), MAX_ANSWER).await.map_err(|error| away(&error))?;
            Ok((Response::from_parts(head, ()), bytes.to_vec()))
        };
        // Both run here: a connection that ends before its answer gives the request its error.
        tokio::pin!(answering);
        tokio::pin!(connection);
        tokio::select! {
            answer = &mut answering => answer,
            _ = &mut connection => answering.await,
        }
    }

    fn request(
        &self,
        operation: &str,
        body: Option<String>,
        proof: &Proof,
    ) -> Result<Request<Body>, hyper::http::Error> {
        let method = if body.is_some() { Method::POST } else { Method::GET };
        let host = if self.url.host.contains(':') { format!("[{}]", self.url.host) } else { self.url.host.clone() };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}/{operation}", self.url.path))
            .header(HOST, format!("{host}:{}", self.url.port));
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/pkcs10").header("content-transfer-encoding", "base64");
        }
        if let Proof::Password { user, password } = proof {
            let pair = Zeroizing::new(format!("{user}:{}", password.as_str()));
            request = request.header(AUTHORIZATION, format!("Basic {}", STANDARD.encode(pair.as_bytes())));
        }
        request.body(body.map_or_else(Body::empty, Body::from))
    }

    fn tls(&self, pair: Option<Arc<CertifiedKey>>) -> Result<Arc<rustls::ClientConfig>, Fault> {
        let builder = rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| Fault::new("est-tls", Blame::Sund, error.to_string()))?
            .with_root_certificates(Arc::clone(&self.authorities));
        Ok(Arc::new(match pair {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let resolver: Arc<dyn ResolvesClientCert> = Arc::new(SingleCertAndKey::from(pair));
                builder.with_client_cert_resolver(resolver)
            }
        }))
    }

    fn away(&self, why: &dyn fmt::Display) -> Fault {
        Fault::new("est-away", Blame::Destination, format!("the EST server {self:?} does not answer: {why}"))
    }
}

/// The beginning of what a server said, as one line of text.
fn said(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_a_server_is_https_and_its_path_is_the_well_known_one() {
        let url: Url = "https://est.example.org".parse().unwrap();
        assert_eq!((url.port, url.path.as_str()), (443, "/.well-known/est"));
        let url: Url = "https://10.0.0.1:8443/.well-known/est/hospitals/".parse().unwrap();
        assert_eq!((url.host.as_str(), url.port, url.path.as_str()), ("10.0.0.1", 8443, "/.well-known/est/hospitals"));
        for wrong in ["http://est.example.org", "est.example.org", "https://", "https://a b"] {
            assert!(wrong.parse::<Url>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_a_server_says_is_one_short_line() {
        assert_eq!(said(b"no\r\nsuch"), "no  such");
        assert_eq!(said("x".repeat(5000).as_bytes()).len(), MAX_TEXT);
    }
}
