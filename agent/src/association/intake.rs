//! What receives instances: the spool of the agent, or a folder of a stand-in.
use crate::fault::Fault;
use crate::instance::{Arrival, StoredInstance};
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

/// An association, as its events speak of it.
#[derive(Clone, Debug)]
pub struct Association {
    /// Number since the start.
    pub id: u64,
    /// Calling AE title.
    pub calling_ae: String,
    /// Called AE title.
    pub called_ae: String,
    /// Address of the peer.
    pub peer: SocketAddr,
}

/// Receives instances and is told what associations do.
pub trait Intake: Send + Sync + 'static {
    /// An instance on its way.
    type Instance: IntakeInstance;

    /// Begins an instance of a study; `sop_instance` is what its command calls it, and empty where that says nothing.
    fn begin(&self, association: &Association, study: &str, sop_instance: &str) -> Result<Self::Instance, Fault>;
    /// A connection was closed at once: there are too many.
    fn turned_away(&self, peer: SocketAddr) {
        let _ = peer;
    }
    /// An association was accepted; `lacking` says which of the presentation contexts that it asked for were not.
    fn opened(&self, association: &Association, lacking: Option<Fault>) {
        let _ = (association, lacking);
    }
    /// An association was rejected.
    fn rejected(&self, association: &Association, fault: &Fault) {
        let _ = (association, fault);
    }
    /// An instance is on stable storage, `took` after the first byte of its request; its sender is told only after this
    /// returns.
    fn stored(&self, association: &Association, instance: &StoredInstance, took: Duration) {
        let _ = (association, instance, took);
    }
    /// A request was refused: an instance that is not kept or broke off before its end, or an operation that is not known.
    fn refused(&self, association: &Association, fault: &Fault) {
        let _ = (association, fault);
    }
    /// An association has ended.
    fn closed(&self, association: &Association) {
        let _ = association;
    }
}

/// An instance on its way. Dropped before `commit`, it leaves nothing.
pub trait IntakeInstance: Send {
    /// Takes bytes of the data set.
    fn write(&mut self, bytes: &[u8]) -> Result<(), Fault>;
    /// Makes the instance durable.
    fn commit(self, arrival: Arrival) -> impl Future<Output = Result<StoredInstance, Fault>> + Send;
}

impl IntakeInstance for crate::spool::Incoming {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        crate::spool::Incoming::write(self, bytes).map_err(Fault::from)
    }

    async fn commit(self, arrival: Arrival) -> Result<StoredInstance, Fault> {
        crate::spool::Incoming::commit(self, arrival).await.map_err(Fault::from)
    }
}
