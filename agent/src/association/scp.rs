//! The service class provider: C-ECHO and C-STORE.
use super::command::{C_CANCEL_RQ, C_ECHO_RQ, C_STORE_RQ, Command};
use super::intake::{Association, Intake, IntakeInstance};
use super::negotiate::{Answer, Context, VERIFICATION, negotiate};
use super::policy::Policy;
use super::wire::{Received, Wire, WireError};
use crate::dataset::scan;
use crate::fault::{Blame, Fault};
use crate::instance::{Arrival, Origin};
use crate::limits::association::{ARTIM, DRAIN, IDLE, MAX_COMMAND, MAX_DATASET};
use crate::limits::spool::PART;
use dicom_ul::pdu::{
    AbortRQServiceProviderReason, AbortRQSource, AssociationRJ, AssociationRJResult,
    AssociationRJServiceProviderPresentationReason, AssociationRJSource, Pdu,
};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

const SUCCESS: u16 = 0x0000;
const UNRECOGNIZED_OPERATION: u16 = 0x0211;
const SOP_CLASS_NOT_SUPPORTED: u16 = 0x0122;

/// A bound port, and how connections on it are secured.
pub struct Listener {
    /// The port.
    pub socket: TcpListener,
    /// TLS; `None` for plain DICOM.
    pub tls: Option<TlsAcceptor>,
}

