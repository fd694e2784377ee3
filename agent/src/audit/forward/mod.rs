//! The audit log goes to a collector: syslog messages (RFC 5424) over TLS (RFC 5425), in their order, each at least once.
//!
//! Syslog acknowledges nothing. So each batch has a connection of its own, and counts as collected only when that ended in order:
//! we close our side (close_notify, FIN), and the collector, which reads it last, closes its own. A collector that dies before
//! leaves unread bytes, which the network tells as a reset; the batch is sent again. How far it has come is kept beside the log.
//! Nothing waits for a collector: what is appended lies in the log, and is read from there. What the process warned of in its own log
//! ([`crate::records`]) goes the same way, a file of records for each connection.
mod cursor;
mod prune;
mod syslog;
mod tail;
mod xml;

pub use prune::start;

use crate::fault::{Blame, Fault};
use crate::limits::forward::{FIRST_PAUSE, GATHER, LONGEST_PAUSE, MAX_BATCH, MAX_SAID, PRUNE, SEND_TIME};
use crate::metrics;
use crate::records::Records;
use crate::status::ForwardStatus;
use cursor::Cursor;
use rustls_pki_types::ServerName;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tail::Tail;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsConnector;

/// What a message carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The audit message of PS3.15 A.5 in XML, with the line of the log in it.
    Dicom,
    /// The line of the log alone, JSON.
    Json,
}

/// Who collects.
#[derive(Clone)]
pub struct Collector {
    /// `host:port`.
    pub address: String,
    /// The name that its certificate must carry.
    pub name: ServerName<'static>,
    /// Trust anchors, and our own certificate where it asks for one.
    pub tls: Arc<rustls::ClientConfig>,
    /// What it gets.
    pub format: Format,
}

impl std::fmt::Debug for Collector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({:?})", self.address, self.format)
    }
}

/// Where the log lies, and how long what was collected stays there.
#[derive(Clone, Debug)]
pub struct Source {
    /// Folder of the log.
    pub dir: PathBuf,
    /// A file that was collected is removed this long after its last line; `None`: never.
    pub keep: Option<Duration>,
    /// Number of the last line of the log, as it grows.
    pub heads: watch::Receiver<Option<u64>>,
    /// What the process warns of, where that is kept.
    pub records: Option<Records>,
}

