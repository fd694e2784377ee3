//! Engines that were compiled on this box: their plans lie in files beside the spool, not in the package.
use crate::fault::{Blame, Fault};
use crate::infer::{Engine, Made, Network, Tensor};
use crate::inference::EngineUsed;
use crate::limits::model::MAX_NETWORK;
use crate::schedule::GpuEngine;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use sund_kernels::device::place::Place;
use sund_kernels::device::{Ending, Input, OnDevice, Series};

/// TensorRT with the plans of some networks.
pub struct KeptEngine {
    engine: GpuEngine,
    plans: Vec<(String, PathBuf)>,
}

impl KeptEngine {
    /// The engine that runs these plans, by their networks.
    pub fn new(engine: GpuEngine, plans: Vec<(String, PathBuf)>) -> Self {
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
        self.engine.run(name, &|| plan(&self.plans, name), input)
    }

    fn takes_samples(&self) -> bool {
        self.engine.takes_samples()
    }

    fn run_on_samples(&mut self, name: &str, _: &Network<'_>, series: Series) -> Result<Tensor, Fault> {
        self.engine.run_on_samples(name, &|| plan(&self.plans, name), series)
    }

    fn makes_masks(&self) -> bool {
        self.engine.makes_masks()
    }

    fn run_to_mask(&mut self, name: &str, _: &Network<'_>, input: Input, ending: Ending) -> Result<Made, Fault> {
        self.engine.run_to_mask(name, &|| plan(&self.plans, name), input, ending)
    }

    fn place(&mut self) -> Option<&mut dyn Place> {
        self.engine.place()
    }

    fn run_held(&mut self, name: &str, _: &Network<'_>, input: OnDevice) -> Result<OnDevice, Fault> {
        self.engine.run_held(name, &|| plan(&self.plans, name), input)
    }
}

fn plan(plans: &[(String, PathBuf)], name: &str) -> Result<Vec<u8>, Fault> {
    let path = plans.iter().find(|(network, _)| network == name).map(|(_, path)| path);
    read(path.ok_or_else(|| unavailable(format!("no engine was compiled here for network {name}")))?)
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
