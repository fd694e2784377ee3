//! Command sets (PS3.7 6.3, 9.3): implicit VR little endian, group 0000.
use crate::limits::association::MAX_COMMAND_ELEMENTS;
use std::collections::BTreeMap;

/// C-STORE-RQ and the other command fields that are spoken here (PS3.7 E.1).
pub(super) const C_STORE_RQ: u16 = 0x0001;
pub(super) const C_FIND_RQ: u16 = 0x0020;
pub(super) const C_ECHO_RQ: u16 = 0x0030;
pub(super) const C_CANCEL_RQ: u16 = 0x0fff;
/// The bit of a command field that tells a response from its request.
pub(super) const RESPONSE: u16 = 0x8000;
/// Command Data Set Type: there is none.
pub(super) const NO_DATASET: u16 = 0x0101;

const AFFECTED_SOP_CLASS: u16 = 0x0002;
const COMMAND_FIELD: u16 = 0x0100;
const MESSAGE_ID: u16 = 0x0110;
const RESPONDED_TO: u16 = 0x0120;
const PRIORITY: u16 = 0x0700;
const DATASET_TYPE: u16 = 0x0800;
const STATUS: u16 = 0x0900;
const ERROR_COMMENT: u16 = 0x0902;
const AFFECTED_SOP_INSTANCE: u16 = 0x1000;

/// A command set, by element of group 0000.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Command {
    elements: BTreeMap<u16, Vec<u8>>,
}

impl Command {
    /// Reads a whole command set; what is wrong with it otherwise.
    pub(super) fn read(mut bytes: &[u8]) -> Result<Self, String> {
        let mut elements = BTreeMap::new();
        while let Some((head, rest)) = bytes.split_first_chunk::<8>() {
            let group = u16::from_le_bytes([head[0], head[1]]);
            let element = u16::from_le_bytes([head[2], head[3]]);
            let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
            if elements.len() >= MAX_COMMAND_ELEMENTS {
                return Err(format!("the command set has more than {MAX_COMMAND_ELEMENTS} elements"));
            }
            // Its Group Length (0000,0000) is not relied on: the fragments say where it ends.
            if group != 0 || length > rest.len() {
                return Err(format!(
                    "element ({group:04X},{element:04X}) of {length} bytes does not fit the command set"
                ));
            }
            let (value, rest) = rest.split_at(length);
            elements.insert(element, value.to_vec());
            bytes = rest;
        }
        if bytes.is_empty() { Ok(Self { elements }) } else { Err("the command set ends within an element".into()) }
    }

