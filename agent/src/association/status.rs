//! What a refusal is called in DIMSE (PS3.7 annex C, PS3.4 table B.2-1).
use crate::fault::{Blame, Fault};

pub(super) const SUCCESS: u16 = 0x0000;
pub(super) const PROCESSING_FAILURE: u16 = 0x0110;
pub(super) const DUPLICATE_INSTANCE: u16 = 0x0111;
const SOP_CLASS_NOT_SUPPORTED: u16 = 0x0122;
const UNRECOGNIZED_OPERATION: u16 = 0x0211;
const OUT_OF_RESOURCES: u16 = 0xa700;
const DOES_NOT_MATCH_SOP_CLASS: u16 = 0xa900;
const CANNOT_UNDERSTAND: u16 = 0xc000;

/// The status of a request that was refused.
pub(super) fn status_of(fault: &Fault) -> u16 {
    match fault.code.as_ref() {
        "sop-mismatch" => DOES_NOT_MATCH_SOP_CLASS,
        "context-not-accepted" => SOP_CLASS_NOT_SUPPORTED,
        "operation-unknown" => UNRECOGNIZED_OPERATION,
        // What this box lacks now, it may have later: senders try A7xx again.
        _ if fault.blame == Blame::Box => OUT_OF_RESOURCES,
        _ if fault.blame == Blame::Peer => CANNOT_UNDERSTAND,
        _ => PROCESSING_FAILURE,
    }
}

/// What the peer reads (Error Comment): short, and nothing of what is inside this box. The operator reads the fault.
pub(super) fn comment_of(fault: &Fault) -> &str {
    match fault.code.as_ref() {
        "spool-full" => "no room for instances now",
        "operation-unknown" => "this node takes C-ECHO and C-STORE",
        "sop-mismatch" => "SOP class or instance of command and data set differ",
        "dataset-truncated" => "the data set ends within an element",
        "dataset-without-uid" => "a UID is absent or malformed",
        "dataset-nested-too-deep" => "sequences are nested too deep",
        "dataset-too-large" => "the data set is too large",
        _ if fault.blame == Blame::Box => "this node cannot store now",
        code => code,
    }
}
