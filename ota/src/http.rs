//! HTTP as the updater speaks it: one authority, no redirects, every answer bounded, payloads resumed and paced.
use crate::config::{Config, Credentials};
use crate::fault::{Blame, Fault};
use bytes::Bytes;
use futures_util::StreamExt;
use reqwest::header::{AUTHORIZATION, CONTENT_RANGE, HeaderMap, HeaderValue, RANGE, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tough::{TransportError, TransportErrorKind, TransportStream};
use url::Url;

/// Bytes in a second below which a download is no progress, against one who sends a byte now and then.
pub const MIN_RATE: u64 = 1024;
/// Longest time for a file of metadata, all tries together, against slow data.
const METADATA_TIME: Duration = Duration::from_mins(1);
/// Tries for a file of metadata.
const METADATA_TRIES: u32 = 3;
/// Longest time for one request of the protocol.
const REQUEST_TIME: Duration = Duration::from_mins(1);
/// Longest time without a byte.
const READ_TIME: Duration = Duration::from_secs(30);
/// Longest wait that `Retry-After` can ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(24);
/// Bytes read at once from a download that was kept.
const KEPT_CHUNK: usize = 256 * 1024;

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

    /// A request to the channel server.
    pub fn request(&self, method: reqwest::Method, url: Url) -> reqwest::RequestBuilder {
        self.client.request(method, url.clone()).timeout(REQUEST_TIME).headers(self.headers(&url))
    }

    /// The token goes to the server alone, also where the repository lies elsewhere.
    pub fn headers(&self, url: &Url) -> HeaderMap {
        let of_server = self.authorization.iter().filter(|_| url.origin() == self.server.origin());
        of_server.map(|token| (AUTHORIZATION, token.clone())).collect()
    }

    /// A transport for the repository.
    pub fn transport(&self, config: &Config) -> Transport {
        Transport {
            http: self.clone(),
            targets: config.targets.clone(),
            store: config.store(),
            pace: config.bytes_per_second,
            seen: Arc::default(),
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

/// What the downloads of one look at the repository came to.
#[derive(Debug, Default)]
pub struct Seen {
    bytes: AtomicU64,
    trouble: Mutex<Option<String>>,
}

impl Seen {
    /// Bytes that have arrived.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// What last kept the network from answering, since the last time this was asked.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn set_trouble(&self, reason: String) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
    }
}

/// How the repository is fetched. Metadata is tried a few times within a bounded time. A target is fetched for as long as
/// somebody wants it: broken connections are taken up where they broke, and bytes that an earlier process has kept are read first
/// (whether they are the right ones is found by who reads the stream).
#[derive(Clone, Debug)]
pub struct Transport {
    http: Http,
    targets: Url,
    store: PathBuf,
    pace: Option<u64>,
    seen: Arc<Seen>,
}

impl Transport {
    /// What has arrived.
    pub fn seen(&self) -> Arc<Seen> {
        Arc::clone(&self.seen)
    }

    /// Consistent snapshots (TUF 6.2) put a target's hash before its file name; the library puts it before the whole path.
    fn address(&self, url: Url) -> Url {
        let parts = url.as_str().strip_prefix(self.targets.as_str()).and_then(|path| {
            let (digest, name) = path.split_once('.').filter(|(digest, _)| is_digest(digest))?;
            let (directory, name) = name.rsplit_once('/')?;
            self.targets.join(&format!("{directory}/{digest}.{name}")).ok()
        });
        parts.unwrap_or(url)
    }
}

#[async_trait::async_trait]
impl tough::Transport for Transport {
    async fn fetch(&self, url: Url) -> Result<TransportStream, TransportError> {
        let (sender, receiver) = mpsc::channel(4);
        let fetch = Fetch { transport: self.clone(), url: self.address(url), sender, at: 0 };
        tokio::spawn(fetch.run());
        let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|item| (item, receiver))
        });
        Ok(Box::pin(stream))
    }
}

/// One file on its way; ends when nobody reads it any more.
struct Fetch {
    transport: Transport,
    url: Url,
    sender: mpsc::Sender<Result<Bytes, TransportError>>,
    at: u64,
}

/// Why a connection ended.
enum End {
    /// All is there, or nobody wants it.
    Over,
    /// It is not there.
    Missing(StatusCode),
    /// The server does not give it.
    Refused(StatusCode),
    /// The network, or a server that is busy.
    Broken(String, Option<Duration>),
}

impl Fetch {
    async fn run(mut self) {
        let error = if self.url.as_str().starts_with(self.transport.targets.as_str()) {
            self.target().await
        } else {
            match tokio::time::timeout(METADATA_TIME, self.metadata()).await {
                Ok(error) => error,
                Err(_) => {
                    let reason = format!("{} took longer than {} s", self.url, METADATA_TIME.as_secs());
                    self.transport.seen.set_trouble(reason.clone());
                    Some(self.error(TransportErrorKind::Other, reason))
                }
            }
        };
        if let Some(error) = error {
            // Nobody may listen any more, and then nobody is to be told.
            let _ = self.sender.send(Err(error)).await;
        }
    }

