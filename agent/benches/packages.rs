//! Model packages: how fast 500 MB of one are packed, verified and opened, and in how much memory; how long a node with five
//! takes from its start until it is ready; how long the CPU engines take, against ONNX Runtime in Python in the same run.
//!
//! ```text
//! cargo bench --bench packages [-- --smoke | --rounds N | --directory DIR | --program SUND]
//! ```
//! `SUND_BENCH_PYTHON` names a Python with numpy and onnxruntime, of which the library is taken too. Bars: verify 500 MB/s; ONNX
//! Runtime at most 1.05 times Python's. tract's ratio is reported.
#[path = "packages/latency.rs"]
mod latency;
mod machine;
#[path = "packages/node.rs"]
mod node;
#[path = "packages/size.rs"]
mod size;

use std::io::{Error, Result};
use std::path::PathBuf;

/// What is measured with.
pub struct Options {
    smoke: bool,
    rounds: usize,
    directory: PathBuf,
    program: PathBuf,
}

fn options() -> Result<Options> {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let mut options = Options { smoke: false, rounds: 15, directory, program: env!("CARGO_BIN_EXE_sund").into() };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| Error::other(format!("{argument} lacks its value")));
        match argument.as_str() {
            // What cargo adds.
            "--bench" => {}
            "--smoke" => (options.smoke, options.rounds) = (true, 1),
            "--rounds" => options.rounds = value()?.parse().map_err(Error::other)?,
            "--directory" => options.directory = value()?.into(),
            "--program" => options.program = value()?.into(),
            other => return Err(Error::other(format!("there is no option {other}"))),
        }
    }
    Ok(options)
}

fn main() -> Result<()> {
    let options = options()?;
    let scratch = tempfile::tempdir_in(&options.directory)?;
    machine::describe(scratch.path())?;
    let met = [
        size::measure(&options, scratch.path())?,
        node::measure(&options, scratch.path())?,
        latency::measure(&options, scratch.path())?,
    ];
    // A smoke run says that it runs; its figures are of a busy machine.
    if options.smoke || met.iter().all(|met| *met) { Ok(()) } else { Err(Error::other("a bar is missed")) }
}
