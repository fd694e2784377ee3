//! Every bound on what comes from outside, and what it stops.
use std::time::Duration;

/// The configuration, in bytes.
pub const MAX_CONFIG: u64 = 64 * 1024;
/// The file of certification authorities, in bytes.
pub const MAX_AUTHORITIES: u64 = 64 * 1024;
/// The file that holds the minimum version, in bytes.
pub const MAX_MINIMUM: u64 = 64;
/// A variable of the firmware, in bytes.
pub const MAX_VARIABLE: u64 = 64 * 1024;
/// Boot entries of the firmware that are looked at.
pub const MAX_BOOT_ENTRIES: usize = 256;
/// Name servers of a site.
pub const MAX_NAME_SERVERS: usize = 8;
/// Sources that are asked.
pub const MAX_SOURCES: usize = 8;
/// Rounds over all sources; the pause between two of them doubles each time.
pub const MAX_ROUNDS: u32 = 10;
/// Persons of the recovery role.
pub const MAX_PERSONS: usize = 16;
/// Signatures of one descriptor: each costs a verification.
pub const MAX_SIGNATURES: usize = 32;
/// The descriptor, in bytes: a source that sends more wants to fill the memory.
pub const MAX_DESCRIPTOR: u64 = 16 * 1024;
/// A bundle, in bytes: what a descriptor may ask of the destination.
pub const MAX_BUNDLE: u64 = 16 * 1024 * 1024 * 1024;
/// A path in a descriptor, in bytes.
pub const MAX_PATH: usize = 256;
/// Head of an HTTP answer, in bytes: against endless headers.
pub const MAX_HEAD: usize = 8 * 1024;
/// Certificates that a server sends.
pub const MAX_CHAIN: usize = 8;
/// Addresses of one name that are tried.
pub const MAX_ADDRESSES: usize = 4;
/// A record of TLS 1.3 with its header (RFC 8446 5.2): 2^14 + 256 + 5 bytes.
pub const MAX_RECORD: usize = 16_645;
/// An answer of the TPM, in bytes.
pub const MAX_TPM_ANSWER: usize = 4096;
/// How often a TPM that is not ready is asked.
pub const TPM_TRIES: u32 = 100;
/// Pause between two of them.
pub const TPM_PAUSE: Duration = Duration::from_millis(100);

/// How long a source is borne with. What is here by default is for a hospital's line on a bad day.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Until a TCP connection stands.
    pub connect: Duration,
    /// Without one byte: against a source that holds the line.
    pub idle: Duration,
    /// What a connection may take beside what its bytes explain.
    pub grace: Duration,
    /// Bytes a second that a connection has to bring after that: against a source that drips.
    pub rate: u64,
    /// Broken connections of one source that are resumed.
    pub resumes: u32,
    /// Rounds over all sources.
    pub rounds: u32,
    /// Pause before a broken connection is resumed, and before a second round; doubled with each further round.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(20),
            idle: Duration::from_secs(30),
            grace: Duration::from_mins(1),
            rate: 8 * 1024,
            resumes: 32,
            rounds: 4,
            pause: Duration::from_secs(5),
        }
    }
}
