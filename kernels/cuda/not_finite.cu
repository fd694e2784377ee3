// not_finite: whether one of the values is infinite or NaN, as 1 or 0.
//
// Reference: `not_finite` in kernels/src/scores.rs; the same value.
#include "element.cuh"

/// `found` was zero.
extern "C" __global__ void not_finite(const float *values, unsigned long long n, unsigned *found) {
    const unsigned long long position = thread_index();
    // The difference is 0 for finite values alone.
    if (position < n && values[position] - values[position] != 0.0f && peek(found) == 0) {
        atomicOr(found, 1u);
    }
}
