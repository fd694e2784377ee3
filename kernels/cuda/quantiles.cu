// quantiles: how many values have each rank, counted in two rounds: by the upper half of a rank's bits, then by the lower half among
// those of one upper half. The host picks the order statistics and interpolates.
//
// Reference: kernels/src/intensity.rs; the same bits. A value's rank is its place among all 32-bit floats (`f32::total_cmp`).
#include "element.cuh"

/// The rank of a float, which is given by its bits.
__device__ inline unsigned rank_of(unsigned bits) { return bits & 0x80000000u ? ~bits : bits | 0x80000000u; }

/// `counts` was zero: one for each upper half, and behind them one for values that have no rank (NaN).
extern "C" __global__ void quantiles_upper(const unsigned *values, unsigned long long n, unsigned *counts) {
    const unsigned long long position = thread_index();
    if (position < n) {
        const unsigned bits = values[position];
        const bool is_number = (bits & 0x7fffffffu) <= 0x7f800000u;
        atomicAdd(counts + (is_number ? rank_of(bits) >> 16 : 0x10000u), 1u);
    }
}

/// `counts` was zero: one for each lower half of the ranks with this upper half.
extern "C" __global__ void quantiles_lower(const unsigned *values, unsigned long long n, unsigned upper, unsigned *counts) {
    const unsigned long long position = thread_index();
    if (position < n) {
        const unsigned rank = rank_of(values[position]);
        if (rank >> 16 == upper) {
            atomicAdd(counts + (rank & 0xffffu), 1u);
        }
    }
}
