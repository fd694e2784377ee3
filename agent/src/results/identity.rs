//! Who and what a study is: the record from which every result takes its patient and study, apart from the pixels.
use super::UidKey;
use crate::dataset::Header;
use crate::limits::study::MAX_REQUESTS;
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
    /// Sequences that a result carries, in the same way.
    sequences: Vec<(u16, u16, Vec<Item>)>,
}

/// An item of one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Item {
    attributes: Vec<(u16, u16, Private<String>)>,
    sequences: Vec<(u16, u16, Vec<Item>)>,
}

/// What is copied of a sequence: text attributes of its items, and sequences in them.
struct Macro {
    tag: Tag,
    attributes: &'static [Tag],
    sequences: &'static [Macro],
}

/// HL7v2 Hierarchic Designator Macro (PS3.3 10.14).
const DESIGNATOR: [Tag; 3] =
    [tags::LOCAL_NAMESPACE_ENTITY_ID, tags::UNIVERSAL_ENTITY_ID, tags::UNIVERSAL_ENTITY_ID_TYPE];

/// Issuers (PS3.3 C.7.2.1, C.7.1.1) and requests (PS3.3 10.6).
const SEQUENCES: [Macro; 3] = [
    Macro { tag: tags::ISSUER_OF_ACCESSION_NUMBER_SEQUENCE, attributes: &DESIGNATOR, sequences: &[] },
    Macro {
        tag: tags::ISSUER_OF_PATIENT_ID_QUALIFIERS_SEQUENCE,
        attributes: &[tags::UNIVERSAL_ENTITY_ID, tags::UNIVERSAL_ENTITY_ID_TYPE, tags::IDENTIFIER_TYPE_CODE],
        sequences: &[],
    },
    Macro {
        tag: tags::REQUEST_ATTRIBUTES_SEQUENCE,
        attributes: &[
            tags::STUDY_INSTANCE_UID,
            tags::ACCESSION_NUMBER,
            tags::PLACER_ORDER_NUMBER_IMAGING_SERVICE_REQUEST,
            tags::FILLER_ORDER_NUMBER_IMAGING_SERVICE_REQUEST,
            tags::REQUESTED_PROCEDURE_ID,
            tags::REQUESTED_PROCEDURE_DESCRIPTION,
            tags::SCHEDULED_PROCEDURE_STEP_ID,
            tags::SCHEDULED_PROCEDURE_STEP_DESCRIPTION,
        ],
        sequences: &[
            Macro { tag: tags::ISSUER_OF_ACCESSION_NUMBER_SEQUENCE, attributes: &DESIGNATOR, sequences: &[] },
            Macro {
                tag: tags::REQUESTED_PROCEDURE_CODE_SEQUENCE,
                attributes: &[
                    tags::CODE_VALUE,
                    tags::CODING_SCHEME_DESIGNATOR,
                    tags::CODING_SCHEME_VERSION,
                    tags::CODE_MEANING,
                ],
                sequences: &[],
            },
        ],
    },
];

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
        let Item { attributes, sequences } = Item::read(header, &COPIED, &SEQUENCES);
        Self { study: header.text(tags::STUDY_INSTANCE_UID).unwrap_or_default(), attributes, sequences }
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
            let known = |tag| identity.sequences.iter().any(|(group, element, _)| (*group, *element) == tag);
            let new: Vec<_> =
                one.sequences.into_iter().filter(|(group, element, _)| !known((*group, *element))).collect();
            identity.sequences.extend(new);
        }
        identity.attributes.sort_by_key(|(group, element, _)| (*group, *element));
        identity.sequences.sort_by_key(|(group, element, _)| (*group, *element));
        identity
    }

    /// True where both name the same patient and request. What else is copied (a weight, a description) may differ from
    /// series to series of one study, and corrects nobody's identity.
    pub fn names_the_same(&self, other: &Self) -> bool {
        NAMING.iter().all(|tag| self.value(*tag) == other.value(*tag))
    }

    /// All that results take from it, as one text from which nothing can be read: another identity has another one.
    pub(super) fn digest(&self, key: &UidKey) -> String {
        let mut fields = vec![self.study.clone()];
        say(&mut fields, &self.attributes, &self.sequences);
        key.uid(fields.iter().map(String::as_str))
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
        texts(&self.attributes)
    }

    /// All sequences.
    pub(super) fn sequences(&self) -> impl Iterator<Item = (Tag, &[Item])> {
        items(&self.sequences)
    }

    /// Tags of all that a result takes from here.
    pub(super) fn tags() -> impl Iterator<Item = Tag> {
        COPIED.into_iter().chain(SEQUENCES.iter().map(|sequence| sequence.tag))
    }
}

impl Item {
    /// What `header` has of these. An item's texts are in its data set's character set (PS3.5 6.1.2.3).
    fn read(header: &Header, attributes: &[Tag], sequences: &[Macro]) -> Self {
        let text = |tag: &Tag| {
            let text = header.texts(*tag).join("\\");
            (!text.is_empty()).then(|| (tag.group(), tag.element(), Private::new(text)))
        };
        let sequence = |sequence: &Macro| {
            // One that cannot be read, or is longer than headers are kept, names nobody.
            let found = header.items(sequence.tag, &[]).unwrap_or_default();
            let items: Vec<Self> = found
                .into_iter()
                .take(MAX_REQUESTS)
                .map(|mut item| {
                    if let Some(set) = header.elements.get(&tags::SPECIFIC_CHARACTER_SET) {
                        item.elements.entry(tags::SPECIFIC_CHARACTER_SET).or_insert_with(|| set.clone());
                    }
                    Self::read(&item, sequence.attributes, sequence.sequences)
                })
                .filter(|item| *item != Self::default())
                .collect();
            (!items.is_empty()).then(|| (sequence.tag.group(), sequence.tag.element(), items))
        };
        Self {
            attributes: attributes.iter().filter_map(text).collect(),
            sequences: sequences.iter().filter_map(sequence).collect(),
        }
    }

    pub(super) fn attributes(&self) -> impl Iterator<Item = (Tag, &Private<String>)> {
        texts(&self.attributes)
    }

    pub(super) fn sequences(&self) -> impl Iterator<Item = (Tag, &[Self])> {
        items(&self.sequences)
    }
}

/// Everything, in an order, with a bracket around each item, so that nothing can pass for something else.
fn say(fields: &mut Vec<String>, attributes: &[(u16, u16, Private<String>)], sequences: &[(u16, u16, Vec<Item>)]) {
    for (group, element, value) in attributes {
        fields.extend([format!("({group:04x},{element:04x})"), value.reveal().clone()]);
    }
    for (group, element, items) in sequences {
        fields.push(format!("({group:04x},{element:04x})"));
        for item in items {
            fields.push("{".to_owned());
            say(fields, &item.attributes, &item.sequences);
            fields.push("}".to_owned());
        }
    }
}

fn texts(attributes: &[(u16, u16, Private<String>)]) -> impl Iterator<Item = (Tag, &Private<String>)> {
    attributes.iter().map(|(group, element, value)| (Tag(*group, *element), value))
}

fn items(sequences: &[(u16, u16, Vec<Item>)]) -> impl Iterator<Item = (Tag, &[Item])> {
    sequences.iter().map(|(group, element, items)| (Tag(*group, *element), &items[..]))
}
