//! From the last C-STORE response of a study to the C-STORE request of its first result, split by stage; and the memory of
//! a node at rest.
//!
//! ```text
//! cargo bench --bench answer [-- --smoke | --rounds N | --directory DIR]
//! ```
//! The node is `sund serve`, on a real disk, with the packaged models; the stages are its own, read from /metrics before and
//! after each study. The wait for quiet is a configuration (`study.quiet`); here the end of the association completes a
//! study. With SUND_ONNXRUNTIME set, that engine serves, tract otherwise.
mod disk;
#[path = "answer/node.rs"]
mod node;
#[path = "answer/study.rs"]
mod study;

use node::{Figures, Node};
use std::collections::BTreeMap;
use std::io::{Error, Result};
use std::path::PathBuf;
use std::time::Duration;
use study::Study;

/// The stages in their order; what they do not cover is between them.
const STAGES: [&str; 11] = [
    "assembly",
    "study",
    "identity",
    "route",
    "queue",
    "decode",
    "preprocess",
    "infer",
    "postprocess",
    "results",
    "deliver",
];

struct Options {
    smoke: bool,
    rounds: usize,
    directory: PathBuf,
}

fn options() -> Result<Options> {
    let mut options = Options { smoke: false, rounds: 5, directory: PathBuf::from(env!("CARGO_TARGET_TMPDIR")) };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| Error::other(format!("{argument} lacks its value")));
        match argument.as_str() {
            // What cargo adds.
            "--bench" => {}
            "--smoke" => (options.smoke, options.rounds) = (true, 1),
            "--rounds" => options.rounds = value()?.parse().map_err(Error::other)?,
            "--directory" => options.directory = PathBuf::from(value()?),
            other => return Err(Error::other(format!("unknown option {other}"))),
        }
    }
    Ok(options)
}

#[expect(clippy::print_stdout, reason = "the tables are the output")]
fn main() -> Result<()> {
    let options = options()?;
    let directory = tempfile::tempdir_in(&options.directory)?;
    disk::refuse_tmpfs(directory.path())?;
    let (direct, cached) = disk::sync_latency(directory.path(), 40_960)?;
    println!("{} threads", std::thread::available_parallelism()?);
    println!("disk, 40960 bytes made durable: O_DIRECT|O_DSYNC {direct:.1?}, write + fdatasync {cached:.1?}");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        at_rest(&directory.path().join("rest")).await?;
        let cases = [("text-detection", "ultrasound"), ("brain-extraction", "brain")];
        for (model, case) in cases.into_iter().take(if options.smoke { 1 } else { 2 }) {
            answers(&directory.path().join(model), model, case, options.rounds).await?;
        }
        Ok(())
    })
}

/// Memory of a node without a model: after its start, and after a series was received.
#[expect(clippy::print_stdout, reason = "the tables are the output")]
async fn at_rest(directory: &std::path::Path) -> Result<()> {
    let node = Node::start(directory, None).await?;
    let started = node.resident()?;
    node.receive(&Study::of_model("brain-extraction", "brain")?, 0).await?;
    let received = node.resident()?;
    println!(
        "\nmemory without a model (target 60 MB): {started:.1} MB after the start, {received:.1} MB after a series"
    );
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the tables are the output")]
async fn answers(directory: &std::path::Path, model: &str, case: &str, rounds: usize) -> Result<()> {
    let mut node = Node::start(directory, Some(model)).await?;
    let study = Study::of_model(model, case)?;
    let mut times: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    // The first study also waits for the golden cases, which run once: it is not counted.
    for round in 0..=rounds {
        let before = node.figures().await?;
        node.receive(&study, round).await?;
        node.delivered(2 * (round as u64 + 1)).await?;
        let after = node.figures().await?;
        if round > 0 {
            for (stage, seconds) in split(&before, &after)? {
                times.entry(stage).or_default().push(seconds);
            }
        }
    }
    println!("\n{model} on {}, {} instances, {rounds} rounds", node.engine()?, study.len());
    for stage in STAGES.into_iter().chain(["between", "total"]) {
        let of_stage = times.entry(stage).or_default();
        of_stage.sort_by(f64::total_cmp);
        let at = |n: usize| of_stage.get(n).copied().map_or(Duration::ZERO, Duration::from_secs_f64);
        let last = of_stage.len().saturating_sub(1);
        println!("  {stage:<12} {:>10.2?}  ({:.2?} to {:.2?})", at(of_stage.len() / 2), at(0), at(last));
    }
    Ok(())
}

/// What one study took in each stage.
fn split(before: &Figures, after: &Figures) -> Result<BTreeMap<&'static str, f64>> {
    let of = |name: &str| after.get(name).unwrap_or(&0.0) - before.get(name).unwrap_or(&0.0);
    let mut took: BTreeMap<&'static str, f64> =
        STAGES.into_iter().map(|stage| (stage, of(&format!("sund_stage_seconds_sum{{stage=\"{stage}\"}}")))).collect();
    let total = of("sund_first_result_seconds_sum");
    if total <= 0.0 {
        return Err(Error::other("the node told no time of a first result"));
    }
    took.insert("between", total - took.values().sum::<f64>());
    took.insert("total", total);
    Ok(took)
}
