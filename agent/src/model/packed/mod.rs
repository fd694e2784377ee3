//! A packed model package: one file that is a POSIX ustar archive in one encoding alone, so that the same members are always
//! the same bytes, and a reader finds nothing but what the list of members names (agent/MODELS.md, "The packed package").
mod archive;
pub(crate) mod header;
#[cfg(test)]
mod hostile;
mod list;
mod write;

pub(in crate::model) use archive::altered;
pub use archive::{Archive, Member};
pub use list::{List, Listed, is_member_name};
pub use write::{pack, with_envelope};

/// The first member: the SHA-256 of each other one, in the form that `sha256sum` writes.
pub const LIST: &str = "SHA256SUMS";
/// The last member, where the package is signed: a DSSE envelope.
pub const ENVELOPE: &str = "SIGNATURES.dsse.json";
