//! One association that was accepted: its messages, in turn (PS3.7 9.3, PS3.8 9.2).
use super::command::{C_CANCEL_RQ, C_ECHO_RQ, C_STORE_RQ, Command, RESPONSE};
use super::intake::{Association, Intake};
use super::negotiate::{Context, VERIFICATION};
use super::receive::{Announced, Receiving};
use super::status::{SUCCESS, comment_of, status_of};
use super::wire::{DataValue, Received, Wire, WireError};
use crate::fault::{Blame, Fault};
use crate::limits::association::{DRAIN_IDLE, FRAGMENT, IDLE, MAX_COMMAND, MAX_DATASET, MESSAGE};
use dicom_ul::pdu::Pdu;
use std::collections::BTreeMap;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::Instant;

/// An association.
pub(super) struct Session<'a, S, I: Intake> {
    pub wire: Wire<S>,
    pub association: Association,
    pub contexts: BTreeMap<u8, Context>,
    /// Longest P-DATA-TF that the peer takes.
    pub max_pdu: u32,
    pub intake: &'a I,
    /// Turns true when the node stops.
    pub stop: watch::Receiver<bool>,
    message: Option<Message<I::Instance>>,
}

/// A message that is being received.
struct Message<T> {
    context: u8,
    began: Instant,
    part: Part<T>,
}

enum Part<T> {
    Command(Vec<u8>),
    Dataset(Command, Dataset<T>),
}

enum Dataset<T> {
    Store(Box<Receiving<T>>),
    /// Of an operation that is not known here: read and dropped.
    Unknown {
        length: u64,
    },
}

impl<'a, S, I> Session<'a, S, I>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    I: Intake,
{
    pub(super) fn new(
        wire: Wire<S>,
        association: Association,
        contexts: BTreeMap<u8, Context>,
        max_pdu: u32,
        intake: &'a I,
        stop: watch::Receiver<bool>,
    ) -> Self {
        Self { wire, association, contexts, max_pdu, intake, stop, message: None }
    }

    /// Serves the peer until it releases the association, or cannot go on.
    pub(super) async fn run(&mut self) {
        let Err(error) = self.converse().await else { return };
        self.broken_off(&error);
        if !matches!(error, WireError::Aborted) {
            // A peer that is gone is told nothing.
            let _ = self.wire.send(&error.abort()).await;
        }
    }

    /// Says that a message has ended before its end, and what was wrong with the peer.
    pub(super) fn broken_off(&mut self, error: &WireError) {
        let code = match error {
            WireError::Closed | WireError::Aborted if self.message.is_none() => return,
            WireError::Closed | WireError::Aborted | WireError::Io(_) => "association-broken-off",
            WireError::TimedOut(_) if self.message.is_none() => return,
            WireError::TimedOut(_) => "association-timed-out",
            WireError::TooLong { .. } => "message-too-long",
            WireError::Malformed(_) => "message-malformed",
            WireError::OutOfStep(_) => "message-out-of-step",
        };
        self.message = None;
        self.intake.refused(&self.association, &Fault::new(code, Blame::Peer, error.to_string()));
    }

    async fn converse(&mut self) -> Result<(), WireError> {
        loop {
            match self.next().await? {
                Received::Data(value) => self.data(&value).await?,
                Received::Other(pdu) => match *pdu {
                    Pdu::ReleaseRQ if self.message.is_none() => return self.wire.send(&Pdu::ReleaseRP).await,
                    Pdu::AbortRQ { .. } => return Err(WireError::Aborted),
                    _ => return Err(WireError::OutOfStep("a PDU that does not belong in an association")),
                },
            }
        }
    }

    /// Waits for what comes next; not for long once the node stops.
    async fn next(&mut self) -> Result<Received, WireError> {
        if self.message.is_some() {
            return self.wire.receive(FRAGMENT).await;
        }
        if !*self.stop.borrow() {
            tokio::select! {
                biased;
                received = self.wire.receive(IDLE) => return received,
                _ = self.stop.wait_for(|stop| *stop) => {}
            }
        }
        self.wire.receive(DRAIN_IDLE).await
    }

    /// Takes a piece of a message.
    async fn data(&mut self, value: &DataValue) -> Result<(), WireError> {
        let bytes = self.wire.bytes(value);
        let message = self.message.get_or_insert_with(|| Message {
            context: value.context,
            began: Instant::now(),
            part: Part::Command(Vec::new()),
        });
        if message.context != value.context {
            return Err(WireError::OutOfStep("a fragment of another presentation context within a message"));
        }
        if message.began.elapsed() > MESSAGE {
            return Err(WireError::TimedOut(MESSAGE));
        }
        match (&mut message.part, value.is_command) {
            (Part::Command(set), true) => {
                set.extend_from_slice(bytes);
                if set.len() > MAX_COMMAND {
                    return Err(WireError::TooLong { what: "a command set", length: set.len() as u64 });
                }
                if value.is_last { self.command().await } else { Ok(()) }
            }
            (Part::Dataset(_, dataset), false) => {
                if !dataset.take(bytes, &self.association, self.intake) {
                    return Err(WireError::TooLong { what: "a data set", length: MAX_DATASET });
                }
                if value.is_last { self.dataset().await } else { Ok(()) }
            }
            (Part::Command(_), false) => Err(WireError::OutOfStep("a data set without a command")),
            (Part::Dataset(..), true) => Err(WireError::OutOfStep("a command within a data set")),
        }
    }

