//! How long a commit takes, against the disk's own sync. `cargo bench --bench spool [-- DIRECTORY]`
//!
//! Prints medians of one waiter and the rate of several, for slices of 40 KB and 512 KB. A tmpfs is refused: it has no
//! stable storage to wait for.
use std::hint::black_box;
use std::io::{Error, Result};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};
use sund_agent::instance::{Arrival, Origin};
use sund_agent::spool::{Spool, SpoolError, SpoolOptions};

const TMPFS_MAGIC: u64 = 0x0102_1994;

#[expect(clippy::print_stdout, reason = "the figures are the output")]
fn main() -> Result<()> {
    let given = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let parent = given.map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let directory = tempfile::tempdir_in(&parent)?;
    if rustix::fs::statfs(directory.path())?.f_type as u64 == TMPFS_MAGIC {
        return Err(Error::other(format!("{} is a tmpfs: nothing is durable there", parent.display())));
    }
    for length in [40_960, 524_288] {
        let (direct, cached) = disk(directory.path(), length)?;
        println!("disk, {length} bytes: O_DIRECT|O_DSYNC {direct:.1?}, write + fdatasync {cached:.1?}");
    }
    let options = SpoolOptions {
        // One segment for all of it, and no thread that makes the next ones beside the measurement.
        segment_bytes: 1 << 30,
        spares: 0,
        ..SpoolOptions::in_directory(directory.path().join("spool"))
    };
    let spool = Spool::open(options).map_err(Error::other)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().build()?;
    for length in [40_960, 524_288] {
        for associations in [1, 4, 16] {
            let count = (if length > 100_000 { 320 } else { 960 }) / associations;
            let started = Instant::now();
            let mut waits = runtime.block_on(all(&spool, associations, count, length)).map_err(Error::other)?;
            let rate = waits.len() as f64 / started.elapsed().as_secs_f64();
            waits.sort();
            println!(
                "spool, {length} bytes, {associations:2} associations: {rate:6.0} instances/s, commit {:.1?} median, {:.1?} p95",
                waits[waits.len() / 2],
                waits[waits.len() * 95 / 100],
            );
            spool.erase_study("1.2").map_err(Error::other)?;
        }
    }
    Ok(())
}

/// Medians of one durable write into blocks written before, both ways.
fn disk(directory: &Path, length: usize) -> Result<(Duration, Duration)> {
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
    Ok((direct, cached))
}

/// The times from the last byte to the durable answer.
async fn all(
    spool: &Spool,
    associations: usize,
    count: usize,
    length: usize,
) -> std::result::Result<Vec<Duration>, SpoolError> {
    let tasks: Vec<_> =
        (0..associations).map(|number| tokio::spawn(association(spool.clone(), number, count, length))).collect();
    let mut waits = Vec::new();
    for task in tasks {
        waits.extend(task.await.map_err(|_| SpoolError::Stopped)??);
    }
    Ok(waits)
}

async fn association(
    spool: Spool,
    number: usize,
    count: usize,
    length: usize,
) -> std::result::Result<Vec<Duration>, SpoolError> {
    let bytes = vec![number as u8; length];
    let mut waits = Vec::with_capacity(count);
    for n in 0..count {
        let mut incoming = spool.begin("1.2")?;
        // As an association hands it on: in PDVs of 128 KiB.
        for part in bytes.chunks(128 << 10) {
            incoming.write(black_box(part))?;
        }
        let arrival = Arrival {
            sop_class: "1.2.840.10008.5.1.4.1.1.2".into(),
            sop_instance: format!("1.2.{number}.{n}"),
            study: "1.2".into(),
            series: "1.2.1".into(),
            transfer_syntax: "1.2.840.10008.1.2.1".into(),
            at: SystemTime::now(),
            origin: Origin::Produced,
        };
        let started = Instant::now();
        incoming.commit(arrival).await?;
        waits.push(started.elapsed());
    }
    Ok(waits)
}
