//! RAUC streams by itself, knows no TPM, no proxy and no cap, and does not say why a stream failed. So the updater fetches for it: one
//! address on the loopback interface, which says on, range by range, what the store serves to this box.
//!
//! Nothing is proven here: RAUC holds the manifest against the signed hash, and each block against the manifest.
use super::head::{self, Asked};
use crate::fault::{Blame, Fault};
use crate::hex::hex;
use crate::http::Http;
use futures_util::StreamExt;
use reqwest::header::RANGE;
use reqwest::{Method, StatusCode};
use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use url::Url;

/// Connections that have asked for the bundle, at once; RAUC has one or two.
const MAX_ASKED: usize = 8;
/// Connections that have asked for nothing yet. One more takes the place of the oldest: who only connects keeps nobody out.
const MAX_SILENT: usize = 32;
/// How long a request's head may take to come.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long RAUC may take for a piece of its answer.
const PIECE_TIME: Duration = Duration::from_mins(2);
/// How long one range may take.
const RANGE_TIME: Duration = Duration::from_hours(1);
/// Pause after a connection that could not be taken: a system that is out of descriptors needs time.
const PAUSE: Duration = Duration::from_millis(200);

/// The relay; it ends with this value.
pub struct Relay {
    /// What RAUC is told.
    pub url: Url,
    told: Arc<Told>,
    task: JoinHandle<()>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Relay {
    /// Begins to relay one file, with at most so many bytes a second.
    pub async fn start(http: Http, source: Url, cap: Option<NonZeroU64>) -> Result<Self, Fault> {
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
        let pace = Pace { cap, free: Mutex::new(Instant::now()) };
        let told = Arc::new(Told { http, source, path, pace, fetched: AtomicU64::new(0), trouble: Mutex::default() });
        let task = tokio::spawn(serve(listener, Arc::clone(&told)));
        Ok(Self { url, told, task })
    }

    /// Bytes that the store has served for RAUC until now.
    pub fn fetched(&self) -> u64 {
        self.told.fetched.load(Ordering::Relaxed)
    }

    /// What went wrong last between this box and the store, if anything did.
    pub fn trouble(&self) -> Option<String> {
        self.told.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Takes connections until the relay is dropped; all of them end with it.
async fn serve(listener: TcpListener, told: Arc<Told>) {
    let (mut silent, mut answering) = (JoinSet::new(), JoinSet::new());
    let mut order: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    order.retain(|handle| !handle.is_finished());
                    if order.len() >= MAX_SILENT && let Some(oldest) = order.pop_front() {
                        oldest.abort();
                    }
                    let told = Arc::clone(&told);
                    order.push_back(silent.spawn(async move { told.hear(stream).await }));
                }
                Err(error) => {
                    tracing::warn!(%error, "RAUC's connection was not taken");
                    tokio::time::sleep(PAUSE).await;
                }
            },
            Some(heard) = silent.join_next(), if answering.len() < MAX_ASKED => {
                if let Ok(Some((stream, asked))) = heard {
                    let told = Arc::clone(&told);
                    answering.spawn(async move {
                        // RAUC asks again where a line breaks.
                        let _ = told.answer(stream, asked).await;
                    });
                }
            }
            Some(_) = answering.join_next() => {}
        }
    }
}

/// What is handed on, and how it goes.
struct Told {
    http: Http,
    source: Url,
    path: String,
    pace: Pace,
    fetched: AtomicU64,
    trouble: Mutex<Option<String>>,
}

impl Told {
    /// A connection that has asked for the bundle; any other is turned away.
    async fn hear(&self, mut stream: TcpStream) -> Option<(TcpStream, Asked)> {
        let head = timeout(HEAD_TIME, head::read(&mut stream)).await.ok()?.ok()?;
        let asked = head::parse(&head, &self.path);
        if asked.is_none() {
            let _ = timeout(HEAD_TIME, stream.write_all(&head::empty(StatusCode::NOT_FOUND))).await;
        }
        asked.map(|asked| (stream, asked))
    }

    /// One request, one answer.
    async fn answer(&self, mut stream: TcpStream, Asked { method, range }: Asked) -> std::io::Result<()> {
        let mut request = self.http.request_of_store(method.clone(), self.source.clone()).timeout(RANGE_TIME);
        if let Some(range) = range {
            request = request.header(RANGE, range);
        }
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => {
                self.failed(crate::http::reason(&error));
                return timeout(PIECE_TIME, stream.write_all(&head::empty(StatusCode::BAD_GATEWAY))).await?;
            }
        };
        if !response.status().is_success() {
            self.failed(format!("the store answered {}", response.status()));
        }
        timeout(PIECE_TIME, stream.write_all(head::said(&response).as_bytes())).await??;
        if method == Method::GET {
            let mut body = response.bytes_stream();
            while let Some(piece) = body.next().await {
                let Ok(bytes) = piece.map_err(|error| self.failed(crate::http::reason(&error))) else { break };
                self.fetched.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                self.pace.hold_back(bytes.len() as u64).await;
                timeout(PIECE_TIME, stream.write_all(&bytes)).await??;
            }
        }
        stream.shutdown().await
    }

    fn failed(&self, reason: String) {
        tracing::warn!(reason, "the store did not serve the bundle to RAUC");
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
    }
}

/// The cap of all connections together: the line belongs to the hospital.
struct Pace {
    cap: Option<NonZeroU64>,
    /// When the line is free again.
    free: Mutex<Instant>,
}

impl Pace {
    async fn hold_back(&self, bytes: u64) {
        let Some(cap) = self.cap else { return };
        let until = {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            *free = (*free).max(Instant::now()) + Duration::from_secs_f64(bytes as f64 / cap.get() as f64);
            *free
        };
        sleep_until(until).await;
    }
}
