//! `sund model run`: a package on a folder of files; results in a folder, a table on the terminal.
use super::super::print;
use super::super::table::table;
use super::bars::Bars;
use crate::counted::counted;
use crate::dataset::part10;
use crate::exit::Exit;
use crate::fault::{Blame, Fault};
use crate::model::Package;
use crate::outcome::Outcome;
use crate::results::preview_png;
use crate::trial::{self, Found, Progress, TrialAnswer};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What lies in the output folder beside the results.
const INDEX: &str = "results.json";

pub(super) async fn run(folder: &Path, on: &Path, out: Option<PathBuf>) -> Result<Exit, Fault> {
    let package = Package::open(folder)?;
    let bars = Bars::new();
    let found = trial::find(on, &mut |_, _| bars.found.inc(1))?;
    bars.found.finish_and_clear();
    let out = fresh(out)?;
    let scratch = tempfile::tempdir().map_err(|error| unwritable(&std::env::temp_dir(), &error))?;
    let title = format!("{} {}", package.manifest.name, package.manifest.version);
    let mut report =
        Report { model: package.manifest.name.clone(), out: &out, found: &found, bars, lines: Vec::new(), skipped: 0 };
    trial::run(package, &found, scratch.path(), &mut report).await?;
    report.bars.clear();
    report.write_index()?;
    for (path, reason) in &found.skipped {
        tracing::info!(path = %path.display(), reason, "not taken");
    }
    print(&format!("{title} on {}\n\n", report.summary()));
    let rows: Vec<Vec<String>> = report.lines.iter().map(Line::row).collect();
    print(&table(&["study", "series", "model", "outcome", "time", "summary", "files"], &rows));
    print(&format!("\nthe results lie in {}; {INDEX} says which study is which\n", out.display()));
    let is_bad = |line: &Line| matches!(line.outcome, None | Some(Outcome::Failed));
    let has_lost_a_study = (1..=found.studies().len()).any(|n| !report.lines.iter().any(|line| line.study == n));
    Ok(if has_lost_a_study || report.lines.iter().any(is_bad) { Exit::Failed } else { Exit::Ok })
}

/// A folder of its own, so that no result of an earlier run is taken for one of this run.
fn fresh(named: Option<PathBuf>) -> Result<PathBuf, Fault> {
    let is_taken = |out: &Path| std::fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some());
    let out = match named {
        Some(out) if is_taken(&out) => {
            let reason = format!("{} is not empty; name another folder with --out", out.display());
            return Err(Fault::new("folder-not-empty", Blame::Configuration, reason));
        }
        Some(out) => out,
        None => {
            let mut out = PathBuf::from("sund-results");
            let mut n = 1;
            while is_taken(&out) {
                n += 1;
                out = PathBuf::from(format!("sund-results-{n}"));
            }
            out
        }
    };
    std::fs::create_dir_all(&out).map_err(|error| unwritable(&out, &error))?;
    Ok(out)
}

/// One answer, as the index keeps it. The index lies beside results that name the patient; the terminal shows no UID.
#[derive(Serialize)]
struct Line {
    study: usize,
    study_instance_uid: String,
    /// Of the study's first file.
    folder: PathBuf,
    series: Option<usize>,
    modality: Option<String>,
    images: Option<usize>,
    model: String,
    outcome: Option<Outcome>,
    summary: String,
    code: Option<String>,
    seconds: f64,
    files: Vec<String>,
}

impl Line {
    fn row(&self) -> Vec<String> {
        let series = match (&self.series, &self.modality, self.images) {
            (Some(number), Some(modality), Some(images)) => {
                format!("{number} ({modality}, {})", counted(images, "image", "images"))
            }
            _ => "all".to_owned(),
        };
        let ran = self.outcome.is_some_and(|outcome| outcome != Outcome::NotApplicable);
        vec![
            self.study.to_string(),
            series,
            self.model.clone(),
            self.outcome.map_or("refused", Outcome::sentence).to_owned(),
            if ran { format!("{:.1} s", self.seconds) } else { "-".to_owned() },
            self.summary.clone(),
            self.shown_files(),
        ]
    }
}

impl Line {
    /// `study01-series01-* (seg, sr, preview)`.
    fn shown_files(&self) -> String {
        let Some((stem, _)) = self.files.first().and_then(|name| name.rsplit_once('-')) else { return "-".to_owned() };
        let objects = self.files.iter().filter_map(|name| name.strip_suffix(".dcm"));
        let kinds: Vec<&str> = objects.filter_map(|name| name.rsplit('-').next()).collect();
        format!("{stem}-* ({})", kinds.join(", "))
    }
}

