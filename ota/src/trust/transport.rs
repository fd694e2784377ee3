//! How bytes come from the store: over HTTP, from a directory (a site's mirror) or out of a bundle on a USB stick.
//!
//! Nothing that comes this way is trusted. The transport knows nothing of signatures; it sees to it that a store that is slow,
//! endless or elsewhere cannot hold the box up.
use crate::bundle::Archive;
use crate::fault::{Blame, Fault};
use crate::limits::transfer;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use reqwest::header::{AUTHORIZATION, CONTENT_RANGE, HeaderValue, RANGE};
use reqwest::{Response, StatusCode};
use std::num::NonZeroU64;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::time::{Instant, sleep_until, timeout_at};
use url::{Origin, Url};

/// The way to a store.
#[derive(Clone, Debug)]
pub struct Transport {
    way: Way,
    pace: Pace,
    bytes_per_second: Option<NonZeroU64>,
    arrived: Arc<AtomicU64>,
}

#[derive(Clone, Debug)]
enum Way {
    Http { client: reqwest::Client, token: Option<(Origin, HeaderValue)> },
    Directory,
    Archive(Arc<Archive>),
}

/// The least that a store has to deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// In each such span...
    pub window: Duration,
    /// ... so many bytes.
    pub least: u64,
    /// All of the metadata within this time.
    pub metadata: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { window: transfer::WINDOW, least: transfer::LEAST_PER_WINDOW, metadata: transfer::METADATA }
    }
}

impl Transport {
    /// Over HTTP or HTTPS, as `client` does it: its TLS roots and its certificate count.
    pub fn http(client: reqwest::Client) -> Self {
        Self::by(Way::Http { client, token: None })
    }

    /// From `file:` URLs.
    pub fn directory() -> Self {
        Self::by(Way::Directory)
    }

    /// Out of a bundle, whose URLs begin with `bundle:`.
    pub(crate) fn archive(archive: Arc<Archive>) -> Self {
        Self::by(Way::Archive(archive))
    }

    fn by(way: Way) -> Self {
        Self { way, pace: Pace::default(), bytes_per_second: None, arrived: Arc::default() }
    }

    /// The same way with an `Authorization` for one origin: the store may lie elsewhere, and a token goes to its server alone.
    #[must_use]
    pub fn authorized(self, origin: Origin, authorization: HeaderValue) -> Self {
        match self.way {
            Way::Http { client, .. } => {
                Self { way: Way::Http { client, token: Some((origin, authorization)) }, ..self }
            }
            _ => self,
        }
    }

    /// How many bytes have arrived by this way and its copies, for who shows progress.
    pub fn arrived(&self) -> Arc<AtomicU64> {
        self.arrived.clone()
    }

    /// The same way with another least pace.
    #[must_use]
    pub fn paced(self, pace: Pace) -> Self {
        Self { pace, ..self }
    }

    /// Whether what comes by it crosses a network.
    pub(super) fn is_over_a_line(&self) -> bool {
        matches!(self.way, Way::Http { .. })
    }

    /// How long all of the metadata may take.
    pub(super) fn time_for_metadata(&self) -> Duration {
        self.pace.metadata
    }

    /// The same way, taking at most so many bytes a second: the line belongs to the hospital.
    #[must_use]
    pub fn capped(self, bytes_per_second: Option<NonZeroU64>) -> Self {
        Self { bytes_per_second, ..self }
    }

    /// Opens a file from the byte `from` on. The body says where it really begins: a server may know no ranges.
    pub(super) async fn open(&self, url: &Url, from: u64) -> Result<Body, Trouble> {
        let opening = async {
            match &self.way {
                Way::Http { client, token } => over_http(client, token.as_ref(), url, from).await,
                Way::Directory => {
                    let path =
                        url.to_file_path().map_err(|()| Trouble::Unreachable(format!("{url} is no file URL")))?;
                    out_of_file(&path, from, None).await
                }
                Way::Archive(archive) => {
                    let (start, length) = archive.place(url).ok_or(Trouble::Missing)?;
                    let from = from.min(length);
                    let body = out_of_file(archive.path(), start + from, Some(length - from)).await?;
                    Ok(Opened { from, ..body })
                }
            }
        };
        let (opened, window) = self.in_time(opening).await?;
        Ok(Body {
            opened,
            pace: self.pace,
            ends: window,
            in_window: 0,
            cap: self.bytes_per_second,
            all: self.arrived.clone(),
        })
    }

