//! What a scheduler needs of a machine that keeps volumes and networks in memory of its own: buffers, copies, operations,
//! networks, and lanes that keep them in order.
//!
//! Everything that is asked for on a lane is done later, in the order in which it was asked for; two lanes know nothing of each
//! other's order. Only `wait` waits. A GPU is one such machine; [`host::HostDevice`] is the processor in its place, with the
//! reference operations.
mod error;
pub mod host;
mod operation;

pub use error::DeviceError;
pub use operation::{Element, Operation, SampleKind};

use std::time::Duration;

/// Runs operations and networks on its own memory.
///
/// After `Lost` or `Hung` nothing that it answers counts: its process ends and another one takes its work up anew.
pub trait Device {
    /// Memory of the device. A clone is the same memory; it is free once the last clone is gone and every lane that was told
    /// to use it has done so.
    type Buffer: Clone;
    /// Memory of the host from which and into which the device copies by itself (page-locked on a GPU).
    type Staging: AsRef<[u8]> + AsMut<[u8]>;
    /// A queue of work (a stream).
    type Lane;
    /// A network that is loaded. Its runs follow one another whatever lanes they are asked for on; the device sees to it.
    type Network;

    /// How it names itself.
    fn name(&self) -> String;

    /// Its memory.
    fn memory(&self) -> Result<Memory, DeviceError>;

    /// A new lane, with nothing to do.
    fn lane(&mut self) -> Result<Self::Lane, DeviceError>;

    /// Memory whose bytes are whatever they are. `OutOfMemory` where there is not so much left.
    fn allocate(&mut self, bytes: usize) -> Result<Self::Buffer, DeviceError>;

    /// Memory of the host, zeros.
    fn staging(&mut self, bytes: usize) -> Result<Self::Staging, DeviceError>;

    /// Copies to the device; the two are equally long. The lane keeps `from` until it is done.
    fn upload(
        &mut self,
        lane: &mut Self::Lane,
        from: Self::Staging,
        to: &Part<Self::Buffer>,
    ) -> Result<(), DeviceError>;

    /// Copies to the host; the two are equally long. The lane keeps `into` until [`Device::wait`] gives it back.
    fn download(
        &mut self,
        lane: &mut Self::Lane,
        from: &Part<Self::Buffer>,
        into: Self::Staging,
    ) -> Result<(), DeviceError>;

    /// Runs an operation.
    fn launch(&mut self, lane: &mut Self::Lane, operation: &Operation<Self::Buffer>) -> Result<(), DeviceError>;

    /// Loads a network from what the device's compiler made of it, or what else this device takes. `OutOfMemory` where it
    /// does not fit.
    fn load(&mut self, network: &[u8]) -> Result<Self::Network, DeviceError>;

    /// What the values of its input are.
    fn takes(&self, network: &Self::Network) -> Element;

    /// The shape of its answer to an input of this shape; `Refused` where it does not take it. Answers are 32-bit reals.
    fn gives(&mut self, network: &mut Self::Network, shape: &[usize]) -> Result<Vec<usize>, DeviceError>;

    /// Runs a network on an input of this shape.
    fn enqueue(
        &mut self,
        lane: &mut Self::Lane,
        network: &mut Self::Network,
        shape: &[usize],
        from: &Part<Self::Buffer>,
        into: &Part<Self::Buffer>,
    ) -> Result<(), DeviceError>;

    /// Waits until all is done that was asked for on this lane; the staging memory of its downloads, in their order. `Hung`
    /// where that takes longer than `within`.
    fn wait(&mut self, lane: &mut Self::Lane, within: Duration) -> Result<Vec<Self::Staging>, DeviceError>;
}

/// A device's memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// That can still be had.
    pub free: usize,
    /// All of it.
    pub total: usize,
}

/// Neighbouring bytes of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<B> {
    /// The buffer.
    pub buffer: B,
    /// Its first byte; a multiple of the length of a value.
    pub first: usize,
    /// How many.
    pub bytes: usize,
}

impl<B> Part<B> {
    /// The first bytes of a buffer.
    pub fn of(buffer: B, bytes: usize) -> Self {
        Self { buffer, first: 0, bytes }
    }

    /// Bytes of this part; it is the caller's to stay within it, the device's to refuse what lies beyond the buffer.
    pub fn part(&self, first: usize, bytes: usize) -> Self
    where
        B: Clone,
    {
        Self { buffer: self.buffer.clone(), first: self.first + first, bytes }
    }
}
