//! What a worker is asked to compile: the networks of a package, for the GPU of its box.
use super::{forms, open, plan};
use crate::fault::{Blame, Fault};
use crate::infer::TensorRtLibrary;
use crate::model::Package;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;

/// All networks of a package, for one GPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Digest that the package must have.
    pub package_digest: String,
    /// The library, which must be of this version.
    pub library: TensorRtLibrary,
    /// `fp32`, `fp16`.
    pub precision: String,
    /// `sm89`.
    pub architecture: String,
    /// Resident memory that the worker may take, in bytes.
    pub memory: u64,
}

impl Order {
    /// Compiles each network of the package in the first file, and writes its plan into the file that has its place behind it, in
    /// the order of the manifest; the plans' lengths. Only in a process that may be lost.
    pub fn fill(&self, files: &[OwnedFd]) -> Result<Vec<u64>, Fault> {
        let garbled = |reason: &str| Fault::new("worker-garbled", Blame::Sund, reason);
        let (folder, places) = files.split_first().ok_or_else(|| garbled("the order came without its package"))?;
        let package = Package::of_descriptor(folder)?;
        if package.digest != self.package_digest {
            let reason = "the package on disk is not the one that was activated";
            return Err(Fault::new("package-altered", Blame::Package, reason));
        }
        let TensorRtLibrary { class, path, version } = &self.library;
        let compiler = open(class, path)?;
        if compiler.version() != *version {
            let reason = format!("{} is of version {}, and was of {version}", path.display(), compiler.version());
            return Err(Fault::new("engine-unavailable", Blame::Configuration, reason));
        }
        let forms = forms(&package, class, &self.precision)?;
        if forms.len() != places.len() {
            return Err(garbled("the order came with another number of files than the package has networks"));
        }
        let architectures = [self.architecture.clone()];
        let mut lengths = Vec::with_capacity(forms.len());
        for (form, place) in forms.iter().zip(places) {
            let plan = plan(form, &architectures, compiler.as_ref())?;
            let written = place.try_clone().and_then(|place| File::from(place).write_all(&plan));
            written.map_err(|error| {
                let reason = format!("the plan of network {} cannot be handed over: {error}", form.name);
                Fault::new("package-unwritable", Blame::Box, reason)
            })?;
            lengths.push(plan.len() as u64);
        }
        Ok(lengths)
    }
}
