//! The answer to an association request (PS3.8 7.1.1, 9.3.4, PS3.7 annex D.3).
use super::intake::Association;
use super::policy::{Policy, refusal};
use crate::fault::Fault;
use crate::limits::association::{MAX_CONTEXTS, MAX_CONTEXTS_TOLD, MAX_PDU};
use dicom_dictionary_std::uids;
use dicom_ul::pdu::{
    AssociationAC, AssociationRJ, AssociationRJResult, AssociationRJServiceProviderASCEReason,
    AssociationRJServiceProviderPresentationReason, AssociationRJServiceUserReason, AssociationRJSource, AssociationRQ,
    PresentationContextProposed, PresentationContextResult, PresentationContextResultReason, UserVariableItem,
};
use rustls::pki_types::CertificateDer;
use std::collections::BTreeMap;

/// Verification SOP Class.
pub(super) const VERIFICATION: &str = uids::VERIFICATION;
const APPLICATION_CONTEXT: &str = "1.2.840.10008.3.1.1.1";
/// Under this root lie the Storage SOP Classes of PS3.4 B.5.
const STORAGE_ROOT: &str = "1.2.840.10008.5.1.4.1.1.";
/// PS3.7 D.3.3.2: our implementation.
pub const IMPLEMENTATION_CLASS: &str = "2.25.214748364799274021657734089129518276441";
/// PS3.7 D.3.3.2: its version, at most 16 characters.
pub const IMPLEMENTATION_VERSION: &str = concat!("SUND_", env!("CARGO_PKG_VERSION"));
const ASYNCHRONOUS_OPERATIONS: u8 = 0x53;
/// PS3.8 D.1.1: 0 stands for no limit; a smaller one than this leaves no room for a value.
const MIN_PDU: u32 = 8;

/// Retired from PS3.5 in 2006, still sent.
const BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";
const PLAIN: [&str; 3] = [uids::IMPLICIT_VR_LITTLE_ENDIAN, uids::EXPLICIT_VR_LITTLE_ENDIAN, BIG_ENDIAN];
/// Transfer syntaxes that are stored as they come beside the plain ones: all that can be decoded here.
const ENCODED: [&str; 8] = [
    uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    uids::RLE_LOSSLESS,
    uids::JPEG_BASELINE8_BIT,
    uids::JPEG_EXTENDED12_BIT,
    uids::JPEG_LOSSLESS,
    uids::JPEG_LOSSLESS_SV1,
    uids::JPEG2000_LOSSLESS,
    uids::JPEG2000,
];

/// A context that was accepted.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub abstract_syntax: String,
    pub transfer_syntax: String,
}

/// The answer to a request.
pub(super) enum Answer {
    /// `lacking`: which of the contexts that were asked for are not accepted.
    Accept {
        ac: AssociationAC,
        contexts: BTreeMap<u8, Context>,
        max_pdu: u32,
        lacking: Option<Fault>,
    },
    Reject {
        rj: AssociationRJ,
        fault: Fault,
    },
}

