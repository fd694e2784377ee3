//! The top level of a data set, or of an item of a sequence, by tag.
use super::{charset, scan};
use crate::fault::Fault;
use dicom_core::{Tag, VR};
use dicom_dictionary_std::{tags, uids};
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
    /// Values longer than that: where they lie, as `PixelData` does.
    pub skipped: BTreeMap<Tag, Skipped>,
    /// Where Pixel Data lies.
    pub pixel_data: Option<PixelData>,
}

/// A value that is too long to be kept: it is read again from the data set where it is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Value representation.
    pub vr: VR,
    /// Offset of the first byte of the value in the data set (after inflation, for a deflated one).
    pub offset: u64,
    /// Length in bytes, delimiters included.
    pub length: u64,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PixelData {
    /// OB or OW: in a big endian data set it says whether samples of 8 bits lie in words (PS3.5 8.1.1).
    pub vr: VR,
    /// Offset of the first byte of the value or of the first item.
    pub offset: u64,
    /// Length in bytes; `None` for encapsulated Pixel Data (undefined length).
    pub length: Option<u64>,
}

impl Header {
    /// Text values of an element, split at `\`, padding trimmed, decoded by Specific Character Set (0008,0005).
    /// Empty where the element is absent or empty.
    pub fn texts(&self, tag: Tag) -> Vec<String> {
        let Some(element) = self.elements.get(&tag).filter(|element| !element.value.is_empty()) else {
            return Vec::new();
        };
        let text = match element.vr {
            VR::LO | VR::LT | VR::PN | VR::SH | VR::ST | VR::UC | VR::UT | VR::UN => {
                charset::decode(&element.value, &self.character_sets())
            }
            _ => charset::decode(&element.value, &[]),
        };
        let trim = |value: &str| value.trim_matches(|c| c == ' ' || c == '\0').to_owned();
        if trim(&text).is_empty() {
            return Vec::new();
        }
        match element.vr {
            VR::LT | VR::ST | VR::UT => vec![text.trim_end_matches([' ', '\0']).to_owned()],
            _ => text.split('\\').map(trim).collect(),
        }
    }

    /// The first text value, where there is one that is not empty.
    pub fn text(&self, tag: Tag) -> Option<String> {
        self.texts(tag).into_iter().next().filter(|text| !text.is_empty())
    }

    /// Numbers of a DS, FD, FL, IS, US, SS, UL, SL element; one that is not a number is left out.
    pub fn numbers(&self, tag: Tag) -> Vec<f64> {
        let Some(element) = self.elements.get(&tag) else {
            return Vec::new();
        };
        let value = &element.value;
        match element.vr {
            VR::US => self.words(value, u16::from_le_bytes, u16::from_be_bytes),
            VR::SS => self.words(value, i16::from_le_bytes, i16::from_be_bytes),
            VR::UL => self.words(value, u32::from_le_bytes, u32::from_be_bytes),
            VR::SL => self.words(value, i32::from_le_bytes, i32::from_be_bytes),
            VR::FL => self.words(value, f32::from_le_bytes, f32::from_be_bytes),
            VR::FD => self.words(value, f64::from_le_bytes, f64::from_be_bytes),
            _ => self.texts(tag).iter().filter_map(|text| text.parse().ok()).collect(),
        }
    }

    /// The first number.
    pub fn number(&self, tag: Tag) -> Option<f64> {
        self.numbers(tag).into_iter().next()
    }

    /// An element's raw value, read from `dataset` (inflated) where it was too long to keep.
    pub fn raw<'a>(&'a self, tag: Tag, dataset: &'a [u8]) -> Option<(VR, &'a [u8])> {
        if let Some(element) = self.elements.get(&tag) {
            return Some((element.vr, &element.value));
        }
        let skipped = self.skipped.get(&tag)?;
        let start = usize::try_from(skipped.offset).ok()?;
        let end = start.checked_add(usize::try_from(skipped.length).ok()?)?;
        Some((skipped.vr, dataset.get(start..end)?))
    }

    /// The items of a sequence, in their order; empty where the element is absent or is no sequence.
    ///
    /// `dataset` is the one that this header was scanned from, [inflated](scan::inflated): a sequence that was too long to
    /// keep is read from there. Items keep all of their values; an item does not need `dataset` for its own sequences.
    pub fn items(&self, tag: Tag, dataset: &[u8]) -> Result<Vec<Self>, Fault> {
        let Some((vr, value)) = self.raw(tag, dataset) else {
            return Ok(Vec::new());
        };
        match vr {
            VR::SQ => scan::items(value, &self.transfer_syntax),
            // PS3.5 6.2.2: what a sequence of VR UN holds is implicit VR little endian.
            VR::UN => scan::items(value, uids::IMPLICIT_VR_LITTLE_ENDIAN),
            _ => Ok(Vec::new()),
        }
    }

    /// The one item of a sequence that has one, such as the macros of functional groups.
    pub fn item(&self, tag: Tag, dataset: &[u8]) -> Result<Option<Self>, Fault> {
        Ok(self.items(tag, dataset)?.into_iter().next())
    }

    /// Specific Character Set (0008,0005): its values, empty where undeclared.
    pub fn character_sets(&self) -> Vec<String> {
        let value = self.elements.get(&tags::SPECIFIC_CHARACTER_SET).map_or(&[][..], |element| &element.value);
        let text = String::from_utf8_lossy(value);
        let sets: Vec<String> =
            text.split('\\').map(|set| set.trim_matches(|c| c == ' ' || c == '\0').to_owned()).collect();
        if sets.iter().all(String::is_empty) { Vec::new() } else { sets }
    }

    /// True where a text is not ASCII and no character set is declared: what it says was guessed.
    pub fn guesses_text(&self) -> bool {
        let by_set = |vr| matches!(vr, VR::LO | VR::LT | VR::PN | VR::SH | VR::ST | VR::UC | VR::UT);
        self.character_sets().is_empty()
            && self.elements.values().any(|element| by_set(element.vr) && !element.value.is_ascii())
    }

    fn words<T: Into<f64>, const N: usize>(
        &self,
        value: &[u8],
        le: fn([u8; N]) -> T,
        be: fn([u8; N]) -> T,
    ) -> Vec<f64> {
        let read = if self.big_endian { be } else { le };
        value.as_chunks::<N>().0.iter().map(|word| read(*word).into()).collect()
    }
}
