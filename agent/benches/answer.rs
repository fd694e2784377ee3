//! From the last C-STORE response of a study to the C-STORE request of its first result, split by stage; and the memory of
//! a node at rest.
//!
//! ```text
//! cargo bench --bench answer [-- --smoke | --rounds N | --directory DIR | --program SUND]
//! ```
//! The node is `sund serve`, on a real disk, with the packaged models, on tract and, where SUND_ONNXRUNTIME names its
//! library, on ONNX Runtime. The stages are the node's own, read from /metrics before and after each study; the total is
//! what sender and archive saw. A study is complete when its association ends; where the configuration waits for quiet
//! instead, that time (`study.quiet`) comes on top. `--program` measures another build of sund.
#[path = "answer/archive.rs"]
mod archive;
mod machine;
#[path = "answer/node.rs"]
mod node;
#[path = "answer/study.rs"]
mod study;

use archive::Archive;
use node::{Figures, Node, PATIENCE, Setup};
use std::collections::BTreeMap;
use std::io::{Error, Result};
use std::path::{Path, PathBuf};
use std::time::Duration;
use study::Study;
use sund_agent::infer::ONNXRUNTIME_VARIABLE;

/// The stages in their order: assembly counts from the last instance's arrival, queue holds the commit of the job, handover
/// is what the way to the worker and back costs, deliver goes from the queue of the destination to the request.
const STAGES: [&str; 13] = [
    "assembly",
    "study",
    "identity",
    "route",
    "queue",
    "handover",
    "decode",
    "preprocess",
    "infer",
    "postprocess",
    "results",
    "store",
    "deliver",
];

/// A packaged model with its golden case, and the number of results that it gives.
struct Case {
    model: &'static str,
    golden: &'static str,
    results: usize,
}

const CASES: [Case; 2] = [
    Case { model: "text-detection", golden: "ultrasound", results: 2 },
    Case { model: "brain-extraction", golden: "brain", results: 3 },
];

/// Instances of the series that a node without a model receives.
const SERIES: usize = 300;
/// Megabytes that a node without a model may take at rest.
const AT_REST: f64 = 60.0;

struct Options {
    smoke: bool,
    rounds: usize,
    directory: PathBuf,
    program: PathBuf,
}

fn options() -> Result<Options> {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let mut options = Options { smoke: false, rounds: 5, directory, program: env!("CARGO_BIN_EXE_sund").into() };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| Error::other(format!("{argument} lacks its value")));
        match argument.as_str() {
            // What cargo adds.
            "--bench" => {}
            "--smoke" => (options.smoke, options.rounds) = (true, 1),
            "--rounds" => options.rounds = value()?.parse().map_err(Error::other)?,
            "--directory" => options.directory = PathBuf::from(value()?),
            "--program" => options.program = PathBuf::from(value()?),
            other => return Err(Error::other(format!("unknown option {other}"))),
        }
    }
    Ok(options)
}

fn main() -> Result<()> {
    let options = options()?;
    let directory = tempfile::tempdir_in(&options.directory)?;
    machine::describe(directory.path())?;
    let onnxruntime = std::env::var_os(ONNXRUNTIME_VARIABLE).filter(|name| !name.is_empty()).map(PathBuf::from);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let archive = Archive::open().await?;
        at_rest(&options, &directory.path().join("rest"), &archive).await?;
        for case in CASES.iter().take(if options.smoke { 1 } else { CASES.len() }) {
            for library in std::iter::once(None).chain(onnxruntime.as_deref().map(Some)) {
                let name = format!("{}-{}", case.model, library.map_or("tract", |_| "onnxruntime"));
                answers(&options, &directory.path().join(name), case, library, &archive).await?;
            }
        }
        Ok(())
    })
}