/// Forwards until `stop`; `tell` is told how it stands. A log that cannot be read is told too, and tried again: it ends no service.
pub async fn forward(
    collector: Collector,
    source: Source,
    tell: impl Fn(ForwardStatus),
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let mut stopping = stop.clone();
        let ended = tokio::select! {
            ended = run(&collector, &source, &tell) => ended,
            _ = stopping.wait_for(|stop| *stop) => return,
        };
        if let Err(fault) = ended {
            tracing::error!(code = %fault.code, reason = %fault.reason, "the audit log is not collected; it waits");
            tell(status(&collector, *source.heads.borrow(), None, Some(fault)));
        }
        tokio::select! {
            () = sleep(LONGEST_PAUSE) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// Whatever it is stopped at: what is not known to be collected is sent again.
async fn run(collector: &Collector, source: &Source, tell: &impl Fn(ForwardStatus)) -> Result<(), Fault> {
    let mut heads = source.heads.clone();
    let mut news = source.records.as_ref().map(Records::news);
    let (mut tail, mut collected) = {
        let dir = source.dir.clone();
        blocking(move || {
            let cursor = Cursor::read(&dir)?;
            let tail = Tail::open(&dir, cursor.as_ref())?;
            // Of another log nothing was collected, and nothing of it may be removed.
            let cursor = cursor.filter(|cursor| tail.is_behind(cursor));
            Ok((tail, cursor))
        })
        .await?
    };
    let mut pause = FIRST_PAUSE;
    // Said once for as long as it lasts: a collector may be away for days. What it is just now stands in the status.
    let mut said_of = None;
    let mut prunes = Instant::now();
    loop {
        // Before the log is read: what comes after wakes.
        heads.borrow_and_update();
        if let Some(news) = &mut news {
            news.borrow_and_update();
        }
        let batch;
        (tail, batch) = blocking(move || tail.next()).await?;
        let mut trouble = None;
        if let Some(batch) = &batch {
            match send(collector, &syslog::frames(batch, collector.format)).await {
                Ok(()) => {
                    let (cursor, dir) = (batch.last.clone(), source.dir.clone());
                    let kept = cursor.clone();
                    blocking(move || kept.write(&dir)).await?;
                    collected = Some(cursor);
                }
                Err(error) => {
                    tail.rewind(batch);
                    trouble = Some(said(collector, &error));
                }
            }
        }
        let mut is_busy = batch.is_some();
        if let Some(records) = &source.records {
            // Looked at in any case: that brings them to stable storage.
            let (kept, sent) = (records.clone(), records.clone());
            let oldest = blocking(move || kept.oldest()).await?;
            if let Some(oldest) = oldest.filter(|_| trouble.is_none()) {
                match send(collector, &syslog::records(&oldest.records)).await {
                    Ok(()) => blocking(move || sent.collected(&oldest)).await?,
                    Err(error) => trouble = Some(said(collector, &error)),
                }
                is_busy = true;
            }
        }
        if is_busy && trouble.is_none() {
            pause = FIRST_PAUSE;
            if said_of.take().is_some() {
                tracing::info!(collector = collector.address, "the audit log is collected again");
            }
        }
        if Instant::now() >= prunes {
            prunes = Instant::now() + PRUNE;
            if let (Some(keep), Some(cursor)) = (source.keep, collected.clone()) {
                let dir = source.dir.clone();
                blocking(move || prune::prune(&dir, &cursor, keep)).await?;
            }
        }
        let head = *source.heads.borrow();
        let stands = status(collector, head, collected.as_ref(), trouble.clone());
        let is_behind = batch.is_some() && stands.waiting >= MAX_BATCH as u64;
        tell(stands);
        match trouble {
            Some(trouble) => {
                if said_of.as_ref() != Some(&trouble.code) {
                    tracing::warn!(code = %trouble.code, reason = %trouble.reason, "the audit log is not collected; it waits");
                    said_of = Some(trouble.code);
                }
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            None if is_behind => {}
            // A busy node opens no connection for each event.
            None if is_busy => sleep(GATHER).await,
            None => tokio::select! {
                changed = heads.changed() => if changed.is_err() { return Ok(()) },
                () = any(&mut news) => {}
                () = sleep_until(prunes) => {}
            },
        }
    }
}

/// Waits for a record, where they are kept.
async fn any(news: &mut Option<watch::Receiver<()>>) {
    match news {
        // It does not fail: whoever writes them outlives who sends them.
        Some(news) => {
            let _ = news.changed().await;
        }
        None => std::future::pending().await,
    }
}

/// One connection for one batch; in order from its beginning to its end, or it counts for nothing.
async fn send(collector: &Collector, frames: &[u8]) -> io::Result<()> {
    let conversation = async {
        let socket = TcpStream::connect(&collector.address).await?;
        let connector = TlsConnector::from(Arc::clone(&collector.tls));
        let mut stream = connector.connect(collector.name.clone(), socket).await?;
        stream.write_all(frames).await?;
        // RFC 5425 4.4: close_notify from us; the collector has read all before it.
        stream.shutdown().await?;
        let mut rest = [0; 512];
        let mut said = 0;
        loop {
            match stream.read(&mut rest).await {
                Ok(0) => return Ok(()),
                Ok(read) if said + read <= MAX_SAID => said += read,
                Ok(_) => return Err(io::Error::new(ErrorKind::InvalidData, "it talks, as no collector does")),
                // It closed without a close_notify of its own, but after ours.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    };
    timeout(SEND_TIME, conversation).await.map_err(|_| io::Error::new(ErrorKind::TimedOut, "it took too long"))?
}

fn said(collector: &Collector, error: &io::Error) -> Fault {
    let is_tls = error.kind() == ErrorKind::InvalidData;
    let reason = format!("{} does not collect the audit log: {error}", collector.address);
    if is_tls {
        Fault::new("collector-tls", Blame::Configuration, reason)
    } else {
        Fault::new("collector-away", Blame::Destination, reason)
    }
}

fn status(
    collector: &Collector,
    head: Option<u64>,
    collected: Option<&Cursor>,
    trouble: Option<Fault>,
) -> ForwardStatus {
    let written = head.map_or(0, |head| head + 1);
    let gone = collected.map_or(0, |cursor| cursor.seq + 1);
    let waiting = written.saturating_sub(gone);
    metrics::audit_waiting(waiting);
    ForwardStatus {
        collector: collector.address.clone(),
        collected: gone,
        waiting,
        trouble: trouble.map(|fault| fault.to_string()),
    }
}

/// Files are read and written apart from what serves.
async fn blocking<T: Send + 'static>(run: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, Fault> {
    let unreadable = |error: &dyn std::fmt::Display| {
        Fault::new(
            "audit-disk",
            Blame::Box,
            format!("the audit log, or what is kept of the log, cannot be read for its collector: {error}"),
        )
    };
    match tokio::task::spawn_blocking(run).await {
        Ok(done) => done.map_err(|error| unreadable(&error)),
        Err(error) => Err(unreadable(&error)),
    }
}
