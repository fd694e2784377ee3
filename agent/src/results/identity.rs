//! Who and what a study is: the record from which every result takes its patient and study, apart from the pixels.
use crate::dataset::Header;
use crate::privacy::Private;
use dicom_core::Tag;
use dicom_dictionary_std::tags;
use serde::{Deserialize, Serialize};

/// A version of a study's identity: text values by tag, decoded to Unicode.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Study Instance UID.
    pub study: String,
    /// Attributes that a result carries, `(gggg,eeee)` and value, absent ones left out.
    attributes: Vec<(u16, u16, Private<String>)>,
}

/// What is copied (PS3.3 C.7.1.1, C.7.2.1, C.7.2.2).
const COPIED: [Tag; 15] = [
    tags::TIMEZONE_OFFSET_FROM_UTC,
    tags::STUDY_DATE,
    tags::STUDY_TIME,
    tags::ACCESSION_NUMBER,
    tags::REFERRING_PHYSICIAN_NAME,
    tags::STUDY_DESCRIPTION,
    tags::PATIENT_NAME,
    tags::PATIENT_ID,
    tags::ISSUER_OF_PATIENT_ID,
    tags::PATIENT_BIRTH_DATE,
    tags::PATIENT_SEX,
    tags::PATIENT_AGE,
    tags::STUDY_ID,
    tags::PATIENT_SIZE,
    tags::PATIENT_WEIGHT,
];

impl Identity {
    /// The identity that a header carries.
    pub fn from_header(header: &Header) -> Self {
        let attributes = COPIED.iter().filter_map(|tag| {
            let text = header.texts(*tag).join("\\");
            (!text.is_empty()).then(|| (tag.group(), tag.element(), Private::new(text)))
        });
        Self { study: header.text(tags::STUDY_INSTANCE_UID).unwrap_or_default(), attributes: attributes.collect() }
    }

    /// A value; empty where there is none.
    pub fn value(&self, tag: Tag) -> Private<String> {
        self.attributes
            .iter()
            .find(|(group, element, _)| (*group, *element) == (tag.group(), tag.element()))
            .map_or_else(Private::default, |(_, _, value)| value.clone())
    }

    /// All values.
    pub fn attributes(&self) -> impl Iterator<Item = (Tag, &Private<String>)> {
        self.attributes.iter().map(|(group, element, value)| (Tag(*group, *element), value))
    }
}
