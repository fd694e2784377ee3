// not_finite: whether one of the values is infinite or NaN, as 1 or 0.
//
// Reference: `not_finite` in kernels/src/scores.rs; the same value.
#include "element.cuh"

/// `found` was zero.
template <typename T>
__device__ inline void not_finite(const T *values, unsigned long long n, unsigned *found) {
    const unsigned long long position = thread_index();
    if (position >= n) {
        return;
    }
    const float value = number(values[position]);
    // The difference is 0 for finite values alone.
    if (value - value != 0.0f && peek(found) == 0) {
        atomicOr(found, 1u);
    }
}

extern "C" __global__ void not_finite_f32(const float *values, unsigned long long n, unsigned *found) {
    not_finite(values, n, found);
}
extern "C" __global__ void not_finite_f16(const f16 *values, unsigned long long n, unsigned *found) {
    not_finite(values, n, found);
}
