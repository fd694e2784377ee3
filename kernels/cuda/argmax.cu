// argmax over the channels of `[channels, n]`: the channel with the largest score, the first of equals.
//
// Reference: `argmax` in kernels/src/scores.rs; the same values.
#include "element.cuh"

template <typename T>
__device__ inline void argmax(const T *scores, unsigned channels, unsigned long long n, unsigned char *labels) {
    const unsigned long long position = thread_index();
    if (position >= n) {
        return;
    }
    const T *score = scores + position;
    float top = number(score[0]);
    unsigned best = 0;
    for (unsigned c = 1; c < channels; ++c) {
        const float value = number(score[c * n]);
        if (value > top) {
            top = value;
            best = c;
        }
    }
    labels[position] = static_cast<unsigned char>(best);
}

extern "C" __global__ void argmax_f32(const float *scores, unsigned channels, unsigned long long n, unsigned char *labels) {
    argmax(scores, channels, n, labels);
}
extern "C" __global__ void argmax_f16(const f16 *scores, unsigned channels, unsigned long long n, unsigned char *labels) {
    argmax(scores, channels, n, labels);
}

/// Labels to a mask, in place: 1 where it is this one, else 0.
extern "C" __global__ void argmax_is(unsigned char *labels, unsigned long long n, unsigned label) {
    const unsigned long long position = thread_index();
    if (position < n) {
        labels[position] = labels[position] == label ? 1 : 0;
    }
}
