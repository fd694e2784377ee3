// threshold: 1 where a score is above, else 0; NaN is not above.
//
// Reference: `threshold` in kernels/src/scores.rs; the same values.
#include "element.cuh"

/// Of the n scores from `first` on, which is where a channel begins.
template <typename T>
__device__ inline void threshold(const T *scores, unsigned long long first, unsigned long long n, float above,
                                 unsigned char *mask) {
    const unsigned long long position = thread_index();
    if (position < n) {
        mask[position] = number(scores[first + position]) > above ? 1 : 0;
    }
}

extern "C" __global__ void threshold_f32(const float *scores, unsigned long long first, unsigned long long n, float above,
                                         unsigned char *mask) {
    threshold(scores, first, n, above, mask);
}
extern "C" __global__ void threshold_f16(const f16 *scores, unsigned long long first, unsigned long long n, float above,
                                         unsigned char *mask) {
    threshold(scores, first, n, above, mask);
}