    /// A command set has come whole.
    async fn command(&mut self) -> Result<(), WireError> {
        let Some(Message { context, began, part: Part::Command(set) }) = self.message.take() else {
            return Ok(());
        };
        let command = Command::read(&set).map_err(WireError::Malformed)?;
        if command.field() & RESPONSE != 0 {
            return Err(WireError::OutOfStep("a response to nothing"));
        }
        if !command.has_dataset() {
            return self.without_dataset(context, &command).await;
        }
        let dataset = match command.field() {
            C_STORE_RQ => Dataset::Store(Box::new(self.receiving(context, &command, began))),
            _ => Dataset::Unknown { length: 0 },
        };
        self.message = Some(Message { context, began, part: Part::Dataset(command, dataset) });
        Ok(())
    }

    fn receiving(&self, id: u8, command: &Command, began: Instant) -> Receiving<I::Instance> {
        let (sop_class, sop_instance) = (command.sop_class(), command.sop_instance());
        let (context, refused) = match self.contexts.get(&id) {
            Some(context) => (context.clone(), None),
            None => {
                let reason = format!("presentation context {id} was not accepted");
                let none = Context { abstract_syntax: String::new(), transfer_syntax: String::new() };
                (none, Some(Fault::new("context-not-accepted", Blame::Peer, reason)))
            }
        };
        Receiving::new(Announced { context, sop_class, sop_instance }, began, refused)
    }

    async fn without_dataset(&mut self, context: u8, command: &Command) -> Result<(), WireError> {
        let status = match command.field() {
            // PS3.7 9.3.2.3: there is no response to it, and nothing that it could end.
            C_CANCEL_RQ => return Ok(()),
            C_ECHO_RQ => match self.contexts.get(&context) {
                Some(known) if known.abstract_syntax == VERIFICATION => SUCCESS,
                _ => {
                    let reason = "a C-ECHO came in a presentation context that is not that of Verification";
                    return self
                        .refuse(context, command, &Fault::new("context-not-accepted", Blame::Peer, reason))
                        .await;
                }
            },
            C_STORE_RQ => {
                let fault = Fault::new("dataset-absent", Blame::Peer, "a C-STORE came without a data set");
                return self.refuse(context, command, &fault).await;
            }
            _ => return self.refuse(context, command, &unknown(command)).await,
        };
        self.answer(context, &command.response(status, None)).await
    }

    /// A data set has come whole.
    async fn dataset(&mut self) -> Result<(), WireError> {
        let Some(Message { context, part: Part::Dataset(command, dataset), .. }) = self.message.take() else {
            return Ok(());
        };
        let Dataset::Store(receiving) = dataset else {
            return self.refuse(context, &command, &unknown(&command)).await;
        };
        match receiving.store(&self.association, self.intake).await {
            Ok(()) => self.answer(context, &command.response(SUCCESS, None)).await,
            Err(fault) => self.refuse(context, &command, &fault).await,
        }
    }

    async fn refuse(&mut self, context: u8, command: &Command, fault: &Fault) -> Result<(), WireError> {
        self.intake.refused(&self.association, fault);
        self.answer(context, &command.response(status_of(fault), Some(comment_of(fault)))).await
    }

    async fn answer(&mut self, context: u8, response: &Command) -> Result<(), WireError> {
        self.wire.send_message(context, &response.write(), None, self.max_pdu).await
    }
}

/// This node verifies and stores; it answers no query and moves nothing.
fn unknown(command: &Command) -> Fault {
    let reason = format!("command {:04x}H is none that this node serves: it takes C-ECHO and C-STORE", command.field());
    Fault::new("operation-unknown", Blame::Peer, reason)
}

impl<T: super::intake::IntakeInstance> Dataset<T> {
    /// Takes the next bytes. False once there are so many that the peer must be stopped.
    fn take<I: Intake<Instance = T>>(&mut self, bytes: &[u8], association: &Association, intake: &I) -> bool {
        match self {
            Self::Store(receiving) => receiving.take(bytes, association, intake),
            Self::Unknown { length } => {
                *length += bytes.len() as u64;
                *length <= MAX_DATASET
            }
        }
    }
}
