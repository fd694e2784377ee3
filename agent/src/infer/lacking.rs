//! Compiled engines that a package is validated for, that this box could run, and that are not there.
use super::choose::{COMPILED, Source, is_validated};
use super::{EngineKind, Engines, Gpu, TensorRtLibrary, kept_name};
use crate::model::Package;
use std::path::PathBuf;

/// An engine that could be compiled here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacking {
    /// Digest of the package.
    pub package_digest: String,
    /// The library that would compile it, and run it.
    pub library: TensorRtLibrary,
    /// `fp32`, `fp16`.
    pub precision: String,
    /// The GPU.
    pub gpu: Gpu,
    /// The files in which the node would look for it, in the order of the networks.
    pub files: Vec<PathBuf>,
}

impl Lacking {
    /// As [`super::Candidate::name`] has it.
    pub fn name(&self) -> String {
        format!("{} {}, compiled here", self.library.class, self.precision)
    }

    /// Everything that it depends on. What was found out about one that lacks holds as long as this is the same.
    pub fn identity(&self) -> String {
        let Self { package_digest, library: TensorRtLibrary { class, version, .. }, precision, gpu, .. } = self;
        format!("{package_digest}/{class} {version} {precision}/{gpu}")
    }
}

impl Engines {
    /// What could be compiled here for a package, the preferred one first; nothing behind an engine that is there, and an engine in
    /// the package comes before all that are compiled here. One that was `missed` by golden cases is as good as none.
    pub fn lacking(&self, package: &Package, missed: impl Fn(&EngineKind) -> bool) -> Vec<Lacking> {
        let mut lacking = Vec::new();
        let Some(folder) = &self.kept else { return lacking };
        let validated =
            COMPILED.into_iter().filter(|(class, precision)| is_validated(&package.manifest.engines, class, precision));
        let is_there = |class: &str, precision: &str, plans: Source| {
            self.compiled(package, class, precision, plans).is_ok_and(|engine| !missed(&engine))
        };
        if validated.clone().any(|(class, precision)| is_there(class, precision, Self::packaged)) {
            return lacking;
        }
        for (class, precision) in validated {
            let Ok((library, gpu)) = self.on_gpu(class, precision) else { continue };
            if is_there(class, precision, Self::kept) {
                break;
            }
            if self.kept(package, class, precision).is_ok() {
                continue;
            }
            let architecture = gpu.architecture();
            let of = |network: &str| {
                kept_name(&package.digest, network, (class, precision), &library.version, &architecture)
            };
            let files = package.manifest.networks.iter().map(|network| folder.join(of(&network.name))).collect();
            lacking.push(Lacking {
                package_digest: package.digest.clone(),
                library: library.clone(),
                precision: precision.to_owned(),
                gpu: gpu.clone(),
                files,
            });
        }
        lacking
    }
}