    /// How long a file is by the word of who serves it; `None` where that does not say.
    pub(super) async fn length(&self, url: &Url) -> Result<Option<u64>, Trouble> {
        if let Way::Http { client, token } = &self.way {
            return Ok(self.in_time(length_over_http(client, token.as_ref(), url)).await?.0);
        }
        Ok(self.open(url, 0).await?.announced())
    }

    /// What is to be there within a window, and when that ends.
    async fn in_time<T>(&self, coming: impl Future<Output = Result<T, Trouble>>) -> Result<(T, Instant), Trouble> {
        let window = Instant::now() + self.pace.window;
        let come = timeout_at(window, coming).await.map_err(|_| Trouble::Slow(self.pace))??;
        Ok((come, window))
    }
}

impl From<reqwest::Client> for Transport {
    fn from(client: reqwest::Client) -> Self {
        Self::http(client)
    }
}

/// Why a file did not come.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("it is not there")]
    Missing,
    #[error("it ends before the byte that was asked for")]
    EndsBefore,
    #[error("the store cannot be reached: {0}")]
    Unreachable(String),
    #[error("the store answered {0}")]
    Answered(String),
    #[error("the store sends the box elsewhere, which it does not follow")]
    Redirected,
    #[error("the line broke: {0}")]
    Broken(String),
    #[error("fewer than {} bytes came in {:?}", .0.least, .0.window)]
    Slow(Pace),
}

impl Trouble {
    /// The fault, for the file `what`.
    pub(super) fn fault(&self, what: &str) -> Fault {
        let reason = format!("{what} was not fetched: {self}");
        match self {
            Self::Missing => Fault::new("store-incomplete", Blame::Channel, reason),
            Self::EndsBefore => Fault::new("target-truncated", Blame::Channel, reason),
            Self::Unreachable(_) | Self::Broken(_) => Fault::new("store-unreachable", Blame::Box, reason),
            Self::Answered(_) => Fault::new("store-failed", Blame::Channel, reason),
            Self::Redirected => Fault::new("store-redirects", Blame::Channel, reason),
            Self::Slow(_) => Fault::new("slow-data", Blame::Channel, reason),
        }
    }
}

type Bytestream = Pin<Box<dyn Stream<Item = Result<Bytes, Trouble>> + Send>>;

struct Opened {
    stream: Bytestream,
    from: u64,
    announced: Option<u64>,
}

/// A file that comes.
pub(super) struct Body {
    opened: Opened,
    pace: Pace,
    ends: Instant,
    in_window: u64,
    all: Arc<AtomicU64>,
    cap: Option<NonZeroU64>,
}

impl Body {
    /// The byte of the file that it begins with.
    pub(super) fn from(&self) -> u64 {
        self.opened.from
    }

    /// How many bytes the store says it has from there on.
    pub(super) fn announced(&self) -> Option<u64> {
        self.opened.announced
    }

    /// The next bytes; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Trouble> {
        loop {
            match timeout_at(self.ends, self.opened.stream.next()).await {
                Ok(None) => return Ok(None),
                Ok(Some(Err(trouble))) => return Err(trouble),
                Ok(Some(Ok(bytes))) => {
                    self.in_window += bytes.len() as u64;
                    self.all.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    self.hold_back(bytes.len() as u64).await;
                    return Ok(Some(bytes));
                }
                Err(_) if self.in_window < self.pace.least => return Err(Trouble::Slow(self.pace)),
                Err(_) => {
                    self.in_window = 0;
                    self.ends = Instant::now() + self.pace.window;
                }
            }
        }
    }

    /// Waits as long as so many bytes may take; the window waits too, so that our own cap makes no slow server.
    async fn hold_back(&mut self, bytes: u64) {
        if let Some(cap) = self.cap {
            let pause = Duration::from_secs_f64(bytes as f64 / cap.get() as f64);
            self.ends += pause;
            sleep_until(Instant::now() + pause).await;
        }
    }
}

