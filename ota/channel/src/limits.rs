//! Every bound on what reaches the server, and what it stops.
use std::time::Duration;

/// Connections and requests.
pub mod http {
    use super::Duration;
    /// Open connections; more wait in the backlog of the socket, so that their buffers cannot take the memory.
    pub const MAX_CONNECTIONS: usize = 4096;
    /// Open connections from one network (an IPv4 address, or an IPv6 network of 64 bits, which one host has to itself): a
    /// hospital behind one address has room, one attacker takes a part of the places.
    pub const MAX_CONNECTIONS_PER_NETWORK: usize = 256;
    /// Requests that are answered at once; past that a device is told when to come again.
    pub const MAX_REQUESTS: usize = 1024;
    /// A connection carries one request at a time (HTTP/1.1), so its places are a network's share of the requests too.
    const _: () = assert!(MAX_CONNECTIONS_PER_NETWORK <= MAX_REQUESTS / 4);
    /// Shortest and longest `Retry-After`, in seconds: devices that were turned away do not come back together.
    pub const RETRY_AFTER: std::ops::Range<u64> = 10..70;
    /// Longest request head; a longer one is an attempt to fill memory.
    pub const MAX_HEAD: usize = 16 * 1024;
    /// Most headers in a request.
    pub const MAX_HEADERS: usize = 64;
    /// Longest body of a request.
    pub const MAX_BODY: usize = 64 * 1024;
    /// Time for a TLS handshake.
    pub const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
    /// Time for a request's head to come, also on an idle connection (slow-header attack).
    pub const HEAD_TIME: Duration = Duration::from_secs(30);
    /// Time until the head of an answer is ready, the request's body included (slow-body attack).
    pub const REQUEST_TIME: Duration = Duration::from_secs(20);
    /// Life of one connection; a payload that takes longer is resumed by its Range.
    pub const CONNECTION_LIFE: Duration = Duration::from_hours(6);
    /// Time that open connections get to end when the server stops.
    pub const DRAIN_TIME: Duration = Duration::from_secs(5);
    /// Piece of a file that is in memory for one download.
    pub const CHUNK: usize = 64 * 1024;
}

/// What a device says.
pub mod device {
    /// Devices in one channel; past that none is enrolled.
    pub const MAX_DEVICES: u64 = 100_000;
    /// Longest name of a device (`controllerId`).
    pub const MAX_NAME: usize = 64;
    /// Attributes of a device: 64 models, 20 of its configuration, and what it says of itself.
    pub const MAX_ATTRIBUTES: usize = 128;
    /// Longest name of an attribute, in bytes: a model's name has up to 64, with `model.` before it.
    pub const MAX_KEY: usize = 128;
    /// Longest value of an attribute, in bytes.
    pub const MAX_VALUE: usize = 256;
    /// Lines of one feedback that are kept.
    pub const MAX_LINES: usize = 40;
    /// Longest line that is kept, in characters.
    pub const MAX_LINE: usize = 1024;
    /// Messages of one action that are kept; older ones go.
    pub const MAX_MESSAGES: u32 = 64;
    /// Age at which a device is asked for its attributes again, in milliseconds: a day.
    pub const ATTRIBUTES_AGE: i64 = 24 * 60 * 60 * 1000;
}

/// Enrolment.
pub mod enrol {
    use super::Duration;
    /// Wrong codes from one address before it is locked out.
    pub const MAX_WRONG_CODES: u32 = 3;
    /// How long it is locked out.
    pub const LOCKED: Duration = Duration::from_mins(15);
    /// Addresses whose wrong codes are remembered.
    pub const MAX_ADDRESSES: usize = 4096;
    /// Longest life of a code, in hours.
    pub const MAX_CODE_HOURS: u32 = 24 * 30;
    /// Life of a device's certificate, in days.
    pub const CERTIFICATE_DAYS: u64 = 90;
    /// Authorities of which files lie in the home, those that were dropped and left there among them.
    pub const MAX_AUTHORITY_FILES: usize = 64;
    /// Longest certificate request, in bytes.
    pub const MAX_REQUEST: usize = 8 * 1024;
}

/// Sealed recovery keys.
pub mod escrow {
    /// Longest sealed key, in bytes: RSA with 8192 bits.
    pub const MAX_SEALED: usize = 1024;
    /// Of one box: each of its disks has one. A box that sends more cannot fill the database, and drives none out.
    pub const MAX_PER_DEVICE: u32 = 16;
}

/// Rollouts.
pub mod rollout {
    use super::Duration;
    /// Waves of one rollout.
    pub const MAX_WAVES: usize = 32;
    /// Longest name of a rollout.
    pub const MAX_NAME: usize = 64;
    /// Boxes that a refusal names.
    pub const MAX_NAMED: usize = 8;
    /// Terms of one filter.
    pub const MAX_TERMS: usize = 16;
    /// Longest text of a wave, in bytes.
    pub const MAX_FILTER: usize = 1024;
    /// Longest silence that may be asked for, in hours.
    pub const MAX_SILENCE_HOURS: u32 = 24 * 90;
    /// Longest file of role metadata that is read, in bytes.
    pub const MAX_METADATA: u64 = 4 * 1024 * 1024;
    /// Shortest time between two looks at the rules: ten thousand devices that report at once cause a few.
    pub const SHORTEST_LOOK: Duration = Duration::from_millis(200);
    /// Longest time between two: silence, withdrawn states.
    pub const LONGEST_LOOK: Duration = Duration::from_secs(30);
    /// Longest time that a server may be away without boxes getting their hours of silence anew.
    pub const LONGEST_ABSENCE: Duration = Duration::from_mins(10);
}

