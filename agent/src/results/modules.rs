//! What all results have in common: patient, study, series, equipment, SOP common (PS3.3 C.7, C.12.1).
use super::build::Set;
use super::identity::Item;
use super::report::is_report;
use super::{Identity, Mode, ResultContext};
use crate::dataset::Header;
use crate::inference::{EngineUsed, PackageRef};
use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry, VirtualVr};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::{StandardDataDictionary, tags};
use std::time::{Duration, SystemTime};

/// Marks a result that must not be used for a diagnosis.
pub(super) const RESEARCH: &str = "RESEARCH - NOT FOR DIAGNOSIS";
pub(super) const MANUFACTURER: &str = "Sund";
pub(super) const MODEL: &str = "Sund inference appliance";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// True where an instance was made by a node of this product, here or elsewhere.
pub fn is_result(header: &Header) -> bool {
    header.text(tags::MANUFACTURER).as_deref() == Some(MANUFACTURER)
        && header.text(tags::MANUFACTURER_MODEL_NAME).as_deref() == Some(MODEL)
}

/// UIDs of one result: of its instance, and of the series in which it is alone.
pub(super) struct Uids {
    pub instance: String,
    pub series: String,
}

/// UIDs over all that a result is made of and says: the sources and their sorted digests, the package, the engine, the
/// parameters, the mode, patient and study as they are written, the time that is written, the document that is named as
/// its predecessor, what the study lacked, the device, our version, and the kind of result. A job keeps its time, so that the same job done again
/// gives the same UIDs with the same bytes; whatever differs has other ones, a study that was erased and came again among it.
pub(super) fn uids(context: &ResultContext<'_>, package: &PackageRef, engine: &str, kind: &str) -> Uids {
    let key = context.uid_key;
    let mut digests: Vec<&str> = context.input_digests.iter().map(String::as_str).collect();
    digests.sort_unstable();
    let mut sources: Vec<&str> = context.sources.iter().map(|source| source.sop_instance.as_str()).collect();
    sources.sort_unstable();
    let mode = match context.mode {
        Mode::Clinical => "clinical",
        Mode::Research => "research",
        Mode::Shadow => "shadow",
    };
    let at = context.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos().to_string();
    let (sources, digests, identity) = (key.uid(sources), key.uid(digests), context.identity.digest(key));
    let predecessor = context.predecessor.map_or("", |document| &document.sop_instance);
    let origin = [&package.digest as &str, engine, context.parameters, mode, context.device, VERSION];
    let partial = context.partial.unwrap_or_default();
    let content = [&sources as &str, &digests, &identity, &at, predecessor, partial, kind];
    let uid = |what| key.uid(origin.into_iter().chain(content).chain([what]));
    Uids { instance: uid("instance"), series: uid("series") }
}

/// How an engine enters into UIDs and algorithm parameters.
pub(super) fn engine_text(engine: &EngineUsed) -> String {
    format!("{} {} {}", engine.class, engine.precision, engine.version)
}

/// A series of ours: its number, and how its description begins.
#[derive(Clone, Copy)]
pub(super) struct ResultSeries {
    number: u32,
    label: &'static str,
}

/// Segmentations.
pub(super) const SEGMENTATION: ResultSeries = ResultSeries { number: 9001, label: "AI" };
/// Reports of what was measured or found.
pub(super) const REPORT: ResultSeries = ResultSeries { number: 9002, label: "AI" };
/// Preview pictures.
pub(super) const CAPTURE: ResultSeries = ResultSeries { number: 9003, label: "AI" };
/// Reports of how a job ended, where it found nothing to report.
pub(super) const OUTCOME: ResultSeries = ResultSeries { number: 9004, label: "AI outcome" };
/// Notes that reject results.
pub(super) const REJECTION: ResultSeries = ResultSeries { number: 9005, label: "AI rejected" };

