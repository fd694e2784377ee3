//! Rejection notes: a Key Object Selection that tells a destination which results must not be used any more (IHE RAD TF-3 4.66,
//! Imaging Object Change Management; PS3.3 A.35.4; PS3.16 TID 2010).
use super::build::{EXPLICIT, Set};
use super::modules::{MANUFACTURER, MODEL, REJECTION, Uids, common};
use super::report::{code_item, item, sop, text_item, uid_item};
use super::{Identity, Mode, ResultContext, ResultObject, UidKey, is_report};
use crate::code::Code;
use crate::fault::Fault;
use crate::inference::PackageRef;
use dicom_core::VR;
use dicom_dictionary_std::tags;
use std::collections::BTreeMap;
use std::time::SystemTime;

/// Key Object Selection Document Storage.
pub(super) const SOP_CLASS: &str = "1.2.840.10008.5.1.4.1.1.88.59";

/// A result that is rejected.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rejected {
    /// Series Instance UID.
    pub series: String,
    /// SOP Class UID.
    pub sop_class: String,
    /// SOP Instance UID.
    pub sop_instance: String,
}

/// What a note is made from, beside the results that it rejects.
#[derive(Clone, Debug)]
pub struct RejectionContext<'a> {
    /// The newest identity record of the study.
    pub identity: &'a Identity,
    /// Key of the UIDs.
    pub uid_key: &'a UidKey,
    /// When the recall was ordered: the time that is written, the same each time that the note is made again.
    pub at: SystemTime,
    /// Name of this device.
    pub device: &'a str,
    /// The package that made the results; of several versions, all of them in its version.
    pub package: &'a PackageRef,
    /// Why, for people.
    pub reason: &'a str,
}

/// The note that rejects these results for reasons of patient safety, all of one study; each once, in whatever order they are
/// given.
pub fn rejection_note(context: &RejectionContext<'_>, rejected: &[Rejected]) -> Result<ResultObject, Fault> {
    let mut rejected = rejected.to_vec();
    rejected.sort();
    rejected.dedup();
    let ids = uids(context, &rejected);
    let results = ResultContext {
        identity: context.identity,
        sources: &[],
        input_digests: &[],
        // A note is of no mode: what it rejects is not to be used for anything.
        mode: Mode::Clinical,
        uid_key: context.uid_key,
        at: context.at,
        device: context.device,
        parameters: "",
        predecessor: None,
        partial: None,
    };
    let template =
        Set::new().text(tags::MAPPING_RESOURCE, VR::CS, "DCMR").text(tags::TEMPLATE_IDENTIFIER, VR::CS, "2010");
    let dataset = common(&results, context.package, SOP_CLASS, &ids, "KO", REJECTION)
        .sequence(tags::REFERENCED_PERFORMED_PROCEDURE_STEP_SEQUENCE, vec![])
        .text(tags::VALUE_TYPE, VR::CS, "CONTAINER")
        // RAD TF-3 4.66.4.1.2: the title says that, and why, the objects are rejected (CID 7010).
        .code(tags::CONCEPT_NAME_CODE_SEQUENCE, &Code::new("113037", "DCM", "Rejected for Patient Safety Reasons"))
        .text(tags::CONTINUITY_OF_CONTENT, VR::CS, "SEPARATE")
        .sequence(tags::CONTENT_TEMPLATE_SEQUENCE, vec![template])
        .sequence(tags::CONTENT_SEQUENCE, content(context, &rejected))
        .sequence(tags::CURRENT_REQUESTED_PROCEDURE_EVIDENCE_SEQUENCE, vec![evidence(context.identity, &rejected)])
        .encode()?;
    Ok(ResultObject {
        kind: "KO",
        sop_class: SOP_CLASS.to_owned(),
        sop_instance: ids.instance,
        series: ids.series,
        transfer_syntax: EXPLICIT.to_owned(),
        dataset,
        summary: "rejected for patient safety reasons".to_owned(),
    })
}

/// UIDs over all that a note says, as those of a result are: the same note has the same ones.
fn uids(context: &RejectionContext<'_>, rejected: &[Rejected]) -> Uids {
    let key = context.uid_key;
    let at = context.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos().to_string();
    let instances = key.uid(rejected.iter().map(|one| one.sop_instance.as_str()));
    let identity = context.identity.digest(key);
    let PackageRef { title, version, .. } = context.package;
    let said = [title.as_str(), version, context.reason, context.device, env!("CARGO_PKG_VERSION"), &at];
    let uid = |what| key.uid(["rejection", &instances, &identity].into_iter().chain(said).chain([what]));
    Uids { instance: uid("instance"), series: uid("series") }
}

/// TID 2010: language (TID 1204), who rejects (TID 1002, a device: TID 1004), why, and what.
fn content(context: &RejectionContext<'_>, rejected: &[Rejected]) -> Vec<Set> {
    let device = context.uid_key.uid(["device", context.device]);
    let PackageRef { title, version, .. } = context.package;
    let why = format!("AI results of {title} {version} were recalled and must not be used: {}", context.reason);
    let mut items = vec![
        code_item(
            "HAS CONCEPT MOD",
            &Code::new("121049", "DCM", "Language of Content Item and Descendants"),
            &Code::new("en-US", "RFC5646", "English (United States)"),
        ),
        code_item(
            "HAS OBS CONTEXT",
            &Code::new("121005", "DCM", "Observer Type"),
            &Code::new("121007", "DCM", "Device"),
        ),
        uid_item("HAS OBS CONTEXT", &Code::new("121012", "DCM", "Device Observer UID"), &device),
        text_item("HAS OBS CONTEXT", &Code::new("121013", "DCM", "Device Observer Name"), context.device),
        text_item("HAS OBS CONTEXT", &Code::new("121014", "DCM", "Device Observer Manufacturer"), MANUFACTURER),
        text_item("HAS OBS CONTEXT", &Code::new("121015", "DCM", "Device Observer Model Name"), MODEL),
        text_item("CONTAINS", &Code::new("113012", "DCM", "Key Object Description"), &why),
    ];
    items.extend(rejected.iter().map(|one| {
        // Rows 6 and 8: reports are composite objects without pixels; neither kind of row has a concept name.
        let kind = if is_report(&one.sop_class) { "COMPOSITE" } else { "IMAGE" };
        let reference = sop(&one.sop_class, &one.sop_instance);
        item("CONTAINS", kind).sequence(tags::REFERENCED_SOP_SEQUENCE, vec![reference])
    }));
    items
}

/// PS3.3 C.17.6.2.1: all that the content names, by series.
fn evidence(identity: &Identity, rejected: &[Rejected]) -> Set {
    let mut series: BTreeMap<&str, Vec<Set>> = BTreeMap::new();
    for one in rejected {
        series.entry(&one.series).or_default().push(sop(&one.sop_class, &one.sop_instance));
    }
    let items = series.into_iter().map(|(uid, sops)| {
        Set::new().text(tags::SERIES_INSTANCE_UID, VR::UI, uid).sequence(tags::REFERENCED_SOP_SEQUENCE, sops)
    });
    Set::new()
        .text(tags::STUDY_INSTANCE_UID, VR::UI, &identity.study)
        .sequence(tags::REFERENCED_SERIES_SEQUENCE, items.collect())
}
