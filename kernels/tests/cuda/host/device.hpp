// What a compiler of CUDA knows by itself, for the host's: so that the very kernel sources run on the processor.
#pragma once
#include <algorithm>
#include <atomic>
#include <barrier>
#include <bit>
#include <cmath>
#include <cstdint>

#define __global__
#define __device__
#define __noinline__ __attribute__((noinline))
// One block at a time where a kernel shares memory.
#define __shared__ static

struct Index {
    unsigned x, y, z;
};
inline thread_local Index threadIdx, blockIdx;
inline Index blockDim, gridDim;

inline std::barrier<> *block_barrier;
inline void __syncthreads() { block_barrier->arrive_and_wait(); }

// Relaxed, as those of the device are.
template <typename T>
inline T peek(const T *place) {
    return std::atomic_ref(*const_cast<T *>(place)).load(std::memory_order_relaxed);
}
template <typename T>
inline T atomicAdd(T *place, T value) {
    return std::atomic_ref(*place).fetch_add(value, std::memory_order_relaxed);
}
template <typename T>
inline T atomicOr(T *place, T value) {
    return std::atomic_ref(*place).fetch_or(value, std::memory_order_relaxed);
}
template <typename T, typename Better>
inline T atomic_best(T *place, T value, Better better) {
    std::atomic_ref shared(*place);
    T found = shared.load(std::memory_order_relaxed);
    while (better(value, found) && !shared.compare_exchange_weak(found, value, std::memory_order_relaxed)) {
    }
    return found;
}
template <typename T>
inline T atomicMin(T *place, T value) {
    return atomic_best(place, value, [](T a, T b) { return a < b; });
}
template <typename T>
inline T atomicMax(T *place, T value) {
    return atomic_best(place, value, [](T a, T b) { return a > b; });
}

inline float half_to_float(unsigned short bits) {
    const std::uint32_t sign = std::uint32_t(bits & 0x8000u) << 16, exponent = bits >> 10 & 0x1fu, fraction = bits & 0x3ffu;
    if (exponent == 0) {
        const float size = std::ldexp(static_cast<float>(fraction), -24);
        return sign ? -size : size;
    }
    const std::uint32_t wide = exponent == 31 ? 255 : exponent + 112;
    return std::bit_cast<float>(sign | wide << 23 | fraction << 13);
}

/// To the nearest, ties to even.
inline unsigned short float_to_half(float value) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(value), sign = bits >> 16 & 0x8000u;
    const float size = std::fabs(value);
    if (!(size < 65520.0f)) {
        return static_cast<unsigned short>(std::isnan(value) ? sign | 0x7e00u : sign | 0x7c00u);
    }
    // In units of the last place that 16 bits have at this size: exact, then rounded once.
    int exponent = -24;
    if (size > 0.0f) {
        std::frexp(size, &exponent);
    }
    const int unit = std::max(exponent - 11, -24);
    const auto units = static_cast<std::uint32_t>(std::nearbyint(std::ldexp(size, -unit)));
    return static_cast<unsigned short>(sign | ((static_cast<std::uint32_t>(unit + 24) << 10) + units));
}
