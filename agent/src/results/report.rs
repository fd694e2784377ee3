//! Structured reports: TID 1500 with what was measured, and the outcome of a job (PS3.16 TID 1500, PS3.3 A.35.13).
use super::build::{EXPLICIT, Set};
use super::modules::{MANUFACTURER, MODEL, OUTCOME, REPORT, RESEARCH, ResultSeries, Uids, common, engine_text, uids};
use super::{Mode, Predecessor, ResultContext, ResultObject};
use crate::code::Code;
use crate::fault::Fault;
use crate::inference::{Findings, FoundBox, Inference, Measurement, PackageRef, Segment, SourceFrame};
use crate::outcome::Outcome;
use dicom_core::VR;
use dicom_dictionary_std::tags;
use std::collections::BTreeMap;

/// Comprehensive 3D SR Storage.
pub(super) const SOP_CLASS: &str = "1.2.840.10008.5.1.4.1.1.88.34";

/// True where results of this SOP class are reports, which name their predecessors.
pub fn is_report(sop_class: &str) -> bool {
    sop_class == SOP_CLASS
}

/// The measurement report; `seg` is the segmentation that it refers to.
pub(super) fn make(
    context: &ResultContext<'_>,
    inference: &Inference,
    seg: Option<&ResultObject>,
) -> Result<ResultObject, Fault> {
    let ids = uids(context, &inference.package, &engine_text(&inference.engine), "SR");
    let mut groups: Vec<Set> = match &inference.findings {
        Findings::Volume { segments, sources, .. } => segments
            .iter()
            .enumerate()
            .filter(|(_, segment)| segment.mask.contains(&1))
            .filter_map(|(n, segment)| Some(segment_group(context, inference, &ids, (n, segment), seg?, sources)))
            .collect(),
        Findings::Images { boxes, sources } => {
            boxes.iter().enumerate().map(|(n, found)| box_group(context, inference, &ids, n, found, sources)).collect()
        }
    };
    groups.extend(unplaced_group(context, inference, &ids));
    let summary = summary(inference);
    let mut content = head(context, &inference.package);
    if !groups.is_empty() {
        content.push(container("CONTAINS", &Code::new("126010", "DCM", "Imaging Measurements"), groups));
    }
    content.push(evaluations(context, inference.outcome, &format!("{summary}. {}", engine_text(&inference.engine))));
    let partial: Vec<&str> = context.partial.into_iter().chain(inference.partial.as_deref()).collect();
    let dataset = document(context, &inference.package, (&ids, REPORT), content, &partial, seg)?;
    Ok(object(ids, "SR", dataset, summary))
}

/// How a job ended, as a report of its own.
pub(super) fn outcome(
    context: &ResultContext<'_>,
    package: &PackageRef,
    outcome: Outcome,
    reason: &str,
) -> Result<ResultObject, Fault> {
    let ids = uids(context, package, &format!("{}: {reason}", outcome.sentence()), "OUTCOME");
    let mut content = head(context, package);
    content.push(evaluations(context, outcome, reason));
    let partial: Vec<&str> = context.partial.into_iter().collect();
    let dataset = document(context, package, (&ids, OUTCOME), content, &partial, None)?;
    Ok(object(ids, "OUTCOME", dataset, outcome.sentence().to_owned()))
}

fn object(ids: Uids, kind: &'static str, dataset: Vec<u8>, summary: String) -> ResultObject {
    ResultObject {
        kind,
        sop_class: SOP_CLASS.to_owned(),
        sop_instance: ids.instance,
        series: ids.series,
        transfer_syntax: EXPLICIT.to_owned(),
        dataset,
        summary,
    }
}

/// One line for people, without patient data.
pub(super) fn summary(inference: &Inference) -> String {
    match &inference.findings {
        Findings::Volume { segments, .. } if !inference.measurements.is_empty() => inference
            .measurements
            .iter()
            .map(|m| {
                let label = m.segment.and_then(|n| segments.get(n)).map_or(m.concept.meaning.as_str(), |s| &s.label);
                format!("{label} {:.0} {}", m.value, m.unit.value)
            })
            .collect::<Vec<_>>()
            .join(", "),
        Findings::Volume { .. } => inference.outcome.sentence().to_owned(),
        Findings::Images { boxes, .. } => match boxes.first() {
            Some(found) => format!("{}: {} places", found.finding.meaning, boxes.len()),
            None => inference.outcome.sentence().to_owned(),
        },
    }
}

