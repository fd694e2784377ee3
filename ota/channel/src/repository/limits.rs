//! Every bound on what is read here, and what it stops.

/// A key file, in bytes: one that fills the memory.
pub const MAX_KEY: u64 = 16 * 1024;
/// Role metadata that lies in a proposal, in bytes; what devices take.
pub const MAX_DOCUMENT: u64 = sund_ota::limits::metadata::MAX_TARGETS;
/// A payload that travels in a proposal so that people can read it, in bytes. Larger ones are named by their hash.
pub const MAX_ENCLOSED: u64 = sund_ota::limits::MAX_CONFIGURATION;
/// Roles, enclosed payloads or signature files in one proposal: one that is made up to keep a signer busy.
pub const MAX_ENTRIES: usize = 256;
/// A signature in the metadata of a role, with its key's identifier, in bytes.
pub const MAX_SIGNATURE: usize = 512;
/// A signature file, in bytes.
pub const MAX_SIGNATURE_FILE: u64 = 256 * 1024;
/// What is kept beside a key of the versions that it knows, in bytes: one that somebody has filled.
pub const MAX_KEPT: u64 = 256 * 1024;
/// Persons in one role.
pub const MAX_PERSONS: usize = 64;
/// Room that no release takes, in bytes: on a disk that is full the centre could renew nothing, and take nothing back.
pub const RESERVE: u64 = 64 * 1024 * 1024;
/// A model package, in bytes (agent/MODELS.md).
pub const MAX_PACKAGE: u64 = 16 * 1024 * 1024 * 1024;
/// How long a state may have each box watch itself, in seconds: a week. Until then it is called good nowhere.
pub const MAX_WATCH_SECONDS: u64 = 7 * 24 * 60 * 60;
/// A text of a manifest that is listed beside its package, in bytes (agent/MODELS.md): one that fills the metadata.
pub const MAX_TEXT: usize = 1024;
/// Members of a model package: its files, their list and the signatures (agent/MODELS.md).
pub const MAX_MEMBERS: usize = 20_002;
/// The manifest of a model package, in bytes (agent/MODELS.md).
pub const MAX_MANIFEST: u64 = 256 * 1024;
/// Lines of a configuration that whoever signs is told, each of at most 64 columns: one that nobody would read to its end.
pub const MAX_LINES_TOLD: usize = 20_000;
/// Lines between the first and the last that differ, for which it is looked up which ones stay: one that keeps a signer's machine busy.
pub const MAX_LINES_COMPARED: usize = 3_000;
/// Package keys of the vendors of one name: what the agent takes (agent/MODELS.md).
pub const MAX_VENDOR_KEYS: usize = 16;
