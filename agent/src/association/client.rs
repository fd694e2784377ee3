//! An association that we ask for: with whom, in which contexts, and one request after the other on it.
use super::command::Command;
use super::negotiate::{max_pdu, request};
use super::wire::{Received, Wire, WireError};
use crate::limits::association::{ARTIM, LINGER, MAX_COMMAND, RESPONSE};
use dicom_ul::pdu::{
    AbortRQSource, AssociationRJResult, Pdu, PresentationContextProposed, PresentationContextResultReason,
};
use std::collections::BTreeSet;
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

/// A presentation context as it is proposed.
pub(super) fn proposal(id: u8, abstract_syntax: &str, transfer_syntax: &str) -> PresentationContextProposed {
    PresentationContextProposed {
        id,
        abstract_syntax: abstract_syntax.to_owned(),
        transfer_syntaxes: vec![transfer_syntax.to_owned()],
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// An association that was accepted. Let go before its close, it breaks off.
pub(super) struct Client {
    wire: Wire<Box<dyn Stream>>,
    /// Numbers of the contexts that the peer accepted.
    pub(super) accepted: BTreeSet<u8>,
    max_pdu: u32,
    /// For a response.
    pub(super) patience: Duration,
}

impl Client {
    /// Calls a peer.
    pub(super) async fn open(peer: &Peer, contexts: Vec<PresentationContextProposed>) -> Result<Self, SendError> {
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
        Self::over(stream, &peer.calling_ae, &peer.called_ae, contexts).await
    }

    /// Asks for an association over a connection that stands.
    pub(super) async fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        calling_ae: &str,
        called_ae: &str,
        contexts: Vec<PresentationContextProposed>,
    ) -> Result<Self, SendError> {
        let mut wire = Wire::new(Box::new(stream) as Box<dyn Stream>);
        wire.send(&Pdu::AssociationRQ(request(calling_ae, called_ae, contexts))).await?;
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

    /// Sends a request and waits for its response; for the first, where it has several.
    pub(super) async fn request(
        &mut self,
        context: u8,
        command: &Command,
        dataset: Option<&[u8]>,
    ) -> Result<Command, SendError> {
        let sent = self.wire.send_message(context, &command.write(), dataset, self.max_pdu).await;
        // A peer that aborts in the middle of a data set says why, if it is asked; the broken pipe says nothing.
        let wait = if sent.is_err() { LINGER } else { self.patience };
        match (self.response(wait).await, sent) {
            (Ok(response), Ok(())) if response.answers(command) => Ok(response),
            (Ok(_), Ok(())) => Err(another_request()),
            (Err(SendError::Unexpected(reason)), _) => Err(SendError::Unexpected(reason)),
            (_, Err(error)) => Err(error.into()),
            (Err(error), Ok(())) => Err(error),
        }
    }

    /// Waits for a further response to a request that has several.
    pub(super) async fn next_response(&mut self, to: &Command) -> Result<Command, SendError> {
        let response = self.response(self.patience).await?;
        if response.answers(to) { Ok(response) } else { Err(another_request()) }
    }

    /// Waits for the data set that follows a response.
    pub(super) async fn dataset(&mut self, longest: usize) -> Result<Vec<u8>, SendError> {
        self.message(self.patience, Part::DataSet, longest).await
    }

    async fn response(&mut self, wait: Duration) -> Result<Command, SendError> {
        let set = self.message(wait, Part::Command, MAX_COMMAND).await?;
        Ok(Command::read(&set).map_err(WireError::Malformed)?)
    }

    /// Gathers the fragments of a command set or of a data set.
    async fn message(&mut self, wait: Duration, part: Part, longest: usize) -> Result<Vec<u8>, SendError> {
        let (what, out_of_step) = match part {
            Part::Command => ("a command set", "a data set where a response is due"),
            Part::DataSet => ("a data set", "a response where a data set is due"),
        };
        let mut bytes = Vec::new();
        loop {
            let value = match self.wire.receive(wait).await? {
                Received::Data(value) => value,
                Received::Other(pdu) => return Err(unexpected(&pdu)),
            };
            if value.is_command != (part == Part::Command) {
                return Err(WireError::OutOfStep(out_of_step).into());
            }
            bytes.extend_from_slice(self.wire.bytes(&value));
            if bytes.len() > longest {
                return Err(WireError::TooLong { what, length: bytes.len() as u64 }.into());
            }
            if value.is_last {
                return Ok(bytes);
            }
        }
    }

    /// Ends the association in order.
    pub(super) async fn close(mut self) {
        // What was answered stands; a peer that does not answer the release changes nothing.
        if self.wire.send(&Pdu::ReleaseRQ).await.is_ok() {
            let _ = self.wire.receive(LINGER).await;
        }
    }
}

/// A part of a message (PS3.7 6.3.1).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Command,
    DataSet,
}

fn another_request() -> SendError {
    SendError::Unexpected("a response to another request".to_owned())
}

fn unexpected(pdu: &Pdu) -> SendError {
    SendError::Unexpected(match pdu {
        Pdu::AbortRQ { source: AbortRQSource::ServiceUser } => "an abort by its application".to_owned(),
        Pdu::AbortRQ { source: AbortRQSource::ServiceProvider(reason) } => format!("an abort: {reason:?}"),
        Pdu::AbortRQ { .. } => "an abort".to_owned(),
        other => other.short_description().to_string(),
    })
}