/// Judges a request.
///
/// `certificate` is the peer's, where it has shown one that the authorities of the node vouch for.
pub(super) fn negotiate(
    policy: &Policy,
    request: AssociationRQ,
    association: &Association,
    certificate: Option<&CertificateDer<'_>>,
) -> Answer {
    use AssociationRJServiceUserReason as Reason;
    let reject = |source: AssociationRJSource, code: &'static str, reason: String| Answer::Reject {
        rj: AssociationRJ { result: AssociationRJResult::Permanent, source },
        fault: refusal(code, reason),
    };
    let user = AssociationRJSource::ServiceUser;
    // PS3.8 9.3.2: bit 0 stands for version 1.
    if request.protocol_version & 1 == 0 {
        let source = AssociationRJSource::ServiceProviderASCE(
            AssociationRJServiceProviderASCEReason::ProtocolVersionNotSupported,
        );
        let reason = format!("protocol version {:04x} of the request is unknown", request.protocol_version);
        return reject(source, "protocol-version-unknown", reason);
    }
    if request.application_context_name.trim_end_matches(['\0', ' ']) != APPLICATION_CONTEXT {
        let reason = "the application context of the request is not DICOM's".to_owned();
        return reject(user(Reason::ApplicationContextNameNotSupported), "application-context-unknown", reason);
    }
    let (called, calling, address) = (&association.called_ae, &association.calling_ae, association.peer.ip());
    if !policy.answers_to(called) {
        let reason = format!("`{calling}` at {address} calls for `{called}`; this node is `{}`", policy.ae_title);
        return reject(user(Reason::CalledAETitleNotRecognized), "called-ae-unknown", reason);
    }
    if !policy.admits(calling, address, certificate) {
        let reason = format!("`{calling}` at {address}, with this certificate or none, is not in the list of callers");
        return reject(user(Reason::CallingAETitleNotRecognized), "caller-unknown", reason);
    }
    // PS3.8 9.3.2.2: odd and different from each other; so there are no more than 128.
    let mut numbers = [false; 256];
    let is_numbered = |proposed: &PresentationContextProposed| {
        proposed.id % 2 == 1 && !std::mem::replace(&mut numbers[usize::from(proposed.id)], true)
    };
    if request.presentation_contexts.len() > MAX_CONTEXTS || !request.presentation_contexts.iter().all(is_numbered) {
        let reason = format!("`{calling}` at {address} numbers its presentation contexts wrongly");
        return reject(user(Reason::NoReasonGiven), "contexts-misnumbered", reason);
    }
    let max_pdu = max_pdu(&request.user_variables);
    let mut user_variables = user_variables();
    // PS3.7 D.3.3.3: one operation at a time. Other items of the request need no answer: by default the requestor is
    // user of each SOP class, and who does not answer an identity does not know it.
    let asks = |item: &UserVariableItem| matches!(item, UserVariableItem::Unknown(ASYNCHRONOUS_OPERATIONS, _));
    if request.user_variables.iter().any(asks) {
        user_variables.push(UserVariableItem::Unknown(ASYNCHRONOUS_OPERATIONS, vec![0, 1, 0, 1]));
    }
    let mut contexts = BTreeMap::new();
    let mut results = Vec::with_capacity(request.presentation_contexts.len());
    let mut lacking = Vec::new();
    for proposed in request.presentation_contexts {
        let (id, (reason, transfer_syntax)) = (proposed.id, judge(&proposed));
        if reason == PresentationContextResultReason::Acceptance {
            let abstract_syntax = proposed.abstract_syntax;
            contexts.insert(id, Context { abstract_syntax, transfer_syntax: transfer_syntax.clone() });
        } else {
            lacking.push(why_not(&proposed, &reason));
        }
        results.push(PresentationContextResult { id, reason, transfer_syntax });
    }
    let ac = AssociationAC {
        protocol_version: 1,
        calling_ae_title: request.calling_ae_title,
        called_ae_title: request.called_ae_title,
        application_context_name: APPLICATION_CONTEXT.to_owned(),
        presentation_contexts: results,
        user_variables,
    };
    Answer::Accept { ac, contexts, max_pdu, lacking: contexts_not_accepted(&lacking) }
}

/// What a person at the modality must know of a context that is not accepted. UIDs alone: a peer's text does not get into
/// logs.
fn why_not(proposed: &PresentationContextProposed, reason: &PresentationContextResultReason) -> String {
    let uid = |text: &str| text.chars().filter(|c| c.is_ascii_digit() || *c == '.').take(64).collect::<String>();
    let class = uid(&proposed.abstract_syntax);
    if *reason == PresentationContextResultReason::TransferSyntaxesNotSupported {
        let syntaxes: Vec<String> =
            proposed.transfer_syntaxes.iter().take(MAX_CONTEXTS_TOLD).map(|text| uid(text)).collect();
        return format!("{class} in {} alone", syntaxes.join(" or "));
    }
    format!("{class}, which is not stored here")
}

