// scale_offset: `x * scale + offset`, rounded after each.
//
// Reference: kernels/src/intensity.rs; the same bits.
#include "element.cuh"

extern "C" __global__ void scale_offset(const float *values, unsigned long long n, float scale, float offset, float *scaled) {
    const unsigned long long position = thread_index();
    if (position < n) {
        scaled[position] = values[position] * scale + offset;
    }
}
