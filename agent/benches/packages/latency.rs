//! The networks of the packaged models on the CPU engines, against ONNX Runtime in Python: the same library, the same threads, the
//! same input.
//!
//! A round is a turn of each, Python's and Sund's by turns first. Each is a process that stays, with its networks loaded, as in
//! service. Only the second run of a turn counts: what the turn before leaves behind (threads that spin, caches) is over then.
//! What is compared is what the two took in the same round, so that a machine that is busy for a while is so for both.
use super::Options;
use std::fs;
use std::io::{BufRead, BufReader, Error, Result, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use sund_agent::bracket;
use sund_agent::fault::Fault;
use sund_agent::infer::{Engine, EngineKind, Network, OnnxRuntimeEngine, Tensor};
use sund_agent::inference::EngineUsed;
use sund_agent::model::{Package, golden};
use sund_agent::trial::Rig;
use sund_agent::worker::Launcher;

/// Most times the time that ONNX Runtime takes in Python.
const ONNXRUNTIME: f64 = 1.05;

/// Packaged models.
const MODELS: [&str; 2] = ["text-detection", "brain-extraction"];

/// Loads networks, then runs one of them twice for each line, and says how long the second run took, in milliseconds.
const SCRIPT: &str = r"
import sys, time, os, numpy, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = len(os.sched_getaffinity(0))
sessions = {}
for network, values, shape in zip(sys.argv[1::3], sys.argv[2::3], sys.argv[3::3]):
    session = onnxruntime.InferenceSession(network, options, providers=['CPUExecutionProvider'])
    values = numpy.fromfile(values, dtype='<f4').reshape([int(n) for n in shape.split(',')])
    sessions[network] = session, {session.get_inputs()[0].name: values}
for line in sys.stdin:
    session, given = sessions[line.rstrip('\n')]
    session.run(None, given)
    begun = time.perf_counter()
    session.run(None, given)
    print((time.perf_counter() - begun) * 1e3, flush=True)
";

pub fn measure(options: &Options, scratch: &Path) -> Result<bool> {
    let Some(python) = std::env::var_os("SUND_BENCH_PYTHON") else {
        say("no engine is measured: SUND_BENCH_PYTHON names no Python with onnxruntime");
        return Ok(true);
    };
    let library = python_library(Path::new(&python))?;
    let models = if options.smoke { &MODELS[..1] } else { &MODELS[..] };
    let mut all_met = true;
    for model in models {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/models").join(model);
        let package = Package::open(&folder).map_err(Error::other)?;
        let networks = networks(&package, &library, scratch)?;
        let mut python = Python::start(Path::new(&python), &networks)?;
        let launcher = Launcher::Child { program: options.program.clone() };
        let engines = [EngineKind::OnnxRuntime { library: library.clone() }, EngineKind::Tract];
        // ONNX Runtime's worker is not tract's: each engine has its turn alone.
        let mut rigs = engines.map(|engine| (Rig::new(launcher.clone()), engine));
        let mut rounds = Vec::new();
        for round in 0..options.rounds {
            let mut peer = Vec::new();
            let mut own = Vec::new();
            for is_peers in if round % 2 == 0 { [true, false] } else { [false, true] } {
                if is_peers {
                    peer = networks.iter().map(|network| python.turn(network)).collect::<Result<_>>()?;
                } else {
                    own = turn(&mut rigs[0], &package, &networks)?;
                }
            }
            let tract = turn(&mut rigs[1], &package, &networks)?;
            rounds.push([peer, own, tract]);
        }
        say(&format!("{model}, medians of {} rounds", options.rounds));
        for (n, network) in networks.iter().enumerate() {
            let times: Vec<_> = rounds.iter().map(|turns| turns.each_ref().map(|turn| turn[n])).collect();
            all_met &= tell(&network.name, &times);
        }
    }
    Ok(all_met)
}

/// Prints the times of a network: Python's, ONNX Runtime's, tract's. True where the bar is met.
fn tell(network: &str, rounds: &[[f64; 3]]) -> bool {
    let of = |which: usize| median(rounds.iter().map(|times| times[which]));
    let ratio = |which: usize| median(rounds.iter().map(|times| times[which] / times[0]));
    let is_met = ratio(1) <= ONNXRUNTIME;
    say(&format!("  {network:<9}onnxruntime in Python {:8.1} ms", of(0)));
    let verdict = if is_met { "met" } else { "MISSED" };
    say(&format!("           onnxruntime fp32      {:8.1} ms, {:.2} times  {verdict}", of(1), ratio(1)));
    say(&format!("           tract fp32            {:8.1} ms, {:.2} times", of(2), ratio(2)));
    is_met
}

/// A network with the input that its golden case gives it.
struct Given {
    name: String,
    file: PathBuf,
    values: PathBuf,
    shape: String,
}

/// The networks of a package in the order of its manifest, with their inputs in files.
fn networks(package: &Package, library: &Path, scratch: &Path) -> Result<Vec<Given>> {
    let mut engine = Noting { engine: OnnxRuntimeEngine::open(library).map_err(Error::other)?, inputs: Vec::new() };
    let case = package.manifest.golden.first().ok_or_else(|| Error::other("there is no golden case"))?;
    let series = golden::series(package, case).map_err(Error::other)?;
    bracket::run(package, &mut engine, &series, &mut |_| {}).map_err(Error::other)?;
    let folder = package.contents.path();
    let given = |name: &str, file: &str| {
        let input = engine.inputs.iter().find(|(known, _)| known == name);
        let (_, input) = input.ok_or_else(|| Error::other(format!("{name} was not run")))?;
        let values = scratch.join(format!("{name}.f32"));
        let bytes: Vec<u8> = input.values.iter().flat_map(|value| value.to_le_bytes()).collect();
        fs::write(&values, bytes)?;
        let shape = input.shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        Ok(Given { name: name.to_owned(), file: folder.join(file), values, shape })
    };
    package.manifest.networks.iter().map(|network| given(&network.name, &network.file)).collect()
}

/// Runs networks, and notes the input of each.
struct Noting {
    engine: OnnxRuntimeEngine,
    inputs: Vec<(String, Tensor)>,
}

impl Engine for Noting {
    fn used(&self) -> EngineUsed {
        self.engine.used()
    }

    fn unload(&mut self) {
        self.engine.unload();
    }

    fn run(&mut self, name: &str, network: &Network<'_>, input: Tensor) -> std::result::Result<Tensor, Fault> {
        self.inputs.push((name.to_owned(), input.clone()));
        self.engine.run(name, network, input)
    }
}

/// Two runs of a package in a worker; the milliseconds of each network in the second.
fn turn((rig, engine): &mut (Rig, EngineKind), package: &Package, networks: &[Given]) -> Result<Vec<f64>> {
    let case = package.manifest.golden.first().ok_or_else(|| Error::other("there is no golden case"))?;
    rig.run(package, engine, case).map_err(Error::other)?;
    let inference = rig.run(package, engine, case).map_err(Error::other)?;
    let of = |network: &Given| {
        let mut steps = inference.times.iter().filter(|step| step.network.as_ref() == Some(&network.name));
        let step = steps.next().ok_or_else(|| Error::other(format!("{} was not run", network.name)))?;
        Ok(step.took.as_secs_f64() * 1e3)
    };
    networks.iter().map(of).collect()
}

/// Python with ONNX Runtime and the networks of a package.
struct Python {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Python {
    fn start(program: &Path, networks: &[Given]) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(["-c", SCRIPT]);
        for Given { file, values, shape, .. } in networks {
            command.arg(file).arg(values).arg(shape);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let answers = child.stdout.take().ok_or_else(|| Error::other("Python has no standard output"))?;
        Ok(Self { child, answers: BufReader::new(answers) })
    }

    /// Two runs of a network; the milliseconds of the second.
    fn turn(&mut self, network: &Given) -> Result<f64> {
        let asked = self.child.stdin.as_mut().ok_or_else(|| Error::other("Python has no standard input"))?;
        writeln!(asked, "{}", network.file.display())?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        line.trim().parse().map_err(|_| Error::other(format!("Python did not run {}", network.name)))
    }
}

/// Ends with the value.
impl Drop for Python {
    fn drop(&mut self) {
        // Fails only where it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The middle one, or the lower of the two in the middle.
fn median(times: impl Iterator<Item = f64>) -> f64 {
    let mut times: Vec<f64> = times.collect();
    times.sort_by(f64::total_cmp);
    times.get(times.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

/// The library that Python's onnxruntime is.
fn python_library(python: &Path) -> Result<PathBuf> {
    let script = "import onnxruntime, pathlib; print(*pathlib.Path(onnxruntime.__file__).parent.glob('capi/libonnxruntime.so.*'))";
    let output = Command::new(python).args(["-c", script]).output()?;
    if !output.status.success() {
        return Err(Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    Ok(String::from_utf8(output.stdout).map_err(Error::other)?.trim().into())
}

#[expect(clippy::print_stdout, reason = "the figures are the output")]
fn say(line: &str) {
    println!("{line}");
}
