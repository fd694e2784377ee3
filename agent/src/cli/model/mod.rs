//! `sund model`: what a vendor types.
mod bars;
mod check;
mod run;

use super::{fail, on_runtime, print};
use crate::exit::Exit;
use crate::fault::{Blame, Fault};
use crate::model::template;
use clap::Subcommand;
use std::path::{Path, PathBuf};

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
        /// The package folder.
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Runs a package on a folder of DICOM files, with the very pipeline of the daemon.
    ///
    /// The folder is searched with all below it. Results lie in the output folder: SEG, SR and preview of each series that the
    /// model ran on, a report where it is not meant for a study or failed, and results.json, which says what belongs to what.
    /// Ends with 0 where every study was answered, with 1 where a study was refused or the model failed.
    Run {
        /// The package folder.
        #[arg(value_name = "DIR")]
        folder: PathBuf,
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
        ModelCommand::Check { folder } => check::check(&folder),
        ModelCommand::Run { folder, on, out } => {
            return on_runtime(async { run::run(&folder, &on, out).await.unwrap_or_else(|fault| fail(&fault)) });
        }
    };
    done.unwrap_or_else(|fault| fail(&fault))
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
