//! The service class user: sends objects to a peer, one by one, on one association.
use super::command::Command;
use super::negotiate::{VERIFICATION, max_pdu, request};
use super::status::{DUPLICATE_INSTANCE, PROCESSING_FAILURE};
use super::transcode::{can_be_implicit, implicit};
use super::wire::{Received, Wire, WireError};
use crate::limits::association::{ARTIM, LINGER, MAX_COMMAND, MAX_CONTEXTS, RESPONSE};
use bytes::Bytes;
use dicom_dictionary_std::uids;
use dicom_ul::pdu::{
    AbortRQSource, AssociationRJResult, Pdu, PresentationContextProposed, PresentationContextResultReason,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

/// A node to call.
#[derive(Clone)]
pub struct Peer {
    /// Our AE title.
    pub calling_ae: String,
    /// Its AE title.
    pub called_ae: String,
    /// `host:port`.
    pub address: String,
    /// TLS, with the name that its certificate must carry.
    pub tls: Option<(Arc<TlsConnector>, ServerName<'static>)>,
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {}", self.called_ae, self.address)
    }
}

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

/// How a peer took an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Stored (0000H, or a warning that says what the peer changed).
    Stored {
        /// DIMSE status.
        status: u16,
    },
    /// Not now: out of resources.
    Later(String),
    /// Never.
    Refused(String),
}

/// Why nothing, or no more, could be sent. All of it may pass: a peer that is set up otherwise now takes what it refused.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// No connection.
    #[error("no connection to {address}: {source}")]
    Connect {
        /// `host:port`.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The peer rejected the association.
    #[error("the association was rejected: {0}")]
    Rejected(String),
    /// The conversation broke off.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The peer said something that PS3.8 does not allow here.
    #[error("the peer answered with {0}")]
    Unexpected(String),
}

/// C-ECHO.
pub async fn echo(peer: &Peer) -> Result<(), SendError> {
    let contexts = vec![proposal(1, VERIFICATION, uids::IMPLICIT_VR_LITTLE_ENDIAN)];
    let mut client = Client::open(peer, contexts).await?;
    if !client.accepted.contains(&1) {
        client.close().await;
        return Err(SendError::Rejected("the peer does not take Verification".to_owned()));
    }
    let response = client.request(1, &Command::echo(1, VERIFICATION), None).await?;
    client.close().await;
    match response.status() {
        Some(0) => Ok(()),
        status => Err(SendError::Unexpected(format!("status {:04X}H", status.unwrap_or(PROCESSING_FAILURE)))),
    }
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
    fn new(sop_class: &str, transfer_syntax: &str) -> Self {
        Self { sop_class: sop_class.to_owned(), transfer_syntax: transfer_syntax.to_owned() }
    }
}

impl ObjectToSend {
    /// The context in which it is sent as it is.
    pub fn kind(&self) -> Kind {
        Kind::new(&self.sop_class, &self.transfer_syntax)
    }
}

/// Sends objects in order, on one association; one answer for each. `answered` is told each answer as it comes, so that
/// what was stored is known even where the association breaks off later.
pub async fn send(
    peer: &Peer,
    objects: &[ObjectToSend],
    mut answered: impl FnMut(usize, Sent) + Send,
) -> Result<(), SendError> {
    let kinds: Vec<Kind> = objects.iter().map(ObjectToSend::kind).collect();
    let mut sender = Sender::open(peer, &kinds).await?;
    for (n, object) in objects.iter().enumerate() {
        answered(n, sender.send(object).await?);
    }
    sender.close().await;
    Ok(())
}

/// An association on which objects go out one by one. Let go before its close, it breaks off.
pub struct Sender {
    client: Client,
    contexts: Contexts,
    called_ae: String,
    /// Of the last request.
    message_id: u16,
}

impl Sender {
    /// Calls a peer with the contexts that objects of these kinds need.
    pub async fn open(peer: &Peer, kinds: &[Kind]) -> Result<Self, SendError> {
        let contexts = Contexts::for_kinds(kinds);
        let client = Client::open(peer, contexts.proposals()).await?;
        Ok(Self { client, contexts, called_ae: peer.called_ae.clone(), message_id: 0 })
    }

    /// Sends an object; how the peer took it.
    ///
    /// One in explicit VR little endian that the peer does not take so is sent in implicit VR; no other is changed.
    pub async fn send(&mut self, object: &ObjectToSend) -> Result<Sent, SendError> {
        let (context, dataset) = match self.contexts.choose(object, &self.client.accepted) {
            Ok(chosen) => chosen,
            Err(reason) => return Ok(Sent::Refused(format!("{} {reason}", self.called_ae))),
        };
        self.message_id = self.message_id.wrapping_add(1).max(1);
        let command = Command::store(self.message_id, &object.sop_class, &object.sop_instance);
        Ok(judge(&self.client.request(context, &command, Some(&dataset)).await?))
    }