/// Memory of a node without a model: after its start, and when it has nothing more to do after a series.
#[expect(clippy::print_stdout, reason = "the tables are the output")]
async fn at_rest(options: &Options, folder: &Path, archive: &Archive) -> Result<()> {
    let program = &options.program;
    let mut node =
        Node::start(&Setup { program, folder, model: None, onnxruntime: None, archive: archive.address }).await?;
    let started = node.resident()?;
    let objects = Study::slices(SERIES)?.objects(0)?;
    node.receive(&objects).await?;
    node.until("the series was looked at", |figures| {
        let of = |name: &str| figures.get(name).copied().unwrap_or(0.0);
        of("sund_stage_seconds_count{stage=\"route\"}") > 0.0 && of("sund_associations_open") == 0.0
    })
    .await?;
    let (received, peak) = (node.resident()?, node.peak()?);
    let verdict = if started.max(received) < AT_REST { "met" } else { "MISSED" };
    println!("\nmemory without a model (target {AT_REST} MB: {verdict})");
    println!("  after the start                     {started:5.1} MB");
    println!("  at rest after {SERIES} slices of 0.5 MB  {received:5.1} MB  ({peak:.1} MB at most meanwhile)");
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the tables are the output")]
async fn answers(
    options: &Options,
    folder: &Path,
    case: &Case,
    onnxruntime: Option<&Path>,
    archive: &Archive,
) -> Result<()> {
    let (program, model) = (&options.program, Some(case.model));
    let mut node = Node::start(&Setup { program, folder, model, onnxruntime, archive: archive.address }).await?;
    let study = Study::of_model(case.model, case.golden)?;
    let mut times: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    // The first study also waits for the golden cases, which run once: it is not counted.
    for round in 0..=options.rounds {
        archive.forget();
        let objects = study.objects(round)?;
        let before = node.figures().await?;
        let last = node.receive(&objects).await?;
        let late = |_| Error::other("no result came");
        let first = tokio::time::timeout(PATIENCE, archive.holds(case.results)).await.map_err(late)?;
        let total = first.ok_or_else(|| Error::other("the archive ended"))?.duration_since(last);
        let delivered = case.results as f64 * (round as f64 + 1.0);
        let after = node
            .until("the deliveries were recorded", |figures| {
                figures
                    .get("sund_delivery_total{destination=\"pacs\",result=\"delivered\"}")
                    .is_some_and(|count| *count >= delivered)
            })
            .await?;
        if round > 0 {
            for (stage, seconds) in split(&before, &after, total) {
                times.entry(stage).or_default().push(seconds);
            }
        }
    }
    let instances = if study.len() == 1 { "instance" } else { "instances" };
    println!("\n{} on {}, {} {instances}, rounds: {}", case.model, node.engine()?, study.len(), options.rounds);
    for stage in STAGES.into_iter().chain(["between", "total"]) {
        line(stage, times.get(stage));
        if stage == "infer" {
            for (name, times) in times.iter().filter(|(name, _)| name.starts_with("  ")) {
                line(name, Some(times));
            }
        }
    }
    Ok(())
}

/// Median, least and most.
#[expect(clippy::print_stdout, reason = "the tables are the output")]
fn line(name: &str, times: Option<&Vec<f64>>) {
    let mut times = times.cloned().unwrap_or_default();
    times.sort_by(f64::total_cmp);
    let at = |n: usize| 1000.0 * times.get(n).copied().unwrap_or_default();
    println!("  {name:<18} {:9.2} ms  ({:.2} to {:.2})", at(times.len() / 2), at(0), at(times.len().saturating_sub(1)));
}

/// What one study took in each stage, in seconds; networks, which are part of infer, by their names, indented.
fn split(before: &Figures, after: &Figures, total: Duration) -> BTreeMap<String, f64> {
    let of = |name: &str| after.get(name).unwrap_or(&0.0) - before.get(name).unwrap_or(&0.0);
    let stage = |stage: &str| (stage.to_owned(), of(&format!("sund_stage_seconds_sum{{stage=\"{stage}\"}}")));
    let mut took: BTreeMap<String, f64> = STAGES.into_iter().map(stage).collect();
    let total = total.as_secs_f64();
    took.insert("between".to_owned(), total - took.values().sum::<f64>());
    took.insert("total".to_owned(), total);
    for name in after.keys().filter(|name| name.starts_with("sund_network_seconds_sum")) {
        if let Some((_, network)) = name.split_once("network=\"") {
            took.insert(format!("  {}", network.trim_end_matches("\"}")), of(name));
        }
    }
    took
}
