//! Where results go.
use crate::association::Peer;

/// A destination.
#[derive(Clone, Debug)]
pub struct Destination {
    /// Name in the configuration.
    pub name: String,
    /// The node.
    pub peer: Peer,
}