fn document(
    context: &ResultContext<'_>,
    package: &PackageRef,
    (ids, series): (&Uids, ResultSeries),
    content: Vec<Set>,
    partial: &[&str],
    seg: Option<&ResultObject>,
) -> Result<Vec<u8>, Fault> {
    let template =
        Set::new().text(tags::MAPPING_RESOURCE, VR::CS, "DCMR").text(tags::TEMPLATE_IDENTIFIER, VR::CS, "1500");
    let mut set = common(context, package, SOP_CLASS, ids, "SR", series)
        .sequence(tags::REFERENCED_PERFORMED_PROCEDURE_STEP_SEQUENCE, vec![])
        .sequence(tags::PERFORMED_PROCEDURE_CODE_SEQUENCE, vec![])
        .text(tags::COMPLETION_FLAG, VR::CS, if partial.is_empty() { "COMPLETE" } else { "PARTIAL" })
        .text(tags::VERIFICATION_FLAG, VR::CS, "UNVERIFIED")
        .text(tags::VALUE_TYPE, VR::CS, "CONTAINER")
        .code(tags::CONCEPT_NAME_CODE_SEQUENCE, &Code::new("126000", "DCM", "Imaging Measurement Report"))
        .text(tags::CONTINUITY_OF_CONTENT, VR::CS, "SEPARATE")
        .sequence(tags::CONTENT_TEMPLATE_SEQUENCE, vec![template])
        .sequence(tags::CONTENT_SEQUENCE, content)
        .sequence(tags::CURRENT_REQUESTED_PROCEDURE_EVIDENCE_SEQUENCE, vec![evidence(context, seg)]);
    if !partial.is_empty() {
        let partial: String = partial.join("; ").chars().take(64).collect();
        set = set.text(tags::COMPLETION_FLAG_DESCRIPTION, VR::LO, &partial);
    }
    if let Some(predecessor) = context.predecessor {
        set = predecessors(set, &context.identity.study, predecessor);
    }
    set.encode()
}

/// The document that this one supersedes (PS3.3 C.17.2.3).
pub(super) fn predecessors(set: Set, study: &str, predecessor: &Predecessor) -> Set {
    let series = Set::new()
        .text(tags::SERIES_INSTANCE_UID, VR::UI, &predecessor.series)
        .sequence(tags::REFERENCED_SOP_SEQUENCE, vec![sop(SOP_CLASS, &predecessor.sop_instance)]);
    let study = Set::new()
        .text(tags::STUDY_INSTANCE_UID, VR::UI, study)
        .sequence(tags::REFERENCED_SERIES_SEQUENCE, vec![series]);
    set.sequence(tags::PREDECESSOR_DOCUMENTS_SEQUENCE, vec![study])
}

/// Every image that was given, and the segmentation that was made.
fn evidence(context: &ResultContext<'_>, seg: Option<&ResultObject>) -> Set {
    let mut series: BTreeMap<String, Vec<Set>> = BTreeMap::new();
    for source in context.sources {
        let uid = source.header.text(tags::SERIES_INSTANCE_UID).unwrap_or_default();
        series.entry(uid).or_default().push(sop(&source.sop_class, &source.sop_instance));
    }
    if let Some(seg) = seg {
        series.entry(seg.series.clone()).or_default().push(sop(&seg.sop_class, &seg.sop_instance));
    }
    let items = series.into_iter().map(|(uid, sops)| {
        Set::new().text(tags::SERIES_INSTANCE_UID, VR::UI, &uid).sequence(tags::REFERENCED_SOP_SEQUENCE, sops)
    });
    Set::new()
        .text(tags::STUDY_INSTANCE_UID, VR::UI, &context.identity.study)
        .sequence(tags::REFERENCED_SERIES_SEQUENCE, items.collect())
}

/// Language, observer and procedure (TID 1204, 1001, 1500).
fn head(context: &ResultContext<'_>, package: &PackageRef) -> Vec<Set> {
    let device = context.uid_key.uid(["device", context.device]);
    let observer = format!("{} {}", package.title, package.version);
    vec![
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
        text_item("HAS OBS CONTEXT", &Code::new("121013", "DCM", "Device Observer Name"), &observer),
        text_item("HAS OBS CONTEXT", &Code::new("121014", "DCM", "Device Observer Manufacturer"), MANUFACTURER),
        text_item("HAS OBS CONTEXT", &Code::new("121015", "DCM", "Device Observer Model Name"), MODEL),
        code_item(
            "HAS CONCEPT MOD",
            &Code::new("121058", "DCM", "Procedure reported"),
            &Code::new("363679005", "SCT", "Imaging procedure"),
        ),
    ]
}

