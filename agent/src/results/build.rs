//! Small words for building data sets.
use crate::code::Code;
use crate::fault::{Blame, Fault};
use dicom_core::value::{DataSetSequence, PrimitiveValue};
use dicom_core::{DataElement, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_encoding::TransferSyntaxIndex;
use dicom_object::InMemDicomObject;
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;

/// Explicit VR Little Endian: every result is encoded in it.
pub(super) const EXPLICIT: &str = "1.2.840.10008.1.2.1";

/// A data set or an item under construction.
#[derive(Clone, Debug)]
pub(super) struct Set(InMemDicomObject);

impl From<InMemDicomObject> for Set {
    fn from(set: InMemDicomObject) -> Self {
        Self(set)
    }
}

impl Set {
    pub(super) fn new() -> Self {
        Self(InMemDicomObject::new_empty())
    }

    pub(super) fn text(mut self, tag: Tag, vr: VR, text: &str) -> Self {
        let value = if text.is_empty() { PrimitiveValue::Empty } else { PrimitiveValue::from(text) };
        self.0.put(DataElement::new(tag, vr, value));
        self
    }

    pub(super) fn texts(mut self, tag: Tag, vr: VR, texts: &[&str]) -> Self {
        let value = PrimitiveValue::Strs(texts.iter().map(|t| (*t).to_owned()).collect());
        self.0.put(DataElement::new(tag, vr, value));
        self
    }

    pub(super) fn words(mut self, tag: Tag, words: &[u16]) -> Self {
        self.0.put(DataElement::new(tag, VR::US, PrimitiveValue::U16(words.into())));
        self
    }

    pub(super) fn longs(mut self, tag: Tag, longs: &[u32]) -> Self {
        self.0.put(DataElement::new(tag, VR::UL, PrimitiveValue::U32(longs.into())));
        self
    }

    pub(super) fn floats(mut self, tag: Tag, floats: &[f32]) -> Self {
        self.0.put(DataElement::new(tag, VR::FL, PrimitiveValue::F32(floats.into())));
        self
    }

    pub(super) fn tag(mut self, tag: Tag, value: Tag) -> Self {
        self.0.put(DataElement::new(tag, VR::AT, PrimitiveValue::Tags([value].as_slice().into())));
        self
    }

    pub(super) fn bytes(mut self, tag: Tag, bytes: Vec<u8>) -> Self {
        self.0.put(DataElement::new(tag, VR::OB, PrimitiveValue::U8(bytes.into())));
        self
    }

    /// Decimal strings of at most 16 characters (PS3.5 6.2, DS).
    pub(super) fn decimals(self, tag: Tag, values: &[f64]) -> Self {
        let texts: Vec<String> = values.iter().map(|value| decimal(*value)).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        self.texts(tag, VR::DS, &texts)
    }

    pub(super) fn sequence(mut self, tag: Tag, items: Vec<Set>) -> Self {
        let items: Vec<InMemDicomObject> = items.into_iter().map(|item| item.0).collect();
        self.0.put(DataElement::new(tag, VR::SQ, DataSetSequence::from(items)));
        self
    }

    pub(super) fn code(self, tag: Tag, code: &Code) -> Self {
        let item = Set::new()
            .text(tags::CODE_VALUE, VR::SH, &code.value)
            .text(tags::CODING_SCHEME_DESIGNATOR, VR::SH, &code.scheme)
            .text(tags::CODE_MEANING, VR::LO, &code.meaning);
        self.sequence(tag, vec![item])
    }

    /// The encoded data set.
    pub(super) fn encode(&self) -> Result<Vec<u8>, Fault> {
        let failed = |text: String| Fault::new("result-not-encoded", Blame::Sund, text);
        let syntax = TransferSyntaxRegistry.get(EXPLICIT).ok_or_else(|| failed("no encoder".into()))?;
        let mut bytes = Vec::new();
        self.0.write_dataset_with_ts(&mut bytes, syntax).map_err(|error| failed(error.to_string()))?;
        Ok(bytes)
    }
}

/// The shortest text of at most 16 characters that comes closest.
fn decimal(value: f64) -> String {
    let plain = format!("{value}");
    if plain.len() <= 16 {
        return plain;
    }
    (0..=12)
        .rev()
        .map(|digits| format!("{value:.digits$}"))
        .find(|text| text.len() <= 16)
        .unwrap_or_else(|| format!("{value:.8e}"))
}
