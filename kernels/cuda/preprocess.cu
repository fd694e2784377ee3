// preprocess: stored samples to a network's values in one pass, for grids whose axes run alike (either way).
//
// Reference: kernels/src/preprocess.rs; the same bits. The host lays out for each target index of each axis where it takes its
// value from (`Tap`), in 64 bits; here are only 32. A thread makes one column of some target rows: its column's tap stays in
// registers, and the loads of all rows are on their way together, for which reason there is no branch around them.
#include "tone.cuh"

/// Along one axis, for a target index: the lower source index, or -1 beyond the volume, and the weight of the one above.
struct alignas(8) Tap {
    int low;
    float weight;
};

/// What has to be mixed: nothing (all weights are 0), rows and columns, or slices too.
enum class Mixed { Nothing, Plane, Volume };

/// Target rows of a thread; kernels/src/cuda/launch/preprocess.rs knows them too.
template <Mixed MIXED>
constexpr int ROWS = MIXED == Mixed::Nothing ? 8 : MIXED == Mixed::Plane ? 4 : 2;

__device__ inline int within(int low) { return low < 0 ? 0 : low; }

/// The value at a place whose lower neighbour in all axes is `at`. The distances to the upper ones are 0 where they have no
/// weight: they may lie beyond the volume.
template <Mixed MIXED, typename S>
__device__ inline float sampled(const S *at, int right, int below, int behind, const float weight[3]) {
    if constexpr (MIXED == Mixed::Nothing) {
        return number(at[0]);
    }
    float left_value = mix(number(at[0]), number(at[below]), weight[1]);
    float right_value = mix(number(at[right]), number(at[below + right]), weight[1]);
    if constexpr (MIXED == Mixed::Volume) {
        const S *rear = at + behind;
        left_value = mix(left_value, mix(number(rear[0]), number(rear[below]), weight[1]), weight[0]);
        right_value = mix(right_value, mix(number(rear[right]), number(rear[below + right]), weight[1]), weight[0]);
    }
    return mix(left_value, right_value, weight[2]);
}

/// Blocks: columns of the target by threads, its rows by ROWS, its slices. `taps` are those of slices, rows, columns.
template <Mixed MIXED, typename S, typename D>
__device__ inline void preprocess(const S *__restrict__ source, Dims from, D *__restrict__ target, Dims to,
                                  const Tap *__restrict__ taps, Tone tone) {
    const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    const int k = static_cast<int>(blockIdx.z), first = static_cast<int>(blockIdx.y) * ROWS<MIXED>;
    if (i >= to.columns) {
        return;
    }
    const Tap slice = taps[k], column = taps[to.slices + to.rows + i];
    // A slice has less than 2^31 voxels, the volume may have more.
    const int line = from.columns, plane = line * from.rows;
    const S *corner = source + static_cast<long long>(within(slice.low)) * plane + within(column.low);
    const int right = column.weight > 0.0f ? 1 : 0, behind = slice.weight > 0.0f ? plane : 0;
    const bool is_within = slice.low >= 0 && column.low >= 0;
    float values[ROWS<MIXED>];
#pragma unroll
    for (int n = 0; n < ROWS<MIXED>; ++n) {
        // Beyond the target the last row is sampled again, beyond the source its edge; neither is stored.
        const Tap row = taps[to.slices + (first + n < to.rows ? first + n : to.rows - 1)];
        const float weight[3] = {slice.weight, row.weight, column.weight};
        const S *at = corner + within(row.low) * line;
        const float value = sampled<MIXED>(at, right, row.weight > 0.0f ? line : 0, behind, weight);
        values[n] = is_within && row.low >= 0 ? value : tone.outside;
    }
    D *place = target + (static_cast<long long>(k) * to.rows + first) * to.columns + i;
#pragma unroll
    for (int n = 0; n < ROWS<MIXED>; ++n) {
        if (first + n < to.rows) {
            store_toned(tone, values[n], place + n * to.columns);
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
PREPROCESS_FROM(int, i32)
PREPROCESS_FROM(float, f32)
