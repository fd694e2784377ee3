//! The networks of the packaged models on the CPU engines, by `sund model bench`, against ONNX Runtime in Python: the same library,
//! the same threads, before and after.
use super::Options;
use std::io::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Most times the time that ONNX Runtime takes in Python.
const ONNXRUNTIME: f64 = 1.05;

/// A packaged model: its networks, by file and the shape that its golden case gives them.
const CASES: [(&str, &[(&str, &str, &str)]); 2] = [
    ("text-detection", &[("detect", "detect.onnx", "1,3,480,640")]),
    (
        "brain-extraction",
        &[("locate", "locate.onnx", "1,1,128,128,128"), ("extract", "extract.onnx", "1,1,256,256,256")],
    ),
];

const SCRIPT: &str = r"
import sys, time, os, numpy, onnxruntime
path, shape, rounds, warm_up = sys.argv[1], [int(n) for n in sys.argv[2].split(',')], int(sys.argv[3]), int(sys.argv[4])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = len(os.sched_getaffinity(0))
session = onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])
given = {session.get_inputs()[0].name: numpy.random.default_rng(1).standard_normal(shape, dtype=numpy.float32)}
times = []
for n in range(warm_up + rounds):
    begun = time.perf_counter()
    session.run(None, given)
    if n >= warm_up:
        times.append(time.perf_counter() - begun)
print(sorted(times)[(len(times) + 1) // 2 - 1] * 1e3)
";

#[expect(clippy::print_stdout, reason = "the figures are the output")]
pub fn measure(options: &Options) -> Result<bool> {
    let Some(python) = std::env::var_os("SUND_BENCH_PYTHON") else {
        println!("no engine is measured: SUND_BENCH_PYTHON names no Python with onnxruntime");
        return Ok(true);
    };
    let library = python_library(Path::new(&python))?;
    let cases = if options.smoke { &CASES[..1] } else { &CASES[..] };
    let (rounds, warm_up) = (options.rounds.to_string(), if options.smoke { "0" } else { "2" });
    let mut all_met = true;
    for (model, networks) in cases {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/models").join(model);
        let peer = |file: &str, shape: &str| -> Result<f64> {
            let mut command = Command::new(&python);
            command.args(["-c", SCRIPT]).arg(folder.join(file)).args([shape, &rounds, warm_up]);
            said(&mut command)?.trim().parse().map_err(Error::other)
        };
        let before: Vec<f64> = networks.iter().map(|(_, file, shape)| peer(file, shape)).collect::<Result<_>>()?;
        let mut bench = Command::new(&options.program);
        bench.args(["model", "bench", "--json", "--rounds", &rounds, "--warm-up", warm_up]).arg(&folder);
        let measured = said(bench.env("SUND_ONNXRUNTIME", &library))?;
        let measured: serde_json::Value = serde_json::from_str(&measured).map_err(Error::other)?;
        let after: Vec<f64> = networks.iter().map(|(_, file, shape)| peer(file, shape)).collect::<Result<_>>()?;
        println!("{model}, medians of {rounds}");
        for (n, (network, ..)) in networks.iter().enumerate() {
            // What the machine did meanwhile is in both.
            let peer = f64::midpoint(before[n], after[n]);
            println!(
                "  {network:<9}onnxruntime in Python {peer:8.1} ms ({:.1} before, {:.1} after)",
                before[n], after[n]
            );
            for engine in measured["engines"].as_array().into_iter().flatten() {
                let name = engine["engine"].as_str().unwrap_or_default();
                let latencies = engine["latencies"].as_array().into_iter().flatten();
                let own = latencies.filter(|one| one["what"] == *network).find_map(|one| one["median_ms"].as_f64());
                let own = own.ok_or_else(|| Error::other(format!("{name} was not measured")))?;
                let ratio = own / peer;
                let verdict = match (name.starts_with("onnxruntime"), ratio <= ONNXRUNTIME) {
                    (false, _) => "",
                    (true, true) => "  met",
                    (true, false) => "  MISSED",
                };
                all_met &= verdict != "  MISSED";
                println!("  {:<9}{name:<22}{own:8.1} ms, {ratio:.2} times{verdict}", "");
            }
        }
    }
    Ok(all_met)
}

/// The library that Python's onnxruntime is.
fn python_library(python: &Path) -> Result<PathBuf> {
    let script = "import onnxruntime, pathlib; print(*pathlib.Path(onnxruntime.__file__).parent.glob('capi/libonnxruntime.so.*'))";
    Ok(said(Command::new(python).args(["-c", script]))?.trim().into())
}

fn said(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    if !output.status.success() {
        return Err(Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    String::from_utf8(output.stdout).map_err(Error::other)
}
