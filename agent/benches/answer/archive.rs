//! The archive that results go to: it keeps nothing, and notes when they come.
use std::io::Result;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use sund_agent::association::{Association, Intake, IntakeInstance, Listener, Policy, serve};
use sund_agent::fault::Fault;
use sund_agent::instance::{Arrival, StoredInstance};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// What has come since [`Archive::forget`].
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// When the first C-STORE request was there.
    first: Option<Instant>,
    results: usize,
}

pub struct Archive {
    pub address: SocketAddr,
    seen: watch::Sender<Seen>,
    _open: watch::Sender<bool>,
}

impl Archive {
    pub async fn open() -> Result<Self> {
        let socket = TcpListener::bind("127.0.0.1:0").await?;
        let address = socket.local_addr()?;
        let policy = Policy {
            ae_title: "PACS".to_owned(),
            require_called_ae: true,
            also_called: Vec::new(),
            callers: Vec::new(),
            max_associations: 8,
        };
        let (open, closed) = watch::channel(false);
        let seen = watch::Sender::new(Seen::default());
        tokio::spawn(serve(Listener { socket, tls: None }, policy, Arc::new(Door(seen.clone())), closed));
        Ok(Self { address, seen, _open: open })
    }

    pub fn forget(&self) {
        self.seen.send_replace(Seen::default());
    }

    /// Waits for so many results: when the first of them was asked to be stored.
    pub async fn holds(&self, results: usize) -> Option<Instant> {
        let mut seen = self.seen.subscribe();
        seen.wait_for(|seen| seen.results >= results).await.ok().and_then(|seen| seen.first)
    }
}

struct Door(watch::Sender<Seen>);

struct Dropped {
    seen: watch::Sender<Seen>,
    length: u64,
}

impl Intake for Door {
    type Instance = Dropped;

    fn begin(&self, _: &Association, _: &str, _: &str) -> std::result::Result<Dropped, Fault> {
        self.0.send_modify(|seen| _ = seen.first.get_or_insert_with(Instant::now));
        Ok(Dropped { seen: self.0.clone(), length: 0 })
    }
}

impl IntakeInstance for Dropped {
    fn write(&mut self, bytes: &[u8]) -> std::result::Result<(), Fault> {
        self.length += bytes.len() as u64;
        Ok(())
    }

    async fn commit(self, arrival: Arrival) -> std::result::Result<StoredInstance, Fault> {
        self.seen.send_modify(|seen| seen.results += 1);
        Ok(StoredInstance { id: 0, length: self.length, arrival })
    }
}
