//! Every bound on what comes from outside, and what it stops.

/// The descriptor that travels over DDI, in bytes: a server that sends more wants to fill the box.
pub const MAX_DESCRIPTOR: u64 = 4 * 1024;
/// A desired state, in bytes.
pub const MAX_STATE: u64 = 256 * 1024;
/// A configuration, in bytes; what the agent's own reader takes.
pub const MAX_CONFIGURATION: u64 = 1024 * 1024;
/// Models in one desired state.
pub const MAX_MODELS: usize = 64;
/// Routes in one desired state.
pub const MAX_ROUTES: usize = 256;

/// The metadata of the repository (TUF), against endless data.
pub mod metadata {
    /// root.json, in bytes.
    pub const MAX_ROOT: u64 = 512 * 1024;
    /// Any targets metadata whose length the snapshot does not list, in bytes.
    pub const MAX_TARGETS: u64 = 4 * 1024 * 1024;
    /// timestamp.json, in bytes.
    pub const MAX_TIMESTAMP: u64 = 16 * 1024;
    /// snapshot.json, in bytes.
    pub const MAX_SNAPSHOT: u64 = 1024 * 1024;
    /// Root rotations in one look: one that a stolen server makes up ends here.
    pub const MAX_ROOT_UPDATES: u64 = 256;
}
