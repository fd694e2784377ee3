//! How long a commit takes, against the disk's own sync. `cargo bench --bench spool [-- DIRECTORY]`
//!
//! Prints medians of one waiter and the rate of several, for slices of 40 KB and 512 KB. A tmpfs is refused: it has no
//! stable storage to wait for.
mod machine;

use std::hint::black_box;
use std::io::{Error, Result};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};
use sund_agent::instance::{Arrival, Origin};
use sund_agent::spool::{Spool, SpoolError, SpoolOptions};

#[expect(clippy::print_stdout, reason = "the figures are the output")]
fn main() -> Result<()> {
    let given = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let parent = given.map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let directory = tempfile::tempdir_in(&parent)?;
    machine::describe(directory.path())?;
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
