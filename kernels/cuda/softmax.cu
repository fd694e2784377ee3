// softmax over the channels of `[channels, n]`, in place: exp(x - max) / sum exp(x - max), in 32 bits.
//
// Reference: `softmax` in kernels/src/scores.rs; the same but for the last bits of exp. A thread has one position; what it reads a
// second and third time is still in the cache.
#include "element.cuh"

template <typename T>
__device__ inline void softmax(T *scores, unsigned channels, unsigned long long n) {
    const unsigned long long position = thread_index();
    if (position >= n) {
        return;
    }
    T *score = scores + position;
    float top = number(score[0]);
    for (unsigned c = 1; c < channels; ++c) {
        top = fmaxf(top, number(score[c * n]));
    }
    float sum = 0.0f;
    for (unsigned c = 0; c < channels; ++c) {
        sum += expf(number(score[c * n]) - top);
    }
    for (unsigned c = 0; c < channels; ++c) {
        store(expf(number(score[c * n]) - top) / sum, score + c * n);
    }
}

extern "C" __global__ void softmax_f32(float *scores, unsigned channels, unsigned long long n) {
    softmax(scores, channels, n);
}
extern "C" __global__ void softmax_f16(f16 *scores, unsigned channels, unsigned long long n) {
    softmax(scores, channels, n);
}