    async fn metadata(&mut self) -> Option<TransportError> {
        let mut tries = 0;
        loop {
            match self.connection().await {
                End::Broken(reason, wait) => {
                    tries += 1;
                    if tries == METADATA_TRIES {
                        self.transport.seen.set_trouble(format!("{}: {reason}", self.url));
                        return Some(self.error(TransportErrorKind::Other, reason));
                    }
                    tokio::time::sleep(wait.unwrap_or(Duration::from_millis(200 << tries))).await;
                }
                end => return self.ended(end),
            }
        }
    }

    async fn target(&mut self) -> Option<TransportError> {
        self.kept().await;
        let mut wait = Duration::from_millis(500);
        loop {
            let before = self.at;
            match self.connection().await {
                End::Broken(reason, asked) => {
                    tracing::info!(url = %self.url, at = self.at, reason, "the download broke and is taken up again");
                    self.transport.seen.set_trouble(format!("{}: {reason}", self.url));
                    wait = if self.at > before { Duration::from_millis(500) } else { wait * 2 };
                    wait = wait.min(Duration::from_mins(1));
                    tokio::select! {
                        () = tokio::time::sleep(asked.unwrap_or(wait)) => {}
                        () = self.sender.closed() => return None,
                    }
                }
                end => return self.ended(end),
            }
        }
    }

    /// Sends what an earlier process has kept of this very file: its name begins with its hash.
    async fn kept(&mut self) {
        let Some(digest) = digest_of(&self.url) else { return };
        let path = self.transport.store.join(format!("{digest}.kept"));
        let Ok(mut file) = tokio::fs::File::open(&path).await else { return };
        let mut chunk = vec![0; KEPT_CHUNK];
        while let Ok(n) = file.read(&mut chunk).await {
            if n == 0 || self.sender.send(Ok(Bytes::copy_from_slice(&chunk[..n]))).await.is_err() {
                return;
            }
            self.at += n as u64;
        }
    }

    async fn connection(&mut self) -> End {
        let http = &self.transport.http;
        let mut request = http.client.get(self.url.clone()).headers(http.headers(&self.url));
        if self.at > 0 {
            request = request.header(RANGE, format!("bytes={}-", self.at));
        }
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return End::Broken(reason(&error), None),
        };
        let mut skip = 0;
        match response.status() {
            StatusCode::OK => skip = self.at,
            StatusCode::PARTIAL_CONTENT if starts_at(&response, self.at) => {}
            // Nothing follows what is there already.
            StatusCode::RANGE_NOT_SATISFIABLE if self.at > 0 => return End::Over,
            // Object stores answer 403 for what is not there.
            status @ (StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::FORBIDDEN) => return End::Missing(status),
            status if status.is_server_error() || matches!(status.as_u16(), 408 | 429) => {
                return End::Broken(format!("the server answers {status}"), retry_after(&response));
            }
            status => return End::Refused(status),
        }
        self.stream(response, skip).await
    }

    async fn stream(&mut self, response: Response, mut skip: u64) -> End {
        let mut stream = response.bytes_stream();
        while let Some(chunk) = stream.next().await {
            let mut chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) => return End::Broken(reason(&error), None),
            };
            let length = chunk.len() as u64;
            self.transport.seen.bytes.fetch_add(length, Ordering::Relaxed);
            let skipped = skip.min(length);
            skip -= skipped;
            let chunk = chunk.split_off(skipped as usize);
            self.at += chunk.len() as u64;
            if !chunk.is_empty() && self.sender.send(Ok(chunk)).await.is_err() {
                return End::Over;
            }
            if let Some(pace) = self.transport.pace {
                tokio::time::sleep(Duration::from_secs_f64(length as f64 / pace as f64)).await;
            }
        }
        End::Over
    }

    fn ended(&self, end: End) -> Option<TransportError> {
        match end {
            End::Over => None,
            End::Missing(status) => Some(self.error(TransportErrorKind::FileNotFound, status.to_string())),
            End::Refused(status) => Some(self.error(TransportErrorKind::Other, format!("the server answers {status}"))),
            End::Broken(reason, _) => Some(self.error(TransportErrorKind::Other, reason)),
        }
    }

    fn error(&self, kind: TransportErrorKind, reason: String) -> TransportError {
        TransportError::new_with_cause(kind, self.url.as_str(), reason)
    }
}

/// Consistent snapshots (TUF 6.2): the last part of a target's address is its SHA-256, a dot, and its name.
fn digest_of(url: &Url) -> Option<&str> {
    let digest = url.path_segments()?.next_back()?.split('.').next()?;
    is_digest(digest).then_some(digest)
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn starts_at(response: &Response, at: u64) -> bool {
    let range = response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
    range.is_some_and(|range| range.starts_with(&format!("bytes {at}-")))
}