    /// Waits for each response for at most so long instead of `limits::association::RESPONSE`.
    #[must_use]
    pub fn answered_within(mut self, time: Duration) -> Self {
        self.client.patience = time;
        self
    }

    /// Ends the association in order.
    pub async fn close(self) {
        self.client.close().await;
    }
}

/// Presentation contexts: one for each SOP class and transfer syntax, so that it is known in which one an object is taken.
struct Contexts(BTreeMap<Kind, u8>);

impl Contexts {
    fn for_kinds(kinds: &[Kind]) -> Self {
        let mut wanted: Vec<Kind> = Vec::new();
        // Those that may do without come last: there is no place for more than 128.
        let instead = kinds.iter().filter(|kind| can_be_implicit(&kind.transfer_syntax));
        let instead = instead.map(|kind| Kind::new(&kind.sop_class, uids::IMPLICIT_VR_LITTLE_ENDIAN));
        for kind in kinds.iter().cloned().chain(instead) {
            if !wanted.contains(&kind) && wanted.len() < MAX_CONTEXTS {
                wanted.push(kind);
            }
        }
        Self(wanted.into_iter().zip((1..=u8::MAX).step_by(2)).collect())
    }

    fn proposals(&self) -> Vec<PresentationContextProposed> {
        let proposed = |(kind, id): (&Kind, &u8)| proposal(*id, &kind.sop_class, &kind.transfer_syntax);
        let mut proposals: Vec<_> = self.0.iter().map(proposed).collect();
        proposals.sort_by_key(|proposed| proposed.id);
        proposals
    }

    /// The context for an object and the bytes to send in it; why there is none otherwise.
    fn choose(&self, object: &ObjectToSend, accepted: &BTreeSet<u8>) -> Result<(u8, Bytes), String> {
        let id = |syntax: &str| {
            self.0.get(&Kind::new(&object.sop_class, syntax)).copied().filter(|id| accepted.contains(id))
        };
        if let Some(id) = id(&object.transfer_syntax) {
            return Ok((id, object.dataset.clone()));
        }
        let is_implicit = |_: &u8| can_be_implicit(&object.transfer_syntax);
        if let Some(id) = id(uids::IMPLICIT_VR_LITTLE_ENDIAN).filter(is_implicit) {
            let dataset = implicit(object).map_err(|error| format!("takes implicit VR alone, and {error}"))?;
            return Ok((id, dataset));
        }
        Err(format!("does not take SOP class {} in transfer syntax {}", object.sop_class, object.transfer_syntax))
    }
}

/// PS3.4 table B.2-1 and PS3.7 annex C.
fn judge(response: &Command) -> Sent {
    let status = response.status().unwrap_or(PROCESSING_FAILURE);
    let comment = response.comment().map(|comment| format!(": {comment}")).unwrap_or_default();
    let text = format!("status {status:04X}H{comment}");
    match status {
        // A duplicate is what a repeat after an answer that got lost finds: the peer has these very bytes.
        0x0000 | 0x0001 | DUPLICATE_INSTANCE | 0xb000..=0xbfff => Sent::Stored { status },
        0xa700..=0xa7ff | PROCESSING_FAILURE | 0x0213 => Sent::Later(text),
        _ => Sent::Refused(text),
    }
}