/// Serves associations until `stop` turns true; then lets those that run end within `DRAIN`.
pub async fn serve<I: Intake>(listener: Listener, policy: Policy, intake: Arc<I>, mut stop: watch::Receiver<bool>) {
    let policy = Arc::new(policy);
    let places = Arc::new(Semaphore::new(policy.max_associations));
    let numbers = AtomicU64::new(1);
    let mut running = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.socket.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        while running.try_join_next().is_some() {}
        let Ok((stream, peer)) = accepted else { continue };
        let association = Association {
            id: numbers.fetch_add(1, Ordering::Relaxed),
            calling_ae: String::new(),
            called_ae: String::new(),
            peer,
        };
        let (policy, intake, tls) = (Arc::clone(&policy), Arc::clone(&intake), listener.tls.clone());
        let place = Arc::clone(&places).try_acquire_owned().ok();
        running.spawn(async move {
            let has_place = place.is_some();
            connection(stream, tls, association, &policy, intake.as_ref(), has_place).await;
            drop(place);
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(DRAIN, async { while running.join_next().await.is_some() {} }).await;
    running.shutdown().await;
}

async fn connection<I: Intake>(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    association: Association,
    policy: &Policy,
    intake: &I,
    has_place: bool,
) {
    // A peer that is gone already needs no setting.
    let _ = stream.set_nodelay(true);
    match tls {
        None => converse(Wire::new(stream), association, policy, intake, has_place).await,
        Some(tls) => {
            if let Ok(Ok(stream)) = tokio::time::timeout(ARTIM, tls.accept(stream)).await {
                converse(Wire::new(stream), association, policy, intake, has_place).await;
            }
        }
    }
}

async fn converse<S, I>(mut wire: Wire<S>, mut association: Association, policy: &Policy, intake: &I, has_place: bool)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    I: Intake,
{
    let Ok(Received::Other(Pdu::AssociationRQ(request))) = wire.receive(ARTIM).await else {
        // PS3.8 9.2, AA-1: anything else than a request, or nothing in time.
        let _ = wire.send(&abort(AbortRQServiceProviderReason::UnexpectedPdu)).await;
        return;
    };
    association.calling_ae = request.calling_ae_title.trim().to_owned();
    association.called_ae = request.called_ae_title.trim().to_owned();
    if !has_place {
        let fault = Fault::new("too-many-associations", Blame::Peer, "all associations of this node are in use");
        intake.rejected(&association, &fault);
        let _ = wire.send(&Pdu::AssociationRJ(local_limit())).await;
        return;
    }
    match negotiate(policy, request, &association) {
        Answer::Reject { rj, fault } => {
            intake.rejected(&association, &fault);
            let _ = wire.send(&Pdu::AssociationRJ(rj)).await;
        }
        Answer::Accept { ac, contexts, peer_max_pdu } => {
            if wire.send(&Pdu::AssociationAC(ac)).await.is_err() {
                return;
            }
            intake.opened(&association);
            let mut session = Session { wire, contexts, peer_max_pdu, association, intake };
            session.run().await;
            intake.closed(&session.association);
        }
    }
}

fn local_limit() -> AssociationRJ {
    AssociationRJ {
        result: AssociationRJResult::Transient,
        source: AssociationRJSource::ServiceProviderPresentation(
            AssociationRJServiceProviderPresentationReason::LocalLimitExceeded,
        ),
    }
}

fn abort(reason: AbortRQServiceProviderReason) -> Pdu {
    Pdu::AbortRQ { source: AbortRQSource::ServiceProvider(reason) }
}

struct Session<'a, S, I> {
    wire: Wire<S>,
    contexts: BTreeMap<u8, Context>,
    peer_max_pdu: u32,
    association: Association,
    intake: &'a I,
}

/// A message that is being received.
enum Message<T> {
    None,
    Command { context: u8, bytes: Vec<u8> },
    Dataset { context: u8, command: Command, receiving: Receiving<T> },
}

/// A data set on its way.
enum Receiving<T> {
    /// Its first bytes, until they name the study or it ends.
    Front(Vec<u8>),
    /// A large one, of which the front was scanned.
    Stream { instance: T, arrival: Arrival, length: u64 },
    /// Refused: the rest is read and dropped.
    Refused(Fault),
}

impl<S, I> Session<'_, S, I>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    I: Intake,
{
    async fn run(&mut self) {
        let mut message = Message::None;
        loop {
            let received = match self.wire.receive(IDLE).await {
                Ok(received) => received,
                Err(error) => {
                    self.broken_off(&message, &error);
                    let _ = self.wire.send(&abort(AbortRQServiceProviderReason::ReasonNotSpecified)).await;
                    return;
                }
            };
            match received {
                Received::Data => match self.data(message).await {
                    Ok(next) => message = next,
                    Err(error) => {
                        self.broken_off(&Message::None, &error);
                        let _ = self.wire.send(&abort(AbortRQServiceProviderReason::InvalidPduParameter)).await;
                        return;
                    }
                },
                Received::Other(Pdu::ReleaseRQ) => {
                    let _ = self.wire.send(&Pdu::ReleaseRP).await;
                    return;
                }
                Received::Other(Pdu::AbortRQ { .. }) => {
                    self.broken_off(&message, &WireError::Closed);
                    return;
                }
                Received::Other(_) => {
                    let _ = self.wire.send(&abort(AbortRQServiceProviderReason::UnexpectedPdu)).await;
                    return;
                }
            }
        }
    }

    fn broken_off(&self, message: &Message<I::Instance>, error: &WireError) {
        if matches!(message, Message::Dataset { .. }) || !matches!(error, WireError::Closed) {
            let fault = Fault::new("association-broken-off", Blame::Peer, error.to_string());
            self.intake.not_stored(&self.association, &fault);
        }
    }

    /// Takes the values of one P-DATA-TF.
    async fn data(&mut self, mut message: Message<I::Instance>) -> Result<Message<I::Instance>, WireError> {
        let mut finished = None;
        for value in self.wire.values() {
            let value = value?;
            message = match message {
                Message::None if value.is_command => Message::Command { context: value.context, bytes: Vec::new() },
                other => other,
            };
            match &mut message {
                Message::Command { context, bytes } if value.is_command && *context == value.context => {
                    bytes.extend_from_slice(value.bytes);
                    if bytes.len() > MAX_COMMAND {
                        return Err(WireError::TooLong(bytes.len() as u32));
                    }
                    if value.is_last {
                        let command = Command::read(bytes).map_err(WireError::Malformed)?;
                        let context = *context;
                        if command.has_dataset() {
                            message = Message::Dataset { context, command, receiving: Receiving::Front(Vec::new()) };
                        } else if finished.replace((context, command, None)).is_some() {
                            return Err(WireError::Malformed("a second request before the response".into()));
                        } else {
                            message = Message::None;
                        }
                    }
                }
                Message::Dataset { context, command, receiving } if !value.is_command && *context == value.context => {
                    self.dataset_bytes(*context, command, receiving, value.bytes);
                    if value.is_last {
                        let Message::Dataset { context, command, receiving } =
                            std::mem::replace(&mut message, Message::None)
                        else {
                            continue;
                        };
                        if finished.replace((context, command, Some(receiving))).is_some() {
                            return Err(WireError::Malformed("a second request before the response".into()));
                        }
                    }
                }
                _ => return Err(WireError::Malformed("a fragment belongs to no message".into())),
            }
        }
        if let Some((context, command, receiving)) = finished {
            self.answer(context, &command, receiving).await?;
        }
        Ok(message)
    }

    fn dataset_bytes(&self, context: u8, command: &Command, receiving: &mut Receiving<I::Instance>, bytes: &[u8]) {
        match receiving {
            Receiving::Front(front) => {
                front.extend_from_slice(bytes);
                if front.len() > PART {
                    *receiving = self.stream(context, command, front).unwrap_or_else(Receiving::Refused);
                }
            }
            Receiving::Stream { instance, length, .. } => {
                *length += bytes.len() as u64;
                let written = if *length > MAX_DATASET {
                    Err(Fault::new("dataset-too-large", Blame::Peer, "the data set is over the limit of 4 GiB"))
                } else {
                    instance.write(bytes)
                };
                if let Err(fault) = written {
                    *receiving = Receiving::Refused(fault);
                }
            }
            Receiving::Refused(_) => {}
        }
    }

    /// A data set is larger than what is held in memory: from here on its bytes go on to the intake.
    fn stream(&self, context: u8, command: &Command, front: &[u8]) -> Result<Receiving<I::Instance>, Fault> {
        let context = self.context(context)?;
        let arrival = self.arrival(&context, command, &scan::front(front, &context.transfer_syntax)?)?;
        let mut instance = self.intake.begin(&self.association, &arrival.study)?;
        instance.write(front)?;
        Ok(Receiving::Stream { instance, arrival, length: front.len() as u64 })
    }

    fn context(&self, id: u8) -> Result<Context, Fault> {
        self.contexts.get(&id).cloned().ok_or_else(|| {
            Fault::new("context-not-accepted", Blame::Peer, format!("presentation context {id} was not accepted"))
        })
    }

    fn arrival(&self, context: &Context, command: &Command, header: &crate::dataset::Header) -> Result<Arrival, Fault> {
        use dicom_dictionary_std::tags;
        let uid = |tag, name: &str| {
            header
                .text(tag)
                .filter(|uid| is_uid(uid))
                .ok_or_else(|| Fault::new("dataset-without-uid", Blame::Peer, format!("{name} is absent or not a UID")))
        };
        let arrival = Arrival {
            sop_class: uid(tags::SOP_CLASS_UID, "SOP Class UID")?,
            sop_instance: uid(tags::SOP_INSTANCE_UID, "SOP Instance UID")?,
            study: uid(tags::STUDY_INSTANCE_UID, "Study Instance UID")?,
            series: uid(tags::SERIES_INSTANCE_UID, "Series Instance UID")?,
            transfer_syntax: context.transfer_syntax.clone(),
            at: SystemTime::now(),
            origin: Origin::Received {
                calling_ae: self.association.calling_ae.clone(),
                called_ae: self.association.called_ae.clone(),
                peer: self.association.peer.to_string(),
                association: self.association.id,
            },
        };
        let same = command.sop_class().as_deref() == Some(&arrival.sop_class)
            && command.sop_instance().as_deref() == Some(&arrival.sop_instance)
            && context.abstract_syntax == arrival.sop_class;
        if !same {
            let reason = "the SOP class or instance of the command is not that of the data set";
            return Err(Fault::new("sop-mismatch", Blame::Peer, reason));
        }
        Ok(arrival)
    }

    async fn answer(
        &mut self,
        context: u8,
        command: &Command,
        receiving: Option<Receiving<I::Instance>>,
    ) -> Result<(), WireError> {
        let (status, comment) = match (command.field(), receiving) {
            (C_CANCEL_RQ, _) => return Ok(()),
            (C_ECHO_RQ, _) => match self.contexts.get(&context) {
                Some(known) if known.abstract_syntax == VERIFICATION => (SUCCESS, None),
                _ => (SOP_CLASS_NOT_SUPPORTED, None),
            },
            (C_STORE_RQ, Some(receiving)) => match self.store(context, command, receiving).await {
                Ok(()) => (SUCCESS, None),
                Err(fault) => {
                    self.intake.not_stored(&self.association, &fault);
                    (status_of(&fault), Some(fault.reason))
                }
            },
            _ => (UNRECOGNIZED_OPERATION, None),
        };
        let response = command.response(status, comment.as_deref()).write();
        self.wire.send_message(context, &response, None, self.peer_max_pdu).await
    }

    /// Returns once the instance is on stable storage.
    async fn store(&self, context: u8, command: &Command, receiving: Receiving<I::Instance>) -> Result<(), Fault> {
        let (instance, arrival) = match receiving {
            Receiving::Refused(fault) => return Err(fault),
            Receiving::Stream { instance, arrival, .. } => (instance, arrival),
            Receiving::Front(bytes) => {
                let context = self.context(context)?;
                let header = scan::scan(&bytes, &context.transfer_syntax)?;
                let arrival = self.arrival(&context, command, &header)?;
                let mut instance = self.intake.begin(&self.association, &arrival.study)?;
                instance.write(&bytes)?;
                (instance, arrival)
            }
        };
        let stored = instance.commit(arrival).await?;
        self.intake.stored(&self.association, &stored);
        Ok(())
    }
}

/// PS3.4 table B.2-1.
fn status_of(fault: &Fault) -> u16 {
    match fault.code.as_ref() {
        "spool-full" => 0xa700,
        "sop-mismatch" => 0xa900,
        "context-not-accepted" => SOP_CLASS_NOT_SUPPORTED,
        code if code.starts_with("dataset-") => 0xc000,
        _ => 0x0110,
    }
}

/// PS3.5 9.1.
fn is_uid(text: &str) -> bool {
    text.len() <= 64 && text.split('.').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let address: Option<SocketAddr> = self.socket.local_addr().ok();
        write!(f, "Listener({address:?}, tls: {})", self.tls.is_some())
    }
}
