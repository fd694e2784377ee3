//! Results under a corrected identity: the same findings, for the patient and study that the record has now.
//!
//! Nothing is inferred for it: the bytes of the earlier results are taken, patient and study are set anew, and every UID of
//! their own is replaced, in the references from one to the other as well. A report names the one that was sent before it.
use super::build::{EXPLICIT, Set};
use super::modules::identified;
use super::report::{is_report, predecessors};
use super::{Identity, Predecessor, ResultObject, UidKey};
use crate::fault::{Blame, Fault};
use dicom_core::value::{PrimitiveValue, Value};
use dicom_core::{DataElement, VR};
use dicom_dictionary_std::tags;
use dicom_encoding::TransferSyntaxIndex;
use dicom_object::InMemDicomObject;
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;
use std::collections::BTreeMap;

/// The results of one job once more, under another identity. `predecessor` is the report that a destination holds of
/// them, or may hold.
pub fn corrected(
    results: Vec<ResultObject>,
    identity: &Identity,
    predecessor: Option<&Predecessor>,
    uid_key: &UidKey,
) -> Result<Vec<ResultObject>, Fault> {
    let digest = identity.digest(uid_key);
    let before = predecessor.map_or("", |document| &document.sop_instance);
    let own = results.iter().flat_map(|result| [&result.sop_instance, &result.series]);
    let renamed: BTreeMap<String, String> =
        own.map(|uid| (uid.clone(), uid_key.uid([uid.as_str(), "identity", &digest, before]))).collect();
    results.into_iter().map(|result| one(result, identity, predecessor, &renamed)).collect()
}

fn one(
    result: ResultObject,
    identity: &Identity,
    predecessor: Option<&Predecessor>,
    renamed: &BTreeMap<String, String>,
) -> Result<ResultObject, Fault> {
    let unreadable = |text: String| Fault::new("result-not-readable", Blame::Sund, text);
    let syntax = TransferSyntaxRegistry.get(EXPLICIT).ok_or_else(|| unreadable("no decoder".into()))?;
    let mut set = InMemDicomObject::read_dataset_with_ts(&result.dataset[..], syntax)
        .map_err(|error| unreadable(error.to_string()))?;
    rename(&mut set, renamed);
    let report = is_report(&result.sop_class);
    for tag in Identity::tags().chain([tags::REFERENCED_REQUEST_SEQUENCE, tags::PREDECESSOR_DOCUMENTS_SEQUENCE]) {
        set.remove_element(tag);
    }
    let mut set = identified(Set::from(set), identity, report);
    if let Some(document) = predecessor.filter(|_| report) {
        set = predecessors(set, &identity.study, document);
    }
    let new = |uid: &String| renamed.get(uid).unwrap_or(uid).clone();
    Ok(ResultObject {
        sop_instance: new(&result.sop_instance),
        series: new(&result.series),
        dataset: set.encode()?,
        ..result
    })
}

