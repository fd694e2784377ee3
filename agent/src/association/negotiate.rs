//! Who may call, and what is accepted (PS3.8 7.1, PS3.7 D.3).
use super::intake::Association;
use crate::fault::{Blame, Fault};
use crate::limits::association::MAX_PDU;
use dicom_ul::pdu::{
    AssociationAC, AssociationRJ, AssociationRJResult, AssociationRJServiceUserReason, AssociationRJSource,
    AssociationRQ, PresentationContextResult, PresentationContextResultReason, UserVariableItem,
};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Verification SOP Class.
pub(super) const VERIFICATION: &str = "1.2.840.10008.1.1";
const APPLICATION_CONTEXT: &str = "1.2.840.10008.3.1.1.1";
/// Under this root lie the Storage SOP Classes of PS3.4 B.5.
const STORAGE_ROOT: &str = "1.2.840.10008.5.1.4.1.1.";
/// PS3.7 D.3.3.2: our implementation.
pub(crate) const IMPLEMENTATION_CLASS: &str = "2.25.214748364799274021657734089129518276441";
pub(crate) const IMPLEMENTATION_VERSION: &str = concat!("SUND_", env!("CARGO_PKG_VERSION"));

/// Transfer syntaxes that are stored as they come: all that can be decoded here.
pub(super) const TRANSFER_SYNTAXES: [&str; 10] = [
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.57",
];

/// A node that may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its AE title.
    pub ae_title: String,
    /// Its address; `None` for any.
    pub address: Option<IpAddr>,
}

/// Who may call and how.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Our AE title.
    pub ae_title: String,
    /// True: a call for another AE title is rejected.
    pub require_called_ae: bool,
    /// Further AE titles that we answer to: routes of their own.
    pub also_called: Vec<String>,
    /// Who may call; empty for anybody, which is for loopback alone.
    pub callers: Vec<Caller>,
    /// Associations at once.
    pub max_associations: usize,
}

/// A context that was accepted.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub abstract_syntax: String,
    pub transfer_syntax: String,
}

/// The answer to a request.
pub(super) enum Answer {
    Accept { ac: AssociationAC, contexts: BTreeMap<u8, Context>, peer_max_pdu: u32 },
    Reject { rj: AssociationRJ, fault: Fault },
}

/// Judges a request.
pub(super) fn negotiate(policy: &Policy, request: AssociationRQ, association: &Association) -> Answer {
    use AssociationRJServiceUserReason as Reason;
    let reject = |reason: Reason, code: &'static str, text: String| Answer::Reject {
        rj: AssociationRJ { result: AssociationRJResult::Permanent, source: AssociationRJSource::ServiceUser(reason) },
        fault: Fault::new(code, Blame::Peer, text),
    };
    let called = association.called_ae.as_str();
    if policy.require_called_ae && called != policy.ae_title && !policy.also_called.iter().any(|ae| ae == called) {
        let text = format!("the call is for AE title `{called}`, this node is `{}`", policy.ae_title);
        return reject(Reason::CalledAETitleNotRecognized, "called-ae-unknown", text);
    }
    let may_call = |caller: &Caller| {
        caller.ae_title == association.calling_ae && caller.address.is_none_or(|ip| ip == association.peer.ip())
    };
    if !policy.callers.is_empty() && !policy.callers.iter().any(may_call) {
        let text = format!("`{}` at {} is not in the list of callers", association.calling_ae, association.peer.ip());
        return reject(Reason::CallingAETitleNotRecognized, "caller-unknown", text);
    }
    if request.application_context_name.trim_end_matches(['\0', ' ']) != APPLICATION_CONTEXT {
        let text = "the application context is not DICOM's".to_owned();
        return reject(Reason::ApplicationContextNameNotSupported, "application-context-unknown", text);
    }
    let peer_max_pdu = request.user_variables.iter().find_map(|item| match item {
        UserVariableItem::MaxLength(length) => Some(*length),
        _ => None,
    });
    let mut contexts = BTreeMap::new();
    let results = request.presentation_contexts.into_iter().map(|proposed| {
        let is_storage = proposed.abstract_syntax.starts_with(STORAGE_ROOT);
        let chosen = proposed
            .transfer_syntaxes
            .iter()
            .map(|syntax| syntax.trim_end_matches(['\0', ' ']))
            .find(|syntax| TRANSFER_SYNTAXES.contains(syntax) && (is_storage || syntax.len() <= 19));
        let (reason, transfer_syntax) = match chosen {
            _ if !is_storage && proposed.abstract_syntax != VERIFICATION => {
                (PresentationContextResultReason::AbstractSyntaxNotSupported, TRANSFER_SYNTAXES[0])
            }
            None => (PresentationContextResultReason::TransferSyntaxesNotSupported, TRANSFER_SYNTAXES[0]),
            Some(syntax) => (PresentationContextResultReason::Acceptance, syntax),
        };
        let transfer_syntax = transfer_syntax.to_owned();
        if reason == PresentationContextResultReason::Acceptance {
            let context =
                Context { abstract_syntax: proposed.abstract_syntax, transfer_syntax: transfer_syntax.clone() };
            contexts.insert(proposed.id, context);
        }
        PresentationContextResult { id: proposed.id, reason, transfer_syntax }
    });
    let ac = AssociationAC {
        protocol_version: 1,
        calling_ae_title: request.calling_ae_title,
        called_ae_title: request.called_ae_title,
        application_context_name: APPLICATION_CONTEXT.to_owned(),
        presentation_contexts: results.collect(),
        user_variables: user_variables(),
    };
    // PS3.8 D.1.1: 0 stands for no limit.
    let peer_max_pdu = peer_max_pdu.filter(|length| *length > 0).unwrap_or(MAX_PDU).clamp(128, MAX_PDU);
    Answer::Accept { ac, contexts, peer_max_pdu }
}

/// What we say of ourselves.
pub(super) fn user_variables() -> Vec<UserVariableItem> {
    vec![
        UserVariableItem::MaxLength(MAX_PDU),
        UserVariableItem::ImplementationClassUID(IMPLEMENTATION_CLASS.to_owned()),
        UserVariableItem::ImplementationVersionName(IMPLEMENTATION_VERSION.to_owned()),
    ]
}

/// A request of ours.
pub(super) fn request(
    calling_ae: &str,
    called_ae: &str,
    contexts: Vec<dicom_ul::pdu::PresentationContextProposed>,
) -> AssociationRQ {
    AssociationRQ {
        protocol_version: 1,
        calling_ae_title: calling_ae.to_owned(),
        called_ae_title: called_ae.to_owned(),
        application_context_name: APPLICATION_CONTEXT.to_owned(),
        presentation_contexts: contexts,
        user_variables: user_variables(),
    }
}
