//! Lines of the audit log, and records of the process's own, as syslog messages (RFC 5424), each with its length before it
//! (RFC 5425 4.3).
use super::Format;
use super::tail::Batch;
use super::xml;
use crate::records::Record;
use serde_json::Value;

/// PS3.15 A.6: facility 10 (security, authorisation), severity 5 (notice), or 4 (warning) where something did not succeed.
const NOTICE: u8 = 10 * 8 + 5;
const WARNING: u8 = 10 * 8 + 4;
/// RFC 5424 6.2.1: facility 3 (system daemons), with the severity of the record.
const RECORD_ERROR: u8 = 3 * 8 + 3;
const RECORD_WARNING: u8 = 3 * 8 + 4;
/// RFC 5424 7.3.1: it begins anew above that.
const MAX_SEQUENCE: u64 = 2_147_483_647;
/// RFC 5424 6.4: a text in UTF-8 begins so.
const BOM: &str = "\u{feff}";

/// A batch, as it goes over the connection.
pub(super) fn frames(batch: &Batch, format: Format) -> Vec<u8> {
    let host = host();
    let first = (batch.last.seq + 1).saturating_sub(batch.lines.len() as u64);
    let mut frames = Vec::new();
    for ((line, message), seq) in batch.lines.iter().zip(first..) {
        push(&mut frames, &one(line, message, seq, &host, format));
    }
    frames
}

/// Records of the log, as they go over the connection.
pub(super) fn records(records: &[Record]) -> Vec<u8> {
    let host = host();
    let mut frames = Vec::new();
    for record in records {
        let priority = if record.is_error { RECORD_ERROR } else { RECORD_WARNING };
        push(&mut frames, &message(priority, &record.at, &host, "SUND-LOG-1", "", &record.text));
    }
    frames
}

fn push(frames: &mut Vec<u8>, text: &str) {
    frames.extend_from_slice(format!("{} ", text.len()).as_bytes());
    frames.extend_from_slice(text.as_bytes());
}

fn one(line: &[u8], audited: &Value, seq: u64, host: &str, format: Format) -> String {
    let event = &audited["EventIdentification"];
    let priority = if event["EventOutcomeIndicator"] == 0 { NOTICE } else { WARNING };
    let at = event["EventDateTime"].as_str().unwrap_or("-");
    let sequence = format!("[meta sequenceId=\"{}\"]", seq % MAX_SEQUENCE + 1);
    let (id, text) = match format {
        Format::Dicom => ("DICOM+RFC3881", xml::document(audited, line)),
        Format::Json => ("SUND-AUDIT-1", String::from_utf8_lossy(line).into_owned()),
    };
    message(priority, at, host, id, &sequence, &text)
}

/// `data` stands behind the origin, in the structured data.
fn message(priority: u8, at: &str, host: &str, id: &str, data: &str, text: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "<{priority}>1 {at} {host} sund - {id} [origin software=\"sund\" swVersion=\"{version}\"]{data} {BOM}{text}"
    )
}

/// RFC 5424 6.2.4: at most 255 printable characters of ASCII, or none.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String = name.trim().chars().filter(char::is_ascii_graphic).take(255).collect();
    if name.is_empty() { "-".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_message_has_the_header_of_rfc_5424_and_what_failed_is_a_warning() {
        let audited = |outcome: u8| json!({ "EventIdentification": { "EventDateTime": "2026-11-23T13:05:57.120Z", "EventOutcomeIndicator": outcome } });
        let text = one(b"{}", &audited(0), 0, "box", Format::Json);
        let head = "<85>1 2026-11-23T13:05:57.120Z box sund - SUND-AUDIT-1 [origin software=\"sund\"";
        assert!(text.starts_with(head) && text.ends_with("[meta sequenceId=\"1\"] \u{feff}{}"), "{text}");
        assert!(one(b"{}", &audited(8), MAX_SEQUENCE, "box", Format::Json).starts_with("<84>1 "));
        assert!(one(b"{}", &audited(8), MAX_SEQUENCE, "box", Format::Json).contains("sequenceId=\"1\""));
    }
}
