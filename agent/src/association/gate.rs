//! Who may call now. The policy can be changed while associations run: it holds from the next one on. What this node calls of
//! itself, to see whether it answers, passes it by.
use super::client::SendError;
use super::intake::{Association, Intake};
use super::policy::{Policy, refusal};
use super::scu::echo_over;
use crate::fault::Fault;
use crate::limits::association::MAX_OWN_CALLS;
use crate::spool::Incoming;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use tokio::net::TcpSocket;

/// Who may call now.
#[derive(Clone, Debug)]
pub struct Gate {
    policy: Arc<RwLock<Arc<Policy>>>,
    /// Addresses, with the port, that calls to ourselves come from. Each is bound by this process while it stands here: nobody else
    /// can call from it.
    own: Arc<Mutex<BTreeSet<SocketAddr>>>,
}

impl From<Policy> for Gate {
    fn from(policy: Policy) -> Self {
        Self { policy: Arc::new(RwLock::new(Arc::new(policy))), own: Arc::default() }
    }
}

impl Gate {
    /// Has another policy hold from the next association on. The number of associations at once stays as it was.
    pub fn change(&self, policy: Policy) {
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
    }

    pub(super) fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// True where this node calls itself.
    pub(super) fn is_own(&self, peer: SocketAddr) -> bool {
        self.own().contains(&peer)
    }

    /// C-ECHO to this node itself, over its port and past TLS and the list of callers.
    pub async fn echo(&self, node: SocketAddr) -> Result<(), SendError> {
        let node = match node.ip() {
            ip if !ip.is_unspecified() => node,
            IpAddr::V4(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, node.port())),
            IpAddr::V6(_) => SocketAddr::from((Ipv6Addr::LOCALHOST, node.port())),
        };
        let failed = |source| SendError::Connect { address: node.to_string(), source };
        let bound = || {
            let socket = if node.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            socket.bind(SocketAddr::from((node.ip(), 0)))?;
            let from = socket.local_addr()?;
            Ok((socket, from))
        };
        let (socket, from) = bound().map_err(failed)?;
        let _own = OwnCall::new(self, from).ok_or_else(|| SendError::Rejected("this node calls itself".to_owned()))?;
        let stream = socket.connect(node).await.map_err(failed)?;
        let ae_title = self.policy().ae_title.clone();
        echo_over(stream, &ae_title, &ae_title).await
    }

    fn own(&self) -> MutexGuard<'_, BTreeSet<SocketAddr>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call to ourselves that is under way.
struct OwnCall<'g>(&'g Gate, SocketAddr);

impl<'g> OwnCall<'g> {
    fn new(gate: &'g Gate, from: SocketAddr) -> Option<Self> {
        let mut own = gate.own();
        (own.len() < MAX_OWN_CALLS && own.insert(from)).then_some(Self(gate, from))
    }
}

impl Drop for OwnCall<'_> {
    fn drop(&mut self) {
        self.0.own().remove(&self.1);
    }
}

/// Takes nothing and tells nobody: calls to ourselves are no event.
pub(super) struct Echoes;

impl Intake for Echoes {
    type Instance = Incoming;

    fn begin(&self, _: &Association, _: &str, _: &str) -> Result<Incoming, Fault> {
        Err(refusal("operation-unknown", "this node sends itself nothing".to_owned()))
    }
}
