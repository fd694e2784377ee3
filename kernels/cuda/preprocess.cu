// preprocess: stored samples to a network's values in one pass, for grids whose axes run alike (either way).
//
// Reference: kernels/src/preprocess.rs; the same bits. The host lays out for each target index of each axis where it takes its
// value from (`Tap`), in 64 bits; here are only 32. A thread makes one column of ROWS target rows: its column's tap stays in
// registers, and the loads of the rows overlap.
#include "tone.cuh"

/// Along one axis, for a target index: the lower source index, or -1 beyond the volume, and the weight of the one above.
struct Tap {
    int low;
    float weight;
};

/// Target rows of a thread; kernels/src/cuda/launch/preprocess.rs knows it too.
constexpr int ROWS = 4;

/// What has to be mixed: nothing (all weights are 0), rows and columns, or slices too.
enum class Mixed { Nothing, Plane, Volume };

/// The source value at a column between two rows.
template <typename S>
__device__ inline float between(const S *row, const S *below, int column, float weight) {
    return mix(number(row[column]), number(below[column]), weight);
}

template <Mixed MIXED, typename S>
__device__ inline float sampled(const S *source, Dims from, Tap slice, Tap row, Tap column) {
    const long long line = from.columns, plane = line * from.rows;
    const S *front = source + slice.low * plane + row.low * line;
    if constexpr (MIXED == Mixed::Nothing) {
        return number(front[column.low]);
    }
    // An index above that has no weight is not read: it may lie beyond the volume.
    const S *front_below = row.weight > 0.0f ? front + line : front;
    const int left = column.low, right = column.weight > 0.0f ? left + 1 : left;
    float left_value = between(front, front_below, left, row.weight);
    float right_value = between(front, front_below, right, row.weight);
    if constexpr (MIXED == Mixed::Volume) {
        const long long behind = slice.weight > 0.0f ? plane : 0;
        const float left_behind = between(front + behind, front_below + behind, left, row.weight);
        const float right_behind = between(front + behind, front_below + behind, right, row.weight);
        left_value = mix(left_value, left_behind, slice.weight);
        right_value = mix(right_value, right_behind, slice.weight);
    }
    return mix(left_value, right_value, column.weight);
}

/// Blocks: columns of the target by threads, its rows by ROWS, its slices. `taps` are those of slices, rows, columns.
template <Mixed MIXED, typename S, typename D>
__device__ inline void preprocess(const S *__restrict__ source, Dims from, D *__restrict__ target, Dims to,
                                  const Tap *__restrict__ taps, Tone tone) {
    const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    const int k = static_cast<int>(blockIdx.z), first = static_cast<int>(blockIdx.y) * ROWS;
    if (i >= to.columns) {
        return;
    }
    const Tap slice = taps[k], column = taps[to.slices + to.rows + i];
    D *place = target + (static_cast<long long>(k) * to.rows + first) * to.columns + i;
#pragma unroll
    for (int n = 0; n < ROWS; ++n) {
        if (first + n < to.rows) {
            const Tap row = taps[to.slices + first + n];
            const bool is_outside = slice.low < 0 || row.low < 0 || column.low < 0;
            const float stored = is_outside ? tone.outside : sampled<MIXED>(source, from, slice, row, column);
            store_toned(tone, stored, place + static_cast<long long>(n) * to.columns);
        }
    }
}

#define PREPROCESS(MIXED, S, D, NAME)                                                                              \
    extern "C" __global__ void NAME(const S *source, Dims from, D *target, Dims to, const Tap *taps, Tone tone) { \
        preprocess<MIXED>(source, from, target, to, taps, tone);                                                   \
    }
#define PREPROCESS_FROM(S, FROM)                                                  \
    PREPROCESS(Mixed::Nothing, S, float, preprocess_nothing_##FROM##_f32)         \
    PREPROCESS(Mixed::Nothing, S, f16, preprocess_nothing_##FROM##_f16)           \
    PREPROCESS(Mixed::Plane, S, float, preprocess_plane_##FROM##_f32)             \
    PREPROCESS(Mixed::Plane, S, f16, preprocess_plane_##FROM##_f16)               \
    PREPROCESS(Mixed::Volume, S, float, preprocess_volume_##FROM##_f32)           \
    PREPROCESS(Mixed::Volume, S, f16, preprocess_volume_##FROM##_f16)
PREPROCESS_FROM(unsigned char, u8)
PREPROCESS_FROM(short, i16)
PREPROCESS_FROM(unsigned short, u16)
PREPROCESS_FROM(float, f32)
