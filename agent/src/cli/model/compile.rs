//! `sund model compile`: engines for GPUs, into a package folder.
use super::super::print;
use super::super::table::table;
use super::bars::spinner;
use super::megabytes;
use crate::compile::{self, Proof, Target};
use crate::exit::Exit;
use crate::fault::{Blame, Fault};
use crate::infer::Engines;
use crate::model::compiled;
use crate::trial::this_program;
use std::path::PathBuf;

/// In which numbers an engine computes.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(in crate::cli) enum Precision {
    /// 32-bit floats.
    Fp32,
    /// 16-bit floats, where the golden cases hold in them.
    Fp16,
}

/// What to compile.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct What {
    /// The package folder; with --keep a packed file too.
    #[arg(value_name = "PACKAGE")]
    package: PathBuf,
    /// rtx:sm86,sm89,sm120 or trt:sm90.
    #[arg(long)]
    target: Target,
    /// In which numbers it computes.
    #[arg(long, value_enum)]
    precision: Precision,
    /// The library of TensorRT; that of SUND_TENSORRT_RTX or SUND_TENSORRT otherwise.
    #[arg(long, value_name = "PATH")]
    library: Option<PathBuf>,
    /// Puts the engines of this box into this folder and leaves the package as it is: `engines` in the directory of its spool.
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
}

pub(super) fn compile(what: &What) -> Result<Exit, Fault> {
    let What { package, target, precision, library, keep } = what;
    let library = library.clone().or_else(|| compiled::named(target.class)).ok_or_else(|| {
        let reason =
            format!("no library of {} is named: --library PATH, or {}", target.class, compiled::variable(target.class));
        Fault::new("engine-unavailable", Blame::Configuration, reason)
    })?;
    let compiler = compile::open(target.class, &library)?;
    let precision = match precision {
        Precision::Fp32 => "fp32",
        Precision::Fp16 => "fp16",
    };
    let waiting = spinner(format!("compiling for {}", target.class));
    let mut on_network = |what: &str| waiting.set_message(what.to_owned());
    let (here, launcher) = (Engines::here(None), this_program()?);
    let proof = Proof { here: &here, launcher: &launcher };
    if let Some(folder) = keep {
        let made = compile::keep(package, folder, target, precision, compiler.as_ref(), proof, &mut on_network);
        waiting.finish_and_clear();
        let made = made?.join("\n");
        return Ok(print(&format!(
            "{made}\n\nthey lie in {}; the next start of the node finds them\n",
            folder.display()
        )));
    }
    let made = compile::compile(package, target, precision, compiler.as_ref(), proof, &mut on_network);
    waiting.finish_and_clear();
    let mut rows = Vec::new();
    for entry in made? {
        let length = std::fs::metadata(package.join(&entry.file)).map_or(0, |meta| meta.len());
        let engine = format!("{} {} {}", entry.class, entry.version, entry.precision);
        rows.push(vec![entry.network, engine, entry.architectures.join(", "), entry.file, megabytes(length)]);
    }
    print(&table(&["network", "engine", "for", "file", "size"], &rows));
    Ok(print(&format!("\nmodel.toml names them; next: sund model pack {}\n", package.display())))
}
