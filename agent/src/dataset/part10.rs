//! Part 10 files (PS3.10 7.1): read for tools and golden cases, written as exports.
use super::{Header, scan};
use crate::association::{IMPLEMENTATION_CLASS, IMPLEMENTATION_VERSION};
use crate::decode::SourceInstance;
use crate::fault::{Blame, Fault};
use crate::limits::dataset::MAX_FILE;
use bytes::Bytes;
use dicom_dictionary_std::tags;
use std::path::Path;

const PREAMBLE: usize = 128;
const PREFIX: &[u8] = b"DICM";

/// Reads a file of at most `MAX_FILE` bytes: its data set as it lies there, its header scanned.
pub fn read_file(path: &Path) -> Result<SourceInstance, Fault> {
    read_file_as(path, path)
}

/// Reads a file that people know by another path than it is opened by.
pub fn read_file_as(path: &Path, shown: &Path) -> Result<SourceInstance, Fault> {
    let unreadable =
        |reason: String| Fault::new("file-unreadable", Blame::Box, format!("{}: {reason}", shown.display()));
    let length = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
    if length > MAX_FILE {
        return Err(unreadable(format!("{length} bytes are over the limit of {MAX_FILE}")));
    }
    let file = Bytes::from(std::fs::read(path).map_err(|error| unreadable(error.to_string()))?);
    read(&file).map_err(|fault| Fault { reason: format!("{}: {}", shown.display(), fault.reason), ..fault })
}

/// Reads a file's bytes; the data set shares their memory.
pub fn read(file: &Bytes) -> Result<SourceInstance, Fault> {
    let (meta, dataset) = split(file)?;
    let header = scan::scan(&dataset, &meta.transfer_syntax)?;
    let uid = |tag, in_meta| {
        let uid = header.text(tag).or_else(|| meta.header.text(in_meta));
        uid.ok_or_else(|| not_dicom("the file has no SOP Class or Instance UID"))
    };
    let sop_class = uid(tags::SOP_CLASS_UID, tags::MEDIA_STORAGE_SOP_CLASS_UID)?;
    let sop_instance = uid(tags::SOP_INSTANCE_UID, tags::MEDIA_STORAGE_SOP_INSTANCE_UID)?;
    Ok(SourceInstance { sop_class, sop_instance, header, dataset })
}

/// File Meta Information.
#[derive(Clone, Debug)]
pub struct FileMeta {
    /// Transfer Syntax UID of the data set.
    pub transfer_syntax: String,
    /// Group 0002.
    pub header: Header,
}

/// Takes a file apart into meta information and data set.
pub fn split(file: &Bytes) -> Result<(FileMeta, Bytes), Fault> {
    let start = PREAMBLE + PREFIX.len();
    if file.get(PREAMBLE..start) != Some(PREFIX) {
        return Err(not_dicom("this is not a DICOM file: the prefix DICM is absent"));
    }
    let (header, length) = scan::file_meta(&file[start..])?;
    let transfer_syntax = header
        .text(tags::TRANSFER_SYNTAX_UID)
        .ok_or_else(|| not_dicom("the file's meta information names no transfer syntax"))?;
    Ok((FileMeta { transfer_syntax, header }, file.slice(start + length..)))
}

fn not_dicom(reason: &str) -> Fault {
    Fault::new("file-not-dicom", Blame::Peer, reason)
}

/// A DICOM file around a data set (PS3.10 table 7.1-1).
pub fn write(sop_class: &str, sop_instance: &str, transfer_syntax: &str, dataset: &[u8]) -> Vec<u8> {
    let mut group = Vec::new();
    group.extend_from_slice(b"\x02\0\x01\0OB\0\0\x02\0\0\0\0\x01");
    for (element, vr, value) in [
        (0x0002_u16, b"UI", sop_class),
        (0x0003, b"UI", sop_instance),
        (0x0010, b"UI", transfer_syntax),
        (0x0012, b"UI", IMPLEMENTATION_CLASS),
        (0x0013, b"SH", IMPLEMENTATION_VERSION),
    ] {
        let mut value = value.as_bytes().to_vec();
        if value.len() % 2 == 1 {
            value.push(if vr == b"UI" { 0 } else { b' ' });
        }
        group.extend_from_slice(&2_u16.to_le_bytes());
        group.extend_from_slice(&element.to_le_bytes());
        group.extend_from_slice(vr);
        group.extend_from_slice(&(value.len() as u16).to_le_bytes());
        group.extend_from_slice(&value);
    }
    let mut file = vec![0; PREAMBLE];
    file.extend_from_slice(PREFIX);
    file.extend_from_slice(b"\x02\0\0\0UL\x04\0");
    file.extend_from_slice(&(group.len() as u32).to_le_bytes());
    file.extend_from_slice(&group);
    file.extend_from_slice(dataset);
    file
}

#[cfg(test)]
mod tests {
    use super::*;
    use dicom_dictionary_std::uids;

    #[test]
    fn what_is_written_is_read_back() {
        let class = "1.2.840.10008.5.1.4.1.1.4";
        let dataset = [&b"\x08\0\x16\0UI\x1a\x00"[..], class.as_bytes(), b"\0\x08\0\x18\0UI\x06\x002.25.7"].concat();
        let file = Bytes::from(write(class, "2.25.7", uids::EXPLICIT_VR_LITTLE_ENDIAN, &dataset));
        let instance = read(&file).unwrap();
        assert_eq!(instance.header.transfer_syntax, uids::EXPLICIT_VR_LITTLE_ENDIAN);
        assert_eq!((&instance.sop_class[..], &instance.sop_instance[..]), (class, "2.25.7"));
        assert_eq!(&instance.dataset[..], dataset);
    }

    #[test]
    fn a_file_that_is_none_is_refused() {
        assert_eq!(read(&Bytes::from_static(b"GIF89a")).unwrap_err().code, "file-not-dicom");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(tail in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let mut file = vec![0; PREAMBLE];
            file.extend_from_slice(PREFIX);
            file.extend_from_slice(&tail);
            let _ = read(&Bytes::from(file));
        }
    }
}
