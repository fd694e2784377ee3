//! The service class user: sends objects to a peer on one association.
use super::command::Command;
use super::negotiate::{VERIFICATION, request};
use super::wire::{Received, Wire, WireError};
use crate::limits::association::{ARTIM, IDLE};
use bytes::Bytes;
use dicom_ul::pdu::{Pdu, PresentationContextProposed, PresentationContextResultReason};
use std::collections::BTreeMap;
use std::sync::Arc;
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

/// Why nothing, or no more, could be sent.
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
    let contexts = vec![proposal(1, VERIFICATION, "1.2.840.10008.1.2")];
    let mut client = Client::open(peer, contexts).await?;
    let status = client.request(1, &Command::echo(1, VERIFICATION), None).await?;
    client.close().await;
    if status.status() == Some(0) {
        Ok(())
    } else {
        Err(SendError::Unexpected(format!("status {:04X?}", status.status())))
    }
}

/// Sends objects in order, on one association; one answer for each. `answered` is told each answer as it comes, so that
/// what was stored is known even where the association breaks off later.
pub async fn send(
    peer: &Peer,
    objects: &[ObjectToSend],
    mut answered: impl FnMut(usize, Sent) + Send,
) -> Result<(), SendError> {
    let mut ids: BTreeMap<(&str, &str), u8> = BTreeMap::new();
    for object in objects {
        let next = ids.len() * 2 + 1;
        if let Ok(id) = u8::try_from(next) {
            ids.entry((&object.sop_class, &object.transfer_syntax)).or_insert(id);
        }
    }
    let contexts = ids.iter().map(|((class, syntax), id)| proposal(*id, class, syntax)).collect();
    let mut client = Client::open(peer, contexts).await?;
    for (n, object) in objects.iter().enumerate() {
        let id = ids.get(&(object.sop_class.as_str(), object.transfer_syntax.as_str()));
        let Some(id) = id.copied().filter(|id| client.accepted.contains(id)) else {
            let reason = format!(
                "{} does not take SOP class {} in transfer syntax {}",
                peer.called_ae, object.sop_class, object.transfer_syntax
            );
            answered(n, Sent::Refused(reason));
            continue;
        };
        let command = Command::store((n % 0xffff) as u16 + 1, &object.sop_class, &object.sop_instance);
        let response = client.request(id, &command, Some(&object.dataset)).await?;
        answered(n, judge(&response));
    }
    client.close().await;
    Ok(())
}

/// PS3.4 table B.2-1 and PS3.7 annex C.
fn judge(response: &Command) -> Sent {
    let status = response.status().unwrap_or(0x0110);
    let comment = response.comment().map(|comment| format!(": {comment}")).unwrap_or_default();
    let text = format!("status {status:04X}H{comment}");
    match status {
        0 | 0xb000..=0xbfff | 0x0001 => Sent::Stored { status },
        0xa700..=0xa7ff | 0x0110 | 0x0210..=0x0213 => Sent::Later(text),
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
    accepted: Vec<u8>,
    max_pdu: u32,
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
        match wire.receive(ARTIM).await? {
            Received::Other(Pdu::AssociationAC(ac)) => {
                let max_pdu = ac.user_variables.iter().find_map(|item| match item {
                    dicom_ul::pdu::UserVariableItem::MaxLength(length) => Some(*length),
                    _ => None,
                });
                // PS3.8 D.1.1: 0 stands for no limit.
                let max_pdu = max_pdu.filter(|length| *length > 0).unwrap_or(128 * 1024).clamp(128, 256 * 1024);
                let accepted = ac
                    .presentation_contexts
                    .iter()
                    .filter(|context| context.reason == PresentationContextResultReason::Acceptance)
                    .map(|context| context.id)
                    .collect();
                Ok(Self { wire, accepted, max_pdu })
            }
            Received::Other(Pdu::AssociationRJ(rj)) => Err(SendError::Rejected(format!("{:?}", rj.source))),
            Received::Other(pdu) => Err(SendError::Unexpected(pdu.short_description().to_string())),
            Received::Data => Err(SendError::Unexpected("data before the association".into())),
        }
    }

    async fn request(&mut self, context: u8, command: &Command, dataset: Option<&[u8]>) -> Result<Command, SendError> {
        self.wire.send_message(context, &command.write(), dataset, self.max_pdu).await?;
        let mut bytes = Vec::new();
        loop {
            match self.wire.receive(IDLE).await? {
                Received::Data => {
                    for value in self.wire.values() {
                        let value = value?;
                        bytes.extend_from_slice(value.bytes);
                        if bytes.len() > crate::limits::association::MAX_COMMAND {
                            return Err(WireError::TooLong(bytes.len() as u32).into());
                        }
                        if value.is_command && value.is_last {
                            return Ok(Command::read(&bytes).map_err(WireError::Malformed)?);
                        }
                    }
                }
                Received::Other(pdu) => return Err(SendError::Unexpected(pdu.short_description().to_string())),
            }
        }
    }

    async fn close(mut self) {
        // What was answered stands; a peer that does not answer the release changes nothing.
        if self.wire.send(&Pdu::ReleaseRQ).await.is_ok() {
            let _ = self.wire.receive(ARTIM).await;
        }
    }
}
