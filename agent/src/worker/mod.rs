//! The worker process: decode to postprocess, apart from the DICOM node.
pub mod bulk;
pub mod channel;
