//! Every bound on what comes from outside: its name, its value, the attack or accident that it stops.

/// Associations (PS3.7, PS3.8).
pub mod association {}

/// Data sets (PS3.5).
pub mod dataset {
    /// Deepest nesting of sequences; deeper ones exhaust the stack of readers that recurse.
    pub const MAX_NESTING: usize = 32;
    /// Most elements that are looked at in one data set; more are a decompression or parser bomb.
    pub const MAX_ELEMENTS: usize = 1_000_000;
    /// Longest value that the header keeps; longer ones are skipped over, not read.
    pub const MAX_HEADER_VALUE: usize = 64 * 1024;
    /// Longest header (all kept values); a header is held in memory for each instance of a study.
    pub const MAX_HEADER: usize = 4 * 1024 * 1024;
}

/// The spool.
pub mod spool {}

/// Studies and series.
pub mod study {}

/// Decoding.
pub mod decode {}

/// Model packages.
pub mod model {}

/// The worker.
pub mod worker {}

/// Delivery.
pub mod deliver {}

/// Configuration files.
pub mod config {}

/// The console.
pub mod console {}
