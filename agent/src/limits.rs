//! Every bound on what comes from outside: its name, its value, the attack or accident that it stops.

/// Associations (PS3.7, PS3.8).
pub mod association {
    use std::time::Duration;

    /// Longest P-DATA-TF that is accepted, and proposed to peers: longer ones claim memory for each association.
    pub const MAX_PDU: u32 = 256 * 1024;
    /// Longest PDU of any other kind: an association request with every context and item there can be.
    pub const MAX_ASSOCIATE_PDU: u32 = 128 * 1024;
    /// Longest command set; a fragmented command could grow without end.
    pub const MAX_COMMAND: usize = 64 * 1024;
    /// Most elements of a command set.
    pub const MAX_COMMAND_ELEMENTS: usize = 64;
    /// Longest data set of one instance: a peer could send for ever.
    pub const MAX_DATASET: u64 = 4 * 1024 * 1024 * 1024;
    /// Associations at once, all callers together.
    pub const MAX_ASSOCIATIONS: usize = 128;
    /// From the connection to the association request (ARTIM, PS3.8 9.1.5): half-open connections are let go.
    pub const ARTIM: Duration = Duration::from_secs(15);
    /// From one message to the next; an association that is only held open ends here.
    pub const IDLE: Duration = Duration::from_secs(60);
    /// From the first byte of a PDU to its last: a peer that drips bytes is let go.
    pub const READ: Duration = Duration::from_secs(30);
    /// From the order to stop to the end of the associations that still run.
    pub const DRAIN: Duration = Duration::from_secs(20);
}

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
    /// Most bytes that a deflated data set may inflate to; more is a decompression bomb.
    pub const MAX_INFLATED: u64 = 512 * 1024 * 1024;
}

/// The spool.
pub mod spool {
    /// Length of a segment of the log: long enough that changing it is rare, short enough to be made in a moment.
    pub const DEFAULT_SEGMENT: u64 = 64 * 1024 * 1024;
    /// Bytes of the log, unless the configuration says otherwise.
    pub const DEFAULT_QUOTA: u64 = 64 * 1024 * 1024 * 1024;
    /// Bytes that instances leave free, so that a full disk stops neither jobs nor deliveries.
    pub const DEFAULT_RESERVE: u64 = 512 * 1024 * 1024;
    /// Most bytes of an instance that are held in memory; a larger one is written in parts of this length.
    pub const PART: usize = 4 * 1024 * 1024;
}

/// Studies and series.
pub mod study {
    use std::time::Duration;

    /// Most instances of one study; more are a sender's loop, and would hold a study's assembly in memory.
    pub const MAX_INSTANCES: usize = 20_000;
    /// Longest time that a study is held open while instances keep coming: after it the study is taken as it is, so that
    /// a sender that never pauses cannot keep results back for ever.
    pub const MAX_OPEN: Duration = Duration::from_secs(3600);
    /// Most entries on a study's timeline; older ones stay in the audit trail.
    pub const MAX_TIMELINE: usize = 200;
}

/// Decoding.
pub mod decode {}

/// Model packages.
pub mod model {}

/// The worker.
pub mod worker {
    /// Longest message between agent and worker; a worker that was taken over could claim any length.
    pub const MAX_MESSAGE: usize = 16 * 1024 * 1024;
    /// Most files of one job; each is an open descriptor in both processes.
    pub const MAX_FILES: usize = 250;
    /// Most bytes of masks and pictures that a worker returns for one job.
    pub const MAX_BULK: u64 = 2 * 1024 * 1024 * 1024;
}

/// Delivery.
pub mod deliver {
    use std::time::Duration;

    /// First pause after a destination failed; doubled each time, so that a PACS that comes back is not flooded.
    pub const FIRST_PAUSE: Duration = Duration::from_secs(2);
    /// Longest pause between two attempts.
    pub const LONGEST_PAUSE: Duration = Duration::from_secs(300);
    /// Attempts after which a result is put aside with its reason, for a person to look at.
    pub const MAX_ATTEMPTS: u32 = 288;
    /// Most results on one association, so that a slow destination gives way to newer results.
    pub const MAX_BATCH: usize = 64;
}

/// Configuration files.
pub mod config {}

/// The console.
pub mod console {}
