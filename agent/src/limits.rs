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
pub mod console {
    use std::time::Duration;
    /// Open connections; more, each with its buffers, would take the memory of the data path.
    pub const MAX_CONNECTIONS: usize = 256;
    /// Open connections from one address; one browser or one attacker cannot take them all.
    pub const MAX_CONNECTIONS_PER_ADDRESS: usize = 32;
    /// Longest request head (request line and headers); a longer one is an attempt to fill memory.
    pub const MAX_HEAD: usize = 16 * 1024;
    /// Most headers in a request; each costs parsing and an allocation.
    pub const MAX_HEADERS: usize = 64;
    /// Longest request body; only the login form has one.
    pub const MAX_BODY: usize = 4 * 1024;
    /// Time for a TLS handshake; a peer that never finishes would hold a connection for ever.
    pub const HANDSHAKE_TIME: Duration = Duration::from_secs(5);
    /// Time for a request's head to come, also on an idle connection (slow-header attack).
    pub const HEAD_TIME: Duration = Duration::from_secs(30);
    /// Time for a request to be answered, its body included (slow-body attack).
    pub const REQUEST_TIME: Duration = Duration::from_secs(10);
    /// Life of one connection; a peer that reads slowly or never cannot hold one longer. Browsers come back by themselves.
    pub const CONNECTION_LIFE: Duration = Duration::from_hours(1);
    /// Open event streams; each keeps its connection.
    pub const MAX_EVENT_STREAMS: usize = 64;
    /// Shortest time between two events of a stream; a busy node must not make each browser ask a thousand times a second.
    pub const EVENT_INTERVAL: Duration = Duration::from_millis(250);
    /// Time between two signs of life on a quiet event stream; proxies cut silent ones.
    pub const EVENT_HEARTBEAT: Duration = Duration::from_secs(15);
    /// Time that open connections get to end when the agent stops.
    pub const DRAIN_TIME: Duration = Duration::from_secs(5);
    /// Studies in a status; a page with every study of a year would be no use and would not load.
    pub const MAX_STUDIES_SHOWN: usize = 200;
    /// Failed logins from one address in `LOGIN_WINDOW` before it has to wait (guessing passwords).
    pub const MAX_FAILURES_PER_ADDRESS: u32 = 5;
    /// Failed logins as one user in `LOGIN_WINDOW`, from wherever (guessing from many addresses).
    pub const MAX_FAILURES_PER_USER: u32 = 20;
    /// Window in which failed logins count.
    pub const LOGIN_WINDOW: Duration = Duration::from_mins(1);
    /// Addresses whose failed logins are remembered; an attacker with many addresses must not fill memory.
    pub const MAX_FAILING_ADDRESSES: usize = 1024;
    /// Passwords checked at once: argon2id takes 19 MiB and one core for each.
    pub const MAX_LOGINS_AT_ONCE: usize = 2;
    /// Longest user name and longest password, in bytes.
    pub const MAX_CREDENTIAL: usize = 256;
    /// Open sessions; the oldest ends when one more begins.
    pub const MAX_SESSIONS: usize = 256;
    /// Life of a session: a working day; a stolen cookie is of no use the day after.
    pub const SESSION_LIFE: Duration = Duration::from_hours(10);
}

/// The audit log.
pub mod audit {
    /// Length at which a file is closed and the next one begun; a file is read whole when the log is opened.
    pub const MAX_FILE: u64 = 16 * 1024 * 1024;
    /// Longest line; a longer one in a file that was tampered with must not fill memory.
    pub const MAX_LINE: usize = 64 * 1024;
    /// Longest text in an event, in characters; what a peer sends (AE title, reason) must not fill the log.
    pub const MAX_TEXT: usize = 1024;
    /// Events that wait for the disk; past that the stages wait, since nothing may go on unaudited.
    pub const MAX_WAITING: usize = 1024;
}
