//! TensorRT against ONNX Runtime on the demonstration packages, by `sund model compile` and `sund model test`: what is compared
//! here is what the product answers.
use serde_json::Value;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What is said where no plan can run.
pub const UNPROVEN: &str = "TensorRT execution: unproven";

/// Most bytes that `sund` tells of a package: its numbers are a few dozen.
pub const MOST_TOLD: usize = 16 << 20;

/// Most packages, and files of one, that are looked at.
const MOST_FILES: usize = 10_000;

/// What a row says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    Holds,
    /// The answers differ by more than the package allows, or there is no answer.
    Differs,
    /// Nothing ran that could be compared.
    Unproven,
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Holds => "holds",
            Self::Differs => "**differs**",
            Self::Unproven => "unproven",
        })
    }
}

/// One package on one engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub package: String,
    pub engine: String,
    pub found: String,
    pub held: Held,
}

/// The classes of TensorRT whose libraries are named, by the variables that `sund` looks at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Named {
    pub rtx: bool,
    pub enterprise: bool,
}

/// The cards that TensorRT-RTX compiles for: 89 is 8.9. As `RTX_TARGETS`, which is there only where TensorRT is built in.
pub const SERVED: [u32; 6] = [75, 80, 86, 89, 120, 121];

/// What to compile for, as `sund model compile --target` takes it; else why no plan can run on this card.
pub fn targets(named: Named, (major, minor): (i32, i32)) -> Result<Vec<String>, String> {
    let number = u32::try_from(major * 10 + minor).unwrap_or(0);
    let is_served = SERVED.contains(&number);
    let mut targets = Vec::new();
    if named.rtx && is_served {
        targets.push(format!("rtx:sm{number}"));
    }
    if named.enterprise {
        targets.push(format!("trt:sm{number}"));
    }
    match (targets.is_empty(), named.rtx) {
        (false, _) => Ok(targets),
        (true, true) => Err(format!(
            "TensorRT-RTX does not serve compute capability {major}.{minor}, and SUND_TENSORRT names no enterprise TensorRT"
        )),
        (true, false) => Err("neither SUND_TENSORRT_RTX nor SUND_TENSORRT names a library".into()),
    }
}

/// Rows for all packages below `folder`, in the order of their names, compiled in copies below `work`.
pub fn compared(sund: &Path, folder: &Path, work: &Path, targets: &[String]) -> io::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for package in packages(folder)? {
        let name = package.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for target in targets {
            let copy = work.join(target.replace(':', "-")).join(&name);
            if copy.exists() {
                fs::remove_dir_all(&copy)?;
            }
            copy_folder(&package, &copy)?;
            validate_for(&copy, target)?;
            rows.extend(on_target(sund, &copy, target).unwrap_or_else(|why| vec![failed(&name, target, why)]));
        }
    }
    Ok(rows)
}

