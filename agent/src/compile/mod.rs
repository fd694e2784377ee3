//! Compiles the networks of a package folder for GPUs, and writes what comes of it into the folder and its manifest.
//!
//! A precision is taken only where the golden cases hold in it: 16-bit networks are run on ONNX Runtime first, under the
//! package's own tolerances. What the engine itself answers is judged on the box, before it serves.
mod entries;
mod files;
mod order;
mod prove;
mod shapes;
mod target;

pub use files::keep_plan;
pub use order::Order;
pub use prove::prove;
pub use target::Target;

use crate::fault::{Blame, Fault};
use crate::hex::hex;
use crate::infer::{Engines, kept_name};
use crate::limits::model::MAX_NETWORK;
use crate::model::compiled::{Compiled, FOLDER};
use crate::model::manifest::Network;
use crate::model::{Contents, MANIFEST, Package, half};
use crate::worker::Launcher;
use ring::digest::{SHA256, digest};
use std::path::Path;

/// Compiles one network.
pub trait Compiler {
    /// Version of the library.
    fn version(&self) -> String;

    /// A plan for these architectures, of a network whose input has these bounds where its length is free.
    fn compile(&self, onnx: &[u8], architectures: &[String], bounds: Option<&Bounds>) -> Result<Vec<u8>, String>;
}

/// The lengths of an input's axes that a compiled network takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Its name in the network.
    pub input: String,
    /// Of each axis the shortest.
    pub shortest: Vec<i64>,
    /// Of each axis the longest, which it is tuned for.
    pub longest: Vec<i64>,
}

/// What golden cases are run on before anything is compiled in 16 bits.
#[derive(Clone, Copy, Debug)]
pub struct Proof<'a> {
    /// The engines of this machine.
    pub here: &'a Engines,
    /// How workers are started.
    pub launcher: &'a Launcher,
}

/// Compiles every network of a package folder, into the folder; the entries that its manifest has got. Nothing is written where
/// anything fails.
pub fn compile(
    folder: &Path,
    target: &Target,
    precision: &str,
    compiler: &dyn Compiler,
    proof: Proof<'_>,
    on_network: &mut dyn FnMut(&str),
) -> Result<Vec<Compiled>, Fault> {
    let package = Package::inspect(folder)?;
    let Contents::Folder(_) = &package.contents else {
        let reason = format!("{} is packed: compile the folder, then pack it", folder.display());
        return Err(Fault::new("package-invalid", Blame::Package, reason));
    };
    let plans = plans(&package, target, precision, compiler, proof, on_network)?;
    let version = compiler.version();
    let made = plans.into_iter().map(|(network, plan)| {
        let entry = Compiled {
            class: target.class.to_owned(),
            precision: precision.to_owned(),
            version: version.clone(),
            architectures: target.architectures.clone(),
            file: format!("{FOLDER}/{network}.{}-{version}.{precision}.plan", target.class),
            sha256: hex(digest(&SHA256, &plan).as_ref()),
            network,
        };
        (entry, plan)
    });
    let made: Vec<(Compiled, Vec<u8>)> = made.collect();
    let entries: Vec<Compiled> = made.iter().map(|(entry, _)| entry.clone()).collect();
    let manifest = entries::with(&package, &entries)?;
    let files = made.iter().map(|(entry, plan)| (entry.file.as_str(), plan.as_slice()));
    // The manifest comes last: it names nothing that is not there.
    files::write(folder, files.chain([(MANIFEST, manifest.as_bytes())]))?;
    Package::inspect(folder)?;
    Ok(entries)
}

