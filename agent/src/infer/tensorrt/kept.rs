//! Engines that were compiled on this box: their plans lie in files beside the spool, not in the package.
use super::TensorRtEngine;
use crate::fault::{Blame, Fault};
use crate::infer::{Engine, Network, Tensor};
use crate::inference::EngineUsed;
use crate::limits::model::MAX_NETWORK;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// TensorRT with the plans of some networks.
pub struct KeptEngine {
    engine: TensorRtEngine,
    plans: Vec<(String, PathBuf)>,
}

impl KeptEngine {
    /// The engine that runs these plans, by their networks.
    pub fn new(engine: TensorRtEngine, plans: Vec<(String, PathBuf)>) -> Self {
        Self { engine, plans }
    }
}

impl Engine for KeptEngine {
    fn used(&self) -> EngineUsed {
        self.engine.used()
    }

    fn unload(&mut self) {
        self.engine.unload();
    }

    fn run(&mut self, name: &str, _: &Network<'_>, input: Tensor) -> Result<Tensor, Fault> {
        let plans = &self.plans;
        let plan = || {
            let path = plans.iter().find(|(network, _)| network == name).map(|(_, path)| path);
            read(path.ok_or_else(|| unavailable(format!("no engine was compiled here for network {name}")))?)
        };
        self.engine.run(name, &plan, input)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Fault> {
    let unreadable = |error: std::io::Error| unavailable(format!("{} cannot be read: {error}", path.display()));
    let mut plan = Vec::new();
    std::fs::File::open(path).map_err(unreadable)?.take(MAX_NETWORK + 1).read_to_end(&mut plan).map_err(unreadable)?;
    if plan.len() as u64 > MAX_NETWORK {
        return Err(unavailable(format!("{} has more than {MAX_NETWORK} bytes", path.display())));
    }
    Ok(plan)
}

fn unavailable(reason: String) -> Fault {
    Fault::new("engine-unavailable", Blame::Box, reason)
}
