//! Explicit VR little endian written as implicit VR little endian (PS3.5 A.1), which every peer takes.
use super::object::ObjectToSend;
use bytes::Bytes;
use dicom_dictionary_std::uids;
use dicom_object::InMemDicomObject;
use dicom_object::mem::InMemElement;
use dicom_transfer_syntax_registry::entries::{EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN};

/// True where an object in this transfer syntax can be sent in implicit VR too: no pixel is touched by it.
pub(super) fn can_be_implicit(transfer_syntax: &str) -> bool {
    transfer_syntax == uids::EXPLICIT_VR_LITTLE_ENDIAN
}

/// The data set in implicit VR little endian; what is wrong with it otherwise.
pub(super) fn implicit(object: &ObjectToSend) -> Result<Bytes, String> {
    // The reader below recurses over sequences; what nests deeper than we take ourselves is not given to it.
    crate::dataset::scan::scan(&object.dataset, &object.transfer_syntax).map_err(|fault| fault.reason)?;
    let source = &EXPLICIT_VR_LITTLE_ENDIAN.erased();
    let dataset = InMemDicomObject::read_dataset_with_ts(object.dataset.as_ref(), source);
    let dataset: InMemDicomObject = dataset.map_err(|error| error.to_string())?;
    // PS3.5 7.2: group lengths would be of the other encoding.
    let elements = dataset.into_iter().filter(|element: &InMemElement| element.header().tag.element() != 0);
    let mut implicit = Vec::with_capacity(object.dataset.len());
    InMemDicomObject::from_element_iter(elements)
        .write_dataset_with_ts(&mut implicit, &IMPLICIT_VR_LITTLE_ENDIAN.erased())
        .map_err(|error| error.to_string())?;
    Ok(implicit.into())
}
