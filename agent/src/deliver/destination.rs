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
    /// Longest wait for its answer to a result, and to a question.
    pub patience: Duration,
    /// Whom to ask, before a result is sent, whose the study is there; `None` where that is not required.
    pub patient_check: Option<Peer>,
    /// It rejects what a rejection note names (IHE RAD, Image Manager with IOCM).
    pub takes_rejections: bool,
}

impl Destination {
    /// A destination that may take its time, as archives do.
    pub fn new(name: String, peer: Peer) -> Self {
        Self { name, peer, patience: RESPONSE, patient_check: None, takes_rejections: false }
    }
}
