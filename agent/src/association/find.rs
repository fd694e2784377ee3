//! The service class user of queries: what a peer says of a study (PS3.4 C.4.1, C.6.2; PS3.7 9.1.2).
use super::client::{Client, Peer, SendError, proposal};
use super::command::Command;
use super::status::PROCESSING_FAILURE;
use super::wire::WireError;
use crate::dataset::Header;
use crate::dataset::scan::scan;
use crate::limits::association::{MAX_IDENTIFIER, MAX_MATCHES};
use dicom_core::Tag;
use dicom_dictionary_std::{tags, uids};
use std::time::Duration;
use tokio::time::timeout;

const STUDY_ROOT: &str = uids::STUDY_ROOT_QUERY_RETRIEVE_INFORMATION_MODEL_FIND;
/// The only transfer syntax that is proposed: every peer takes it (PS3.5 10.1).
const SYNTAX: &str = uids::IMPLICIT_VR_LITTLE_ENDIAN;
const CONTEXT: u8 = 1;

/// An association on which a peer is asked for studies. Let go before its close, it breaks off.
pub struct Query {
    client: Client,
    /// Of the last request.
    message_id: u16,
}

/// What a peer says of a study.
#[derive(Clone, Debug)]
pub enum Found {
    /// What it has of it: an entry for each match, none where it does not have the study.
    Matches(Vec<Header>),
    /// It did not answer the question; its status, and its comment.
    Failed(String),
}

impl Query {
    /// Calls a peer that is to take Study Root Query/Retrieve - FIND.
    pub async fn open(peer: &Peer, patience: Duration) -> Result<Self, SendError> {
        let mut client = Client::open(peer, vec![proposal(CONTEXT, STUDY_ROOT, SYNTAX)]).await?;
        if !client.accepted.contains(&CONTEXT) {
            client.close().await;
            let reason = "the peer does not take Study Root Query/Retrieve - FIND".to_owned();
            return Err(SendError::Rejected(reason));
        }
        client.patience = patience;
        Ok(Self { client, message_id: 0 })
    }

    /// Asks for these attributes of the study with this Study Instance UID; its whole answer comes within the patience.
    pub async fn study(&mut self, uid: &str, attributes: &[Tag]) -> Result<Found, SendError> {
        let patience = self.client.patience;
        let answer = timeout(patience, self.ask(uid, attributes)).await;
        answer.unwrap_or_else(|_| Err(WireError::TimedOut(patience).into()))
    }

    async fn ask(&mut self, uid: &str, attributes: &[Tag]) -> Result<Found, SendError> {
        self.message_id = self.message_id.wrapping_add(1).max(1);
        let command = Command::find(self.message_id, STUDY_ROOT);
        let mut response = self.client.request(CONTEXT, &command, Some(&identifier(uid, attributes))).await?;
        let mut matches = Vec::new();
        // PS3.4 table C.4-1: each match comes with a pending status, and after the last one a status without a match.
        while let Some(0xff00 | 0xff01) = response.status() {
            if matches.len() == MAX_MATCHES {
                let reason = format!("more than {MAX_MATCHES} matches to a query for one Study Instance UID");
                return Err(SendError::Unexpected(reason));
            }
            if !response.has_dataset() {
                return Err(SendError::Unexpected("a match without an identifier".to_owned()));
            }
            let bytes = self.client.dataset(MAX_IDENTIFIER).await?;
            let found = scan(&bytes, SYNTAX).map_err(|fault| WireError::Malformed(fault.reason))?;
            // A key that a peer does not look at says nothing of the study that is meant.
            if found.text(tags::STUDY_INSTANCE_UID).is_none_or(|of| of == uid) {
                matches.push(found);
            }
            response = self.client.next_response(&command).await?;
        }
        Ok(match response.status().unwrap_or(PROCESSING_FAILURE) {
            0 => Found::Matches(matches),
            status => {
                let comment = response.comment().map(|comment| format!(": {comment}")).unwrap_or_default();
                Found::Failed(format!("status {status:04X}H{comment}"))
            }
        })
    }

    /// Ends the association in order.
    pub async fn close(self) {
        self.client.close().await;
    }
}

/// The identifier of a request at STUDY level (PS3.4 C.4.1.1.3): the unique key, and empty what is asked for.
fn identifier(uid: &str, attributes: &[Tag]) -> Vec<u8> {
    let asked = attributes.iter().map(|tag| (*tag, "", b' '));
    let mut keys: Vec<(Tag, &str, u8)> =
        asked.chain([(tags::QUERY_RETRIEVE_LEVEL, "STUDY", b' '), (tags::STUDY_INSTANCE_UID, uid, 0)]).collect();
    keys.sort_by_key(|(tag, ..)| *tag);
    let mut bytes = Vec::new();
    for (tag, value, padding) in keys {
        let padding = &[padding][..value.len() % 2];
        bytes.extend_from_slice(&tag.group().to_le_bytes());
        bytes.extend_from_slice(&tag.element().to_le_bytes());
        bytes.extend_from_slice(&((value.len() + padding.len()) as u32).to_le_bytes());
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(padding);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_names_its_level_and_the_study_and_asks_for_the_rest() {
        let bytes = identifier("1.2.3", &[tags::PATIENT_ID, tags::ACCESSION_NUMBER]);
        let read = scan(&bytes, SYNTAX).unwrap();
        let tags: Vec<Tag> = read.elements.keys().copied().collect();
        let expected = [tags::ACCESSION_NUMBER, tags::QUERY_RETRIEVE_LEVEL, tags::PATIENT_ID, tags::STUDY_INSTANCE_UID];
        assert_eq!(tags, expected, "in ascending order (PS3.5 7.1)");
        assert_eq!(read.text(tags::QUERY_RETRIEVE_LEVEL).as_deref(), Some("STUDY"));
        assert_eq!(read.text(tags::STUDY_INSTANCE_UID).as_deref(), Some("1.2.3"));
        assert_eq!(read.text(tags::PATIENT_ID), None);
        assert!(bytes.ends_with(b"1.2.3\0") && bytes.len().is_multiple_of(2), "values of even length (PS3.5 6.2)");
    }
}