    /// Writes the set, its group length first.
    pub(super) fn write(&self) -> Vec<u8> {
        let mut body = Vec::new();
        for (element, value) in &self.elements {
            body.extend_from_slice(&[0, 0]);
            body.extend_from_slice(&element.to_le_bytes());
            body.extend_from_slice(&(value.len() as u32).to_le_bytes());
            body.extend_from_slice(value);
        }
        let mut bytes = vec![0, 0, 0, 0, 4, 0, 0, 0];
        bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&body);
        bytes
    }

    /// C-STORE-RQ (PS3.7 9.3.1.1).
    pub(super) fn store(message: u16, sop_class: &str, sop_instance: &str) -> Self {
        Self::default()
            .with_uid(AFFECTED_SOP_CLASS, sop_class)
            .with(COMMAND_FIELD, C_STORE_RQ)
            .with(MESSAGE_ID, message)
            .with(PRIORITY, 0)
            .with(DATASET_TYPE, 1)
            .with_uid(AFFECTED_SOP_INSTANCE, sop_instance)
    }

    /// C-FIND-RQ (PS3.7 9.3.2.1).
    pub(super) fn find(message: u16, sop_class: &str) -> Self {
        Self::default()
            .with_uid(AFFECTED_SOP_CLASS, sop_class)
            .with(COMMAND_FIELD, C_FIND_RQ)
            .with(MESSAGE_ID, message)
            .with(PRIORITY, 0)
            .with(DATASET_TYPE, 1)
    }

    /// C-ECHO-RQ (PS3.7 9.3.5.1).
    pub(super) fn echo(message: u16, sop_class: &str) -> Self {
        Self::default()
            .with_uid(AFFECTED_SOP_CLASS, sop_class)
            .with(COMMAND_FIELD, C_ECHO_RQ)
            .with(MESSAGE_ID, message)
            .with(DATASET_TYPE, NO_DATASET)
    }

    /// The response to this request (PS3.7 9.3.1.2, 9.3.5.2), with an error comment of at most 64 characters (annex C).
    pub(super) fn response(&self, status: u16, comment: Option<&str>) -> Self {
        let mut response = Self::default()
            .with(COMMAND_FIELD, self.field() | RESPONSE)
            .with(RESPONDED_TO, self.message_id().unwrap_or(0))
            .with(DATASET_TYPE, NO_DATASET)
            .with(STATUS, status);
        for element in [AFFECTED_SOP_CLASS, AFFECTED_SOP_INSTANCE] {
            if let Some(value) = self.elements.get(&element) {
                response.elements.insert(element, value.clone());
            }
        }
        if let Some(comment) = comment {
            let mut text: Vec<u8> = comment.bytes().filter(|byte| matches!(byte, b' '..=b'~')).take(64).collect();
            if text.len() % 2 == 1 {
                text.push(b' ');
            }
            response.elements.insert(ERROR_COMMENT, text);
        }
        response
    }

    /// True where this is the response to that request.
    pub(super) fn answers(&self, request: &Self) -> bool {
        self.field() == request.field() | RESPONSE && self.word(RESPONDED_TO) == request.message_id()
    }

    pub(super) fn message_id(&self) -> Option<u16> {
        self.word(MESSAGE_ID)
    }

    pub(super) fn field(&self) -> u16 {
        self.word(COMMAND_FIELD).unwrap_or(0)
    }

    pub(super) fn status(&self) -> Option<u16> {
        self.word(STATUS)
    }

    pub(super) fn comment(&self) -> Option<String> {
        // It goes into a sentence for people: no more of it than the standard allows, and nothing that is not text.
        let bytes = self.elements.get(&ERROR_COMMENT)?;
        let text: String = String::from_utf8_lossy(bytes).chars().filter(|c| !c.is_control()).take(64).collect();
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    pub(super) fn has_dataset(&self) -> bool {
        self.word(DATASET_TYPE).is_some_and(|kind| kind != NO_DATASET)
    }

    pub(super) fn sop_class(&self) -> Option<String> {
        self.uid(AFFECTED_SOP_CLASS)
    }

    pub(super) fn sop_instance(&self) -> Option<String> {
        self.uid(AFFECTED_SOP_INSTANCE)
    }

    fn word(&self, element: u16) -> Option<u16> {
        self.elements.get(&element)?.first_chunk().map(|bytes| u16::from_le_bytes(*bytes))
    }

    fn uid(&self, element: u16) -> Option<String> {
        let text = String::from_utf8_lossy(self.elements.get(&element)?);
        Some(text.trim_matches(['\0', ' ']).to_owned()).filter(|uid| !uid.is_empty())
    }

    fn with(mut self, element: u16, word: u16) -> Self {
        self.elements.insert(element, word.to_le_bytes().to_vec());
        self
    }

    fn with_uid(mut self, element: u16, uid: &str) -> Self {
        let mut value = uid.as_bytes().to_vec();
        if value.len() % 2 == 1 {
            value.push(0);
        }
        self.elements.insert(element, value);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_as_it_was_written_and_answered_to_its_number() {
        let request = Command::store(7, "1.2.840.10008.5.1.4.1.1.4", "1.2.3");
        let read = Command::read(&request.write()).unwrap();
        assert_eq!(read.sop_instance().as_deref(), Some("1.2.3"));
        let response = read.response(0xa700, Some("out of space"));
        assert_eq!((response.field(), response.status(), response.word(RESPONDED_TO)), (0x8001, Some(0xa700), Some(7)));
        assert!(!response.has_dataset());
    }

    #[test]
    fn lengths_that_lie_and_sets_without_end_are_refused() {
        assert!(Command::read(b"\0\0\0\x01\xff\xff\xff\xff\x30\0").is_err(), "claims gigabytes");
        assert!(Command::read(b"\0\0\0\x01\x02").is_err(), "ends within an element");
        assert!(Command::read(b"\x08\0\x16\0\0\0\0\0").is_err(), "group 0008");
        let many: Vec<u8> = (0..100u8).flat_map(|element| [0, 0, element, 9, 0, 0, 0, 0]).collect();
        assert!(Command::read(&many).is_err());
    }

    #[test]
    fn an_error_comment_has_at_most_64_characters_of_ascii() {
        let response = Command::echo(1, "1.2.840.10008.1.1").response(0xc000, Some(&"Å not ASCII\n".repeat(20)));
        let read = Command::read(&response.write()).unwrap();
        assert!(read.elements[&ERROR_COMMENT].len() <= 64 && read.elements[&ERROR_COMMENT].is_ascii());
        assert!(read.comment().unwrap().starts_with("not ASCII"));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = Command::read(&bytes);
        }
    }
}
