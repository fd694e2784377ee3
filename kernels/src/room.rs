//! Memory for voxels: there before the work begins, or refused.
use crate::KernelError;
use crate::grid::voxels_of;

/// From here on, in bytes, a list asks for large pages.
#[cfg(target_os = "linux")]
const LARGE: usize = 8 << 20;

/// An empty list with room for a value at each voxel; `TooLarge`, instead of an abort, where there is no such memory.
pub fn room<T>(dims: [usize; 3]) -> Result<Vec<T>, KernelError> {
    let mut voxels = Vec::new();
    voxels.try_reserve_exact(voxels_of(dims)?).map_err(|_| KernelError::TooLarge)?;
    #[cfg(target_os = "linux")]
    ask_for_large_pages(&mut voxels);
    Ok(voxels)
}

/// The kernel hands out memory page by page at the first touch: with small pages that takes longer than the fused
/// preprocessing of a CT series takes itself.
#[cfg(target_os = "linux")]
fn ask_for_large_pages<T>(voxels: &mut Vec<T>) {
    const PAGE: usize = 4096;
    let bytes = voxels.capacity() * size_of::<T>();
    if bytes < LARGE {
        return;
    }
    let start = voxels.as_mut_ptr().cast::<u8>();
    let skip = start.align_offset(PAGE);
    // SAFETY: the range, from the first whole page on, lies within the list's own allocation (`LARGE` is many pages), and
    // this advice changes no byte of it. That it is not followed is no error.
    unsafe { libc::madvise(start.add(skip).cast(), (bytes - skip) / PAGE * PAGE, libc::MADV_HUGEPAGE) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_there_can_be_is_refused_and_large_lists_can_be_filled() {
        assert_eq!(room::<f32>([1 << 20, 1 << 20, 1 << 20]), Err(KernelError::TooLarge));
        assert_eq!(room::<f32>([usize::MAX, 2, 2]), Err(KernelError::TooLarge));
        let mut voxels = room([3, 1 << 11, 1 << 10]).unwrap();
        let at = voxels.as_ptr();
        voxels.extend((0..3u32 << 21).map(|n| n as f32));
        assert_eq!((voxels.as_ptr(), voxels[voxels.len() - 1]), (at, ((3u32 << 21) - 1) as f32));
    }
}