/// Takes each study's answers as they come.
struct Report<'a> {
    model: String,
    out: &'a Path,
    found: &'a Found,
    bars: Bars,
    lines: Vec<Line>,
    /// Files that could not be taken in.
    skipped: usize,
}

impl Report<'_> {
    fn summary(&self) -> String {
        let taken = self.found.files.len() - self.skipped;
        let skipped = match self.found.skipped.len() + self.skipped {
            0 => String::new(),
            n => format!("; {} skipped (SUND_LOG=info says why)", counted(n, "other file", "other files")),
        };
        let studies = counted(self.found.studies().len(), "study", "studies");
        format!("{} of {studies}{skipped}", counted(taken, "DICOM file", "DICOM files"))
    }

    fn write_index(&self) -> Result<(), Fault> {
        let text = serde_json::to_string_pretty(&self.lines)
            .map_err(|error| Fault::new("output", Blame::Sund, error.to_string()))?;
        std::fs::write(self.out.join(INDEX), text + "\n").map_err(|error| unwritable(self.out, &error))
    }

    /// Writes the results of one answer; the names of the files.
    fn write(&self, answer: &TrialAnswer) -> Result<Vec<String>, Fault> {
        let mut names = Vec::new();
        let mut put = |name: String, bytes: &[u8]| {
            std::fs::write(self.out.join(&name), bytes).map_err(|error| unwritable(self.out, &error))?;
            names.push(name);
            Ok::<_, Fault>(())
        };
        let series = answer.series.as_ref().map_or_else(String::new, |series| format!("-series{:02}", series.number));
        for (kind, file) in &answer.objects {
            let kind = if kind == "SC" { "preview".to_owned() } else { kind.to_lowercase() };
            let stem = format!("study{:02}{series}-{kind}", answer.study);
            put(format!("{stem}.dcm"), file)?;
            if kind == "preview" {
                let image = part10::read(&bytes::Bytes::copy_from_slice(file))?;
                put(format!("{stem}.png"), &preview_png(&image.dataset)?)?;
            }
        }
        Ok(names)
    }
}

impl Progress for Report<'_> {
    fn files(&mut self, done: usize, of: usize) {
        self.bars.files.set_length(of as u64);
        self.bars.files.set_position(done as u64);
    }

    fn studies(&mut self, done: usize, of: usize) {
        self.bars.studies.set_length(of as u64);
        self.bars.studies.set_position(done as u64);
    }

    fn answers(&mut self, answers: Vec<TrialAnswer>) -> Result<(), Fault> {
        for answer in answers {
            let files = self.write(&answer)?;
            let uid = self.found.studies().get(answer.study - 1).copied().unwrap_or_default();
            let first = self.found.files.iter().find(|file| file.study == uid);
            let series = answer.series.as_ref();
            self.lines.push(Line {
                study: answer.study,
                study_instance_uid: uid.to_owned(),
                folder: first.and_then(|file| file.path.parent()).unwrap_or(Path::new("")).to_owned(),
                series: series.map(|series| series.number),
                modality: series.map(|series| series.modality.clone()),
                images: series.map(|series| series.images),
                model: self.model.clone(),
                outcome: answer.outcome,
                summary: said(&answer),
                code: answer.fault.map(|fault| fault.code.into_owned()),
                seconds: answer.took.as_secs_f64(),
                files,
            });
        }
        Ok(())
    }

    fn skipped(&mut self, path: &Path, reason: &str) {
        self.skipped += 1;
        tracing::info!(path = %path.display(), reason, "not taken");
    }
}

/// What a person reads of an answer.
fn said(answer: &TrialAnswer) -> String {
    match (&answer.fault, answer.outcome) {
        // The reasons speak for themselves.
        (Some(fault), Some(Outcome::NotApplicable)) if answer.series.is_some() => fault.reason.clone(),
        (None, _) | (_, Some(Outcome::NotApplicable)) => answer.summary.clone(),
        (Some(fault), _) => fault.to_string(),
    }
}

fn unwritable(folder: &Path, error: &std::io::Error) -> Fault {
    Fault::new("folder-unwritable", Blame::Box, format!("{} cannot be written: {error}", folder.display()))
}
