//! What it costs to have a worker do a job: the warm round trip of a CT of 300 slices of 0.5 MB and of its answer.
//!
//! ```text
//! cargo bench --bench handover [-- --smoke | --rounds N | --directory DIR]
//! ```
//! The slices lie in a spool on a real disk. Counted is what comes on top of the work itself because it is done in another
//! process: looking the instances up, the grant for them, the segments' descriptors, the task with the study's key and the
//! places of 300 instances, its way to the worker and its reading there, the bounds that are watched meanwhile, the
//! announcement of four steps, and the answer with its 300 source frames in a message and its bulk in a sealed memory file.
//! All of that is the product's own code on both sides; only the model is null: it answers without looking at an image, finds
//! nothing and paints no preview. Not counted is what a job costs in whatever process it runs: reading and deciphering the slices, decode,
//! networks, masks. The second line has the worker read and decipher them all, for comparison; nothing is judged by it.
mod machine;

use std::io::{Error, Result};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};
use sund_agent::fault::Fault;
use sund_agent::infer::EngineKind;
use sund_agent::inference::{EngineUsed, Findings, Inference, PackageRef, Picture, SourceFrame, StepTime};
use sund_agent::instance::{Arrival, Origin};
use sund_agent::outcome::Outcome;
use sund_agent::spool::{GrantedInstance, Spool, SpoolOptions};
use sund_agent::worker::{Bounds, Company, Launcher, Seat, Task, run, serve_with};
use sund_kernels::Grid;

const SLICES: usize = 300;
/// 512 x 512 of 16 bits, and a header.
const LENGTH: usize = 2 * 512 * 512 + 2048;
/// The bar, in milliseconds.
const BAR: f64 = 2.0;
/// Digests of the two packages, by which this worker knows what to do.
const NULL: &str = "null";
const READS: &str = "reads";
const STEPS: [&str; 4] = ["decode", "preprocess", "infer", "postprocess"];
const BOUNDS: Bounds = Bounds { memory: 4 << 30, time: Duration::from_mins(1), wait: Duration::ZERO };

struct Options {
    rounds: usize,
    directory: PathBuf,
}

fn options() -> Result<Options> {
    let mut options = Options { rounds: 200, directory: PathBuf::from(env!("CARGO_TARGET_TMPDIR")) };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| Error::other(format!("{argument} lacks its value")));
        match argument.as_str() {
            // What cargo adds.
            "--bench" => {}
            "--smoke" => options.rounds = 3,
            "--rounds" => options.rounds = value()?.parse().map_err(Error::other)?,
            "--directory" => options.directory = PathBuf::from(value()?),
            other => return Err(Error::other(format!("unknown option {other}"))),
        }
    }
    Ok(options)
}

#[expect(clippy::print_stdout, reason = "the figures are the output")]
fn main() -> Result<()> {
    // This program is its own worker, as `sund` is.
    if std::env::args().nth(1).as_deref() == Some("worker") {
        return serve_with(|| Box::new(answer)).map_err(Error::other);
    }
    let options = options()?;
    let directory = tempfile::tempdir_in(&options.directory)?;
    machine::describe(directory.path())?;
    let spool = Spool::open(SpoolOptions::in_directory(directory.path().join("spool"))).map_err(Error::other)?;
    let series = stored(&spool)?;
    let launcher = Launcher::Child { program: std::env::current_exe()? };
    let seat = Seat::new(launcher, None);
    let rounds = options.rounds;
    println!("\n{SLICES} slices of {LENGTH} bytes, rounds: {rounds}");
    let median = measured("a null model", NULL, rounds, &spool, &series, directory.path(), &seat)?;
    measured("a model that reads all of it", READS, rounds.min(10), &spool, &series, directory.path(), &seat)?;
    println!("hand-over at most {BAR} ms: {}", if median <= BAR { "met" } else { "MISSED" });
    Ok(())
}

/// The slices, received.
fn stored(spool: &Spool) -> Result<Vec<u64>> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let mut series = Vec::with_capacity(SLICES);
        for n in 0..SLICES {
            let mut incoming = spool.begin("1.2").map_err(Error::other)?;
            // As an association hands it on: in PDVs of 128 KiB.
            for part in vec![n as u8; LENGTH].chunks(128 << 10) {
                incoming.write(part).map_err(Error::other)?;
            }
            let arrival = Arrival {
                sop_class: "1.2.840.10008.5.1.4.1.1.2".into(),
                sop_instance: format!("2.25.3141592653589793238462643383279{n:04}"),
                study: "1.2".into(),
                series: "1.2.1".into(),
                transfer_syntax: "1.2.840.10008.1.2.1".into(),
                at: SystemTime::now(),
                origin: Origin::Produced,
            };
            series.push(incoming.commit(arrival).await.map_err(Error::other)?.id);
        }
        Ok(series)
    })
}

