//! Where results go.
use crate::association::Peer;
use crate::limits::association::RESPONSE;
use std::time::Duration;

/// A destination.
#[derive(Clone, Debug)]
pub struct Destination {
    /// Name in the configuration.
    pub name: String,
    /// The node.
    pub peer: Peer,
    /// Longest wait for its answer to a result.
    pub patience: Duration,
}

impl Destination {
    /// A destination that may take its time, as archives do.
    pub fn new(name: String, peer: Peer) -> Self {
        Self { name, peer, patience: RESPONSE }
    }
}
