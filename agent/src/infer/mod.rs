//! Engines: what runs a network. tract is always there.
mod tract;

pub use tract::TractEngine;

use crate::fault::Fault;
use crate::inference::EngineUsed;

/// A tensor of real numbers, last axis fastest.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Length of each axis.
    pub shape: Vec<usize>,
    /// Values.
    pub values: Vec<f32>,
}

/// Runs networks.
pub trait Engine {
    /// Class, precision and version.
    fn used(&self) -> EngineUsed;

    /// Runs the network `name` on one input; its first output.
    fn run(&mut self, name: &str, network: &[u8], input: Tensor) -> Result<Tensor, Fault>;
}