/// The repository's own renewal.
pub mod renewal {
    use super::Duration;
    /// Time between two renewals: a timestamp lives for seven days.
    pub const PERIOD: Duration = Duration::from_hours(24);
    /// Time until it is tried again after a failure.
    pub const RETRY: Duration = Duration::from_mins(10);
    /// Time between two looks at what is published: persons who sign a role see its alarm go.
    pub const LOOK: Duration = Duration::from_mins(1);
    /// How long the server waits for a command that changes the repository; shorter than the time in which it drains.
    pub const LOCK_TIME: Duration = Duration::from_secs(3);
    /// How often it tries meanwhile.
    pub const LOCK_TRIED: Duration = Duration::from_millis(100);
}

/// The server's own certificate.
pub mod certificate {
    /// Longest chain, in bytes: a file that fills the memory.
    pub const MAX_CHAIN: u64 = 64 * 1024;
    /// Longest key, in bytes.
    pub const MAX_KEY: u64 = 16 * 1024;
}

/// What the database lets go.
pub mod retention {
    use super::Duration;
    /// How long what a box has said of an action is kept after that has ended.
    pub const MESSAGES: Duration = Duration::from_hours(24 * 365);
    /// Time between two looks.
    pub const PERIOD: Duration = Duration::from_hours(24);
    /// Messages that one commit removes.
    pub const BATCH: u32 = 4096;
}

/// The database.
pub mod database {
    use super::Duration;
    /// Writes that wait; past that the server says that it is overloaded.
    pub const MAX_WAITING: usize = 4096;
    /// Writes that share one commit.
    pub const MAX_BATCH: usize = 256;
    /// How long one process waits for another's lock.
    pub const BUSY_TIME: Duration = Duration::from_secs(5);
    /// How often it is written down when devices were last seen.
    pub const PRESENCE_INTERVAL: Duration = Duration::from_secs(2);
}

/// The local socket.
pub mod control {
    use super::Duration;
    /// Clients at once.
    pub const MAX_CONNECTIONS: usize = 8;
    /// Longest request.
    pub const MAX_REQUEST: u64 = 256 * 1024;
    /// Longest answer.
    pub const MAX_ANSWER: u64 = 64 * 1024 * 1024;
    /// Time for one exchange.
    pub const PATIENCE: Duration = Duration::from_secs(30);
}

/// People at the fleet page.
pub mod people {
    use super::Duration;
    /// Devices on one page of the list.
    pub const MAX_DEVICES_SHOWN: u32 = 200;
    /// Rollouts shown, newest first.
    pub const MAX_ROLLOUTS_SHOWN: u32 = 50;
    /// Failures shown, newest first.
    pub const MAX_FAILURES_SHOWN: u32 = 100;
    /// Boxes shown that do not hear the region, those first that have not for longest.
    pub const MAX_UNHEARD_SHOWN: u32 = 100;
    /// A box that has not heard what was published so long ago does not hear the region. A mirror that follows each hour and a box that
    /// polls each hour are never so late.
    pub const BEHIND: Duration = Duration::from_hours(3);
    /// Publications whose times are kept; for a box that is behind more, the oldest of them counts.
    pub const MAX_PUBLICATIONS: u64 = 1000;
    /// States told apart in the picture of the fleet; the rest is one.
    pub const MAX_STATES_SHOWN: u32 = 8;
    /// Longest search.
    pub const MAX_SEARCH: usize = 128;
    /// Open event streams.
    pub const MAX_EVENT_STREAMS: usize = 64;
    /// Shortest time between two events of a stream.
    pub const EVENT_INTERVAL: Duration = Duration::from_secs(1);
    /// Time between two signs of life on a quiet stream; proxies cut silent ones.
    pub const EVENT_HEARTBEAT: Duration = Duration::from_secs(15);
    /// Failed logins from one address in `LOGIN_WINDOW` before it has to wait.
    pub const MAX_FAILURES_PER_ADDRESS: u32 = 5;
    /// Failed logins as one user in `LOGIN_WINDOW`, from wherever.
    pub const MAX_FAILURES_PER_USER: u32 = 20;
    /// Window in which failed logins count.
    pub const LOGIN_WINDOW: Duration = Duration::from_mins(1);
    /// Addresses whose failed logins are remembered.
    pub const MAX_FAILING_ADDRESSES: usize = 1024;
    /// Passwords checked at once: argon2id takes 19 MiB and one core for each.
    pub const MAX_LOGINS_AT_ONCE: usize = 2;
    /// Longest user name and longest password, in bytes.
    pub const MAX_CREDENTIAL: usize = 256;
    /// Open sessions; the oldest ends when one more begins.
    pub const MAX_SESSIONS: usize = 256;
    /// Life of a session: a working day.
    pub const SESSION_LIFE: Duration = Duration::from_hours(10);
}
