//! Reading back what a report says in numbers (PS3.16 TID 1500), for who holds it against something known.
use crate::dataset::Header;
use crate::decode::SourceInstance;
use crate::fault::Fault;
use dicom_dictionary_std::tags;

/// A number of a report.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Meaning of its concept name: `Volume`.
    pub what: String,
    /// Its value.
    pub value: f64,
    /// UCUM code of its unit: `ml`.
    pub unit: String,
}

/// The numbers of a report, in no particular order.
pub fn measured(report: &SourceInstance) -> Result<Vec<Measured>, Fault> {
    let mut open = report.header.items(tags::CONTENT_SEQUENCE, &report.dataset)?;
    let mut all = Vec::new();
    while let Some(item) = open.pop() {
        all.extend(number(&item)?);
        open.extend(item.items(tags::CONTENT_SEQUENCE, &[])?);
    }
    Ok(all)
}

/// The number of a content item of the value type NUM (PS3.3 C.18.1).
fn number(item: &Header) -> Result<Option<Measured>, Fault> {
    let concept = item.item(tags::CONCEPT_NAME_CODE_SEQUENCE, &[])?;
    let what = concept.and_then(|concept| concept.text(tags::CODE_MEANING));
    let (Some(what), Some(value)) = (what, item.item(tags::MEASURED_VALUE_SEQUENCE, &[])?) else { return Ok(None) };
    let unit = value.item(tags::MEASUREMENT_UNITS_CODE_SEQUENCE, &[])?;
    let unit = unit.and_then(|unit| unit.text(tags::CODE_VALUE)).unwrap_or_default();
    Ok(value.number(tags::NUMERIC_VALUE).map(|value| Measured { what, value, unit }))
}
