//! What a benchmark ran on: when, processor, load, and how long the disk takes to make bytes durable.
use std::io::{Error, Result};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

const TMPFS_MAGIC: u64 = 0x0102_1994;

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
    const ROUNDS: u64 = 40;
    let path = directory.join("probe");
    let memory = vec![7_u8; length + 4096];
    let start = memory.as_ptr().addr().next_multiple_of(4096) - memory.as_ptr().addr();
    let bytes = &memory[start..start + length];
    std::fs::write(&path, vec![1_u8; length * ROUNDS as usize])?;
    let flags = (rustix::fs::OFlags::DIRECT | rustix::fs::OFlags::DSYNC).bits() as i32;
    let direct = std::fs::OpenOptions::new().write(true).custom_flags(flags).open(&path)?;
    let cached = std::fs::OpenOptions::new().write(true).open(&path)?;
    cached.sync_all()?;
    let median = |write: &dyn Fn(u64) -> Result<()>| -> Result<Duration> {
        let mut times = (0..ROUNDS)
            .map(|n| {
                let started = Instant::now();
                write(n * length as u64)?;
                Ok(started.elapsed())
            })
            .collect::<Result<Vec<_>>>()?;
        times.sort();
        Ok(times[times.len() / 2])
    };
    let direct = median(&|offset| direct.write_all_at(bytes, offset))?;
    let cached = median(&|offset| {
        cached.write_all_at(bytes, offset)?;
        cached.sync_data()
    })?;
    std::fs::remove_file(&path)?;
    Ok((direct, cached))
}
