//! The audit message in XML, with elements and attributes in the order of PS3.15 A.5.1.
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::fmt::Write as _;

/// The message, and in it the line of the log as it is: its place in the chain, and what identifies patients, sealed.
pub(super) fn document(message: &Value, line: &[u8]) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?><AuditMessage>");
    let event = &message["EventIdentification"];
    open(&mut xml, "EventIdentification", event, &["EventActionCode", "EventDateTime", "EventOutcomeIndicator"]);
    code(&mut xml, "EventID", &event["EventID"]);
    for kind in each(&event["EventTypeCode"]) {
        code(&mut xml, "EventTypeCode", kind);
    }
    if let Some(why) = event["EventOutcomeDescription"]["text"].as_str() {
        let fault = event["EventOutcomeDescription"]["code"].as_str().unwrap_or_default();
        let text = escaped(&format!("{why} [{fault}]"));
        // Writing to a String cannot fail, here and below.
        let _ = write!(xml, "<EventOutcomeDescription>{text}</EventOutcomeDescription>");
    }
    xml.push_str("</EventIdentification>");
    for participant in each(&message["ActiveParticipant"]) {
        let attributes = ["UserID", "UserIsRequestor", "NetworkAccessPointID", "NetworkAccessPointTypeCode"];
        open(&mut xml, "ActiveParticipant", participant, &attributes);
        if participant["RoleIDCode"].is_object() {
            code(&mut xml, "RoleIDCode", &participant["RoleIDCode"]);
        }
        xml.push_str("</ActiveParticipant>");
    }
    let source = &message["AuditSourceIdentification"];
    open(&mut xml, "AuditSourceIdentification", source, &["AuditSourceID"]);
    let _ = write!(xml, "<AuditSourceTypeCode csd-code=\"{}\"/>", text(&source["AuditSourceTypeCode"]));
    xml.push_str("</AuditSourceIdentification>");
    for object in each(&message["ParticipantObjectIdentification"]) {
        participant_object(&mut xml, object);
    }
    let line = STANDARD.encode(line);
    xml.push_str("<ParticipantObjectIdentification ParticipantObjectID=\"audit-line\">");
    own_code(&mut xml, "ParticipantObjectIDTypeCode", "audit-line");
    let _ = write!(xml, "<ParticipantObjectDetail type=\"json\" value=\"{line}\"/></ParticipantObjectIdentification>");
    xml.push_str("</AuditMessage>");
    xml
}

fn participant_object(xml: &mut String, object: &Value) {
    let attributes = ["ParticipantObjectID", "ParticipantObjectTypeCode", "ParticipantObjectTypeCodeRole"];
    open(xml, "ParticipantObjectIdentification", object, &attributes);
    if object["ParticipantObjectIDTypeCode"].is_object() {
        code(xml, "ParticipantObjectIDTypeCode", &object["ParticipantObjectIDTypeCode"]);
    } else {
        own_code(xml, "ParticipantObjectIDTypeCode", &text(&object["ParticipantObjectID"]));
    }
    if let Some(name) = object["ParticipantObjectName"].as_str() {
        let _ = write!(xml, "<ParticipantObjectName>{}</ParticipantObjectName>", escaped(name));
    }
    if !object["ParticipantObjectDetail"].is_null() {
        let value = match &object["ParticipantObjectDetail"] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let value = STANDARD.encode(value);
        let _ = write!(xml, "<ParticipantObjectDetail type=\"text\" value=\"{value}\"/>");
    }
    xml.push_str("</ParticipantObjectIdentification>");
}

/// An element with those of its attributes that are there.
fn open(xml: &mut String, name: &str, value: &Value, attributes: &[&str]) {
    let _ = write!(xml, "<{name}");
    for attribute in attributes.iter().filter(|attribute| !value[**attribute].is_null()) {
        let _ = write!(xml, " {attribute}=\"{}\"", text(&value[*attribute]));
    }
    xml.push('>');
}

/// A coded value; its original text is what it means.
fn code(xml: &mut String, name: &str, value: &Value) {
    let meaning = text(&value["displayName"]);
    let _ = write!(
        xml,
        "<{name} csd-code=\"{}\" codeSystemName=\"{}\" displayName=\"{meaning}\" originalText=\"{meaning}\"/>",
        text(&value["csd-code"]),
        text(&value["codeSystemName"]),
    );
}

fn own_code(xml: &mut String, name: &str, value: &str) {
    let _ = write!(xml, "<{name} csd-code=\"{value}\" codeSystemName=\"99SUND\" originalText=\"{value}\"/>");
}

fn each(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A value as it stands in an attribute.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => escaped(text),
        other => escaped(&other.to_string()),
    }
}

/// XML 1.0 2.4; what it has no character for becomes a space.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\u{fffe}' | '\u{ffff}' => safe.push(' '),
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn what_a_peer_calls_itself_ends_no_attribute() {
        assert_eq!(escaped("A\"><B & \u{1}\n"), "A&quot;&gt;&lt;B &amp;   ");
    }
}
