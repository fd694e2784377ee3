//! Who and what a study is: the record from which every result takes its patient and study, apart from the pixels.
use super::UidKey;
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
pub(super) const COPIED: [Tag; 15] = [
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

/// Who and what it is.
const NAMING: [Tag; 6] = [
    tags::PATIENT_NAME,
    tags::PATIENT_ID,
    tags::ISSUER_OF_PATIENT_ID,
    tags::PATIENT_BIRTH_DATE,
    tags::PATIENT_SEX,
    tags::ACCESSION_NUMBER,
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

    /// The identity of a study: each attribute as the newest instance has it that has one. `headers` come newest first.
    pub fn of_study<'a>(headers: impl IntoIterator<Item = &'a Header>) -> Self {
        let mut identity = Self::default();
        for header in headers {
            let one = Self::from_header(header);
            if identity.study.is_empty() {
                identity.study = one.study;
            }
            let known = |tag| identity.attributes.iter().any(|(group, element, _)| (*group, *element) == tag);
            let new: Vec<_> =
                one.attributes.into_iter().filter(|(group, element, _)| !known((*group, *element))).collect();
            identity.attributes.extend(new);
        }
        identity.attributes.sort_by_key(|(group, element, _)| (*group, *element));
        identity
    }

    /// True where both name the same patient and request. What else is copied (a weight, a description) may differ from
    /// series to series of one study, and corrects nobody's identity.
    pub fn names_the_same(&self, other: &Self) -> bool {
        NAMING.iter().all(|tag| self.value(*tag) == other.value(*tag))
    }

    /// All that results take from it, as one text from which nothing can be read: another identity has another one.
    pub(super) fn digest(&self, key: &UidKey) -> String {
        let attributes = self
            .attributes
            .iter()
            .flat_map(|(group, element, value)| [format!("({group:04x},{element:04x})"), value.reveal().clone()]);
        let texts: Vec<String> = std::iter::once(self.study.clone()).chain(attributes).collect();
        key.uid(texts.iter().map(String::as_str))
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
