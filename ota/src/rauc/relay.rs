//! RAUC streams by itself and cannot sign with the TPM. So the updater fetches for it: one address on the loopback interface, which
//! says on, range by range, what the store serves to this box.
//!
//! Nothing is proven here: RAUC holds the manifest against the signed hash, and each block against the manifest.
use crate::fault::{Blame, Fault};
use crate::hex::hex;
use crate::http::Http;
use futures_util::StreamExt;
use reqwest::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, ETAG, LAST_MODIFIED, RANGE};
use reqwest::{Method, Response};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use url::Url;

/// A request's head, in bytes.
const MAX_HEAD: usize = 8 * 1024;
/// Connections at once; RAUC has one or two.
const MAX_CONNECTIONS: usize = 8;
/// How long a request's head may take to come.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long one range may take.
const RANGE_TIME: Duration = Duration::from_hours(1);

/// The relay; it ends with this value.
pub struct Relay {
    /// What RAUC is told.
    pub url: Url,
    task: JoinHandle<()>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Relay {
    /// Begins to relay one file.
    pub async fn start(http: Http, source: Url) -> Result<Self, Fault> {
        let failed = |reason: String| {
            Fault::new("os-relay-failed", Blame::Box, format!("the bundle is not handed on to RAUC: {reason}"))
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|error| failed(error.to_string()))?;
        let port = listener.local_addr().map_err(|error| failed(error.to_string()))?.port();
        // Other programs of this box do not guess it.
        let mut secret = [0; 16];
        aws_lc_rs::rand::fill(&mut secret).map_err(|_| failed("the system gives no random numbers".to_owned()))?;
        let path = format!("/{}/bundle.raucb", hex(&secret));
        let url = format!("http://127.0.0.1:{port}{path}").parse().map_err(|error| failed(format!("{error}")))?;
        let told = Arc::new(Told { http, source, path });
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let task = tokio::spawn(async move {
            // Those who are answered end with the listener.
            let mut answering = tokio::task::JoinSet::new();
            while let Ok(place) = Arc::clone(&places).acquire_owned().await {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let told = Arc::clone(&told);
                answering.spawn(async move {
                    // RAUC asks again where a line breaks.
                    let _ = told.answer(stream).await;
                    drop(place);
                });
                while answering.try_join_next().is_some() {}
            }
        });
        Ok(Self { url, task })
    }
}

struct Told {
    http: Http,
    source: Url,
    path: String,
}

impl Told {
    /// One request, one answer.
    async fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let head = tokio::time::timeout(HEAD_TIME, head(&mut stream)).await??;
        let Some((method, range)) = self.asked(&head) else {
            return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
        };
        let mut request = self.http.request(method.clone(), self.source.clone()).timeout(RANGE_TIME);
        if let Some(range) = range {
            request = request.header(RANGE, range);
        }
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => {
                tracing::warn!(reason = crate::http::reason(&error), "the store did not answer for RAUC");
                let away = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                return stream.write_all(away).await;
            }
        };
        stream.write_all(said(&response).as_bytes()).await?;
        if method == Method::GET {
            let mut body = response.bytes_stream();
            while let Some(Ok(bytes)) = body.next().await {
                stream.write_all(&bytes).await?;
            }
        }
        stream.shutdown().await
    }

    /// The method and the range of a request for the one file that there is.
    fn asked(&self, head: &str) -> Option<(Method, Option<String>)> {
        let mut lines = head.lines();
        let mut words = lines.next()?.split(' ');
        let method = match words.next()? {
            "GET" => Method::GET,
            "HEAD" => Method::HEAD,
            _ => return None,
        };
        let range = lines.filter_map(|line| line.split_once(':')).find(|(name, _)| name.eq_ignore_ascii_case("range"));
        (words.next()? == self.path).then(|| (method, range.map(|(_, value)| value.trim().to_owned())))
    }
}

async fn head(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let length = stream.read(&mut piece).await?;
        head.extend_from_slice(&piece[..length]);
        if length == 0 || head.len() > MAX_HEAD {
            return Err(std::io::ErrorKind::InvalidData.into());
        }
    }
    String::from_utf8(head).map_err(|_| std::io::ErrorKind::InvalidData.into())
}

/// The head of the store's answer, as far as a range needs it.
fn said(response: &Response) -> String {
    let status = response.status();
    let mut head =
        format!("HTTP/1.1 {} {}\r\nConnection: close\r\n", status.as_u16(), status.canonical_reason().unwrap_or(""));
    for name in [CONTENT_LENGTH, CONTENT_RANGE, ACCEPT_RANGES, ETAG, LAST_MODIFIED] {
        if let Some(value) = response.headers().get(&name).and_then(|value| value.to_str().ok()) {
            // Into memory: nothing can fail.
            let _ = write!(head, "{name}: {value}\r\n");
        }
    }
    head + "\r\n"
}
