//! Every CUDA kernel on this machine's GPU: the tests' cases against the references, compute-sanitizer, and benchmarks that count
//! bytes. See `kernels/gpu-check`.
//!
//! `--table FILE` writes the table there too. `--parity N` runs N cases of each operation and nothing else, which is what
//! compute-sanitizer looks at. Times are medians of what the GPU itself measures. A benchmark counts the bytes that have to
//! move at least: every input read once, every result written once.
#![allow(clippy::print_stdout, reason = "a benchmark's figures are its data")]
#[path = "gpu_check/measure.rs"]
mod measure;
#[path = "../tests/cuda/parity.rs"]
mod parity;

use measure::{Measured, Verdict};
use std::error::Error;
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitCode};
use sund_kernels::cuda::{Cuda, CudaError};

/// There is no GPU to check (sysexits: a service is unavailable).
const NO_GPU: u8 = 69;

/// Cases of each operation and kind of samples.
const CASES: u64 = 200;

/// The same under compute-sanitizer, which is slow.
const SANITIZED_CASES: u64 = 4;

fn main() -> ExitCode {
    let mut gpu = match Cuda::open(0) {
        Ok(gpu) => gpu,
        Err(error) => {
            println!("Nothing was checked: {error}.");
            return ExitCode::from(NO_GPU);
        }
    };
    match check(&mut gpu) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all is as it should be.
fn check(gpu: &mut Cuda) -> Result<bool, Box<dyn Error>> {
    if let Some(cases) = argument("--parity") {
        let cases = cases.parse()?;
        return Ok(parity::OPERATIONS.iter().all(|operation| holds(gpu, *operation, cases)));
    }
    let (major, minor) = gpu.capability()?;
    let mut table = format!(
        "# CUDA kernels on a GPU\n\n{} · {} · compute capability {major}.{minor} · kernels from {}\n",
        today()?,
        gpu.name()?,
        match gpu.code() {
            sund_kernels::cuda::Code::Image => "the image built ahead of time",
            sund_kernels::cuda::Code::Compiled => "NVRTC",
        }
    );
    write!(table, "\nWritten by `kernels/gpu-check`.\n\n| operation | held against its reference |\n|---|---|\n")?;
    let mut all_hold = true;
    for operation in parity::OPERATIONS {
        let is_same = holds(gpu, operation, CASES);
        all_hold &= is_same;
        let verdict = if is_same { "holds" } else { "**differs**" };
        writeln!(table, "| {} | {CASES} cases of each kind: {verdict} |", operation.name())?;
    }
    write!(table, "\n| compute-sanitizer | found |\n|---|---|\n")?;
    for tool in ["memcheck", "racecheck", "initcheck", "synccheck"] {
        let (found, is_clean) = sanitized(tool)?;
        all_hold &= is_clean;
        writeln!(table, "| {tool} | {found} |")?;
    }
    let copy = measure::copy_bandwidth(gpu)?;
    write!(
        table,
        "\nMeasured copy bandwidth: {copy:.0} GB/s (read and written).\n\n| benchmark | MB | ms | GB/s | of copy | bar |\n|---|---|---|---|---|---|\n"
    )?;
    for measured in measure::all(gpu)? {
        let verdict = measured.verdict(copy, (major, minor));
        all_hold &= verdict != Verdict::Missed;
        table += &row(&measured, copy, verdict);
    }
    print!("{table}");
    if let Some(file) = argument("--table") {
        std::fs::write(file, &table)?;
    }
    Ok(all_hold)
}

fn row(measured: &Measured, copy: f64, verdict: Verdict) -> String {
    let Measured { name, bytes, ms, .. } = measured;
    let speed = measured.speed();
    let megabytes = *bytes as f64 / 1e6;
    format!("| {name} | {megabytes:.1} | {ms:.3} | {speed:.0} | {:.0} % | {verdict} |\n", 100.0 * speed / copy)
}

/// Whether all cases of an operation come out as the reference has them.
fn holds(gpu: &mut Cuda, operation: parity::Operation, cases: u64) -> bool {
    catch_unwind(AssertUnwindSafe(|| operation.check(gpu, cases))).is_ok()
}

/// What a tool of compute-sanitizer says of this very program, and whether that is nothing.
fn sanitized(tool: &str) -> Result<(String, bool), Box<dyn Error>> {
    let checked = Command::new("compute-sanitizer")
        .args(["--tool", tool, "--error-exitcode", "9"])
        .arg(std::env::current_exe()?)
        .args(["--parity", &SANITIZED_CASES.to_string()])
        .output();
    Ok(match checked {
        Err(_) => ("not looked: compute-sanitizer is not on PATH".into(), true),
        Ok(output) if output.status.success() => (format!("nothing, in {SANITIZED_CASES} cases of each kind"), true),
        Ok(output) => {
            eprint!("{}", String::from_utf8_lossy(&output.stdout));
            ("**errors**".into(), false)
        }
    })
}

fn argument(name: &str) -> Option<String> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.next().and(arguments.next())
}

fn today() -> Result<String, Box<dyn Error>> {
    let said = Command::new("date").args(["-u", "+%F"]).output()?;
    Ok(String::from_utf8(said.stdout)?.trim().to_owned())
}

/// So that `?` takes an error of the GPU.
type Checked<T> = Result<T, CudaError>;