/// A file, or the part of it that a `Range` header names (RFC 9110, 14.2): the server may know none, and answer with all of it.
async fn asked(
    client: &reqwest::Client,
    token: Option<&(Origin, HeaderValue)>,
    url: &Url,
    range: Option<String>,
) -> Result<Response, Trouble> {
    let mut request = client.get(url.clone());
    if let Some((origin, authorization)) = token
        && *origin == url.origin()
    {
        request = request.header(AUTHORIZATION, authorization.clone());
    }
    if let Some(range) = range {
        request = request.header(RANGE, range);
    }
    let response = request
        .send()
        .await
        .map_err(|error| if error.is_redirect() { Trouble::Redirected } else { Trouble::Unreachable(chain(&error)) })?;
    // A client that followed a redirect all the same is caught by where it ended up.
    if response.status().is_redirection() || response.url() != url {
        return Err(Trouble::Redirected);
    }
    match response.status() {
        StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(response),
        StatusCode::RANGE_NOT_SATISFIABLE => Err(Trouble::EndsBefore),
        // An object store answers 403 for what it does not have.
        StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::FORBIDDEN => Err(Trouble::Missing),
        status => Err(Trouble::Answered(status.to_string())),
    }
}

/// What the answer to a range says that it is of: its first byte, and how long the file is where that is known (RFC 9110, 14.4). `None` where the
/// server knows no ranges.
fn part(response: &Response) -> Result<Option<(u64, Option<u64>)>, Trouble> {
    if response.status() != StatusCode::PARTIAL_CONTENT {
        return Ok(None);
    }
    let said = response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
    let read = said.and_then(|range| {
        let (place, length) = range.strip_prefix("bytes ")?.split_once('/')?;
        Some((place.split('-').next()?.parse().ok()?, length.parse().ok()))
    });
    read.map(Some).ok_or_else(|| Trouble::Answered("another range".to_owned()))
}

/// Asks for one byte: of an answer that goes on, much comes before it is given up.
async fn length_over_http(
    client: &reqwest::Client,
    token: Option<&(Origin, HeaderValue)>,
    url: &Url,
) -> Result<Option<u64>, Trouble> {
    let response = asked(client, token, url, Some("bytes=0-0".to_owned())).await?;
    match part(&response)? {
        None => Ok(response.content_length()),
        // `*` where the server does not know it: RAUC streams from none such either.
        Some((0, length)) => Ok(length),
        Some(_) => Err(Trouble::Answered("another range".to_owned())),
    }
}

async fn over_http(
    client: &reqwest::Client,
    token: Option<&(Origin, HeaderValue)>,
    url: &Url,
    from: u64,
) -> Result<Opened, Trouble> {
    let response = asked(client, token, url, (from > 0).then(|| format!("bytes={from}-"))).await?;
    let begins = match part(&response)? {
        None => 0,
        Some((begins, _)) if begins == from => begins,
        Some(_) => return Err(Trouble::Answered("another range".to_owned())),
    };
    let announced = response.content_length();
    let stream = response.bytes_stream().map(|bytes| bytes.map_err(|error| Trouble::Broken(chain(&error))));
    Ok(Opened { stream: Box::pin(stream), from: begins, announced })
}

/// `length` bytes of a file from `from` on; all the rest where no length is given.
async fn out_of_file(path: &Path, from: u64, length: Option<u64>) -> Result<Opened, Trouble> {
    let trouble = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => Trouble::Missing,
        _ => Trouble::Unreachable(format!("{}: {error}", path.display())),
    };
    let about = tokio::fs::metadata(path).await.map_err(trouble)?;
    // A pipe or a device on the stick would never end.
    if !about.is_file() {
        return Err(Trouble::Missing);
    }
    let from = from.min(about.len());
    let mut file = tokio::fs::File::open(path).await.map_err(trouble)?;
    file.seek(std::io::SeekFrom::Start(from)).await.map_err(trouble)?;
    let announced = length.unwrap_or(about.len() - from);
    let stream = futures_util::stream::try_unfold(file.take(announced), |mut file| async move {
        let mut bytes = vec![0; 64 * 1024];
        let count = file.read(&mut bytes).await.map_err(|error| Trouble::Broken(error.to_string()))?;
        bytes.truncate(count);
        Ok((count > 0).then(|| (Bytes::from(bytes), file)))
    });
    Ok(Opened { stream: Box::pin(stream), from, announced: Some(announced) })
}

/// An error of the HTTP client with its causes: alone it says no more than that there was one.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
