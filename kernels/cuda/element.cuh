// Samples, scores and results as they lie in memory, and atomic reads. No header of CUDA's: NVRTC compiles this without any.
#pragma once

/// A 16-bit float (IEEE 754 binary16) as its bits.
struct f16 {
    unsigned short bits;
};

// A compiler of CUDA has its instructions; the host's has functions of the same names from tests/cuda/host/device.hpp.
#ifdef __CUDACC__
__device__ inline float half_to_float(unsigned short bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}

/// Rounded to the nearest, ties to even.
__device__ inline unsigned short float_to_half(float value) {
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}

/// The value as it is in memory now, though others change it meanwhile.
template <typename T>
__device__ inline T peek(const T *place) {
    return *static_cast<const volatile T *>(place);
}
#endif

__device__ inline float number(unsigned char value) { return static_cast<float>(value); }
__device__ inline float number(short value) { return static_cast<float>(value); }
__device__ inline float number(unsigned short value) { return static_cast<float>(value); }
__device__ inline float number(int value) { return static_cast<float>(value); }
__device__ inline float number(float value) { return value; }
__device__ inline float number(f16 value) { return half_to_float(value.bits); }

__device__ inline void store(float value, float *place) { *place = value; }
__device__ inline void store(float value, f16 *place) { place->bits = float_to_half(value); }

/// Linear interpolation, as the CPU reference rounds it: all is compiled without fused multiply-add.
__device__ inline float mix(float from, float to, float weight) { return from + (to - from) * weight; }

/// The index of this thread over all blocks of a one-dimensional launch.
__device__ inline unsigned long long thread_index() {
    return static_cast<unsigned long long>(blockIdx.x) * blockDim.x + threadIdx.x;
}
