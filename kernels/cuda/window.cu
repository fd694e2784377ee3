// window: `clip((x - low) / span, 0, 1)`, from the foot and the span of a window.
//
// Reference: kernels/src/intensity.rs; the same bits.
#include "tone.cuh"

extern "C" __global__ void window(const float *values, unsigned long long n, float low, float span, float *windowed) {
    const unsigned long long position = thread_index();
    if (position < n) {
        windowed[position] = clipped((values[position] - low) / span);
    }
}
