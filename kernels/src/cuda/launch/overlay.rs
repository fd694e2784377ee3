//! overlay.
use super::fills;
use crate::KernelError;
use crate::cuda::machine::{Call, Machine};
use crate::overlay::SHARES;

/// Draws a mask of `rows` x `columns` over an RGB picture, in place, as the reference to the same values.
pub fn overlay<M: Machine>(
    machine: &mut M,
    rgb: &mut M::Memory<u8>,
    mask: &M::Memory<u8>,
    [rows, columns]: [usize; 2],
    colour: [u8; 3],
) -> Result<(), M::Error> {
    let pixels = rows.checked_mul(columns).filter(|n| *n < 1 << 31).ok_or(KernelError::TooLarge)?;
    fills(mask, pixels)?;
    fills(rgb, 3 * pixels)?;
    let call = Call::over("overlay", pixels)?.pointer(rgb).pointer(mask).value(rows as u32).value(columns as u32);
    machine.launch(&call.value(colour).value(SHARES[0]).value(SHARES[1]))
}
