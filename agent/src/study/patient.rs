//! Do all instances of a study name one patient? And has who it is changed since?
use crate::dataset::Header;
use crate::privacy::Private;
use dicom_core::Tag;
use dicom_dictionary_std::tags;

/// What tells one patient from another. Compared by [`Patient::agrees_with`], not by equality: a name may be spelled
/// with or without its trailing delimiters, and a birth date may be left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patient {
    id: Private<String>,
    issuer: Private<String>,
    name: Private<String>,
    birth_date: Private<String>,
}

impl Patient {
    /// The patient that a header names.
    pub fn of(header: &Header) -> Self {
        Self::named(|tag| Private::new(header.text(tag).unwrap_or_default()))
    }

    /// The patient that these texts name, empty ones where there are none.
    pub fn named(text: impl Fn(Tag) -> Private<String>) -> Self {
        Self {
            id: text(tags::PATIENT_ID),
            issuer: text(tags::ISSUER_OF_PATIENT_ID),
            name: Private::new(plain_name(text(tags::PATIENT_NAME).reveal())),
            birth_date: text(tags::PATIENT_BIRTH_DATE),
        }
    }

    /// True where nothing says that these are two people. The ID and its issuer must be equal; a name and a birth date
    /// must not contradict each other, but may be absent on one side.
    pub fn agrees_with(&self, other: &Self) -> bool {
        self.contradictions(other).next().is_none()
    }

    /// Names of the attributes that say that these are two people.
    pub fn contradictions(&self, other: &Self) -> impl Iterator<Item = &'static str> {
        let compared = [
            ("Patient ID", self.id != other.id),
            ("Issuer of Patient ID", contradict(&self.issuer, &other.issuer)),
            ("Patient's Name", contradict(&self.name, &other.name)),
            ("Patient's Birth Date", contradict(&self.birth_date, &other.birth_date)),
        ];
        compared.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name)
    }
}

/// True where both are there and say different things.
pub fn contradict(a: &Private<String>, b: &Private<String>) -> bool {
    !a.reveal().is_empty() && !b.reveal().is_empty() && a != b
}

/// True where all of them name one patient.
pub fn is_one_patient<'a>(patients: impl IntoIterator<Item = &'a Patient>) -> bool {
    let patients: Vec<_> = patients.into_iter().collect();
    // Pairwise: an instance without a name must not bridge two that contradict each other.
    let mut distinct: Vec<&Patient> = Vec::new();
    for patient in patients {
        if distinct.contains(&patient) {
            continue;
        }
        if !distinct.iter().all(|known| known.agrees_with(patient)) {
            return false;
        }
        distinct.push(patient);
    }
    true
}

/// A person name (PS3.5 6.2, PN) without what may differ in writing: case, runs of spaces, empty trailing components and
/// component groups. Only the first (alphabetic) group counts.
fn plain_name(name: &str) -> String {
    let alphabetic = name.split('=').next().unwrap_or_default();
    let components: Vec<String> =
        alphabetic.split('^').map(|c| c.split_whitespace().collect::<Vec<_>>().join(" ").to_uppercase()).collect();
    components.join("^").trim_end_matches('^').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Element;
    use dicom_core::VR;

    fn patient(id: &str, name: &str, born: &str) -> Patient {
        let mut header = Header { transfer_syntax: "1.2.840.10008.1.2.1".into(), ..Header::default() };
        for (tag, vr, value) in [
            (tags::PATIENT_ID, VR::LO, id),
            (tags::PATIENT_NAME, VR::PN, name),
            (tags::PATIENT_BIRTH_DATE, VR::DA, born),
        ] {
            header.elements.insert(tag, Element { vr, value: value.as_bytes().to_vec() });
        }
        Patient::of(&header)
    }

    #[test]
    fn spelling_does_not_make_two_patients_of_one() {
        let a = patient("1", "Hansen^Inger^^", "19500101");
        assert!(is_one_patient([
            &a,
            &patient("1", "HANSEN^INGER", ""),
            &patient("1", "hansen^ inger ^^^", "19500101")
        ]));
    }

    #[test]
    fn another_id_name_or_birth_date_is_another_patient() {
        let a = patient("1", "Hansen^Inger", "19500101");
        for other in
            [patient("2", "Hansen^Inger", "19500101"), patient("1", "Hansen^Per", ""), patient("1", "", "19510101")]
        {
            assert!(!is_one_patient([&a, &other]));
        }
    }

    #[test]
    fn an_instance_without_a_name_does_not_bridge_two_patients() {
        let (a, none, b) = (patient("1", "A", ""), patient("1", "", ""), patient("1", "B", ""));
        assert!(is_one_patient([&a, &none]));
        assert!(!is_one_patient([&none, &a, &b]));
        assert!(!is_one_patient([&a, &none, &b]));
    }
}