/// Replaces UIDs wherever they stand. The nesting is that of our own results.
fn rename(set: &mut InMemDicomObject, renamed: &BTreeMap<String, String>) {
    let tags: Vec<_> = set.tags().collect();
    for tag in tags {
        let Some(mut element) = set.take_element(tag).ok() else { continue };
        if element.vr() == VR::UI {
            let new = element.to_str().ok().and_then(|uid| renamed.get(uid.trim_end_matches('\0')).cloned());
            if let Some(new) = new {
                element = DataElement::new(tag, VR::UI, PrimitiveValue::from(new));
            }
        } else if let Value::Sequence(_) = element.value() {
            element.update_value(|value| {
                for item in value.items_mut().into_iter().flatten() {
                    rename(item, renamed);
                }
            });
        }
        set.put(element);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::report::SOP_CLASS;
    use dicom_core::Tag;

    fn identity(name: &str) -> Identity {
        let mut header = crate::dataset::Header { transfer_syntax: EXPLICIT.into(), ..Default::default() };
        for (tag, vr, value) in [
            (tags::STUDY_INSTANCE_UID, VR::UI, "1.2.3"),
            (tags::PATIENT_NAME, VR::PN, name),
            (tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 192"),
        ] {
            header.elements.insert(tag, crate::dataset::Element { vr, value: value.as_bytes().to_vec() });
        }
        Identity::from_header(&header)
    }

    fn result(kind: &'static str, class: &str, uid: &str, set: Set) -> ResultObject {
        ResultObject {
            kind,
            sop_class: class.into(),
            sop_instance: uid.into(),
            series: format!("{uid}.1"),
            transfer_syntax: EXPLICIT.into(),
            dataset: set.encode().unwrap(),
            summary: "a finding".into(),
        }
    }

    #[test]
    fn only_who_it_is_and_the_own_uids_change_and_references_follow() {
        let key = UidKey::new(&[7; 32]);
        let uid = |tag: Tag, uid: &str| Set::new().text(tag, VR::UI, uid);
        let seg = identified(uid(tags::SOP_INSTANCE_UID, "2.25.1"), &identity("Sorensen^Ase"), false)
            .bytes(tags::PIXEL_DATA, vec![1, 2, 3, 4]);
        let report = identified(uid(tags::SOP_INSTANCE_UID, "2.25.2"), &identity("Sorensen^Ase"), true).sequence(
            tags::REFERENCED_SOP_SEQUENCE,
            vec![uid(tags::REFERENCED_SOP_INSTANCE_UID, "2.25.1"), uid(tags::REFERENCED_SOP_INSTANCE_UID, "1.9")],
        );
        let results = vec![result("SEG", "1.2.840", "2.25.1", seg), result("SR", SOP_CLASS, "2.25.2", report)];
        let sent = Predecessor { sop_instance: "2.25.2".into(), series: "2.25.2.1".into() };
        let made = corrected(results.clone(), &identity("Sørensen^Åse"), Some(&sent), &key).unwrap();

        let syntax = TransferSyntaxRegistry.get(EXPLICIT).unwrap();
        let open = |n: usize| InMemDicomObject::read_dataset_with_ts(&made[n].dataset[..], syntax).unwrap();
        let (seg, report) = (open(0), open(1));
        assert_ne!(made[0].sop_instance, "2.25.1");
        let text = |set: &InMemDicomObject, tag| set.element(tag).unwrap().to_str().unwrap().into_owned();
        assert_eq!(text(&seg, tags::SOP_INSTANCE_UID), made[0].sop_instance);
        assert_eq!(text(&report, tags::PATIENT_NAME), "Sørensen^Åse");
        assert_eq!(&*seg.element(tags::PIXEL_DATA).unwrap().to_bytes().unwrap(), [1, 2, 3, 4]);
        let references = report.element(tags::REFERENCED_SOP_SEQUENCE).unwrap().items().unwrap();
        assert_eq!(text(&references[0], tags::REFERENCED_SOP_INSTANCE_UID), made[0].sop_instance);
        assert_eq!(text(&references[1], tags::REFERENCED_SOP_INSTANCE_UID), "1.9");
        assert!(report.element(tags::PREDECESSOR_DOCUMENTS_SEQUENCE).is_ok());
        assert!(seg.element(tags::PREDECESSOR_DOCUMENTS_SEQUENCE).is_err());

        let again = corrected(results.clone(), &identity("Sørensen^Åse"), Some(&sent), &key).unwrap();
        assert!(made.iter().zip(&again).all(|(a, b)| a.dataset == b.dataset && a.sop_instance == b.sop_instance));
        let other = corrected(results.clone(), &identity("Sørensen^Aase"), Some(&sent), &key).unwrap();
        assert!(made.iter().zip(&other).all(|(a, b)| a.sop_instance != b.sop_instance));
        // Once more, and the earlier one never went: what an earlier correction named is no longer said.
        let unsent = corrected(made, &identity("Sørensen^Aase"), None, &key).unwrap();
        let report = InMemDicomObject::read_dataset_with_ts(&unsent[1].dataset[..], syntax).unwrap();
        assert!(report.element(tags::PREDECESSOR_DOCUMENTS_SEQUENCE).is_err());
    }
}
