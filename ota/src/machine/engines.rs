//! Which class of engine serves each model: no system is found good under which one of them falls from a GPU to the CPU.
use crate::agent::{AgentStatus, ModelStatus};
use crate::limits::MAX_MODELS;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const GPU: &str = "gpu";

/// What served, as it was last known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Engines {
    /// `gpu` where that served any model; all that an older agent says.
    pub engine_class: String,
    /// By the names of packages.
    pub model_engines: BTreeMap<String, Served>,
}

/// The class of engine that served a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// Digest of the package: another one is no better or worse for it.
    pub digest: String,
    /// `gpu` or `cpu`.
    pub class: String,
}

impl Engines {
    /// What is known now: of a model that is not served at this moment, what was known of it before.
    #[must_use]
    pub fn seen(&self, status: &AgentStatus) -> Self {
        let served = |model: &ModelStatus| {
            let known = self.of(model).map(|served| served.class.clone());
            let class = model.engine_class.clone().or(known)?;
            Some((model.name.clone(), Served { digest: model.digest.clone(), class }))
        };
        let model_engines: BTreeMap<_, _> = status.models.iter().take(MAX_MODELS).filter_map(served).collect();
        let is_gpu = model_engines.values().any(|served| served.class == GPU);
        let engine_class = if is_gpu { GPU.to_owned() } else { status.engine_class.clone() };
        Self { engine_class, model_engines }
    }

    /// What is served by less than before, in words.
    pub(super) fn fallen(&self, status: &AgentStatus) -> Option<String> {
        status.models.iter().find_map(|model| self.fallen_model(model)).or_else(|| {
            // Only where no model says it for itself: one that is suspended would be held against the system.
            let is_told = status.models.iter().any(|model| model.engine_class.is_some());
            let is_less = !is_told && self.engine_class == GPU && status.engine_class != GPU;
            is_less.then(|| format!("models are served by `{}`, and by a GPU before", status.engine_class))
        })
    }

    fn fallen_model(&self, model: &ModelStatus) -> Option<String> {
        // One that is suspended serves nobody, and an older agent does not say by what the others do.
        let is_told = model.engine_class.is_some() || model.standing != "active";
        let was_gpu = self.of(model).is_some_and(|served| served.class == GPU);
        if !was_gpu || !is_told || model.standing == "suspended" || model.engine_class.as_deref() == Some(GPU) {
            return None;
        }
        let now = match (&model.engine_class, &model.engine, &model.reason) {
            (Some(class), Some(engine), _) => format!("served by `{class}` ({engine})"),
            (Some(class), None, _) => format!("served by `{class}`"),
            (None, _, Some(reason)) => format!("`{}`: {reason}", model.standing),
            (None, _, None) => format!("`{}`", model.standing),
        };
        Some(format!("the model `{}` is {now}, and was served by a GPU before", model.name))
    }

    fn of(&self, model: &ModelStatus) -> Option<&Served> {
        self.model_engines.get(&model.name).filter(|served| served.digest == model.digest)
    }
}
