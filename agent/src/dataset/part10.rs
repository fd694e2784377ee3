//! Part 10 files (PS3.10 7.1): read for tools and golden cases, written as exports.
use super::scan::scan;
use crate::decode::SourceInstance;
use crate::fault::{Blame, Fault};
use crate::limits::dataset::MAX_FILE;
use bytes::Bytes;
use dicom_dictionary_std::tags;
use std::path::Path;

const PREAMBLE: usize = 128;

/// Reads a file: its data set as it lies there, its header scanned.
pub fn read_file(path: &Path) -> Result<SourceInstance, Fault> {
    let wrong = |reason: String| Fault::new("file-not-dicom", Blame::Peer, format!("{}: {reason}", path.display()));
    let length = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
    if length > MAX_FILE {
        return Err(wrong(format!("{length} bytes are over the limit of {MAX_FILE}")));
    }
    let bytes = Bytes::from(std::fs::read(path).map_err(|error| wrong(error.to_string()))?);
    read(bytes).map_err(|fault| Fault { reason: format!("{}: {}", path.display(), fault.reason), ..fault })
}

/// Reads a file's bytes.
pub fn read(file: Bytes) -> Result<SourceInstance, Fault> {
    let wrong = |reason: &str| Fault::new("file-not-dicom", Blame::Peer, reason.to_owned());
    if file.get(PREAMBLE..PREAMBLE + 4) != Some(b"DICM") {
        return Err(wrong("this is not a DICOM file: the prefix DICM is absent"));
    }
    // The group of file meta elements is explicit VR little endian, and its first element says how long it is.
    let group = file.get(PREAMBLE + 4..PREAMBLE + 16).ok_or_else(|| wrong("the file ends in its meta information"))?;
    if group[..8] != [2, 0, 0, 0, b'U', b'L', 4, 0] {
        return Err(wrong("the meta information has no group length"));
    }
    let length = u32::from_le_bytes([group[8], group[9], group[10], group[11]]) as usize;
    let start = PREAMBLE + 16;
    let meta =
        file.get(start..start.saturating_add(length)).ok_or_else(|| wrong("the file ends in its meta information"))?;
    let transfer_syntax =
        meta_uid(meta, 0x0010).ok_or_else(|| wrong("the meta information names no transfer syntax"))?;
    let dataset = file.slice(start + length..);
    let header = scan(&dataset, &transfer_syntax)?;
    let uid = |tag| header.text(tag).ok_or_else(|| wrong("the data set has no SOP class or instance UID"));
    Ok(SourceInstance {
        sop_class: uid(tags::SOP_CLASS_UID)?,
        sop_instance: uid(tags::SOP_INSTANCE_UID)?,
        header,
        dataset,
    })
}

/// A UID of group 0002.
fn meta_uid(mut meta: &[u8], wanted: u16) -> Option<String> {
    loop {
        let head = meta.get(..8)?;
        let element = u16::from_le_bytes([head[2], head[3]]);
        let (length, skip) = if matches!(&head[4..6], b"OB" | b"OW" | b"UN" | b"SQ" | b"UT") {
            (u32::from_le_bytes(*meta.get(8..)?.first_chunk()?) as usize, 12)
        } else {
            (usize::from(u16::from_le_bytes([head[6], head[7]])), 8)
        };
        let value = meta.get(skip..skip + length)?;
        if element == wanted {
            return Some(String::from_utf8_lossy(value).trim_end_matches(['\0', ' ']).to_owned());
        }
        meta = &meta[skip + length..];
    }
}

/// A file of a data set.
pub fn write(sop_class: &str, sop_instance: &str, transfer_syntax: &str, dataset: &[u8]) -> Vec<u8> {
    let mut meta = vec![2, 0, 1, 0, b'O', b'B', 0, 0, 2, 0, 0, 0, 0, 1];
    for (element, uid) in [
        (2u8, sop_class),
        (3, sop_instance),
        (0x10, transfer_syntax),
        (0x12, "2.25.214748364799274021657734089129518276441"),
    ] {
        let padded = uid.len() + uid.len() % 2;
        meta.extend_from_slice(&[2, 0, element, 0, b'U', b'I']);
        meta.extend_from_slice(&(padded as u16).to_le_bytes());
        meta.extend_from_slice(uid.as_bytes());
        meta.resize(meta.len() + uid.len() % 2, 0);
    }
    let mut file = vec![0; PREAMBLE];
    file.extend_from_slice(b"DICM");
    file.extend_from_slice(&[2, 0, 0, 0, b'U', b'L', 4, 0]);
    file.extend_from_slice(&(meta.len() as u32).to_le_bytes());
    file.extend_from_slice(&meta);
    file.extend_from_slice(dataset);
    file
}