/// The outcome and the statement that this is AI output (TID 1500, qualitative evaluations).
fn evaluations(context: &ResultContext<'_>, outcome: Outcome, text: &str) -> Set {
    let (value, meaning) = match outcome {
        Outcome::Finding => ("SUND-O1", "AI outcome: finding"),
        Outcome::NoFinding => ("SUND-O2", "AI outcome: no finding"),
        Outcome::NotApplicable => ("SUND-O3", "AI outcome: not applicable"),
        Outcome::Failed => ("SUND-O4", "AI outcome: failed"),
        Outcome::TooLate => ("SUND-O5", "AI outcome: too late"),
    };
    let mark = if context.mode == Mode::Clinical { "" } else { RESEARCH };
    let statement = format!("AI result, not verified by a person. {mark} {text}").replace("  ", " ");
    container(
        "CONTAINS",
        &Code::new("C0034375", "UMLS", "Qualitative Evaluations"),
        vec![
            code_item(
                "CONTAINS",
                &Code::new("SUND-OUTCOME", "99SUND", "Outcome of the AI job"),
                &Code::new(value, "99SUND", meaning),
            ),
            text_item("CONTAINS", &Code::new("121106", "DCM", "Comment"), statement.trim()),
        ],
    )
}

/// TID 1411: a segment and what was measured in it.
fn segment_group(
    context: &ResultContext<'_>,
    inference: &Inference,
    ids: &Uids,
    (n, segment): (usize, &Segment),
    seg: &ResultObject,
    sources: &[SourceFrame],
) -> Set {
    let mut items = tracking(context, ids, n, &segment.label);
    items.push(code_item("CONTAINS", &Code::new("121071", "DCM", "Finding"), &segment.property));
    let reference = sop(&seg.sop_class, &seg.sop_instance).words(tags::REFERENCED_SEGMENT_NUMBER, &[n as u16 + 1]);
    items.push(
        named_item("CONTAINS", "IMAGE", &Code::new("121191", "DCM", "Referenced Segment"))
            .sequence(tags::REFERENCED_SOP_SEQUENCE, vec![reference]),
    );
    items.extend(sources.iter().take(1).map(|source| {
        named_item("CONTAINS", "IMAGE", &Code::new("121233", "DCM", "Source image for segmentation"))
            .sequence(tags::REFERENCED_SOP_SEQUENCE, vec![referenced_sop(source)])
    }));
    items.extend(inference.measurements.iter().filter(|m| m.segment == Some(n)).map(number_item));
    items.extend(algorithm(inference));
    container("CONTAINS", &Code::new("125007", "DCM", "Measurement Group"), items)
}

/// TID 1501: numbers of what has no region, a segment that is empty among them; a volume of zero is said, not left out.
fn unplaced_group(context: &ResultContext<'_>, inference: &Inference, ids: &Uids) -> Option<Set> {
    let segments: &[Segment] = match &inference.findings {
        Findings::Volume { segments, .. } => segments,
        Findings::Images { .. } => &[],
    };
    let is_placed = |m: &&Measurement| m.segment.and_then(|n| segments.get(n)).is_some_and(|s| s.mask.contains(&1));
    let numbers: Vec<Set> = inference.measurements.iter().filter(|m| !is_placed(m)).map(number_item).collect();
    if numbers.is_empty() {
        return None;
    }
    let mut items = tracking(context, ids, segments.len(), "Without a region");
    items.extend(numbers);
    items.extend(algorithm(inference));
    Some(container("CONTAINS", &Code::new("125007", "DCM", "Measurement Group"), items))
}

/// TID 1410: a rectangle on an image.
fn box_group(
    context: &ResultContext<'_>,
    inference: &Inference,
    ids: &Uids,
    n: usize,
    found: &FoundBox,
    sources: &[SourceFrame],
) -> Set {
    let mut items = tracking(context, ids, n, &found.finding.meaning);
    items.push(code_item("CONTAINS", &Code::new("121071", "DCM", "Finding"), &found.finding));
    let [left, top, right, bottom] = found.corners;
    let outline = [left, top, right, top, right, bottom, left, bottom, left, top];
    let mut region = named_item("CONTAINS", "SCOORD", &Code::new("111030", "DCM", "Image Region"))
        .floats(tags::GRAPHIC_DATA, &outline)
        .text(tags::GRAPHIC_TYPE, VR::CS, "POLYLINE");
    if let Some(source) = sources.get(found.image) {
        let image = Set::new()
            .text(tags::RELATIONSHIP_TYPE, VR::CS, "SELECTED FROM")
            .text(tags::VALUE_TYPE, VR::CS, "IMAGE")
            .sequence(tags::REFERENCED_SOP_SEQUENCE, vec![referenced_sop(source)]);
        region = region.sequence(tags::CONTENT_SEQUENCE, vec![image]);
    }
    items.push(region);
    items.push(number_item(&Measurement {
        concept: Code::new("SUND-SCORE", "99SUND", "Score of the model"),
        value: f64::from(found.score),
        unit: Code::new("1", "UCUM", "no units"),
        segment: None,
    }));
    items.extend(algorithm(inference));
    container("CONTAINS", &Code::new("125007", "DCM", "Measurement Group"), items)
}

