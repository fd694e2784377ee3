//! Preprocessing of a CT series against numpy, scipy and torch, one thread each, taking turns in one run.
//!
//! 300 slices of 512 x 512 stored values (0.703 mm, 1 or 1.25 mm apart) to window values at 1 mm, 16-bit floats; straight and
//! oblique. `SUND_BENCH_PYTHON` names a Python with `benches/requirements.txt` (else `python3`). `--rounds N`, default 5.
//! Prints medians of wall time and, in brackets, of processor time; every result is compared with scipy's before.
#![allow(clippy::print_stdout, reason = "a benchmark's figures are its data")]
use half::f16;
use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;
use sund_kernels::{Grid, Preparation, grid_with_spacing, preprocess};

const DIMS: [usize; 3] = [300, 512, 512];
const SLOPE: f32 = 1.0;
const INTERCEPT: f32 = -1024.0;
const CENTER: f32 = 40.0;
const WIDTH: f32 = 400.0;

/// What is prepared for what.
struct Case {
    name: &'static str,
    source: Grid,
    onto: Grid,
}

/// Wall and processor time in ms.
type Took = [f64; 2];

fn main() -> Result<(), Box<dyn Error>> {
    let rounds = rounds()?;
    let samples = phantom();
    let directory = Scratch::new()?;
    let volume = directory.0.join("volume");
    fs::write(&volume, samples.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())?;
    let mut peers = Peers::start(&volume)?;

    for case in cases() {
        let names = peers.case(&case)?;
        let [k, j, i] = case.onto.dims;
        println!("{} ({k} x {j} x {i})", case.name);
        let difference =
            largest_difference(&ours(&samples, &case)?.1, &peers.check(&case, &directory.0.join("check"))?);
        println!("  largest difference from scipy: {difference:.6}");
        // Half a unit of 16 bits below 1 on both sides, and what 32 bits leave of the sums.
        if difference > 5.5e-4 {
            return Err("the result is not scipy's".into());
        }
        let mut times: Vec<(&str, Vec<Took>)> = names.iter().map(|name| (name.as_str(), Vec::new())).collect();
        let mut our_times = Vec::new();
        for _ in 0..rounds {
            for (name, times) in &mut times {
                our_times.push(ours(&samples, &case)?.0);
                times.push(peers.run(case.name, name)?);
            }
        }
        let own = median(&our_times);
        println!("  {:<14}{:7.0} ms ({:.0})", "sund", own[0], own[1]);
        for (name, times) in times {
            let [wall, cpu] = median(&times);
            let ratio = wall / own[0];
            println!(
                "  {name:<14}{wall:7.0} ms ({cpu:.0}), {ratio:.1} times ours ({:.1}){}",
                cpu / own[1],
                verdict(&case, name, ratio)
            );
        }
    }
    Ok(())
}

/// How many times faster than numpy slice by slice and than torch's trilinear interpolation the first case is to be; all
/// else is reported.
const TARGETS: [(&str, f64); 2] = [("numpy", 3.0), ("torch", 4.0)];

fn verdict(case: &Case, peer: &str, ratio: f64) -> String {
    let target = TARGETS.iter().find(|(name, _)| *name == peer && case.name == cases()[0].name);
    target.map_or_else(String::new, |(_, target)| {
        format!("  (target {target:.1}: {})", if ratio >= *target { "met" } else { "MISSED" })
    })
}

fn rounds() -> Result<usize, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.iter().position(|argument| argument == "--rounds") {
        Some(at) => Ok(arguments.get(at + 1).ok_or("--rounds wants a number")?.parse()?),
        None => Ok(5),
    }
}

fn cases() -> [Case; 3] {
    let grid = |mm: f64| Grid {
        dims: DIMS,
        to_patient: [[0.0, 0.0, 0.703, -180.0], [0.0, 0.703, 0.0, -180.0], [mm, 0.0, 0.0, 50.0]],
    };
    let (thin, thick) = (grid(1.0), grid(1.25));
    let straight = grid_with_spacing(&thin, [1.0; 3]);
    [
        Case { name: "straight, slices 1 mm apart", source: thin, onto: straight },
        Case { name: "straight, slices 1.25 mm apart", source: thick, onto: grid_with_spacing(&thick, [1.0; 3]) },
        Case { name: "oblique, turned by 0.2 and 0.1 rad", source: thin, onto: turned(straight) },
    ]
}

/// The grid turned about its middle, around the patient's x and then z axis.
fn turned(mut grid: Grid) -> Grid {
    let middle = grid.dims.map(|n| (n as f64 - 1.0) / 2.0);
    let before = grid.to_mm(middle);
    for ([a, b], angle) in [([1, 2], 0.2f64), ([0, 1], 0.1)] {
        let (sin, cos) = angle.sin_cos();
        for column in 0..3 {
            let (va, vb) = (grid.to_patient[a][column], grid.to_patient[b][column]);
            grid.to_patient[a][column] = cos * va - sin * vb;
            grid.to_patient[b][column] = sin * va + cos * vb;
        }
    }
    let after = grid.to_mm(middle);
    (0..3).for_each(|r| grid.to_patient[r][3] += before[r] - after[r]);
    grid
}

