//! What the frames of an enhanced instance say, shared or each for itself (PS3.3 C.7.6.16).
use crate::dataset::Header;
use crate::fault::Fault;
use dicom_core::Tag;
use dicom_dictionary_std::tags;

/// The functional groups of an instance; empty for a classic one.
pub(super) struct FunctionalGroups {
    shared: Option<Header>,
    per_frame: Vec<Header>,
}

impl FunctionalGroups {
    /// `dataset` is inflated.
    pub(super) fn of(header: &Header, dataset: &[u8]) -> Result<Self, Fault> {
        Ok(Self {
            shared: header.item(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, dataset)?,
            per_frame: header.items(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, dataset)?,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.shared.is_none() && self.per_frame.is_empty()
    }

    /// The macro that holds for a frame (from 0): its own, else the shared one.
    pub(super) fn group(&self, frame: usize, sequence: Tag) -> Result<Option<Header>, Fault> {
        if let Some(own) = self.per_frame.get(frame)
            && let Some(group) = own.item(sequence, &[])?
        {
            return Ok(Some(group));
        }
        self.shared.as_ref().map_or(Ok(None), |shared| shared.item(sequence, &[]))
    }
}
