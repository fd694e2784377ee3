//! `sund model`: what a vendor types.
use super::table::table;
use super::{fail, on_runtime, print};
use crate::exit::Exit;
use crate::fault::{Blame, Fault};
use crate::infer::Engines;
use crate::inference::{Findings, Inference};
use crate::model::{Package, golden, template};
use crate::outcome::Outcome;
use crate::results::preview_png;
use crate::trial::{self, Found, Progress, TrialAnswer};
use clap::Subcommand;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

#[derive(Debug, Subcommand)]
pub(super) enum ModelCommand {
    /// Makes a package folder from a template that explains every key.
    New {
        /// Name of the package: lower-case letters, digits and hyphens.
        name: String,
        /// Where; a folder of that name here otherwise.
        #[arg(long)]
        folder: Option<PathBuf>,
        /// What the model is given.
        #[arg(long, value_enum, default_value_t)]
        kind: template::Kind,
    },
    /// Says what is wrong with a package, and runs its golden cases.
    Check {
        /// The package folder.
        folder: PathBuf,
    },
    /// Runs a package on a folder of DICOM files, with the very pipeline of the daemon.
    Run {
        /// The package folder.
        folder: PathBuf,
        /// The folder with the DICOM files.
        #[arg(long, value_name = "FOLDER")]
        on: PathBuf,
        /// Where the results are put.
        #[arg(long, value_name = "FOLDER", default_value = "sund-results")]
        out: PathBuf,
    },
}

pub(super) fn run(command: ModelCommand) -> Exit {
    let done = match command {
        ModelCommand::New { name, folder, kind } => new(&name, folder, kind),
        ModelCommand::Check { folder } => check(&folder),
        ModelCommand::Run { folder, on, out } => {
            return on_runtime(async { run_on(&folder, &on, &out).await.unwrap_or_else(|fault| fail(&fault)) });
        }
    };
    done.unwrap_or_else(|fault| fail(&fault))
}

fn new(name: &str, folder: Option<PathBuf>, kind: template::Kind) -> Result<Exit, Fault> {
    let folder = folder.unwrap_or_else(|| PathBuf::from(name));
    template::write(&folder, name, kind)?;
    let at = folder.display();
    Ok(print(&format!(
        "made {at}\n\
         next:\n\
         \x20 1. put your network beside it:           {at}/model.onnx\n\
         \x20 2. say what it is and what it needs:     {at}/model.toml\n\
         \x20 3. put a de-identified case with a known answer in {at}/golden/first\n\
         \x20 4. sund model check {at}\n\
         \x20 5. sund model run {at} --on FOLDER\n"
    )))
}

fn check(folder: &Path) -> Result<Exit, Fault> {
    let package = Package::open(folder)?;
    let manifest = &package.manifest;
    print(&format!("{} {} ({})\n{}\n", manifest.name, manifest.version, manifest.vendor, package.digest));
    if manifest.golden.is_empty() {
        return Err(Fault::new(
            "package-invalid",
            Blame::Package,
            "there is no golden case: without one no engine may serve it",
        ));
    }
    let mut rows = Vec::new();
    let mut missed = None;
    for kind in Engines::here(None).kinds() {
        let (class, precision) = kind.class_and_precision();
        if !manifest.engines.iter().any(|engine| engine.class == class && engine.precision == precision) {
            continue;
        }
        let mut engine = kind.open()?;
        let name = format!("{class} {precision}");
        for case in &manifest.golden {
            let begun = Instant::now();
            let (held, found) = match golden::check_one(&package, engine.as_mut(), case) {
                Ok(inference) => ("held", found(&inference)),
                Err(fault) => {
                    let reason = fault.reason.clone();
                    missed = Some(fault);
                    ("missed", reason)
                }
            };
            let took = format!("{:.1} s", begun.elapsed().as_secs_f64());
            rows.push(vec![case.name.clone(), name.clone(), held.to_owned(), took, found]);
        }
    }
    if rows.is_empty() {
        return Err(Engines::here(None).choose(&manifest.engines).err().unwrap_or_else(|| {
            Fault::new("engine-not-validated", Blame::Package, "no engine here can run the golden cases")
        }));
    }
    print(&table(&["golden case", "engine", "", "time", "found"], &rows));
    missed.map_or(Ok(Exit::Ok), |fault| Ok(Exit::from(&fault)))
}

fn found(inference: &Inference) -> String {
    let mut found: Vec<String> =
        inference.measurements.iter().map(|m| format!("{:.1} {}", m.value, m.unit.value)).collect();
    if let Findings::Images { boxes, .. } = &inference.findings {
        found.push(format!("{} boxes", boxes.len()));
    }
    found.join(", ")
}