fn proposal(id: u8, abstract_syntax: &str, transfer_syntax: &str) -> PresentationContextProposed {
    PresentationContextProposed {
        id,
        abstract_syntax: abstract_syntax.to_owned(),
        transfer_syntaxes: vec![transfer_syntax.to_owned()],
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

struct Client {
    wire: Wire<Box<dyn Stream>>,
    accepted: BTreeSet<u8>,
    max_pdu: u32,
    /// For a response.
    patience: Duration,
}

impl Client {
    async fn open(peer: &Peer, contexts: Vec<PresentationContextProposed>) -> Result<Self, SendError> {
        let failed = |source| SendError::Connect { address: peer.address.clone(), source };
        let connect = async {
            let stream = TcpStream::connect(&peer.address).await?;
            stream.set_nodelay(true)?;
            Ok(match &peer.tls {
                None => Box::new(stream) as Box<dyn Stream>,
                Some((tls, name)) => Box::new(tls.connect(name.clone(), stream).await?),
            })
        };
        let stream = tokio::time::timeout(ARTIM, connect)
            .await
            .map_err(|_| failed(std::io::ErrorKind::TimedOut.into()))?
            .map_err(failed)?;
        let mut wire = Wire::new(stream);
        wire.send(&Pdu::AssociationRQ(request(&peer.calling_ae, &peer.called_ae, contexts))).await?;
        let Received::Other(pdu) = wire.receive(ARTIM).await? else {
            return Err(WireError::OutOfStep("data before the association was accepted").into());
        };
        match *pdu {
            Pdu::AssociationAC(ac) => {
                let is_accepted = |reason| reason == PresentationContextResultReason::Acceptance;
                let accepted =
                    ac.presentation_contexts.into_iter().filter(|context| is_accepted(context.reason.clone()));
                let accepted = accepted.map(|context| context.id).collect();
                Ok(Self { wire, accepted, max_pdu: max_pdu(&ac.user_variables), patience: RESPONSE })
            }
            Pdu::AssociationRJ(rj) => {
                let when = if rj.result == AssociationRJResult::Transient { ", for now" } else { "" };
                Err(SendError::Rejected(format!("{}{when}", rj.source)))
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Sends a request and waits for its response.
    async fn request(&mut self, context: u8, command: &Command, dataset: Option<&[u8]>) -> Result<Command, SendError> {
        let sent = self.wire.send_message(context, &command.write(), dataset, self.max_pdu).await;
        // A peer that aborts in the middle of a data set says why, if it is asked; the broken pipe says nothing.
        let wait = if sent.is_err() { LINGER } else { self.patience };
        match (self.response(wait).await, sent) {
            (Ok(response), Ok(())) if response.answers(command) => Ok(response),
            (Ok(_), Ok(())) => Err(SendError::Unexpected("a response to another request".to_owned())),
            (Err(SendError::Unexpected(reason)), _) => Err(SendError::Unexpected(reason)),
            (_, Err(error)) => Err(error.into()),
            (Err(error), Ok(())) => Err(error),
        }
    }

    async fn response(&mut self, wait: Duration) -> Result<Command, SendError> {
        let mut set = Vec::new();
        loop {
            let value = match self.wire.receive(wait).await? {
                Received::Data(value) => value,
                Received::Other(pdu) => return Err(unexpected(&pdu)),
            };
            if !value.is_command {
                return Err(WireError::OutOfStep("a data set where a response is due").into());
            }
            set.extend_from_slice(self.wire.bytes(&value));
            if set.len() > MAX_COMMAND {
                return Err(WireError::TooLong { what: "a command set", length: set.len() as u64 }.into());
            }
            if value.is_last {
                return Ok(Command::read(&set).map_err(WireError::Malformed)?);
            }
        }
    }

    async fn close(mut self) {
        // What was answered stands; a peer that does not answer the release changes nothing.
        if self.wire.send(&Pdu::ReleaseRQ).await.is_ok() {
            let _ = self.wire.receive(LINGER).await;
        }
    }
}

fn unexpected(pdu: &Pdu) -> SendError {
    SendError::Unexpected(match pdu {
        Pdu::AbortRQ { source: AbortRQSource::ServiceUser } => "an abort by its application".to_owned(),
        Pdu::AbortRQ { source: AbortRQSource::ServiceProvider(reason) } => format!("an abort: {reason:?}"),
        Pdu::AbortRQ { .. } => "an abort".to_owned(),
        other => other.short_description().to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16) -> Sent {
        let request = Command::store(1, uids::CT_IMAGE_STORAGE, "1.2.3");
        judge(&request.response(status, Some("so it is")))
    }

    #[test]
    fn statuses_say_whether_to_try_again() {
        for status in [0x0000, 0x0111, 0xb000, 0xb007] {
            assert_eq!(answer(status), Sent::Stored { status });
        }
        for status in [0xa700, 0xa702, 0x0110] {
            assert_eq!(answer(status), Sent::Later(format!("status {status:04X}H: so it is")));
        }
        for status in [0xa900, 0xc000, 0xcfff, 0x0122, 0x0117, 0x0211] {
            assert_eq!(answer(status), Sent::Refused(format!("status {status:04X}H: so it is")));
        }
    }

    #[test]
    fn each_sop_class_and_transfer_syntax_has_a_context_and_explicit_vr_has_a_second_one() {
        let object = |class: &str, syntax: &str| ObjectToSend {
            sop_class: class.to_owned(),
            sop_instance: "1.2.3".to_owned(),
            transfer_syntax: syntax.to_owned(),
            dataset: Bytes::new(),
        };
        let explicit = object(uids::CT_IMAGE_STORAGE, uids::EXPLICIT_VR_LITTLE_ENDIAN);
        let jpeg = object(uids::CT_IMAGE_STORAGE, uids::JPEG2000);
        let contexts = Contexts::for_kinds(&[explicit.kind(), jpeg.kind(), explicit.kind()]);
        assert_eq!(contexts.proposals().iter().map(|proposed| proposed.id).collect::<Vec<_>>(), [1, 3, 5]);
        let implicit_alone = BTreeSet::from([5]);
        assert_eq!(contexts.choose(&explicit, &implicit_alone).unwrap().0, 5);
        assert!(contexts.choose(&jpeg, &implicit_alone).unwrap_err().contains(uids::JPEG2000));
    }
}
