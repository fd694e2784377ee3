//! Which engine serves a package: the fastest that is here and that the package is validated for.
use super::{Engine, OnnxRuntimeEngine, TractEngine, tract};
use crate::fault::{Blame, Fault};
use crate::model::manifest::ValidatedEngine;
use crate::study::open::hex;
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Names the library of ONNX Runtime where the configuration does not.
pub const ONNXRUNTIME_VARIABLE: &str = "SUND_ONNXRUNTIME";

/// The engines of this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Engines {
    onnxruntime: Option<PathBuf>,
}

/// What serves a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The engine.
    pub engine: EngineKind,
    /// Why this one, for people.
    pub explanation: String,
}

/// An engine that a worker is told to use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EngineKind {
    /// In this binary.
    #[default]
    Tract,
    /// A library on this machine.
    OnnxRuntime {
        /// Its path.
        library: PathBuf,
    },
}

impl EngineKind {
    /// Class and precision, as packages name them.
    pub fn class_and_precision(&self) -> (&'static str, &'static str) {
        match self {
            EngineKind::Tract => ("tract", "fp32"),
            EngineKind::OnnxRuntime { .. } => ("onnxruntime", "fp32"),
        }
    }

    /// The very code that would run: the version that is built in, or the digest of the library's file, which is read and
    /// not opened. What held on one identity says nothing about another.
    pub fn identity(&self) -> Result<String, Fault> {
        match self {
            EngineKind::Tract => Ok(format!("{self} {}", tract::VERSION)),
            EngineKind::OnnxRuntime { library } => {
                let digest = digest(library).map_err(|error| {
                    let reason = format!("{} cannot be read: {error}", library.display());
                    Fault::new("engine-unavailable", Blame::Configuration, reason)
                })?;
                Ok(format!("{self} sha256:{digest}"))
            }
        }
    }

    /// Makes it ready. Only in a process that may be lost: a library of others is opened.
    pub fn open(&self) -> Result<Box<dyn Engine>, Fault> {
        match self {
            EngineKind::Tract => Ok(Box::<TractEngine>::default()),
            EngineKind::OnnxRuntime { library } => Ok(Box::new(OnnxRuntimeEngine::open(library)?)),
        }
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (class, precision) = self.class_and_precision();
        write!(f, "{class} {precision}")
    }
}

fn digest(file: &Path) -> std::io::Result<String> {
    let mut file = std::fs::File::open(file)?;
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(context.finish().as_ref())),
            n => context.update(&buffer[..n]),
        }
    }
}

impl Engines {
    /// tract, and ONNX Runtime where the configuration or [`ONNXRUNTIME_VARIABLE`] names its library.
    pub fn here(configured: Option<&Path>) -> Self {
        let named = std::env::var_os(ONNXRUNTIME_VARIABLE).filter(|name| !name.is_empty()).map(PathBuf::from);
        Self { onnxruntime: configured.map(Path::to_owned).or(named) }
    }

    /// All engines, the preferred one first.
    pub fn kinds(&self) -> Vec<EngineKind> {
        let library = self.onnxruntime.clone().map(|library| EngineKind::OnnxRuntime { library });
        library.into_iter().chain([EngineKind::Tract]).collect()
    }

    /// The engine for a package that is validated for these.
    pub fn choose(&self, validated: &[ValidatedEngine]) -> Result<Choice, Fault> {
        self.candidates(validated).map(|mut choices| choices.swap_remove(0))
    }

    /// The engines that may serve a package that is validated for these, the preferred one first; at least one.
    pub fn candidates(&self, validated: &[ValidatedEngine]) -> Result<Vec<Choice>, Fault> {
        let is_validated = |kind: &EngineKind| {
            let (class, precision) = kind.class_and_precision();
            validated.iter().any(|engine| engine.class == class && engine.precision == precision)
        };
        let names: Vec<String> = validated.iter().map(|e| format!("{} {}", e.class, e.precision)).collect();
        let kinds: Vec<EngineKind> = self.kinds().into_iter().filter(is_validated).collect();
        if kinds.is_empty() {
            let reason = format!("the package is validated for {}; none of them is on this machine", names.join(", "));
            return Err(Fault::new("engine-not-validated", Blame::Package, reason));
        }
        let choice = |engine: EngineKind| {
            let explanation = match (&engine, &self.onnxruntime) {
                (EngineKind::OnnxRuntime { library }, _) => {
                    format!("the package is validated for it, and it is the fastest here: {}", library.display())
                }
                (EngineKind::Tract, Some(_)) => {
                    "the package is not validated for onnxruntime fp32, which is here too".to_owned()
                }
                (EngineKind::Tract, None) => {
                    format!("no library of ONNX Runtime is named, by [worker] onnxruntime or {ONNXRUNTIME_VARIABLE}")
                }
            };
            Choice { engine, explanation }
        };
        Ok(kinds.into_iter().map(choice).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validated(classes: &[&str]) -> Vec<ValidatedEngine> {
        classes.iter().map(|class| ValidatedEngine { class: (*class).into(), precision: "fp32".into() }).collect()
    }

    #[test]
    fn only_an_engine_that_the_package_is_validated_for_serves_it() {
        let both = Engines { onnxruntime: Some("/lib/onnx.so".into()) };
        let class = |engines: &Engines, classes: &[&str]| {
            engines.choose(&validated(classes)).map(|choice| choice.engine.class_and_precision().0)
        };
        assert_eq!(class(&both, &["tract", "onnxruntime"]), Ok("onnxruntime"));
        assert_eq!(class(&both, &["tract"]), Ok("tract"));
        assert_eq!(class(&Engines::default(), &["onnxruntime", "tract"]), Ok("tract"));
        let fault = class(&Engines::default(), &["tensorrt-rtx"]).unwrap_err();
        assert!(fault.code == "engine-not-validated" && fault.reason.contains("tensorrt-rtx fp32"), "{fault}");
    }
}