async fn run_on(folder: &Path, on: &Path, out: &Path) -> Result<Exit, Fault> {
    let package = Package::open(folder)?;
    let mut bars = Bars::new();
    let found = trial::find(on, &mut |_, _| bars.found.inc(1))?;
    bars.found.finish_and_clear();
    let scratch = tempfile::tempdir().map_err(|error| folder_fault(&std::env::temp_dir(), &error))?;
    let title = format!("{} {}", package.manifest.name, package.manifest.version);
    let answers = trial::run(package, &found, scratch.path(), &mut bars).await?;
    bars.clear();
    let mut rows = Vec::new();
    for (n, answer) in answers.iter().enumerate() {
        let files = write(out, n + 1, answer)?;
        rows.push(row(answer, &files));
    }
    print(&format!("{title} on {}\n", summary(&found, &answers)));
    print(&table(&["study", "series", "outcome", "time", "summary", "files"], &rows));
    if !answers.is_empty() {
        print(&format!("the results lie in {}\n", out.display()));
    }
    for (path, reason) in &found.skipped {
        tracing::info!(path = %path.display(), reason, "not taken");
    }
    let failed = |answer: &TrialAnswer| matches!(answer.outcome, None | Some(Outcome::Failed));
    Ok(if answers.iter().any(failed) { Exit::Failed } else { Exit::Ok })
}

fn summary(found: &Found, answers: &[TrialAnswer]) -> String {
    let studies = answers.iter().map(|answer| answer.study).max().unwrap_or(0);
    let skipped = match found.skipped.len() {
        0 => String::new(),
        n => format!("; {n} files are not DICOM images with a study (SUND_LOG=info names them)"),
    };
    format!("{} files of {studies} {}{skipped}", found.files.len(), if studies == 1 { "study" } else { "studies" })
}

fn row(answer: &TrialAnswer, files: &[String]) -> Vec<String> {
    let outcome = answer.outcome.map_or("refused", |outcome| outcome.sentence());
    let said = answer.fault.as_ref().map_or(answer.summary.clone(), ToString::to_string);
    vec![
        answer.study.to_string(),
        answer.series.map_or_else(|| "-".to_owned(), |n| n.to_string()),
        outcome.to_owned(),
        format!("{:.1} s", answer.took.as_secs_f64()),
        said,
        files.join(" "),
    ]
}

/// Writes the results of one answer; the names of the files.
fn write(out: &Path, n: usize, answer: &TrialAnswer) -> Result<Vec<String>, Fault> {
    std::fs::create_dir_all(out).map_err(|error| folder_fault(out, &error))?;
    let mut names = Vec::new();
    let mut put = |name: String, bytes: &[u8]| {
        std::fs::write(out.join(&name), bytes).map_err(|error| folder_fault(out, &error))?;
        names.push(name);
        Ok::<_, Fault>(())
    };
    for (kind, file) in &answer.objects {
        let stem = format!("study{:02}-{n:02}-{}", answer.study, kind.to_lowercase());
        put(format!("{stem}.dcm"), file)?;
        if kind == "SC" {
            let image = crate::dataset::part10::read(&bytes::Bytes::copy_from_slice(file))?;
            put(format!("{stem}.png"), &preview_png(&image.dataset)?)?;
        }
    }
    Ok(names)
}

fn folder_fault(folder: &Path, error: &std::io::Error) -> Fault {
    Fault::new("folder-unwritable", Blame::Box, format!("{} cannot be written: {error}", folder.display()))
}

/// Progress on standard error, where that is a terminal.
struct Bars {
    all: MultiProgress,
    found: ProgressBar,
    files: ProgressBar,
    studies: ProgressBar,
}

impl Bars {
    fn new() -> Self {
        let all = MultiProgress::new();
        let bar = |template: &str| {
            if !std::io::stderr().is_terminal() {
                return ProgressBar::hidden();
            }
            let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::no_length().with_style(style)
        };
        let found = all.add(bar("looking for DICOM files  {pos}"));
        let files = all.add(bar("taken in  {bar:30} {pos}/{len} files"));
        let studies = all.add(bar("answered  {bar:30} {pos}/{len} studies  {elapsed}"));
        Self { all, found, files, studies }
    }

    fn clear(&self) {
        // A terminal that is gone needs no clearing.
        let _ = self.all.clear();
    }
}

impl Progress for Bars {
    fn files(&mut self, done: usize, of: usize) {
        self.files.set_length(of as u64);
        self.files.set_position(done as u64);
    }

    fn studies(&mut self, done: usize, of: usize) {
        self.studies.set_length(of as u64);
        self.studies.set_position(done as u64);
    }
}
