//! Every CUDA kernel on this machine's GPU: the tests' cases against the references, compute-sanitizer, TensorRT against ONNX
//! Runtime on the demonstration packages, benchmarks that count bytes, and studies one after another. See `kernels/gpu-check`.
//!
//! `--table FILE` writes the table there too. `--sund PROGRAM` and `--packages FOLDER`: what answers for TensorRT, and on what.
//! `--parity N` runs N cases of each operation and nothing else, which is what compute-sanitizer looks at. Times are medians of
//! what the GPU itself measures; studies are timed by the host's clock. A benchmark counts the bytes that have to move at
//! least: every input read once, every result written once.
#![allow(clippy::print_stdout, reason = "a benchmark's figures are its data")]
#[path = "gpu_check/bars.rs"]
mod bars;
#[path = "gpu_check/lanes.rs"]
mod lanes;
#[path = "gpu_check/measure.rs"]
mod measure;
#[path = "gpu_check/packages.rs"]
mod packages;
#[path = "../tests/cuda/parity.rs"]
mod parity;
#[path = "gpu_check/steady.rs"]
mod steady;
#[path = "gpu_check/table.rs"]
mod table;

use lanes::GpuLanes;
use packages::{Named, Row};
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, ExitCode};
use steady::Lanes as _;
use sund_kernels::cuda::{Code, Cuda, CudaError};
use table::Table;

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
    let capability = gpu.capability()?;
    let code = match gpu.code() {
        Code::Image => "the image built ahead of time",
        Code::Compiled => "NVRTC",
    };
    let mut table = Table::new(&today()?, &gpu.name()?, capability, code);
    table.parity(CASES, parity::OPERATIONS.map(|operation| (operation.name(), holds(gpu, operation, CASES))));
    let mut tools = Vec::new();
    for tool in ["memcheck", "racecheck", "initcheck", "synccheck"] {
        let (found, is_clean) = sanitized(tool)?;
        tools.push((tool, found, is_clean));
    }
    table.sanitizer(tools);
    table.packages(&tensorrt(capability)?);
    let copy = measure::copy_bandwidth(gpu)?;
    table.benchmarks(copy, &measure::all(gpu)?);
    let mut lanes = GpuLanes::open()?;
    let steady = steady::measured(&mut lanes)?;
    table.steady(lanes.count(), &lanes.engine(), &steady);
    print!("{}", table.text());
    if let Some(file) = argument("--table") {
        std::fs::write(file, table.text())?;
    }
    Ok(table.all_hold())
}

/// TensorRT against ONNX Runtime by the program that is named, or why no plan can run.
fn tensorrt(capability: (i32, i32)) -> Result<Result<Vec<Row>, String>, Box<dyn Error>> {
    let (Some(sund), Some(folder)) = (argument("--sund"), argument("--packages")) else {
        return Ok(Err("no sund that was built with TensorRT is named (--sund, --packages)".into()));
    };
    let is_named = |variable: &str| std::env::var_os(variable).is_some_and(|path| !path.is_empty());
    let named = Named { rtx: is_named("SUND_TENSORRT_RTX"), enterprise: is_named("SUND_TENSORRT") };
    let targets = match packages::targets(named, capability) {
        Ok(targets) => targets,
        Err(why) => return Ok(Err(why)),
    };
    let work = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gpu-check");
    Ok(Ok(packages::compared(Path::new(&sund), Path::new(&folder), &work, &targets)?))
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
        // Unlike an engine that no library exists for, the tool is had wherever CUDA is.
        Err(_) => ("**not looked**: compute-sanitizer, of the CUDA toolkit, is not on PATH".into(), false),
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