/// The packages of a folder.
pub fn packages(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?.take(MOST_FILES).collect::<io::Result<Vec<_>>>()?;
    let mut packages: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    packages.retain(|package| package.join("model.toml").is_file());
    packages.sort();
    if packages.is_empty() {
        return Err(io::Error::other(format!("{} has no package in it", folder.display())));
    }
    Ok(packages)
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)?.take(MOST_FILES) {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

/// Names the engine that a target is for among those that the package is validated for: what is compared is whether it could be.
fn validate_for(package: &Path, target: &str) -> io::Result<()> {
    const LIST: &str = "\nengines = [";
    let class = if target.starts_with("rtx:") { "tensorrt-rtx" } else { "tensorrt" };
    let path = package.join("model.toml");
    let mut manifest = fs::read_to_string(&path)?;
    let at = manifest.find(LIST).ok_or_else(|| io::Error::other(format!("{} lists no engines", path.display())))?;
    if !manifest.contains(&format!("class = \"{class}\"")) {
        manifest.insert_str(at + LIST.len(), &format!("{{ class = \"{class}\", precision = \"fp32\" }}, "));
        fs::write(&path, manifest)?;
    }
    Ok(())
}

fn on_target(sund: &Path, package: &Path, target: &str) -> Result<Vec<Row>, String> {
    let compile = ["model", "compile", "--target", target, "--precision", "fp32"];
    let (is_done, _) = said(Command::new(sund).args(compile).arg(package))?;
    if !is_done {
        return Err("`sund model compile` ended with a fault; it is told above".into());
    }
    // That it ends with a fault where a case does not hold is in what it tells.
    let (_, told) = said(Command::new(sund).args(["model", "test", "--json"]).arg(package))?;
    read(&told)
}

/// Whether a program ended well, and its output. What else it says goes where this program's own does.
fn said(command: &mut Command) -> Result<(bool, Vec<u8>), String> {
    let not_run = |error: io::Error| format!("sund does not run: {error}");
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(not_run)?;
    let mut told = Vec::new();
    if let Some(output) = child.stdout.take() {
        output.take(MOST_TOLD as u64 + 1).read_to_end(&mut told).map_err(not_run)?;
    }
    let status = child.wait().map_err(not_run)?;
    Ok((status.success(), told))
}

fn failed(package: &str, engine: &str, why: String) -> Row {
    Row { package: package.into(), engine: engine.into(), found: why, held: Held::Differs }
}

/// A row for each engine of TensorRT in what `sund model test --json` tells of a package.
pub fn read(told: &[u8]) -> Result<Vec<Row>, String> {
    if told.len() > MOST_TOLD {
        return Err(format!("sund told more than {MOST_TOLD} bytes"));
    }
    let told: Value = serde_json::from_slice(told).map_err(|error| format!("sund told no JSON: {error}"))?;
    if told["format"] != 1 {
        return Err("sund told of another format".into());
    }
    let text = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(|| "sund left out a name".to_owned());
    let package = format!("{} {}", text(&told["package"]["name"])?, text(&told["package"]["version"])?);
    let trials = told["trials"].as_array().ok_or("sund told of no trials")?;
    let mut engines: Vec<String> = Vec::new();
    for trial in trials {
        let engine = text(&trial["engine"])?;
        if engine.starts_with("tensorrt") && !engines.contains(&engine) {
            engines.push(engine);
        }
    }
    if engines.is_empty() {
        let why = not_run(&told, "tensorrt").unwrap_or_else(|| "no engine of TensorRT ran".into());
        return Ok(vec![failed(&package, "TensorRT", why)]);
    }
    Ok(engines.into_iter().map(|engine| row(&told, trials, &package, engine)).collect())
}

/// Why an engine did not run.
fn not_run(told: &Value, class: &str) -> Option<String> {
    let is_of_class = |one: &&Value| one["engine"].as_str().is_some_and(|engine| engine.starts_with(class));
    let one = told["not_run"].as_array()?.iter().find(is_of_class)?;
    Some(format!("{} did not run: {}", one["engine"].as_str()?, one["reason"].as_str()?))
}

fn row(told: &Value, trials: &[Value], package: &str, engine: String) -> Row {
    let (mut numbers, mut cases, mut worst) = (0, 0, 0.0f64);
    let (mut misses, mut is_alone) = (Vec::new(), false);
    for trial in trials.iter().filter(|trial| trial["engine"] == engine.as_str()) {
        cases += 1;
        let case = trial["case"].as_str().unwrap_or("a case");
        let own = trial["compared"].as_array().filter(|own| trial["fault"].is_null() && !own.is_empty());
        let Some(own) = own else {
            misses.push(format!("{case}: no answer"));
            continue;
        };
        if let Some(missed) = own.iter().find(|one| one["holds"] != true) {
            misses.push(format!("{case}: {} is not as expected", missed["what"].as_str().unwrap_or("a number")));
        }
        let is_other = |other: &&Value| {
            other["case"] == trial["case"]
                && other["engine"].as_str().is_some_and(|engine| engine.starts_with("onnxruntime"))
                && other["fault"].is_null()
        };
        let Some(other) = trials.iter().find(is_other).and_then(|other| other["compared"].as_array()) else {
            is_alone = true;
            continue;
        };
        if own.len() != other.len() {
            misses.push(format!("{case}: {} numbers, and {} of ONNX Runtime", own.len(), other.len()));
        }
        for (one, other) in own.iter().zip(other) {
            numbers += 1;
            match share(one, other) {
                Some(share) if share <= 1.0 => worst = worst.max(share),
                _ => misses.push(format!("{case}: {}", one["what"].as_str().unwrap_or("a number"))),
            }
        }
    }
    let (found, held) = if !misses.is_empty() {
        (misses.join("; "), Held::Differs)
    } else if is_alone {
        let why = not_run(told, "onnxruntime").unwrap_or_else(|| "ONNX Runtime gave no answer".into());
        (format!("the golden cases hold; not compared: {why}"), Held::Unproven)
    } else {
        let found = format!(
            "golden cases: {cases}; numbers: {numbers}, apart by at most {:.1} % of the tolerance",
            100.0 * worst
        );
        (found, Held::Holds)
    };
    Row { package: package.into(), engine, found, held }
}

/// How far two answers are apart, as a share of the tolerance; none where they are not of the same thing.
fn share(one: &Value, other: &Value) -> Option<f64> {
    if one["what"] != other["what"] {
        return None;
    }
    match (one["found"].as_f64(), other["found"].as_f64()) {
        (Some(one_found), Some(other_found)) => {
            let (apart, tolerance) = ((one_found - other_found).abs(), one["tolerance"].as_f64()?);
            Some(if apart == 0.0 { 0.0 } else { apart / tolerance })
        }
        // Both found nothing.
        _ => (one["found"].is_null() && other["found"].is_null()).then_some(0.0),
    }
}
