//! What arrived at the stand-in PACS, held against what was sent and against the package's golden case: the demonstration
//! sends the very images of that case.
use crate::dataset::Header;
use crate::decode::SourceInstance;
use crate::model::golden;
use crate::model::manifest::Golden;
use anyhow::{Context, Result, ensure};
use dicom_dictionary_std::tags;
use std::collections::BTreeSet;

/// Checks a result; says in a few words what it holds.
pub fn check(result: &SourceInstance, images: &[SourceInstance], case: &Golden) -> Result<String> {
    let first = images.first().context("nothing was sent")?;
    for tag in [tags::STUDY_INSTANCE_UID, tags::PATIENT_ID, tags::PATIENT_NAME, tags::ACCESSION_NUMBER] {
        ensure!(result.header.text(tag) == first.header.text(tag), "a result differs from its study in {tag}");
    }
    match result.header.text(tags::MODALITY).unwrap_or_default().as_str() {
        "SEG" => segmentation(result, images, case),
        "SR" => report(result, case),
        _ => preview(result),
    }
}

/// A mask is on the images that were sent, and encloses what the case asks for.
fn segmentation(result: &SourceInstance, images: &[SourceInstance], case: &Golden) -> Result<String> {
    let sent: BTreeSet<&str> = images.iter().map(|image| image.sop_instance.as_str()).collect();
    for series in result.header.items(tags::REFERENCED_SERIES_SEQUENCE, &result.dataset)? {
        for source in series.items(tags::REFERENCED_INSTANCE_SEQUENCE, &[])? {
            let source = source.text(tags::REFERENCED_SOP_INSTANCE_UID).unwrap_or_default();
            ensure!(sent.contains(source.as_str()), "the segmentation is of an image that was not sent");
        }
    }
    let shared = result.header.item(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, &result.dataset)?;
    let shared = shared.context("the segmentation has no functional groups")?;
    let measures =
        shared.item(tags::PIXEL_MEASURES_SEQUENCE, &[])?.context("the segmentation has no pixel measures")?;
    let mut spacings = measures.numbers(tags::PIXEL_SPACING);
    spacings.extend(measures.number(tags::SPACING_BETWEEN_SLICES));
    let voxels: u32 =
        bits(result).context("the segmentation has no pixels")?.iter().map(|byte| byte.count_ones()).sum();
    let ml = f64::from(voxels) * spacings.iter().product::<f64>() / 1000.0;
    ensure!(golden::meets(case, Some(ml), &[]), "the segmentation encloses {ml:.1} ml: {}", golden::expected(case));
    Ok(format!("mask of {ml:.1} ml, as expected"))
}

/// The value of Pixel Data, a bit for each voxel of each frame; what pads the last byte is 0.
fn bits(segmentation: &SourceInstance) -> Option<&[u8]> {
    let place = segmentation.header.pixel_data?;
    let start = usize::try_from(place.offset).ok()?;
    segmentation.dataset.get(start..start + usize::try_from(place.length?).ok()?)
}

/// A report says what the case asks for.
fn report(result: &SourceInstance, case: &Golden) -> Result<String> {
    let (mut volume, mut boxes) = (None, Vec::new());
    let mut open = result.header.items(tags::CONTENT_SEQUENCE, &result.dataset)?;
    while let Some(item) = open.pop() {
        volume = volume.or(volume_ml(&item)?);
        boxes.extend(rectangle(&item));
        open.extend(item.items(tags::CONTENT_SEQUENCE, &[])?);
    }
    let says = match (volume, boxes.len()) {
        (Some(ml), _) => format!("volume of {ml:.1} ml"),
        (None, n) => format!("{n} boxes"),
    };
    ensure!(golden::meets(case, volume, &boxes), "the report says {says}: {}", golden::expected(case));
    Ok(format!("{says}, as expected"))
}