/// Compiles every network of a package for the GPU of this box, into the folder in which a node looks for such engines; the names of
/// the files. The package stays as it is.
pub fn keep(
    package: &Path,
    folder: &Path,
    target: &Target,
    precision: &str,
    compiler: &dyn Compiler,
    proof: Proof<'_>,
    on_network: &mut dyn FnMut(&str),
) -> Result<Vec<String>, Fault> {
    let package = Package::inspect(package)?;
    let plans = plans(&package, target, precision, compiler, proof, on_network)?;
    let version = compiler.version();
    let mut named = Vec::new();
    for architecture in &target.architectures {
        for (network, plan) in &plans {
            let name = kept_name(&package.digest, network, (target.class, precision), &version, architecture);
            named.push((name, plan.as_slice()));
        }
    }
    files::write(folder, named.iter().map(|(name, plan)| (name.as_str(), *plan)))?;
    Ok(named.into_iter().map(|(name, _)| name).collect())
}

/// A plan for each network.
fn plans(
    package: &Package,
    target: &Target,
    precision: &str,
    compiler: &dyn Compiler,
    proof: Proof<'_>,
    on_network: &mut dyn FnMut(&str),
) -> Result<Vec<(String, Vec<u8>)>, Fault> {
    let forms = forms(package, target.class, precision)?;
    if precision == "fp16" {
        let converted = forms.iter().map(|form| (form.name.as_str(), form.onnx.as_slice())).collect();
        on_network("golden cases in fp16");
        prove(package, &converted, proof)?;
    }
    let plans = forms.into_iter().map(|form| {
        on_network(&form.name);
        let plan = plan(&form, &target.architectures, compiler)?;
        Ok((form.name, plan))
    });
    plans.collect()
}

/// A network in the form in which it is compiled.
struct Form {
    name: String,
    onnx: Vec<u8>,
    /// Of its input, where a length is free.
    bounds: Option<Bounds>,
}

/// The networks of a package in a precision that it is validated for.
fn forms(package: &Package, class: &str, precision: &str) -> Result<Vec<Form>, Fault> {
    let manifest = &package.manifest;
    if !manifest.engines.iter().any(|valid| valid.class == class && valid.precision == precision) {
        let reason = format!(
            "`engines` does not name {class} {precision}: add {{ class = \"{class}\", precision = \"{precision}\" }} where \
             you answer for it"
        );
        return Err(Fault::new("engine-not-validated", Blame::Package, reason));
    }
    let form = |network: &Network| {
        let bounds = shapes::bounds(manifest, network)?;
        let mut onnx = package.network(&network.name)?;
        if precision == "fp16" {
            onnx = half::converted(&onnx).map_err(|why| {
                let reason = format!("network {} {why}: it has no form of 16 bits", network.name);
                Fault::new("precision-not-held", Blame::Package, reason)
            })?;
        }
        Ok(Form { name: network.name.clone(), onnx, bounds })
    };
    manifest.networks.iter().map(form).collect()
}

/// What is compiled of a network.
fn plan(form: &Form, architectures: &[String], compiler: &dyn Compiler) -> Result<Vec<u8>, Fault> {
    let refused = |reason: String| Fault::new("network-not-compiled", Blame::Package, reason);
    let Form { name, onnx, bounds } = form;
    let plan = compiler
        .compile(onnx, architectures, bounds.as_ref())
        .map_err(|why| refused(format!("network {name} cannot be compiled: {why}")))?;
    if plan.is_empty() || plan.len() as u64 > MAX_NETWORK {
        let length = plan.len();
        return Err(refused(format!("network {name} is compiled to {length} bytes, at most {MAX_NETWORK} are taken")));
    }
    Ok(plan)
}

/// Opens the library of an engine class. Only in a process that may be lost.
#[cfg(feature = "tensorrt")]
pub fn open(class: &str, library: &Path) -> Result<Box<dyn Compiler>, Fault> {
    crate::infer::TensorRtCompiler::open(class, library).map(|compiler| Box::new(compiler) as Box<dyn Compiler>)
}

/// There is nothing to open it with.
#[cfg(not(feature = "tensorrt"))]
pub fn open(_: &str, _: &Path) -> Result<Box<dyn Compiler>, Fault> {
    Err(crate::infer::without_tensorrt())
}
