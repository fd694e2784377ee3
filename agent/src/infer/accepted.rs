//! Engines that a site's acceptance cohort was run on. Where one was, a package is served by that engine and not by a better one that
//! has come since: golden cases are the vendor's, and the site has seen nothing of it. The next trial runs the cohort on it.
use super::{Choice, EngineKind};
use crate::fault::{Blame, Fault};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// For each package of a state, by its digest, that a study of the cohort asks about.
pub type AcceptedEngines = BTreeMap<String, Accepted>;

/// The engine that a cohort was run on, and held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// In words: `tract fp32`.
    engine: String,
    /// [`EngineKind::identity`].
    identity: String,
}

impl Accepted {
    /// This very engine.
    pub fn of(engine: &EngineKind) -> Result<Self, Fault> {
        Ok(Self { engine: engine.to_string(), identity: engine.identity()? })
    }

    /// Whether it is this very engine. One that cannot be read is another one.
    pub fn is(&self, engine: &EngineKind) -> bool {
        engine.to_string() == self.engine && engine.identity().is_ok_and(|identity| identity == self.identity)
    }

    /// Those of the choices that may serve, the one that was accepted first. Where it is not here as it was then, or its golden cases do
    /// not hold any more, one that was not made on this box serves in its place, and says so; one that was waits for the cohort.
    pub fn among(&self, choices: Vec<Choice>) -> Result<Vec<Choice>, Fault> {
        let rank = |choice: Choice| match &choice.engine {
            engine if self.is(engine) => Some((0, Choice { explanation: self.was_run(), ..choice })),
            engine if engine.kept() > 0 => None,
            engine => {
                let rank = if engine.to_string() == self.engine { 1 } else { 2 };
                let explanation =
                    format!("{}, which is not here as it was then; {}", self.was_run(), choice.explanation);
                Some((rank, Choice { explanation, ..choice }))
            }
        };
        let mut ranked: Vec<(u8, Choice)> = choices.into_iter().filter_map(rank).collect();
        ranked.sort_by_key(|(rank, _)| *rank);
        if ranked.is_empty() {
            let reason = format!("what is here was compiled on this box, and {self}");
            return Err(Fault::new("engine-not-accepted", Blame::Box, reason));
        }
        Ok(ranked.into_iter().map(|(_, choice)| choice).collect())
    }

    fn was_run(&self) -> String {
        format!("the site's acceptance cohort was run on {}", self.engine)
    }
}

/// What an engine waits for that is another one.
impl fmt::Display for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "waits for the next trial: {}", self.was_run())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::{Gpu, Plans, TensorRtLibrary};
    use std::path::Path;

    fn choice(engine: EngineKind) -> Choice {
        Choice { engine, explanation: "the fastest".to_owned() }
    }

    fn onnxruntime(library: &Path) -> EngineKind {
        EngineKind::OnnxRuntime { library: library.to_owned() }
    }

    fn on_gpu(library: &Path, plans: Plans) -> EngineKind {
        let library = TensorRtLibrary { class: "tensorrt".into(), path: library.to_owned(), version: "11.4.0".into() };
        let gpu = Gpu { name: "NVIDIA L4".into(), capability: (8, 9), memory: 24 << 30, driver: "580.1".into() };
        EngineKind::TensorRt { library, precision: "fp32".into(), gpu, plans, kernels: None }
    }

    fn names(accepted: &Accepted, engines: &[EngineKind]) -> Result<Vec<String>, String> {
        let choices = accepted.among(engines.iter().cloned().map(choice).collect());
        choices
            .map_err(|fault| fault.to_string())
            .map(|choices| choices.iter().map(|choice| format!("{}: {}", choice.engine, choice.explanation)).collect())
    }

    #[test]
    fn the_engine_that_the_cohort_was_run_on_comes_first_and_the_others_say_what_they_stand_in_for() {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("library.so");
        std::fs::write(&library, "a library").unwrap();
        let all = [on_gpu(&library, Plans::Packaged), onnxruntime(&library), EngineKind::Tract];
        let accepted = Accepted::of(&all[1]).unwrap();
        let names_of = |text: &str| format!("the site's acceptance cohort was run on onnxruntime fp32{text}");
        let stands_in = names_of(", which is not here as it was then; the fastest");
        assert_eq!(
            names(&accepted, &all).unwrap(),
            [
                format!("onnxruntime fp32: {}", names_of("")),
                format!("tensorrt fp32: {stands_in}"),
                format!("tract fp32: {stands_in}")
            ]
        );
        // Another file of its name is another engine, and nearest to it still.
        std::fs::write(&library, "another library").unwrap();
        assert!(!accepted.is(&all[1]));
        assert_eq!(names(&accepted, &all).unwrap()[0], format!("onnxruntime fp32: {stands_in}"));
    }

    #[test]
    fn an_engine_that_was_made_on_this_box_serves_in_no_others_place() {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("library.so");
        std::fs::write(&library, "a library").unwrap();
        let plan = serde_json::json!({ "kept": [{ "network": "detect", "path": library, "stamp":
            { "device": 1, "inode": 1, "length": 1, "seconds": 1, "nanoseconds": 1 } }] });
        let made = on_gpu(&library, serde_json::from_value(plan).unwrap());
        let accepted = Accepted::of(&EngineKind::Tract).unwrap();
        let told = "tract fp32: the site's acceptance cohort was run on tract fp32".to_owned();
        assert_eq!(names(&accepted, &[made.clone(), EngineKind::Tract]), Ok(vec![told]));
        let off = names(&accepted, &[made]).unwrap_err();
        assert!(off.contains("waits for the next trial") && off.contains("[engine-not-accepted]"), "{off}");
    }
}
