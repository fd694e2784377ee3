//! Data sets in each transfer syntax, as small as they can be and as their encoding has them.
use bytes::Bytes;
use dicom_dictionary_std::uids;
use flate2::Compression;
use std::io::Write;
use std::path::{Path, PathBuf};
use sund_agent::association::ObjectToSend;
use sund_agent::dataset::part10;

pub const CT: &str = uids::CT_IMAGE_STORAGE;
pub const EXPLICIT: &str = uids::EXPLICIT_VR_LITTLE_ENDIAN;
pub const IMPLICIT: &str = uids::IMPLICIT_VR_LITTLE_ENDIAN;
pub const DEFLATED: &str = uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN;
/// Retired, still sent.
pub const BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";

/// All that the node takes.
pub const TRANSFER_SYNTAXES: [&str; 11] = [
    IMPLICIT,
    EXPLICIT,
    BIG_ENDIAN,
    DEFLATED,
    uids::RLE_LOSSLESS,
    uids::JPEG_BASELINE8_BIT,
    uids::JPEG_EXTENDED12_BIT,
    uids::JPEG_LOSSLESS,
    uids::JPEG_LOSSLESS_SV1,
    uids::JPEG2000_LOSSLESS,
    uids::JPEG2000,
];

/// A CT image of 64 by 64 pixels. In an encapsulated syntax its one fragment is no image: nobody looks into it on the way.
pub fn object(transfer_syntax: &str, number: usize) -> ObjectToSend {
    sized(transfer_syntax, number, 64)
}

/// The same with so many rows and columns.
pub fn sized(transfer_syntax: &str, number: usize, side: u16) -> ObjectToSend {
    let sop_instance = format!("1.2.826.0.1.3680043.8.498.7.{number}");
    let mut set = Set { bytes: Vec::new(), implicit: transfer_syntax == IMPLICIT, big: transfer_syntax == BIG_ENDIAN };
    set.text(0x0008, 0x0005, "CS", "ISO_IR 100");
    set.text(0x0008, 0x0016, "UI", CT);
    set.text(0x0008, 0x0018, "UI", &sop_instance);
    set.text(0x0008, 0x0060, "CS", "CT");
    set.element(0x0010, 0x0010, "PN", b"B\xf8rge^\xc5se ");
    set.text(0x0010, 0x0020, "LO", "P1");
    set.text(0x0020, 0x000d, "UI", "1.2.826.0.1.3680043.8.498.7");
    set.text(0x0020, 0x000e, "UI", "1.2.826.0.1.3680043.8.498.7.0");
    set.text(0x0020, 0x0013, "IS", &number.to_string());
    set.word(0x0028, 0x0002, 1);
    set.text(0x0028, 0x0004, "CS", "MONOCHROME2");
    for (element, value) in [(0x10, side), (0x11, side), (0x100, 16), (0x101, 16), (0x102, 15), (0x103, 0)] {
        set.word(0x0028, element, value);
    }
    let pixels: Vec<u8> = (0..usize::from(side) * usize::from(side) * 2).map(|at| (at * 7 + number) as u8).collect();
    match transfer_syntax {
        IMPLICIT | EXPLICIT | BIG_ENDIAN => set.element(0x7fe0, 0x0010, "OW", &pixels),
        DEFLATED => {
            set.element(0x7fe0, 0x0010, "OW", &pixels);
            let mut deflate = flate2::write::DeflateEncoder::new(Vec::new(), Compression::default());
            deflate.write_all(&set.bytes).unwrap();
            set.bytes = deflate.finish().unwrap();
            if set.bytes.len() % 2 == 1 {
                set.bytes.push(0);
            }
        }
        _ => {
            set.bytes.extend_from_slice(b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\0\0\0\0\xfe\xff\0\xe0");
            set.bytes.extend_from_slice(&1000_u32.to_le_bytes());
            set.bytes.extend_from_slice(&pixels[..1000]);
            set.bytes.extend_from_slice(b"\xfe\xff\xdd\xe0\0\0\0\0");
        }
    }
    ObjectToSend {
        sop_class: CT.into(),
        sop_instance,
        transfer_syntax: transfer_syntax.into(),
        dataset: set.bytes.into(),
    }
}

/// Writes an object as a file.
pub fn file(folder: &Path, object: &ObjectToSend) -> PathBuf {
    let path = folder.join(format!("{}-{}.dcm", object.transfer_syntax, object.sop_instance));
    let bytes = part10::write(&object.sop_class, &object.sop_instance, &object.transfer_syntax, &object.dataset);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// The data set of each file in a folder.
pub fn datasets(folder: &Path) -> Vec<(String, Bytes)> {
    let mut datasets: Vec<(String, Bytes)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let bytes = Bytes::from(std::fs::read(entry.unwrap().path()).unwrap());
            let (meta, dataset) = part10::split(&bytes).unwrap();
            (meta.transfer_syntax, dataset)
        })
        .collect();
    datasets.sort();
    datasets
}

struct Set {
    bytes: Vec<u8>,
    implicit: bool,
    big: bool,
}

impl Set {
    fn element(&mut self, group: u16, element: u16, vr: &str, value: &[u8]) {
        let mut value = value.to_vec();
        let half = |word: u16| if self.big { word.to_be_bytes() } else { word.to_le_bytes() };
        let whole = |word: u32| if self.big { word.to_be_bytes() } else { word.to_le_bytes() };
        if self.big && matches!(vr, "OW" | "US") {
            value.chunks_exact_mut(2).for_each(<[u8]>::reverse);
        }
        let mut head = [half(group), half(element)].concat();
        let length = value.len() as u32;
        match (self.implicit, vr) {
            (true, _) => head.extend_from_slice(&whole(length)),
            (false, "OW") => {
                head.extend_from_slice(b"OW\0\0");
                head.extend_from_slice(&whole(length));
            }
            (false, _) => {
                head.extend_from_slice(vr.as_bytes());
                head.extend_from_slice(&half(length as u16));
            }
        }
        self.bytes.extend_from_slice(&head);
        self.bytes.extend_from_slice(&value);
    }

    fn text(&mut self, group: u16, element: u16, vr: &str, value: &str) {
        let mut value = value.as_bytes().to_vec();
        if value.len() % 2 == 1 {
            value.push(if vr == "UI" { 0 } else { b' ' });
        }
        self.element(group, element, vr, &value);
    }

    fn word(&mut self, group: u16, element: u16, value: u16) {
        self.element(group, element, "US", &value.to_le_bytes());
    }
}
