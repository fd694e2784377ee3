//! Opens what has come for a study: headers and digests of the newest version of each instance.
use super::record::{KnownInstance, StudyRecord};
use crate::dataset::Header;
use crate::dataset::scan::{inflated, scan};
use crate::fault::{Blame, Fault};
use crate::hex::hex;
use crate::instance::{Origin, StoredInstance};
use crate::limits::study::MAX_INSTANCES;
use crate::spool::Spool;
use dicom_core::Tag;
use ring::digest::{Context, SHA256};
use std::collections::{BTreeMap, BTreeSet};

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
            acquisition_digest: acquisition_digest(&header, &inflated(&dataset, &stored.arrival.transfer_syntax)?),
        },
    };
    Ok(OpenedInstance { stored, known, header })
}

/// SHA-256 over what a model sees of an instance: acquisition (group 0018), position in space (0020, without the study's
/// and series' own identifiers), image attributes (0028), shared and per-frame functional groups (5200) and the pixels.
/// Who the patient is, who asked and when it was looked at do not enter, so that a corrected name does not infer anew.
/// `dataset` is the one that the header's offsets count in: inflated.
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
    // Long values too, which the header only knows the place of: per-frame functional groups, palettes.
    let tags: BTreeSet<Tag> = header.elements.keys().chain(header.skipped.keys()).copied().collect();
    for tag in tags {
        if !matches!(tag.group(), 0x0018 | 0x0020 | 0x0028 | 0x5200) || IDENTIFIERS.contains(&tag) {
            continue;
        }
        if let Some((_, value)) = header.raw(tag, dataset) {
            context.update(&tag.group().to_le_bytes());
            context.update(&tag.element().to_le_bytes());
            context.update(&(value.len() as u64).to_le_bytes());
            context.update(value);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn element(tag: [u8; 4], vr: &str, value: &[u8]) -> Vec<u8> {
        let length = (value.len() as u32).to_le_bytes();
        let length = if vr == "OW" { [&[0, 0], &length[..]].concat() } else { length[..2].to_vec() };
        [&tag, vr.as_bytes(), &length, value].concat()
    }

    fn digest(patient: &[u8], table: u8, pixel: u8) -> String {
        let dataset = [
            element([0x10, 0, 0x10, 0], "PN", patient),
            element([0x28, 0, 0x10, 0], "US", &[2, 0]),
            // Longer than what a header keeps.
            element([0x28, 0, 0x01, 0x12], "OW", &vec![table; 2 * crate::limits::dataset::MAX_HEADER_VALUE]),
            element([0xe0, 0x7f, 0x10, 0], "OW", &[pixel; 8]),
        ]
        .concat();
        let mut deflate = flate2::read::DeflateEncoder::new(&dataset[..], flate2::Compression::fast());
        let mut deflated = Vec::new();
        std::io::Read::read_to_end(&mut deflate, &mut deflated).unwrap();
        let of = |dataset: &[u8], syntax: &str| {
            acquisition_digest(&scan(dataset, syntax).unwrap(), &inflated(dataset, syntax).unwrap())
        };
        // The transfer syntax counts; the digest of a deflated data set must still see what is in it.
        of(&dataset, "1.2.840.10008.1.2.1") + &of(&deflated, "1.2.840.10008.1.2.1.99")
    }

    #[test]
    fn a_patient_does_not_change_the_acquisition_and_a_pixel_or_a_long_table_does() {
        let first = digest(b"Doe^Jane", 1, 1);
        assert_eq!(first, digest(b"Roe^Jane", 1, 1));
        let halves = |digest: &str| [digest[..64].to_owned(), digest[64..].to_owned()];
        for other in [digest(b"Doe^Jane", 2, 1), digest(b"Doe^Jane", 1, 2)] {
            for (a, b) in halves(&first).iter().zip(halves(&other)) {
                assert_ne!(*a, b);
            }
        }
    }
}