/// Prints the round trip's median, least and most, and how much of it the grants take; the median in milliseconds.
#[expect(clippy::print_stdout, reason = "the figures are the output")]
fn measured(
    name: &str,
    package: &str,
    rounds: usize,
    spool: &Spool,
    series: &[u64],
    folder: &Path,
    seat: &Seat,
) -> Result<f64> {
    let (mut totals, mut grants) = (Vec::new(), Vec::new());
    // The first one brings up what stays: it is not counted.
    for round in 0..=rounds {
        let (granted, total) = round_trip(package, spool, series, folder, seat)?;
        if round > 0 {
            grants.push(granted);
            totals.push(total);
        }
    }
    for times in [&mut totals, &mut grants] {
        times.sort_by(f64::total_cmp);
    }
    let at = |times: &[f64], n: usize| times.get(n).copied().unwrap_or_default();
    println!(
        "  {name:<30} {:8.2} ms  ({:.2} to {:.2}), grants {:.2}",
        at(&totals, rounds / 2),
        at(&totals, 0),
        at(&totals, totals.len() - 1),
        at(&grants, rounds / 2),
    );
    Ok(at(&totals, rounds / 2))
}

/// Milliseconds until the task is made, and until its answer is there.
fn round_trip(package: &str, spool: &Spool, series: &[u64], folder: &Path, seat: &Seat) -> Result<(f64, f64)> {
    let begun = Instant::now();
    let folder = OwnedFd::from(std::fs::File::open(folder)?);
    let (granted, segments) = spool.grant(series).map_err(Error::other)?;
    let (engine, memory) = (EngineKind::Tract, BOUNDS.memory);
    let task = Task { job: 1, package_digest: package.to_owned(), engine, golden: None, memory, series: granted };
    let files: Vec<BorrowedFd<'_>> = std::iter::once(folder.as_fd()).chain(segments.iter().map(AsFd::as_fd)).collect();
    let granted = begun.elapsed();
    let process = seat.take(Company::Others).map_err(Error::other)?;
    let mut steps = 0;
    let (process, answer) = run(process, &task, &files, BOUNDS, &mut |_| steps += 1);
    seat.put(process);
    let answer = answer.map_err(|error| Error::other(error.fault()))?;
    let total = begun.elapsed();
    let Findings::Volume { sources, .. } = &answer.findings else { return Err(Error::other("another answer")) };
    if (sources.len(), steps) != (SLICES, STEPS.len()) {
        return Err(Error::other("the answer is not whole"));
    }
    Ok((1000.0 * granted.as_secs_f64(), 1000.0 * total.as_secs_f64()))
}

/// The worker's side: what a model would say that found nothing.
fn answer(task: &Task, files: &[OwnedFd], on_step: &mut dyn FnMut(&StepTime)) -> std::result::Result<Inference, Fault> {
    if task.package_digest == READS {
        let segments: Vec<BorrowedFd<'_>> = files.iter().skip(1).map(AsFd::as_fd).collect();
        for instance in task.series.instances() {
            std::hint::black_box(task.series.read(instance, &segments)?);
        }
    }
    for step in STEPS {
        on_step(&StepTime { step: step.to_owned(), network: None, took: Duration::ZERO });
    }
    let source = |instance: &GrantedInstance| SourceFrame {
        sop_class: instance.sop_class.clone(),
        sop_instance: instance.sop_instance.clone(),
        frame: None,
    };
    let text = String::new;
    let to_patient = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]];
    Ok(Inference {
        package: PackageRef {
            name: text(),
            title: text(),
            version: text(),
            vendor: text(),
            digest: task.package_digest.clone(),
        },
        engine: EngineUsed { class: "tract".into(), precision: "fp32".into(), version: text() },
        outcome: Outcome::NoFinding,
        findings: Findings::Volume {
            grid: Grid { dims: [512, 512, task.series.instances().len()], to_patient },
            sources: task.series.instances().iter().map(source).collect(),
            segments: Vec::new(),
        },
        measurements: Vec::new(),
        preview: Picture { width: 0, height: 0, rgb: Vec::new() },
        partial: None,
        times: Vec::new(),
    })
}
