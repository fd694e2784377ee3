//! Which engine serves a package: the fastest that is here and that the package is validated for.
use super::{Engine, OnnxRuntimeEngine, TractEngine};
use crate::fault::{Blame, Fault};
use crate::model::manifest::ValidatedEngine;
use serde::{Deserialize, Serialize};
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

    /// Makes it ready. Only in a process that may be lost: a library of others is opened.
    pub fn open(&self) -> Result<Box<dyn Engine>, Fault> {
        match self {
            EngineKind::Tract => Ok(Box::<TractEngine>::default()),
            EngineKind::OnnxRuntime { library } => Ok(Box::new(OnnxRuntimeEngine::open(library)?)),
        }
    }
}

impl Engines {
    /// tract, and ONNX Runtime where the configuration or [`ONNXRUNTIME_VARIABLE`] names its library.
    pub fn here(configured: Option<&Path>) -> Self {
        let named = std::env::var_os(ONNXRUNTIME_VARIABLE).map(PathBuf::from);
        Self { onnxruntime: configured.map(Path::to_owned).or(named) }
    }

    /// All engines, the preferred one first.
    pub fn kinds(&self) -> Vec<EngineKind> {
        let library = self.onnxruntime.clone().map(|library| EngineKind::OnnxRuntime { library });
        library.into_iter().chain([EngineKind::Tract]).collect()
    }

    /// The engine for a package that is validated for these.
    pub fn choose(&self, validated: &[ValidatedEngine]) -> Result<Choice, Fault> {
        let is_validated = |kind: &EngineKind| {
            let (class, precision) = kind.class_and_precision();
            validated.iter().any(|engine| engine.class == class && engine.precision == precision)
        };
        let names: Vec<String> = validated.iter().map(|e| format!("{} {}", e.class, e.precision)).collect();
        let engine = self.kinds().into_iter().find(is_validated).ok_or_else(|| {
            let reason = format!("the package is validated for {}; none of them is on this machine", names.join(", "));
            Fault::new("engine-not-validated", Blame::Package, reason)
        })?;
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
        Ok(Choice { engine, explanation })
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
