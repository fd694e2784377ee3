//! What must hold of `[selection]`: a rule that no series can ever fulfil would turn the model off in silence.
use super::place::Manuscript;
use crate::route::{Attribute, Bound, Requirement, Selection};
use dicom_core::VR;
use dicom_core::dictionary::{DataDictionary as _, DataDictionaryEntry as _, VirtualVr};
use dicom_dictionary_std::StandardDataDictionary;

/// Tells all that does not hold.
pub(super) fn check(rule: &Selection, script: &mut Manuscript<'_>) {
    for (n, modality) in rule.modality.iter().enumerate() {
        // PS3.3 C.7.3.1.1.1: the Defined Terms; PS3.5 6.2: CS.
        let is_term = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_' || b == b' ';
        if !(2..=16).contains(&modality.len()) || modality.trim() != modality || !modality.bytes().all(is_term) {
            let help = "write a Defined Term of PS3.3 C.7.3.1.1.1, e.g. \"CT\", \"MR\", \"US\", \"DX\"";
            script.complain(&format!("selection.modality.{n}"), format!("`{modality}` cannot be a modality"), help);
        }
    }
    for (n, uid) in rule.sop_class.iter().enumerate() {
        if uid.is_empty() || uid.len() > 64 || !uid.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            let help = "write the UID of a SOP class, e.g. \"1.2.840.10008.5.1.4.1.1.2\"";
            script.complain(&format!("selection.sop_class.{n}"), format!("`{uid}` is not a UID"), help);
        }
    }
    for (key, number) in [("min_instances", rule.min_instances), ("max_instances", rule.max_instances)] {
        if number == Some(0) {
            script.complain(&format!("selection.{key}"), "must be above 0", "");
        }
    }
    if let (Some(fewest), Some(most)) = (rule.min_instances, rule.max_instances)
        && fewest > most
    {
        script.complain("selection.max_instances", "is below min_instances: no series can fit", "");
    }
    for (n, requirement) in rule.require.iter().enumerate() {
        let mut complain = |key: &str, message: String, help: &str| {
            script.complain(&format!("selection.require.{n}.{key}"), message, help);
        };
        texts(requirement, &mut complain);
        bounds(requirement, &mut complain);
    }
}

type Complain<'a> = dyn FnMut(&str, String, &str) + 'a;

fn texts(requirement: &Requirement, complain: &mut Complain<'_>) {
    let Requirement { attribute, one_of, none_of, contains, at_least, at_most } = requirement;
    let lists = [("one_of", one_of), ("none_of", none_of), ("contains", contains)];
    let asks_for_text = lists.iter().any(|(_, list)| list.is_some());
    if !asks_for_text && at_least.is_none() && at_most.is_none() {
        let help = "add one_of, none_of, contains, at_least or at_most";
        complain("attribute", "nothing is asked of it".to_owned(), help);
    }
    if values(attribute) == Values::None {
        complain("attribute", "has no values that can be compared".to_owned(), "");
    }
    for (key, list) in lists {
        if list.as_ref().is_some_and(|list| list.iter().all(|text| text.trim().is_empty())) {
            complain(key, "names no value".to_owned(), "");
        }
    }
    if let (Some(wanted), Some(unwanted)) = (one_of, none_of) {
        let is_unwanted = |text: &String| unwanted.iter().any(|other| other.to_lowercase() == text.to_lowercase());
        if wanted.iter().all(is_unwanted) {
            complain("none_of", "excludes all that one_of allows: no series can fit".to_owned(), "");
        }
    }
}

fn bounds(requirement: &Requirement, complain: &mut Complain<'_>) {
    let Requirement { attribute, at_least, at_most, .. } = requirement;
    let keyword = attribute.keyword();
    for (key, bound) in [("at_least", at_least), ("at_most", at_most)] {
        let (wrong, help) = match (bound, values(attribute)) {
            (Some(Bound::Age(_)), Values::Numbers | Values::Texts) => ("is an age, which", "write a number, e.g. 1.5"),
            (Some(Bound::Number(_)), Values::Ages) => ("is a number, which", "write an age, e.g. \"18Y\""),
            (Some(Bound::Number(_)), Values::Texts) => ("is a number, which", "use one_of, none_of or contains"),
            _ => continue,
        };
        complain(key, format!("{wrong} {keyword} never is"), help);
    }
    let is_empty = match (at_least, at_most) {
        (Some(Bound::Number(low)), Some(Bound::Number(high))) => low > high,
        (Some(Bound::Age(low)), Some(Bound::Age(high))) => low > high,
        (Some(_), Some(_)) => true,
        _ => false,
    };
    if is_empty {
        complain("at_most", "leaves nothing above at_least: no series can fit".to_owned(), "");
    }
}

/// What the values of an attribute can be compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Values {
    Ages,
    Numbers,
    Texts,
    /// Sequences and bulk data.
    None,
    /// Dates and times, which are digits, and private attributes.
    Any,
}

fn values(attribute: &Attribute) -> Values {
    let Some(entry) = StandardDataDictionary.by_tag(attribute.tag) else { return Values::Any };
    let vr = match entry.vr() {
        VirtualVr::Exact(vr) => vr,
        VirtualVr::Xs => VR::US,
        _ => return Values::None,
    };
    match vr {
        VR::AS => Values::Ages,
        VR::DS | VR::IS | VR::FD | VR::FL => Values::Numbers,
        VR::SL | VR::SS | VR::SV | VR::UL | VR::US | VR::UV => Values::Numbers,
        VR::DA | VR::DT | VR::TM => Values::Any,
        VR::AE | VR::AT | VR::CS | VR::LO | VR::LT | VR::PN => Values::Texts,
        VR::SH | VR::ST | VR::UC | VR::UI | VR::UR | VR::UT => Values::Texts,
        _ => Values::None,
    }
}