/// A body of water with bones in air, and noise over all.
fn phantom() -> Vec<i16> {
    let mut noise = 1u32;
    let mut samples = Vec::with_capacity(DIMS.iter().product());
    for k in 0..DIMS[0] {
        for j in 0..DIMS[1] {
            for i in 0..DIMS[2] {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let (x, y) = ((i as f32 - 256.0) / 220.0, (j as f32 - 256.0) / 150.0);
                let is_bone = (i / 24 + j / 24 + k / 16) % 5 == 0;
                let value = if x * x + y * y > 1.0 { 24 } else { 1064 + i16::from(is_bone) * 300 };
                samples.push(value + (noise >> 26) as i16 - 32);
            }
        }
    }
    samples
}

fn ours(samples: &[i16], case: &Case) -> Result<(Took, Vec<f16>), Box<dyn Error>> {
    let (wall, cpu) = (Instant::now(), processor_ms()?);
    let out = preprocess(samples, &case.source, &case.onto, &Preparation::ct(SLOPE, INTERCEPT, CENTER, WIDTH))?;
    Ok(([wall.elapsed().as_secs_f64() * 1e3, processor_ms()? - cpu], out))
}

fn processor_ms() -> Result<f64, Box<dyn Error>> {
    let schedule = fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(schedule.split(' ').next().unwrap_or_default().parse::<f64>()? / 1e6)
}

fn median(times: &[Took]) -> Took {
    std::array::from_fn(|n| {
        let mut sorted: Vec<f64> = times.iter().map(|took| took[n]).collect();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    })
}

fn largest_difference(ours: &[f16], theirs: &[f16]) -> f32 {
    if ours.len() != theirs.len() {
        return f32::INFINITY;
    }
    let both = ours.iter().zip(theirs).filter(|(_, b)| !b.is_nan());
    both.map(|(a, b)| (a.to_f32() - b.to_f32()).abs()).fold(0.0, f32::max)
}

/// A directory that goes with the benchmark.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("sund-preprocess-{}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left in the temporary directory harms nobody.
        fs::remove_dir_all(&self.0).ok();
    }
}

/// The Python process that runs the others.
struct Peers {
    process: Child,
    say: ChildStdin,
    hear: BufReader<ChildStdout>,
}

impl Peers {
    fn start(volume: &Path) -> Result<Self, Box<dyn Error>> {
        let python = std::env::var("SUND_BENCH_PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/preprocess_peers.py");
        let mut process = Command::new(python).arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (Some(say), Some(hear)) = (process.stdin.take(), process.stdout.take()) else {
            return Err("no pipe to the peers".into());
        };
        let mut peers = Self { process, say, hear: BufReader::new(hear) };
        writeln!(peers.say, "volume {} {} {} {}", volume.display(), DIMS[0], DIMS[1], DIMS[2])?;
        let scale = 1.0 / (WIDTH - 1.0);
        let foot = CENTER - 0.5 - (WIDTH - 1.0) / 2.0;
        writeln!(peers.say, "window {} {}", SLOPE * scale, (INTERCEPT - foot) * scale)?;
        Ok(peers)
    }

    /// Describes a case; the names of its peers.
    fn case(&mut self, case: &Case) -> Result<Vec<String>, Box<dyn Error>> {
        let inverse = case.source.from_patient()?;
        let through = |a: usize, c: usize| (0..3).map(|r| inverse[a][r] * case.onto.to_patient[r][c]).sum::<f64>();
        let steps = (0..9).map(|n| through(n / 3, n % 3));
        let numbers = steps.chain((0..3).map(|a| through(a, 3) + inverse[a][3])).map(|number| number.to_string());
        let [k, j, i] = case.onto.dims;
        let line = format!("case {} {k} {j} {i} {}", word(case.name), numbers.collect::<Vec<_>>().join(" "));
        self.ask(&line, "peers")
    }

    /// Scipy's result.
    fn check(&mut self, case: &Case, path: &Path) -> Result<Vec<f16>, Box<dyn Error>> {
        self.ask(&format!("check {} {}", word(case.name), path.display()), "checked")?;
        let bytes = fs::read(path)?;
        Ok(bytes.as_chunks::<2>().0.iter().map(|pair| f16::from_le_bytes(*pair)).collect())
    }

    fn run(&mut self, case: &str, peer: &str) -> Result<Took, Box<dyn Error>> {
        match &self.ask(&format!("run {} {peer}", word(case)), "took")?[..] {
            [wall, cpu] => Ok([wall.parse::<f64>()? * 1e3, cpu.parse::<f64>()? * 1e3]),
            _ => Err("two times were expected".into()),
        }
    }

    fn ask(&mut self, line: &str, verb: &str) -> Result<Vec<String>, Box<dyn Error>> {
        writeln!(self.say, "{line}")?;
        let mut answer = String::new();
        self.hear.read_line(&mut answer)?;
        let mut words = answer.split_whitespace().map(str::to_owned);
        if words.next().as_deref() != Some(verb) {
            return Err("the peers stopped: set SUND_BENCH_PYTHON to a Python with benches/requirements.txt".into());
        }
        Ok(words.collect())
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        // They may have ended by themselves.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// A case's name in the peers' protocol, whose words hold no spaces.
fn word(name: &str) -> String {
    name.replace(' ', "-")
}
