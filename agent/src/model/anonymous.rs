//! That the images of a golden case identify nobody. They go wherever the package goes, so what de-identification leaves out is
//! refused, whoever says that it was allowed (PS3.15 Annex E names far more; this is what can be told from a header alone).
use crate::decode::SourceInstance;
use dicom_core::Tag;
use dicom_dictionary_std::tags;

/// A name or number that is made up has one of these words in it, so that everybody who reads it sees so.
const MADE_UP: [&str; 5] = ["ANONYM", "DEMO", "PHANTOM", "SYNTHETIC", "TEST"];

/// Absent, empty, or made up.
const NAMES: [(Tag, &str); 2] = [(tags::PATIENT_NAME, "Patient's Name"), (tags::PATIENT_ID, "Patient ID")];

/// Absent or empty.
const REMOVED: [(Tag, &str); 15] = [
    (tags::PATIENT_BIRTH_DATE, "Patient's Birth Date"),
    (tags::PATIENT_BIRTH_TIME, "Patient's Birth Time"),
    (tags::PATIENT_BIRTH_NAME, "Patient's Birth Name"),
    (tags::PATIENT_MOTHER_BIRTH_NAME, "Patient's Mother's Birth Name"),
    (tags::PATIENT_ADDRESS, "Patient's Address"),
    (tags::PATIENT_TELEPHONE_NUMBERS, "Patient's Telephone Numbers"),
    (tags::OTHER_PATIENT_NAMES, "Other Patient Names"),
    (Tag(0x0010, 0x1000), "Other Patient IDs"),
    (tags::RESPONSIBLE_PERSON, "Responsible Person"),
    (tags::INSTITUTION_NAME, "Institution Name"),
    (tags::INSTITUTION_ADDRESS, "Institution Address"),
    (tags::REFERRING_PHYSICIAN_NAME, "Referring Physician's Name"),
    (tags::PERFORMING_PHYSICIAN_NAME, "Performing Physician's Name"),
    (tags::OPERATORS_NAME, "Operators' Name"),
    (tags::NAME_OF_PHYSICIANS_READING_STUDY, "Name of Physicians Reading Study"),
];

/// What in a header may identify a patient, as the rest of a sentence about its file; without the value itself.
pub(super) fn check(image: &SourceInstance) -> Result<(), String> {
    let header = &image.header;
    if header.text(tags::PATIENT_IDENTITY_REMOVED).as_deref() != Some("YES") {
        return Err("does not say that its identity was removed: set Patient Identity Removed (0012,0062) to YES \
                    once it is"
            .to_owned());
    }
    let texts = |tag| header.texts(tag).into_iter().filter(|text| !text.is_empty());
    let is_made_up = |text: String| {
        let text = text.to_uppercase();
        MADE_UP.iter().any(|word| text.contains(word))
    };
    if let Some((tag, name)) = REMOVED.iter().find(|(tag, _)| texts(*tag).next().is_some()) {
        return Err(format!("has {name} {tag}: empty it"));
    }
    let others = header.items(tags::OTHER_PATIENT_I_DS_SEQUENCE, &image.dataset);
    if others.map_or(true, |others| !others.is_empty()) {
        return Err(format!("has Other Patient IDs Sequence {}: remove it", tags::OTHER_PATIENT_I_DS_SEQUENCE));
    }
    match NAMES.iter().find(|(tag, _)| !texts(*tag).all(is_made_up)) {
        None => Ok(()),
        Some((tag, name)) => {
            let words = MADE_UP.join(", ");
            Err(format!("has {name} {tag}: empty it, or write a made-up one with one of the words {words} in it"))
        }
    }
}
