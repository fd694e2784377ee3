//! Engines that were compiled on this box: their plans come as open files with the task, not in the package.
use crate::fault::{Blame, Fault};
use crate::infer::{Engine, Made, Network, Tensor};
use crate::inference::EngineUsed;
use crate::limits::model::MAX_NETWORK;
use crate::schedule::GpuEngine;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use sund_kernels::device::place::Place;
use sund_kernels::device::{Ending, Input, OnDevice, Series};

/// TensorRT with the plans of some networks.
pub struct KeptEngine {
    engine: GpuEngine,
    plans: Vec<(String, File)>,
}

impl KeptEngine {
    /// The engine that runs these plans, by their networks.
    pub fn new(engine: GpuEngine, plans: Vec<(String, &OwnedFd)>) -> std::io::Result<Self> {
        let held = plans.into_iter().map(|(network, file)| Ok((network, File::from(file.try_clone()?))));
        Ok(Self { engine, plans: held.collect::<std::io::Result<_>>()? })
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

fn plan(plans: &[(String, File)], name: &str) -> Result<Vec<u8>, Fault> {
    let file = plans.iter().find(|(network, _)| network == name).map(|(_, file)| file);
    read(name, file.ok_or_else(|| unavailable(format!("no engine was compiled here for network {name}")))?)
}

fn read(name: &str, file: &File) -> Result<Vec<u8>, Fault> {
    let unreadable =
        |error: std::io::Error| unavailable(format!("the engine of network {name} cannot be read: {error}"));
    let length = file.metadata().map_err(unreadable)?.len();
    if length > MAX_NETWORK {
        return Err(unavailable(format!("the engine of network {name} has more than {MAX_NETWORK} bytes")));
    }
    let mut plan = vec![0; length as usize];
    file.read_exact_at(&mut plan, 0).map_err(unreadable)?;
    Ok(plan)
}

fn unavailable(reason: String) -> Fault {
    Fault::new("engine-unavailable", Blame::Box, reason)
}
