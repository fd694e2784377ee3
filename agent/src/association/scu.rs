//! The service class user: sends objects to a peer, one by one, on one association.
use super::client::{Client, Peer, SendError, proposal};
use super::command::Command;
use super::negotiate::VERIFICATION;
use super::object::{Kind, ObjectToSend};
use super::status::{DUPLICATE_INSTANCE, PROCESSING_FAILURE};
use super::transcode::{can_be_implicit, implicit};
use crate::limits::association::MAX_CONTEXTS;
use bytes::Bytes;
use dicom_dictionary_std::uids;
use dicom_ul::pdu::PresentationContextProposed;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::net::TcpStream;

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

/// C-ECHO.
pub async fn echo(peer: &Peer) -> Result<(), SendError> {
    echo_on(Client::open(peer, verification()).await?).await
}

/// The same, over a connection that stands.
pub(super) async fn echo_over(stream: TcpStream, calling_ae: &str, called_ae: &str) -> Result<(), SendError> {
    echo_on(Client::over(stream, calling_ae, called_ae, verification()).await?).await
}

fn verification() -> Vec<PresentationContextProposed> {
    vec![proposal(1, VERIFICATION, uids::IMPLICIT_VR_LITTLE_ENDIAN)]
}

async fn echo_on(mut client: Client) -> Result<(), SendError> {
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
