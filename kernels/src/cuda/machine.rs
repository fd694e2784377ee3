//! What the launchers need of that which runs kernels: memory, copies, launches.
//!
//! `Cuda` runs them on a GPU; the tests run the very same launchers and kernel sources, compiled for the processor.
use crate::KernelError;
use std::marker::PhantomData;

/// Runs kernels one after another, in the order in which they were asked for. Nothing waits for a result but `download`.
pub trait Machine {
    /// Values on the machine.
    type Memory<T: Plain>: Memory;
    /// Why something cannot be done.
    type Error: From<KernelError>;

    /// Values from the host.
    fn upload<T: Plain>(&mut self, values: &[T]) -> Result<Self::Memory<T>, Self::Error>;
    /// As many zeros.
    fn zeros<T: Plain>(&mut self, count: usize) -> Result<Self::Memory<T>, Self::Error>;
    /// Sets all values to zero.
    fn clear<T: Plain>(&mut self, memory: &mut Self::Memory<T>) -> Result<(), Self::Error>;
    /// The values as they are once all that was asked for before is done.
    fn download<T: Plain>(&mut self, memory: &Self::Memory<T>) -> Result<Vec<T>, Self::Error>;
    /// Runs a kernel. Returns before it is done.
    fn launch(&mut self, call: &Call<'_>) -> Result<(), Self::Error>;
}

/// Values on a machine.
///
/// # Safety
/// As long as it lives, and is used by its machine alone, there is room for `count` of them at `address`.
pub unsafe trait Memory {
    /// How many.
    fn count(&self) -> usize;
    /// Where they are.
    fn address(&self) -> Address;
}

/// A place in a machine's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Which machine's memory, so that no other is given it.
    pub machine: u64,
    /// Where in it.
    pub place: u64,
}

/// A type without padding of which every pattern of bits is a value.
///
/// # Safety
/// It must be just that: values are copied to a machine and back as bytes.
pub unsafe trait Plain: Copy + Default + 'static {
    /// Its name in those of kernels.
    const NAME: &'static str;
}

macro_rules! plain {
    ($($kind:ty: $name:literal),*) => {$(
        // SAFETY: an integer or a float has no padding, and every pattern of bits is a value of it.
        unsafe impl Plain for $kind {
            const NAME: &'static str = $name;
        }
    )*};
}
plain!(u8: "u8", i16: "i16", u16: "u16", u32: "u32", i32: "i32", u64: "u64", f32: "f32", f64: "f64", half::f16: "f16");

/// Values as bytes.
pub fn bytes_of<T: Plain>(values: &[T]) -> &[u8] {
    // SAFETY: plain types have no padding; the slice covers just these values and lives as long.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

/// Values as bytes to write.
pub fn bytes_of_mut<T: Plain>(values: &mut [T]) -> &mut [u8] {
    // SAFETY: as above, and of plain types every pattern of bits is a value.
    unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), size_of_val(values)) }
}

/// Threads of a block.
pub const THREADS: u32 = 256;

/// A kernel with its arguments and the shape of its launch. Only launchers make one, after they have checked that the memory
/// is as large as the kernel takes it to be.
#[derive(Debug)]
pub struct Call<'a> {
    pub(crate) kernel: String,
    pub(crate) blocks: [u32; 3],
    pub(crate) threads: u32,
    pub(crate) arguments: Vec<Argument>,
    // The memory that arguments point to is borrowed.
    memory: PhantomData<&'a ()>,
}

/// An argument of a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Argument {
    /// A pointer.
    Pointer(Address),
    /// A value, as the bytes that it has in C.
    Value(Vec<u8>),
}

impl<'a> Call<'a> {
    /// A launch of so many blocks.
    pub(crate) fn new(kernel: impl Into<String>, blocks: [usize; 3], threads: u32) -> Result<Self, KernelError> {
        // What every device takes.
        const MOST: [usize; 3] = [i32::MAX as usize, 65_535, 65_535];
        if (0..3).any(|a| blocks[a] > MOST[a]) {
            return Err(KernelError::TooLarge);
        }
        let blocks = blocks.map(|n| n as u32);
        Ok(Self { kernel: kernel.into(), blocks, threads, arguments: Vec::new(), memory: PhantomData })
    }

    /// A launch of a thread for each of `count` values.
    pub(crate) fn over(kernel: impl Into<String>, count: usize) -> Result<Self, KernelError> {
        Self::new(kernel, [count.div_ceil(THREADS as usize), 1, 1], THREADS)
    }

    pub(crate) fn pointer(mut self, memory: &'a impl Memory) -> Self {
        self.arguments.push(Argument::Pointer(memory.address()));
        self
    }

    pub(crate) fn value(mut self, value: impl Value) -> Self {
        let mut bytes = Vec::new();
        value.append(&mut bytes);
        self.arguments.push(Argument::Value(bytes));
        self
    }

    /// The kernel's name.
    pub fn kernel(&self) -> &str {
        &self.kernel
    }

    /// Blocks along x, y, z; none of a launch that has nothing to do.
    pub fn blocks(&self) -> [u32; 3] {
        self.blocks
    }

    /// Threads of a block, along x.
    pub fn threads(&self) -> u32 {
        self.threads
    }

    /// In the kernel's order.
    pub fn arguments(&self) -> &[Argument] {
        &self.arguments
    }
}

/// A kernel's argument by value: fields one behind another, each aligned to its own size, as C lays them out.
pub(crate) trait Value {
    fn append(&self, bytes: &mut Vec<u8>);
}

macro_rules! values {
    ($($kind:ty),*) => {$(
        impl Value for $kind {
            fn append(&self, bytes: &mut Vec<u8>) {
                bytes.resize(bytes.len().next_multiple_of(size_of::<Self>()), 0);
                bytes.extend(self.to_ne_bytes());
            }
        }
    )*};
}
values!(u8, i32, u32, i64, u64, f32, f64);

impl<T: Value, const N: usize> Value for [T; N] {
    fn append(&self, bytes: &mut Vec<u8>) {
        for value in self {
            value.append(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_laid_out_as_in_c() {
        let mut bytes = Vec::new();
        1u8.append(&mut bytes);
        2i32.append(&mut bytes);
        [3.0f64].append(&mut bytes);
        assert_eq!(
            (bytes.len(), bytes[0], &bytes[4..8], &bytes[8..]),
            (16, 1, &2i32.to_ne_bytes()[..], &3f64.to_ne_bytes()[..])
        );
    }

    #[test]
    fn a_launch_has_a_thread_for_each_value_and_no_more_blocks_than_devices_take() {
        let blocks = |count| Call::over("softmax_f32", count).map(|call| call.blocks());
        assert_eq!((blocks(0), blocks(1), blocks(257)), (Ok([0, 1, 1]), Ok([1, 1, 1]), Ok([2, 1, 1])));
        assert_eq!(blocks(usize::MAX), Err(KernelError::TooLarge));
        assert!(Call::new("overlay", [1, 65_536, 1], 1).is_err());
    }
}
