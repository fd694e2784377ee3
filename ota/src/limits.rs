//! Every bound on what comes from outside, and what it stops.
use std::time::Duration;

/// The descriptor that travels over DDI, in bytes: a server that sends more wants to fill the box.
pub const MAX_DESCRIPTOR: u64 = 4 * 1024;
/// A desired state, in bytes.
pub const MAX_STATE: u64 = 256 * 1024;
/// A configuration, in bytes; what the agent's own reader takes.
pub const MAX_CONFIGURATION: u64 = 1024 * 1024;
/// All that is suspended here, by as many documents as came while their age could not be told, in bytes: the record has room for it.
pub const MAX_SUSPENDED: usize = 1024 * 1024;
/// Longest time for an answer of what runs on the box, over D-Bus: what hangs is asked again, and does not keep it from hearing its region.
pub const BUS_ANSWER: Duration = Duration::from_secs(10);
/// Interfaces of a box that are known by name.
pub const MAX_INTERFACES: usize = 64;
/// Models in one desired state.
pub const MAX_MODELS: usize = 64;
/// Routes in one desired state.
pub const MAX_ROUTES: usize = 256;
/// Names and patterns of the boxes that one desired state is for.
pub const MAX_BOX_PATTERNS: usize = 256;
/// One of them, in bytes: no box has a longer name.
pub const MAX_BOX_PATTERN: usize = 64;

/// The descriptor of a recovery bundle, in bytes; what `sund-rescue` takes.
pub const MAX_RECOVERY: u64 = 16 * 1024;

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
    /// Delegations in targets.json: each of them is a file to fetch.
    pub const MAX_DELEGATIONS: usize = 128;
    /// `trust/approvers.json`, in bytes.
    pub const MAX_APPROVERS: u64 = 64 * 1024;
    /// All files of the repository that a box keeps so as not to fetch them again, in bytes: a thief of the channel fills no disk by them.
    pub const MAX_KEPT: u64 = 64 * 1024 * 1024;
}

/// What is fetched, against slow data, broken lines and a full disk.
pub mod transfer {
    use std::time::Duration;

    /// In each such span...
    pub const WINDOW: Duration = Duration::from_secs(30);
    /// ... so many bytes arrive at least: a server that drips (about 1 KB/s and less) holds the box up no longer.
    pub const LEAST_PER_WINDOW: u64 = 32 * 1024;
    /// All of the metadata arrives within this time: one file after the other, a server that drips just fast enough would hold the box up for
    /// hours, also one that has something to take back.
    pub const METADATA: Duration = Duration::from_mins(10);
    /// Times that one fetch goes on after a broken line before it leaves the rest to the next poll.
    pub const MAX_RESUMES: u32 = 8;
    /// Times that a bundle that did not come whole is streamed anew, at as many polls: a line that never holds refuses it in the end.
    pub const MAX_STREAMS: u32 = 5;
    /// How long a state that a mirror does not list yet is waited for, in seconds: a mirror follows once a day at the latest, and what the
    /// region never approves does not wait for ever.
    pub const MIRROR_PATIENCE: i64 = 24 * 3600;
    /// What a fetch leaves free on the disk, in bytes: an update must not stop the box from writing its own state.
    pub const DISK_RESERVE: u64 = 64 * 1024 * 1024;
}

/// A bundle on a USB stick, which anybody may have written.
pub mod bundle {
    /// A bundle in bytes: what one stick brings.
    pub const MAX_BUNDLE: u64 = 64 * 1024 * 1024 * 1024;
    /// Files in a bundle.
    pub const MAX_FILES: usize = 4096;
    /// Length of a file's name: what a ustar header holds.
    pub const MAX_NAME: usize = 255;
    /// The terms of a bundle, in bytes.
    pub const MAX_TERMS: u64 = 16 * 1024;
}

/// The watch of a state: how often the channel hears of it, and what a new version may cost where a box is told no bound of its own
/// (`[watch] max_median_ms`).
pub mod watch {
    /// Seconds of watching after which the channel is told again that a state is watched: one that says nothing is silent there.
    pub const TOLD_EVERY: u64 = 60 * 60;
    /// Median time of an answer, as a multiple of that of the version before on the same box...
    pub const MAX_SLOWDOWN: f64 = 3.0;
    /// ... and so many milliseconds more: of answers that take a few, the multiple is noise.
    pub const SLOWDOWN_FLOOR_MS: f64 = 500.0;
}