fn tracking(context: &ResultContext<'_>, ids: &Uids, n: usize, label: &str) -> Vec<Set> {
    let number = n.to_string();
    let uid = context.uid_key.uid([ids.instance.as_str(), "tracking", &number]);
    vec![
        text_item("HAS OBS CONTEXT", &Code::new("112039", "DCM", "Tracking Identifier"), &format!("{label} {}", n + 1)),
        uid_item("HAS OBS CONTEXT", &Code::new("112040", "DCM", "Tracking Unique Identifier"), &uid),
    ]
}

/// TID 4019.
fn algorithm(inference: &Inference) -> [Set; 4] {
    [
        text_item("HAS CONCEPT MOD", &Code::new("111001", "DCM", "Algorithm Name"), &inference.package.title),
        text_item("HAS CONCEPT MOD", &Code::new("111003", "DCM", "Algorithm Version"), &inference.package.version),
        text_item(
            "HAS CONCEPT MOD",
            &Code::new("111002", "DCM", "Algorithm Parameters"),
            &engine_text(&inference.engine),
        ),
        text_item("HAS CONCEPT MOD", &Code::new("122405", "DCM", "Algorithm Manufacturer"), &inference.package.vendor),
    ]
}

fn number_item(measurement: &Measurement) -> Set {
    let value = Set::new()
        .code(tags::MEASUREMENT_UNITS_CODE_SEQUENCE, &measurement.unit)
        .decimals(tags::NUMERIC_VALUE, &[measurement.value]);
    named_item("CONTAINS", "NUM", &measurement.concept).sequence(tags::MEASURED_VALUE_SEQUENCE, vec![value])
}

fn named_item(relationship: &str, kind: &str, concept: &Code) -> Set {
    item(relationship, kind).code(tags::CONCEPT_NAME_CODE_SEQUENCE, concept)
}

/// A content item without a concept name.
pub(super) fn item(relationship: &str, kind: &str) -> Set {
    Set::new().text(tags::RELATIONSHIP_TYPE, VR::CS, relationship).text(tags::VALUE_TYPE, VR::CS, kind)
}

fn container(relationship: &str, concept: &Code, items: Vec<Set>) -> Set {
    named_item(relationship, "CONTAINER", concept)
        .text(tags::CONTINUITY_OF_CONTENT, VR::CS, "SEPARATE")
        .sequence(tags::CONTENT_SEQUENCE, items)
}

pub(super) fn code_item(relationship: &str, concept: &Code, value: &Code) -> Set {
    named_item(relationship, "CODE", concept).code(tags::CONCEPT_CODE_SEQUENCE, value)
}

pub(super) fn text_item(relationship: &str, concept: &Code, text: &str) -> Set {
    named_item(relationship, "TEXT", concept).text(tags::TEXT_VALUE, VR::UT, text)
}

pub(super) fn uid_item(relationship: &str, concept: &Code, uid: &str) -> Set {
    named_item(relationship, "UIDREF", concept).text(tags::UID, VR::UI, uid)
}

pub(super) fn sop(class: &str, instance: &str) -> Set {
    Set::new().text(tags::REFERENCED_SOP_CLASS_UID, VR::UI, class).text(
        tags::REFERENCED_SOP_INSTANCE_UID,
        VR::UI,
        instance,
    )
}

/// A reference to a source, with its frame where it has several.
pub(super) fn referenced_sop(source: &SourceFrame) -> Set {
    let set = sop(&source.sop_class, &source.sop_instance);
    match source.frame {
        Some(frame) => set.text(tags::REFERENCED_FRAME_NUMBER, VR::IS, &frame.to_string()),
        None => set,
    }
}

/// The source series, as a SEG refers to it.
pub(super) fn referenced_series(context: &ResultContext<'_>, sources: &[SourceFrame]) -> Set {
    let series = context.sources.first().and_then(|s| s.header.text(tags::SERIES_INSTANCE_UID)).unwrap_or_default();
    let instances = sources.iter().map(|source| sop(&source.sop_class, &source.sop_instance)).collect();
    Set::new().text(tags::SERIES_INSTANCE_UID, VR::UI, &series).sequence(tags::REFERENCED_INSTANCE_SEQUENCE, instances)
}
