//! `sund model compile`: engines for GPUs, into a package folder.
use super::super::print;
use super::super::table::table;
use super::bars::spinner;
use super::megabytes;
use crate::compile::{Compiler, Target, compile as compile_package};
use crate::exit::Exit;
use crate::fault::{Blame, Fault};
use crate::infer::Engines;
use crate::model::compiled;
use crate::trial::this_program;
use std::path::{Path, PathBuf};

/// In which numbers an engine computes.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(in crate::cli) enum Precision {
    /// 32-bit floats.
    Fp32,
    /// 16-bit floats, where the golden cases hold in them.
    Fp16,
}

pub(super) fn compile(
    folder: &Path,
    target: &Target,
    precision: Precision,
    library: Option<PathBuf>,
) -> Result<Exit, Fault> {
    let library = library.or_else(|| named(target.class)).ok_or_else(|| {
        let reason =
            format!("no library of {} is named: --library PATH, or {}", target.class, compiled::variable(target.class));
        Fault::new("engine-unavailable", Blame::Configuration, reason)
    })?;
    let compiler = compiler(target.class, &library)?;
    let precision = match precision {
        Precision::Fp32 => "fp32",
        Precision::Fp16 => "fp16",
    };
    let waiting = spinner(format!("compiling for {}", target.class));
    let made = compile_package(
        folder,
        target,
        precision,
        compiler.as_ref(),
        &Engines::here(None),
        &this_program()?,
        &mut |what| {
            waiting.set_message(what.to_owned());
        },
    );
    waiting.finish_and_clear();
    let mut rows = Vec::new();
    for entry in made? {
        let length = std::fs::metadata(folder.join(&entry.file)).map_or(0, |meta| meta.len());
        let engine = format!("{} {} {}", entry.class, entry.version, entry.precision);
        rows.push(vec![entry.network, engine, entry.architectures.join(", "), entry.file, megabytes(length)]);
    }
    print(&table(&["network", "engine", "for", "file", "size"], &rows));
    Ok(print(&format!("\nmodel.toml names them; next: sund model pack {}\n", folder.display())))
}

fn named(class: &str) -> Option<PathBuf> {
    std::env::var_os(compiled::variable(class)).filter(|name| !name.is_empty()).map(PathBuf::from)
}

#[cfg(feature = "tensorrt")]
fn compiler(class: &str, library: &Path) -> Result<Box<dyn Compiler>, Fault> {
    crate::infer::TensorRtCompiler::open(class, library).map(|compiler| Box::new(compiler) as Box<dyn Compiler>)
}

#[cfg(not(feature = "tensorrt"))]
fn compiler(_: &str, _: &Path) -> Result<Box<dyn Compiler>, Fault> {
    Err(crate::infer::without_tensorrt())
}