fn contexts_not_accepted(lacking: &[String]) -> Option<Fault> {
    let told = lacking.get(..MAX_CONTEXTS_TOLD).unwrap_or(lacking);
    let more = match lacking.len() - told.len() {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    let reason = format!("presentation contexts were not accepted: {}{more}", told.join("; "));
    (!lacking.is_empty()).then(|| refusal("contexts-not-accepted", reason))
}

/// The result for one context, and the first transfer syntax in the peer's order that is taken.
fn judge(proposed: &PresentationContextProposed) -> (PresentationContextResultReason, String) {
    use PresentationContextResultReason::{AbstractSyntaxNotSupported, Acceptance, TransferSyntaxesNotSupported};
    let class = proposed.abstract_syntax.trim_end_matches(['\0', ' ']);
    let is_storage = class.starts_with(STORAGE_ROOT);
    // PS3.8 9.3.3.2: not significant in a context that is not accepted, but there.
    let none = || uids::IMPLICIT_VR_LITTLE_ENDIAN.to_owned();
    if !is_storage && class != VERIFICATION {
        return (AbstractSyntaxNotSupported, none());
    }
    let is_taken = |syntax: &&str| PLAIN.contains(syntax) || (is_storage && ENCODED.contains(syntax));
    let mut syntaxes = proposed.transfer_syntaxes.iter().map(|syntax| syntax.trim_end_matches(['\0', ' ']));
    match syntaxes.find(is_taken) {
        Some(syntax) => (Acceptance, syntax.to_owned()),
        None => (TransferSyntaxesNotSupported, none()),
    }
}

/// The answer where all places are taken; the peer may try again.
pub(super) fn local_limit() -> AssociationRJ {
    let reason = AssociationRJServiceProviderPresentationReason::LocalLimitExceeded;
    let source = AssociationRJSource::ServiceProviderPresentation(reason);
    AssociationRJ { result: AssociationRJResult::Transient, source }
}

/// Longest P-DATA-TF to send to a peer that says this of itself.
pub(super) fn max_pdu(items: &[UserVariableItem]) -> u32 {
    let stated = items.iter().find_map(|item| match item {
        UserVariableItem::MaxLength(length) if *length > 0 => Some(*length),
        _ => None,
    });
    stated.unwrap_or(MAX_PDU).clamp(MIN_PDU, MAX_PDU)
}

/// What we say of ourselves.
fn user_variables() -> Vec<UserVariableItem> {
    vec![
        UserVariableItem::MaxLength(MAX_PDU),
        UserVariableItem::ImplementationClassUID(IMPLEMENTATION_CLASS.to_owned()),
        UserVariableItem::ImplementationVersionName(IMPLEMENTATION_VERSION.to_owned()),
    ]
}

/// A request of ours.
pub(super) fn request(calling_ae: &str, called_ae: &str, contexts: Vec<PresentationContextProposed>) -> AssociationRQ {
    AssociationRQ {
        protocol_version: 1,
        calling_ae_title: calling_ae.to_owned(),
        called_ae_title: called_ae.to_owned(),
        application_context_name: APPLICATION_CONTEXT.to_owned(),
        presentation_contexts: contexts,
        user_variables: user_variables(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proposed(class: &str, syntaxes: &[&str]) -> PresentationContextProposed {
        let transfer_syntaxes = syntaxes.iter().map(|&syntax| syntax.to_owned()).collect();
        PresentationContextProposed { id: 1, abstract_syntax: class.to_owned(), transfer_syntaxes }
    }

    #[test]
    fn the_peers_first_transfer_syntax_that_can_be_decoded_is_taken() {
        let unknown = "1.2.840.10008.1.2.4.100";
        let (reason, syntax) = judge(&proposed(uids::CT_IMAGE_STORAGE, &[unknown, uids::JPEG2000, PLAIN[1]]));
        assert_eq!((reason, syntax.as_str()), (PresentationContextResultReason::Acceptance, uids::JPEG2000));
        let (reason, _) = judge(&proposed(uids::CT_IMAGE_STORAGE, &[unknown]));
        assert_eq!(reason, PresentationContextResultReason::TransferSyntaxesNotSupported);
        let (reason, _) = judge(&proposed(VERIFICATION, &[uids::JPEG2000]));
        assert_eq!(reason, PresentationContextResultReason::TransferSyntaxesNotSupported);
    }

    #[test]
    fn only_storage_and_verification_are_taken() {
        for class in [uids::STUDY_ROOT_QUERY_RETRIEVE_INFORMATION_MODEL_MOVE, "1.2.276.0.1", ""] {
            let (reason, _) = judge(&proposed(class, &[PLAIN[0]]));
            assert_eq!(reason, PresentationContextResultReason::AbstractSyntaxNotSupported, "{class}");
        }
    }

    #[test]
    fn the_version_name_fits_its_item() {
        assert!(IMPLEMENTATION_VERSION.len() <= 16, "PS3.7 D.3.3.2.3");
    }
}
