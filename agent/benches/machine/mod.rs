//! What a benchmark ran on: when, processor, load, and how long the disk takes to make bytes durable.
use std::fs::File;
use std::io::{Error, Result, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

const TMPFS_MAGIC: u64 = 0x0102_1994;
/// What direct I/O wants its memory, offsets and lengths to be multiples of.
const BLOCK: usize = 4096;

/// Prints what a benchmark in this directory runs on. A tmpfs is refused.
#[expect(clippy::print_stdout, reason = "it stands above the figures")]
pub fn describe(directory: &Path) -> Result<()> {
    refuse_tmpfs(directory)?;
    let load = std::fs::read_to_string("/proc/loadavg")?;
    let (load, threads) = (load.split(' ').next().unwrap_or("unknown"), std::thread::available_parallelism()?);
    println!("{}", humantime::format_rfc3339_seconds(SystemTime::now()));
    println!("{}, {threads} threads, load {load} at the start", processor());
    for length in [40_960, 524_288] {
        let (direct, cached) = sync_latency(directory, length)?;
        println!("disk, {length} bytes made durable: O_DIRECT|O_DSYNC {direct:.1?}, write + fdatasync {cached:.1?}");
    }
    Ok(())
}

fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown processor");
    model.trim_matches([' ', '\t', ':']).to_owned()
}

/// Refuses a tmpfs: it has no stable storage to wait for.
fn refuse_tmpfs(directory: &Path) -> Result<()> {
    if rustix::fs::statfs(directory)?.f_type as u64 == TMPFS_MAGIC {
        return Err(Error::other(format!("{} is a tmpfs: nothing is durable there", directory.display())));
    }
    Ok(())
}

/// Medians of one durable write into blocks written before: O_DIRECT|O_DSYNC, and write + fdatasync.
fn sync_latency(directory: &Path, length: usize) -> Result<(Duration, Duration)> {
    let probe = Probe::new(directory, length, 40)?;
    let median = |mut times: Vec<Duration>| {
        times.sort();
        times[times.len() / 2]
    };
    Ok((median(probe.direct()?), median(probe.cached()?)))
}

/// The disk alone: writes of one length, one behind the other, each durable before the next.
pub struct Probe {
    direct: File,
    cached: File,
    memory: Vec<u8>,
    length: usize,
    count: usize,
}

impl Probe {
    /// A file whose blocks are written once, and which goes with the probe.
    pub fn new(directory: &Path, length: usize, count: usize) -> Result<Self> {
        let file = tempfile::NamedTempFile::new_in(directory)?;
        let length = length.next_multiple_of(BLOCK);
        for _ in 0..count {
            file.as_file().write_all(&vec![1_u8; length])?;
        }
        file.as_file().sync_all()?;
        let flags = (rustix::fs::OFlags::DIRECT | rustix::fs::OFlags::DSYNC).bits() as i32;
        let direct = File::options().write(true).custom_flags(flags).open(file.path())?;
        Ok(Self { direct, cached: file.reopen()?, memory: vec![7_u8; length + BLOCK], length, count })
    }

    /// The time of each write with O_DIRECT|O_DSYNC.
    pub fn direct(&self) -> Result<Vec<Duration>> {
        self.times(|bytes, offset| self.direct.write_all_at(bytes, offset))
    }

    /// The time of each write + fdatasync.
    pub fn cached(&self) -> Result<Vec<Duration>> {
        self.times(|bytes, offset| {
            self.cached.write_all_at(bytes, offset)?;
            self.cached.sync_data()
        })
    }

    fn times(&self, write: impl Fn(&[u8], u64) -> Result<()>) -> Result<Vec<Duration>> {
        let address = self.memory.as_ptr().addr();
        let bytes = &self.memory[address.next_multiple_of(BLOCK) - address..][..self.length];
        let offsets = (0..self.count).map(|n| (n * self.length) as u64);
        offsets
            .map(|offset| {
                let started = Instant::now();
                write(bytes, offset)?;
                Ok(started.elapsed())
            })
            .collect()
    }
}
