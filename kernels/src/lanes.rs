//! The innermost loops, eight values at a time where the processor has AVX2, one by one elsewhere: the same operations in the
//! same order, without fused multiply-add, so that the bits are the same everywhere.
//!
//! But for a hint to the system in `room.rs`, the only `unsafe` of the crate is here. It buys what compilers do not find: picking eight values out of sixteen with
//! permutations (a third of the time of a resampling), and conversion to 16 bits without leaving the registers.
use crate::across::Block;
use half::f16;
use half::slice::HalfFloatSliceExt;

/// Values in a register.
pub const WIDTH: usize = 8;

/// Runs `work` compiled for AVX2 where the processor has it.
#[inline]
pub fn widest(work: impl FnOnce()) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has just been seen to have AVX2.
        return unsafe { avx2::run(work) };
    }
    work();
}

/// Linear interpolation.
#[inline]
pub fn mix(from: f32, to: f32, weight: f32) -> f32 {
    from + (to - from) * weight
}

/// Interpolates a row; a block that reads past the end of `source` or writes past that of `target` panics.
#[inline]
pub fn across(blocks: &[Block], source: &[f32], target: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has just been seen to have AVX2.
        return unsafe { avx2::across(blocks, source, target) };
    }
    across_one_by_one(blocks, source, target);
}

fn across_one_by_one(blocks: &[Block], source: &[f32], target: &mut [f32]) {
    for block in blocks {
        let source = &source[block.source..][..2 * WIDTH];
        let target = &mut target[block.target..][..WIDTH];
        for ((value, low), weight) in target.iter_mut().zip(block.low).zip(block.weight) {
            let low = low as usize;
            *value = mix(source[low], source[low + 1], weight);
        }
    }
}

/// `clip(x * scale + offset, 0, 1)`, rounded to the nearest 16-bit float, ties to even; as many as the shorter one has.
#[inline]
pub fn shade(row: &[f32], scale: f32, offset: f32, out: &mut [f16]) {
    let count = row.len().min(out.len());
    let (row, out) = (&row[..count], &mut out[..count]);
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("f16c") {
        // SAFETY: the processor has just been seen to have AVX2 and F16C.
        return unsafe { avx2::shade(row, scale, offset, out) };
    }
    shade_by_blocks(row, scale, offset, out);
}

fn shade_by_blocks(row: &[f32], scale: f32, offset: f32, out: &mut [f16]) {
    for (out, row) in out.chunks_mut(WIDTH).zip(row.chunks(WIDTH)) {
        let mut shades = [0.0; WIDTH];
        shades.iter_mut().zip(row).for_each(|(shade, value)| *shade = (value * scale + offset).clamp(0.0, 1.0));
        out.convert_from_f32_slice(&shades[..row.len()]);
    }
}

#[cfg(target_arch = "x86_64")]
#[allow(clippy::wildcard_imports, reason = "the vendor's names say where they come from")]
mod avx2 {
    use super::{Block, WIDTH, shade_by_blocks};
    use half::f16;
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx2")]
    pub fn run(work: impl FnOnce()) {
        work();
    }

    #[target_feature(enable = "avx2")]
    pub fn across(blocks: &[Block], source: &[f32], target: &mut [f32]) {
        let one = _mm256_set1_epi32(1);
        for block in blocks {
            let (halves, _) = source[block.source..][..2 * WIDTH].as_chunks::<WIDTH>();
            let (lower, upper) = (load(&halves[0]), load(&halves[1]));
            let low = load_integers(&block.low);
            let from = pick(lower, upper, low);
            let to = pick(lower, upper, _mm256_add_epi32(low, one));
            let part = _mm256_mul_ps(_mm256_sub_ps(to, from), load(&block.weight));
            let (target, _) = target[block.target..][..WIDTH].as_chunks_mut::<WIDTH>();
            store(&mut target[0], _mm256_add_ps(from, part));
        }
    }

    /// Each lane's value out of sixteen: bits 0 to 2 of `at` pick within a half, bit 3 picks the half.
    #[target_feature(enable = "avx2")]
    fn pick(lower: __m256, upper: __m256, at: __m256i) -> __m256 {
        let is_upper = _mm256_castsi256_ps(_mm256_slli_epi32::<28>(at));
        _mm256_blendv_ps(_mm256_permutevar8x32_ps(lower, at), _mm256_permutevar8x32_ps(upper, at), is_upper)
    }

    #[target_feature(enable = "avx2,f16c")]
    pub fn shade(row: &[f32], scale: f32, offset: f32, out: &mut [f16]) {
        let count = row.len().min(out.len());
        let (row, out) = (&row[..count], &mut out[..count]);
        let (blocks, rest) = row.as_chunks::<WIDTH>();
        let (out_blocks, _) = out.as_chunks_mut::<WIDTH>();
        for (out, block) in out_blocks.iter_mut().zip(blocks) {
            let shades = block.map(|value| (value * scale + offset).clamp(0.0, 1.0));
            let halves = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(load(&shades));
            // SAFETY: eight 16-bit floats are the 16 bytes that are written; the store asks for no alignment.
            unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), halves) };
        }
        let done = blocks.len() * WIDTH;
        shade_by_blocks(rest, scale, offset, out.get_mut(done..).unwrap_or_default());
    }

    #[target_feature(enable = "avx")]
    fn load(values: &[f32; WIDTH]) -> __m256 {
        // SAFETY: the array is the 32 bytes that are read; the load asks for no alignment.
        unsafe { _mm256_loadu_ps(values.as_ptr()) }
    }

    #[target_feature(enable = "avx")]
    fn load_integers(values: &[i32; WIDTH]) -> __m256i {
        // SAFETY: the array is the 32 bytes that are read; the load asks for no alignment.
        unsafe { _mm256_loadu_si256(values.as_ptr().cast()) }
    }

    #[target_feature(enable = "avx")]
    fn store(target: &mut [f32; WIDTH], values: __m256) {
        // SAFETY: the array is the 32 bytes that are written; the store asks for no alignment.
        unsafe { _mm256_storeu_ps(target.as_mut_ptr(), values) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block() -> impl Strategy<Value = Block> {
        let low = prop::array::uniform8(0..15i32);
        let weight = prop::array::uniform8(0.0..1.0f32);
        (0..24usize, 0..24usize, low, weight).prop_map(|(target, source, low, weight)| Block {
            target,
            source,
            low,
            weight,
        })
    }

    proptest! {
        #[test]
        fn wide_and_narrow_rows_are_the_same_to_the_bit(
            blocks in prop::collection::vec(block(), 1..6),
            source in prop::collection::vec(-4096.0..4096.0f32, 40),
        ) {
            let (mut wide, mut narrow) = ([0.0; 32], [0.0; 32]);
            across(&blocks, &source, &mut wide);
            across_one_by_one(&blocks, &source, &mut narrow);
            prop_assert_eq!(wide.map(f32::to_bits), narrow.map(f32::to_bits));
        }

        #[test]
        fn wide_and_narrow_shades_are_the_same_to_the_bit(
            row in prop::collection::vec(-3000.0..3000.0f32, 0..40),
            scale in -0.01..0.01f32,
            offset in -2.0..2.0f32,
            short in 0..3usize,
        ) {
            let length = row.len().saturating_sub(short);
            let (mut wide, mut narrow) = (vec![f16::NAN; length], vec![f16::NAN; length]);
            shade(&row, scale, offset, &mut wide);
            shade_by_blocks(&row[..length], scale, offset, &mut narrow);
            prop_assert!(wide.iter().zip(&narrow).all(|(a, b)| a.to_bits() == b.to_bits()));
        }
    }
}
