// clip_range: `clip((x - low) / span, 0, 1)`, for a range that is not empty.
//
// Reference: kernels/src/intensity.rs; the same bits.
#include "tone.cuh"

extern "C" __global__ void clip_range(const float *values, unsigned long long n, float low, float span, float *clipped_values) {
    const unsigned long long position = thread_index();
    if (position < n) {
        clipped_values[position] = clipped((values[position] - low) / span);
    }
}
