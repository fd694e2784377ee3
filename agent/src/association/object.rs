//! What is sent.
use bytes::Bytes;

/// An object to send: a data set as it is to arrive.
#[derive(Clone, Debug)]
pub struct ObjectToSend {
    /// SOP Class UID.
    pub sop_class: String,
    /// SOP Instance UID.
    pub sop_instance: String,
    /// Transfer Syntax UID of the data set.
    pub transfer_syntax: String,
    /// The data set.
    pub dataset: Bytes,
}

/// What a presentation context is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    /// SOP Class UID.
    pub sop_class: String,
    /// Transfer Syntax UID.
    pub transfer_syntax: String,
}

impl Kind {
    pub(super) fn new(sop_class: &str, transfer_syntax: &str) -> Self {
        Self { sop_class: sop_class.to_owned(), transfer_syntax: transfer_syntax.to_owned() }
    }
}

impl ObjectToSend {
    /// The context in which it is sent as it is.
    pub fn kind(&self) -> Kind {
        Kind::new(&self.sop_class, &self.transfer_syntax)
    }
}