/// A preview is in colour.
fn preview(result: &SourceInstance) -> Result<String> {
    let is_colour = result.header.text(tags::PHOTOMETRIC_INTERPRETATION).as_deref() == Some("RGB");
    let (columns, rows) = (result.header.number(tags::COLUMNS), result.header.number(tags::ROWS));
    ensure!(is_colour, "the preview is not in colour");
    Ok(format!("picture of {} x {}", columns.unwrap_or_default(), rows.unwrap_or_default()))
}

fn volume_ml(item: &Header) -> Result<Option<f64>> {
    let code =
        |sequence| Ok::<_, anyhow::Error>(item.item(sequence, &[])?.and_then(|code| code.text(tags::CODE_VALUE)));
    if code(tags::CONCEPT_NAME_CODE_SEQUENCE)?.as_deref() != Some("118565006") {
        return Ok(None);
    }
    let value = item.item(tags::MEASURED_VALUE_SEQUENCE, &[])?.context("a volume has no value")?;
    let unit = value.item(tags::MEASUREMENT_UNITS_CODE_SEQUENCE, &[])?.and_then(|unit| unit.text(tags::CODE_VALUE));
    ensure!(unit.as_deref() == Some("ml"), "a volume is not in ml");
    Ok(value.number(tags::NUMERIC_VALUE))
}

/// Left, top, right, bottom of a region.
fn rectangle(item: &Header) -> Option<[f32; 4]> {
    let places = item.numbers(tags::GRAPHIC_DATA);
    let side = |n: usize, pick: fn(f64, f64) -> f64| {
        places.iter().copied().skip(n).step_by(2).reduce(pick).map(|place| place as f32)
    };
    Some([side(0, f64::min)?, side(1, f64::min)?, side(0, f64::max)?, side(1, f64::max)?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::part10;
    use crate::demo::Case;
    use crate::model::Package;
    use crate::outcome::Outcome;
    use crate::results::{Identity, Mode, ResultContext, SourceHeader, UidKey, outcome_report};
    use bytes::Bytes;
    use std::path::Path;
    use std::time::SystemTime;

    /// A report that says nothing of what was found.
    fn empty_report(images: &[SourceInstance], package: &Package) -> SourceInstance {
        let source = |image: &SourceInstance| SourceHeader {
            sop_class: image.sop_class.clone(),
            sop_instance: image.sop_instance.clone(),
            header: image.header.clone(),
            length: image.dataset.len() as u64,
        };
        let context = ResultContext {
            identity: &Identity::from_header(&images[0].header),
            sources: &images.iter().map(source).collect::<Vec<_>>(),
            input_digests: &[],
            mode: Mode::Research,
            uid_key: &UidKey::new(&[1; 32]),
            at: SystemTime::UNIX_EPOCH,
            device: "test",
            parameters: "",
            predecessor: None,
            partial: None,
        };
        let report = outcome_report(&context, Outcome::NoFinding, &package.reference(), "nothing was found").unwrap();
        part10::read(&Bytes::from(report.part10())).unwrap()
    }

    #[test]
    fn what_is_not_as_the_golden_case_says_ends_the_demonstration() {
        let cases = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/demo/models"));
        let [brain, text] = Case::ALL.map(|case| Package::open(&case.folder(cases).unwrap()).unwrap());
        let series = |package: &Package| golden::series(package, &package.manifest.golden[0]).unwrap();
        for (package, other) in [(&brain, &text), (&text, &brain)] {
            let (images, golden) = (series(package), &package.manifest.golden[0]);
            let report = empty_report(&images, package);
            let refused = check(&report, &images, golden).unwrap_err().to_string();
            assert!(refused.starts_with("the report says 0 boxes"), "{refused}");

            let refused = check(&report, &series(other), golden).unwrap_err().to_string();
            assert!(refused.contains("differs from its study"), "{refused}");

            let mut grey = images[0].clone();
            grey.header.elements.remove(&tags::PHOTOMETRIC_INTERPRETATION);
            let refused = check(&grey, &images, golden).unwrap_err().to_string();
            assert!(refused.contains("not in colour"), "{refused}");
        }
    }
}
