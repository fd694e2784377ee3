//! Opens what has come for a study: headers and digests of the newest version of each instance.
use super::record::{KnownInstance, StudyRecord};
use crate::dataset::{Header, scan::scan};
use crate::fault::{Blame, Fault};
use crate::instance::{Origin, StoredInstance};
use crate::limits::study::MAX_INSTANCES;
use crate::spool::Spool;
use dicom_core::Tag;
use ring::digest::{Context, SHA256};
use std::collections::BTreeMap;

/// One instance of an opened study.
#[derive(Clone, Debug)]
pub struct OpenedInstance {
    /// As stored.
    pub stored: StoredInstance,
    /// Digests.
    pub known: KnownInstance,
    /// Top-level elements.
    pub header: Header,
}

/// Opens the newest version of each received instance of a study, in the order of arrival.
///
/// Digests of instances that the record already knows are taken from there.
pub fn open(spool: &Spool, record: &StudyRecord) -> Result<Vec<OpenedInstance>, Fault> {
    let mut newest: BTreeMap<String, StoredInstance> = BTreeMap::new();
    for stored in spool.instances_of(&record.study) {
        if matches!(stored.arrival.origin, Origin::Received { .. }) {
            // In the order of commits: a later version replaces an earlier one.
            newest.insert(stored.arrival.sop_instance.clone(), stored);
        }
    }
    if newest.len() > MAX_INSTANCES {
        let reason = format!("the study has {} instances, at most {MAX_INSTANCES} are taken", newest.len());
        return Err(Fault::new("study-too-large", Blame::Peer, reason));
    }
    let mut opened =
        newest.into_values().map(|stored| open_one(spool, record, stored)).collect::<Result<Vec<_>, _>>()?;
    opened.sort_by_key(|instance| instance.stored.id);
    Ok(opened)
}

fn open_one(spool: &Spool, record: &StudyRecord, stored: StoredInstance) -> Result<OpenedInstance, Fault> {
    let dataset = spool.read(&stored).map_err(|error| {
        Fault::new("spool-unreadable", Blame::Box, format!("instance {} cannot be read back: {error}", stored.id))
    })?;
    let header = scan(&dataset, &stored.arrival.transfer_syntax)?;
    let known = match record.instances.get(&stored.arrival.sop_instance).filter(|known| known.id == stored.id) {
        Some(known) => known.clone(),
        None => KnownInstance {
            id: stored.id,
            series: stored.arrival.series.clone(),
            dataset_digest: hex(ring::digest::digest(&SHA256, &dataset).as_ref()),
            acquisition_digest: acquisition_digest(&header, &dataset),
        },
    };
    Ok(OpenedInstance { stored, known, header })
}

/// SHA-256 over what a model sees of an instance: acquisition (group 0018), position in space (0020, without the study's
/// and series' own identifiers), image attributes (0028), shared and per-frame functional groups (5200) and the pixels.
/// Who the patient is, who asked and when it was looked at do not enter, so that a corrected name does not infer anew.
fn acquisition_digest(header: &Header, dataset: &[u8]) -> String {
    const IDENTIFIERS: [Tag; 5] = [
        dicom_dictionary_std::tags::STUDY_INSTANCE_UID,
        dicom_dictionary_std::tags::SERIES_INSTANCE_UID,
        dicom_dictionary_std::tags::STUDY_ID,
        dicom_dictionary_std::tags::SERIES_NUMBER,
        dicom_dictionary_std::tags::IMAGE_COMMENTS,
    ];
    let mut context = Context::new(&SHA256);
    context.update(header.transfer_syntax.as_bytes());
    for (tag, element) in &header.elements {
        if matches!(tag.group(), 0x0018 | 0x0020 | 0x0028 | 0x5200) && !IDENTIFIERS.contains(tag) {
            context.update(&tag.group().to_le_bytes());
            context.update(&tag.element().to_le_bytes());
            context.update(&(element.value.len() as u64).to_le_bytes());
            context.update(&element.value);
        }
    }
    if let Some(pixels) = &header.pixel_data {
        let start = usize::try_from(pixels.offset).unwrap_or(usize::MAX).min(dataset.len());
        let end = match pixels.length {
            Some(length) => usize::try_from(pixels.offset.saturating_add(length)).unwrap_or(usize::MAX),
            None => dataset.len(),
        };
        context.update(&dataset[start..end.min(dataset.len())]);
    }
    hex(context.finish().as_ref())
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
