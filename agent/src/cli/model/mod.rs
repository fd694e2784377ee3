//! `sund model`: what a vendor types.
mod bars;
mod bench;
mod check;
mod compile;
mod inspect;
mod pack;
mod run;
mod sign;
mod test;
mod verify;

use super::{fail, on_runtime, print};
use crate::config::render;
use crate::counted::counted;
use crate::exit::Exit;
use crate::fault::{Blame, Fault};
use crate::infer::{Engines, Found};
use crate::model::packed::Archive;
use crate::model::{Contents, Defects, MANIFEST, Package, template};
use clap::Subcommand;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Debug, Subcommand)]
pub(super) enum ModelCommand {
    /// Makes a package folder from a template that explains every key.
    ///
    /// The folder has a model.toml to fill in, a README, and a place for golden cases. Nothing that is there is overwritten.
    New {
        /// Name of the package: lower-case letters, digits and hyphens.
        name: String,
        /// What the model is given.
        #[arg(long, value_enum, default_value_t)]
        kind: template::Kind,
        /// The folder to make; one of the package's name here otherwise.
        #[arg(long, value_name = "DIR")]
        folder: Option<PathBuf>,
    },
    /// Says what is wrong with a package, line by line, and runs its golden cases.
    ///
    /// Each case runs in a worker, on each engine that the package is validated for and that is on this machine. Ends with
    /// 0 where everything holds, with 65 where anything does not.
    Check {
        /// The package: a folder, or a packed file.
        package: PathBuf,
    },
    /// Runs the golden cases of a package on every engine of this machine that it is validated for.
    ///
    /// Says how far each answer is from the expected one. `sund model check` does the same, after it has looked at the
    /// manifest. Ends with 0 where all hold, with 65 where any does not.
    Test {
        /// The package: a folder, or a packed file.
        package: PathBuf,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Measures a package on every engine of this machine that it is validated for.
    ///
    /// Each round is a golden case in a worker: the time of each network, and of all from decode to postprocess.
    Bench {
        /// The package: a folder, or a packed file.
        package: PathBuf,
        /// The golden case; the first one otherwise.
        #[arg(long, value_name = "NAME")]
        case: Option<String>,
        #[command(flatten)]
        rounds: bench::Rounds,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Compiles the networks of a package folder for GPUs, and names what comes of it in its manifest.
    ///
    /// TensorRT-RTX compiles without a GPU, enterprise TensorRT on the GPU that is to run the engine. For fp16 the networks are
    /// converted, and the golden cases must hold with them on ONNX Runtime; where they do not, nothing is written.
    Compile(compile::What),
    /// Packs a package folder into one file: the same folder gives the same bytes.
    ///
    /// Packed are the files that the manifest names, and no other. Golden cases are not run: `sund model check` does that.
    Pack {
        /// The package folder.
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// The file to make; NAME-VERSION.sund here otherwise.
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
    },
    /// Signs a packed package, in its file.
    ///
    /// Others may sign it too: a vendor, then a test centre.
    Sign {
        /// The packed package.
        file: PathBuf,
        #[command(flatten)]
        by: sign::By,
    },
    /// Compares every file in a packed package with its digest, and the signatures with keys.
    ///
    /// Ends with 0 where all holds, with 65 where the package was changed or a key that was named has not signed it.
    Verify {
        /// The packed package.
        file: PathBuf,
        /// A public key that must have signed it (Ed25519, PEM).
        #[arg(long = "key", value_name = "PEM")]
        keys: Vec<PathBuf>,
    },
    /// Says what is in a package.
    Inspect {
        /// The package: a folder, or a packed file.
        package: PathBuf,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Says in what two packages differ: keys of the manifest, and files.
    ///
    /// Ends with 0 where they are the same, with 1 where they differ.
    Diff {
        /// A package: a folder, or a packed file.
        a: PathBuf,
        /// Another.
        b: PathBuf,
    },
    /// Runs a package on a folder of DICOM files, with the very pipeline of the daemon.
    ///
    /// The folder is searched with all below it. Results lie in the output folder: SEG, SR and preview of each series that the
    /// model ran on, a report where it is not meant for a study or failed, and results.json, which says what belongs to what.
    /// Ends with 0 where every study was answered, with 1 where a study was refused or the model failed.
    Run {
        /// The package: a folder, or a packed file.
        package: PathBuf,
        /// The folder with the DICOM files.
        #[arg(long, value_name = "FOLDER")]
        on: PathBuf,
        /// Where the results are put: a folder that is empty or not there yet; sund-results, sund-results-2 and so on otherwise.
        #[arg(long, value_name = "FOLDER")]
        out: Option<PathBuf>,
    },
}

pub(super) fn run(command: ModelCommand) -> Exit {
    let done = match command {
        ModelCommand::New { name, folder, kind } => new(&name, folder, kind),
        ModelCommand::Check { package } => check::check(&package),
        ModelCommand::Test { package, json } => test::test(&package, json),
        ModelCommand::Bench { package, case, rounds, json } => bench::bench(&package, case.as_deref(), rounds, json),
        ModelCommand::Compile(what) => compile::compile(&what),
        ModelCommand::Pack { folder, to } => pack::pack(&folder, to),
        ModelCommand::Sign { file, by } => sign::sign(&file, &by),
        ModelCommand::Verify { file, keys } => verify::verify(&file, &keys),
        ModelCommand::Inspect { package, json } => inspect::inspect(&package, json),
        ModelCommand::Diff { a, b } => inspect::diff(&a, &b),
        ModelCommand::Run { package, on, out } => {
            return on_runtime(async { run::run(&package, &on, out).await.unwrap_or_else(|fault| fail(&fault)) });
        }
    };
    done.unwrap_or_else(|fault| fail(&fault))
}

/// The engines of this machine. Libraries are opened in this very process: it is a vendor's, and nothing depends on it.
fn engines_here() -> Engines {
    let here = Engines::here(None).with_libraries(&[]);
    if here.libraries.is_empty() {
        return here;
    }
    let found = Found::look(&here.libraries);
    here.with_found(found)
}

/// Tells what is wrong with a package, line by line.
fn defective(package: &Path, defects: &Defects) -> Exit {
    let n = counted(defects.problems.len(), "problem", "problems");
    let manifest = if package.is_dir() { package.join(MANIFEST) } else { package.to_owned() };
    let text = render(&manifest, &defects.problems);
    match print(&format!("{text}{n}; every key is specified in agent/MODELS.md\n")) {
        Exit::Ok => Exit::Data,
        closed => closed,
    }
}

/// A packed package, open.
fn packed_at(file: &Path) -> Result<(Package, Arc<Archive>), Fault> {
    let package = Package::open(file)?;
    match &package.contents {
        Contents::Packed(archive, _) => {
            let archive = Arc::clone(archive);
            Ok((package, archive))
        }
        Contents::Folder(_) => {
            let reason = format!("{} is a folder; pack it first: sund model pack {0}", file.display());
            Err(Fault::new("package-invalid", Blame::Package, reason))
        }
    }
}

/// The length of a file.
fn bytes(file: &Path) -> Result<u64, Fault> {
    std::fs::metadata(file).map(|meta| meta.len()).map_err(|error| {
        Fault::new("package-invalid", Blame::Package, format!("{} cannot be read: {error}", file.display()))
    })
}

/// A length for people.
fn megabytes(bytes: u64) -> String {
    if bytes < 100_000 { format!("{:.1} kB", bytes as f64 / 1e3) } else { format!("{:.1} MB", bytes as f64 / 1e6) }
}

fn new(name: &str, folder: Option<PathBuf>, kind: template::Kind) -> Result<Exit, Fault> {
    if let (None, Some(last)) = (&folder, Path::new(name).file_name().filter(|last| *last != name)) {
        let reason = format!(
            "`{name}` is a path, and a package has a name: sund model new {} --folder {name}",
            last.to_string_lossy().to_lowercase()
        );
        return Err(Fault::new("package-name", Blame::Configuration, reason));
    }
    let folder = folder.unwrap_or_else(|| PathBuf::from(name));
    template::write(&folder, name, kind)?;
    let at = folder.display();
    Ok(print(&format!(
        "made {at}\n\n\
         next:\n\
         \x20 1. put your network there               {at}/model.onnx\n\
         \x20 2. say what it is, takes and gives      {at}/model.toml\n\
         \x20 3. put a case with a known answer there {at}/golden/first/  (see {at}/golden/README.md)\n\
         \x20 4. see what is still wrong              sund model check {at}\n\
         \x20 5. try it on your own images            sund model run {at} --on FOLDER\n"
    )))
}
