//! Files of PS3.10: what `sund model run` reads, and what exports and tests write.
use super::{Header, scan};
use crate::fault::{Blame, Fault};
use crate::limits::association::MAX_DATASET;
use bytes::Bytes;
use dicom_dictionary_std::tags;
use std::path::Path;

/// File preamble and prefix (PS3.10 7.1).
const PREAMBLE: usize = 128;
const PREFIX: &[u8] = b"DICM";

/// A DICOM file taken apart.
#[derive(Clone, Debug)]
pub struct Part10 {
    /// File Meta Information (group 0002).
    pub meta: Header,
    /// Transfer Syntax UID of the data set.
    pub transfer_syntax: String,
    /// The data set, as it would come over an association.
    pub dataset: Bytes,
}

/// Takes a file apart; the data set shares the file's memory.
pub fn read(file: &Bytes) -> Result<Part10, Fault> {
    let start = PREAMBLE + PREFIX.len();
    if file.get(PREAMBLE..start) != Some(PREFIX) {
        return Err(Fault::new("file-not-dicom", Blame::Peer, "the file does not begin as a DICOM file (PS3.10 7.1)"));
    }
    let (meta, length) = scan::file_meta(&file[start..])?;
    let Some(transfer_syntax) = meta.text(tags::TRANSFER_SYNTAX_UID) else {
        return Err(Fault::new(
            "file-without-transfer-syntax",
            Blame::Peer,
            "the file does not say its transfer syntax",
        ));
    };
    Ok(Part10 { meta, transfer_syntax, dataset: file.slice(start + length..) })
}

/// Reads and takes apart a file of at most `MAX_DATASET` bytes.
pub fn read_file(path: &Path) -> Result<Part10, Fault> {
    let unreadable = |error: std::io::Error| {
        Fault::new("file-unreadable", Blame::Box, format!("{} cannot be read: {error}", path.display()))
    };
    let length = std::fs::metadata(path).map_err(unreadable)?.len();
    if length > MAX_DATASET {
        return Err(Fault::new("dataset-too-large", Blame::Peer, "the file is over the limit of 4 GiB"));
    }
    read(&Bytes::from(std::fs::read(path).map_err(unreadable)?))
}

/// A DICOM file around a data set (PS3.10 table 7.1-1).
pub fn write(sop_class: &str, sop_instance: &str, transfer_syntax: &str, dataset: &[u8]) -> Vec<u8> {
    use crate::association::{IMPLEMENTATION_CLASS, IMPLEMENTATION_VERSION};
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
        let dataset = b"\x08\0\x16\0UI\x02\x001\0";
        let file = Bytes::from(write("1.2.840.10008.5.1.4.1.1.4", "2.25.7", uids::EXPLICIT_VR_LITTLE_ENDIAN, dataset));
        let part10 = read(&file).unwrap();
        assert_eq!(part10.transfer_syntax, uids::EXPLICIT_VR_LITTLE_ENDIAN);
        assert_eq!(part10.meta.text(tags::MEDIA_STORAGE_SOP_INSTANCE_UID).unwrap(), "2.25.7");
        assert_eq!(&part10.dataset[..], dataset);
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
