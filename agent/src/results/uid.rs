//! UIDs of results: the same result has the same UID, whenever and however often it is made.
use ring::hmac::{HMAC_SHA256, Key, sign};
use ring::rand::{SecureRandom, SystemRandom};

/// The region's or site's key: without it nobody can tell from a UID what it was made of.
pub struct UidKey(Key);

impl std::fmt::Debug for UidKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UidKey")
    }
}

impl UidKey {
    /// A key from its bytes.
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(Key::new(HMAC_SHA256, bytes))
    }

    /// Bytes for a new key; `None` where the system has no randomness.
    pub fn random() -> Option<[u8; 32]> {
        let mut bytes = [0; 32];
        SystemRandom::new().fill(&mut bytes).ok().map(|()| bytes)
    }

    /// `2.25.` and the first 128 bits of HMAC-SHA256 over the fields, each preceded by its length (64 bit, big endian), as a
    /// decimal number (PS3.5 B.2).
    pub fn uid<'a>(&self, fields: impl IntoIterator<Item = &'a str>) -> String {
        let mut message = Vec::new();
        for field in fields {
            message.extend_from_slice(&(field.len() as u64).to_be_bytes());
            message.extend_from_slice(field.as_bytes());
        }
        let tag = sign(&self.0, &message);
        let number = tag.as_ref().first_chunk::<16>().map_or(0, |bytes| u128::from_be_bytes(*bytes));
        format!("2.25.{number}")
    }
}

#[cfg(test)]
mod tests {
    use super::UidKey;

    #[test]
    fn a_uid_depends_on_every_field_and_on_where_fields_end() {
        let key = UidKey::new(&[7; 32]);
        let uid = key.uid(["a", "bc"]);
        assert_eq!(uid, key.uid(["a", "bc"]));
        assert!(uid.len() <= 64 && uid.starts_with("2.25."));
        for other in [key.uid(["ab", "c"]), key.uid(["a", "bd"]), UidKey::new(&[8; 32]).uid(["a", "bc"])] {
            assert_ne!(uid, other);
        }
    }
}