/// The common modules. Patient and study come from the identity record alone.
pub(super) fn common(
    context: &ResultContext<'_>,
    package: &PackageRef,
    sop_class: &str,
    uids: &Uids,
    modality: &str,
    series: ResultSeries,
) -> Set {
    let (date, time) = date_time(local(context));
    let mut set = Set::new()
        .text(tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 192")
        .text(tags::INSTANCE_CREATION_DATE, VR::DA, &date)
        .text(tags::INSTANCE_CREATION_TIME, VR::TM, &time)
        .text(tags::SOP_CLASS_UID, VR::UI, sop_class)
        .text(tags::SOP_INSTANCE_UID, VR::UI, &uids.instance);
    // PS3.3 C.17.2 and C.17.6.2: of documents, key object selections among them.
    let is_document = is_report(sop_class) || sop_class == super::rejection::SOP_CLASS;
    set = identified(set, context.identity, is_document);
    let research = if context.mode == Mode::Clinical { "" } else { " [research]" };
    // The mark and the version stay whole where a long title is cut (LO holds 64 characters).
    let label = series.label;
    let around = format!("{label}{research}:  {}", package.version);
    let title: String = package.title.chars().take(64usize.saturating_sub(around.chars().count())).collect();
    let description: String = format!("{label}{research}: {title} {}", package.version).chars().take(64).collect();
    set.text(tags::STUDY_INSTANCE_UID, VR::UI, &context.identity.study)
        .text(tags::SERIES_INSTANCE_UID, VR::UI, &uids.series)
        .text(tags::MODALITY, VR::CS, modality)
        .text(tags::SERIES_NUMBER, VR::IS, &series.number.to_string())
        .text(tags::INSTANCE_NUMBER, VR::IS, "1")
        .text(tags::SERIES_DESCRIPTION, VR::LO, &description)
        .text(tags::SERIES_DATE, VR::DA, &date)
        .text(tags::SERIES_TIME, VR::TM, &time)
        .text(tags::CONTENT_DATE, VR::DA, &date)
        .text(tags::CONTENT_TIME, VR::TM, &time)
        .text(tags::MANUFACTURER, VR::LO, MANUFACTURER)
        .text(tags::MANUFACTURER_MODEL_NAME, VR::LO, MODEL)
        .text(tags::DEVICE_SERIAL_NUMBER, VR::LO, context.device)
        .text(tags::SOFTWARE_VERSIONS, VR::LO, VERSION)
}

/// Patient, study and requests as the record has them. A document names the requests that it answers (PS3.3 C.17.2), an image
/// those that led to it (PS3.3 C.7.3.1).
pub(super) fn identified(mut set: Set, identity: &Identity, is_document: bool) -> Set {
    // Type 2: present, and empty where the record has no value.
    for (tag, vr) in [
        (tags::STUDY_DATE, VR::DA),
        (tags::STUDY_TIME, VR::TM),
        (tags::ACCESSION_NUMBER, VR::SH),
        (tags::REFERRING_PHYSICIAN_NAME, VR::PN),
        (tags::PATIENT_NAME, VR::PN),
        (tags::PATIENT_ID, VR::LO),
        (tags::PATIENT_BIRTH_DATE, VR::DA),
        (tags::PATIENT_SEX, VR::CS),
        (tags::STUDY_ID, VR::SH),
    ] {
        set = set.text(tag, vr, identity.value(tag).reveal());
    }
    for (tag, value) in identity.attributes() {
        set = set.text(tag, vr_of(tag), value.reveal());
    }
    for (tag, items) in identity.sequences() {
        set = match tag {
            tags::REQUEST_ATTRIBUTES_SEQUENCE if is_document => set.sequence(
                tags::REFERENCED_REQUEST_SEQUENCE,
                items.iter().map(|item| request(item, identity)).collect(),
            ),
            _ => set.sequence(tag, items.iter().map(|item| copied(Set::new(), item)).collect()),
        };
    }
    set
}

/// A request that a report answers: what must be there is, empty where the record does not know it.
fn request(item: &Item, identity: &Identity) -> Set {
    let mut set = Set::new()
        .text(tags::STUDY_INSTANCE_UID, VR::UI, &identity.study)
        .text(tags::ACCESSION_NUMBER, VR::SH, identity.value(tags::ACCESSION_NUMBER).reveal())
        .sequence(tags::REFERENCED_STUDY_SEQUENCE, Vec::new())
        .sequence(tags::REQUESTED_PROCEDURE_CODE_SEQUENCE, Vec::new());
    for tag in [
        tags::PLACER_ORDER_NUMBER_IMAGING_SERVICE_REQUEST,
        tags::FILLER_ORDER_NUMBER_IMAGING_SERVICE_REQUEST,
        tags::REQUESTED_PROCEDURE_ID,
        tags::REQUESTED_PROCEDURE_DESCRIPTION,
    ] {
        set = set.text(tag, vr_of(tag), "");
    }
    copied(set, item)
}

fn copied(mut set: Set, item: &Item) -> Set {
    for (tag, value) in item.attributes() {
        set = set.text(tag, vr_of(tag), value.reveal());
    }
    for (tag, items) in item.sequences() {
        set = set.sequence(tag, items.iter().map(|item| copied(Set::new(), item)).collect());
    }
    set
}

fn vr_of(tag: Tag) -> VR {
    StandardDataDictionary.by_tag(tag).map_or(VR::LO, |entry| match entry.vr() {
        VirtualVr::Exact(vr) => vr,
        _ => VR::LO,
    })
}

/// The time of the result in the study's own offset from UTC, UTC where the study declares none: the offset of a data set
/// holds for all its times, those of the study included, so that ours cannot have another (PS3.3 C.12.1.1.8).
fn local(context: &ResultContext<'_>) -> SystemTime {
    let offset = context.identity.value(tags::TIMEZONE_OFFSET_FROM_UTC);
    let Some(seconds) = offset_seconds(offset.reveal()) else { return context.at };
    let length = Duration::from_secs(seconds.unsigned_abs());
    let moved = if seconds < 0 { context.at.checked_sub(length) } else { context.at.checked_add(length) };
    moved.unwrap_or(context.at)
}

/// `&ZZXX` in seconds.
fn offset_seconds(text: &str) -> Option<i64> {
    let digits = text.get(1..5).filter(|d| text.len() == 5 && d.bytes().all(|b| b.is_ascii_digit()))?;
    let number: i64 = digits.parse().ok()?;
    let seconds = (number / 100 * 60 + number % 100) * 60;
    match text.as_bytes()[0] {
        b'+' => Some(seconds),
        b'-' => Some(-seconds),
        _ => None,
    }
}

/// DA and TM, whole seconds.
pub(super) fn date_time(at: SystemTime) -> (String, String) {
    let seconds = at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let (days, rest) = ((seconds / 86400) as i64, seconds % 86400);
    // Civil date from days since 1970, years beginning in March (Hinnant).
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (format!("{year:04}{month:02}{day:02}"), format!("{:02}{:02}{:02}", rest / 3600, rest / 60 % 60, rest % 60))
}

#[cfg(test)]
mod tests {
    use super::{date_time, offset_seconds};
    use std::time::{Duration, SystemTime};

    #[test]
    fn offsets_are_hours_and_minutes() {
        assert_eq!(offset_seconds("+0100"), Some(3600));
        assert_eq!(offset_seconds("-0330"), Some(-12600));
        assert!(["", "0100", "+1", "+01:0", "æ010"].iter().all(|text| offset_seconds(text).is_none()));
    }

    #[test]
    fn dates_are_the_calendars() {
        let at = |seconds| date_time(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), ("19700101".into(), "000000".into()));
        assert_eq!(at(1_709_251_199), ("20240229".into(), "235959".into()));
        assert_eq!(at(1_709_251_200), ("20240301".into(), "000000".into()));
    }
}
