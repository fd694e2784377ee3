//! The archive: members of POSIX ustar, as packages have them.
use crate::model::packed::header::{header, padding};

/// Two blocks of zero end an archive.
const END: usize = 1024;

/// An archive of members; `None` where a name has no place in a header.
pub fn archive(members: &[(&str, Vec<u8>)]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for (name, content) in members {
        let length = content.len() as u64;
        bytes.extend_from_slice(&header(&format!("sund-support/{name}"), length)?);
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len() + padding(length) as usize, 0);
    }
    bytes.resize(bytes.len() + END, 0);
    Some(bytes)
}
