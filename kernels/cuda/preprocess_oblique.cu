// preprocess for any other placement: turned, tilted, axes exchanged.
//
// Reference: `oblique` in kernels/src/rows.rs; the same bits. A target row is a straight line through the source. Where it enters
// and leaves is found in 64 bits once for each row, by one thread for each of a block's rows; along the row the threads step in
// fixed point, so that cards with little 64-bit arithmetic keep up too.
#include "tone.cuh"

/// The source index as an affine function of the target index, each slice, row, column.
struct Placement {
    double step[3][3];
    double start[3];
    /// The steps along a row, in fixed point.
    long long fixed[3];
    long long is_nearest;
};

/// A place this close to a voxel's centre or edge is on it; as in kernels/src/placement.rs.
constexpr double SNAP = 1e-6;

/// Bits behind the point.
constexpr int FRACTION = 32;

/// Target rows of a block; kernels/src/cuda/launch/preprocess.rs knows it too.
constexpr int BLOCK_ROWS = 32;

/// A target row in the source.
struct Walk {
    double start[3];
    /// The place at `core`, in fixed point.
    long long at[3];
    /// The columns inside the volume, and among them those of which all eight neighbours exist.
    int inside, inside_end, core, core_end;
};

__device__ inline double at_column(const Walk &walk, const Placement &placement, int axis, int i) {
    return walk.start[axis] + placement.step[axis][2] * i;
}

/// The part of `first..end` on which every coordinate is between its bounds.
__device__ inline void narrow(const Walk &walk, const Placement &placement, const double low[3], const double high[3],
                              int *first_column, int *end_column) {
    double first = *first_column, end = *end_column;
    for (int a = 0; a < 3; ++a) {
        const double start = walk.start[a], step = placement.step[a][2];
        if (step == 0.0) {
            if (!(low[a] <= start && start <= high[a])) {
                end = first;
            }
            continue;
        }
        const double one = (low[a] - start) / step, other = (high[a] - start) / step;
        first = fmax(first, ceil(fmin(one, other)));
        end = fmin(end, floor(fmax(one, other)) + 1.0);
    }
    *end_column = first < end ? static_cast<int>(end) : *first_column;
    *first_column = first < end ? static_cast<int>(first) : *first_column;
}

/// Whether all eight neighbours of the place `columns` behind the core's first one exist.
__device__ inline bool has_all(const Walk &walk, const Placement &placement, const int from[3], int columns) {
    for (int a = 0; a < 3; ++a) {
        const long long place = walk.at[a] + placement.fixed[a] * columns;
        if (place < 0 || (place >> FRACTION) + 1 >= from[a]) {
            return false;
        }
    }
    return true;
}

__device__ inline void set_core(Walk *walk, const Placement &placement, int core) {
    walk->core = core;
    for (int a = 0; a < 3; ++a) {
        walk->at[a] = static_cast<long long>(round(at_column(*walk, placement, a, core) * 4294967296.0));
    }
}

__device__ inline Walk walk_of(const Placement &placement, const int from[3], int columns, int k, int j) {
    Walk walk;
    double low[3], high[3];
    for (int a = 0; a < 3; ++a) {
        const double *step = placement.step[a];
        walk.start[a] = step[0] * k + step[1] * j + placement.start[a];
        low[a] = -0.5 - SNAP;
        high[a] = from[a] - 1.0 + 0.5 + SNAP;
    }
    walk.inside = 0;
    walk.inside_end = columns;
    narrow(walk, placement, low, high, &walk.inside, &walk.inside_end);
    int core = walk.inside, core_end = placement.is_nearest ? walk.inside : walk.inside_end;
    for (int a = 0; a < 3; ++a) {
        low[a] = 0.0;
        high[a] = from[a] - 1.0;
    }
    narrow(walk, placement, low, high, &core, &core_end);
    if (core < core_end) {
        set_core(&walk, placement, core);
    }
    // Fixed point is monotonous: where both ends have their neighbours, all between have them.
    while (core < core_end && !has_all(walk, placement, from, 0)) {
        if (++core < core_end) {
            set_core(&walk, placement, core);
        }
    }
    while (core < core_end && !has_all(walk, placement, from, core_end - 1 - core)) {
        --core_end;
    }
    if (core >= core_end) {
        core = core_end = walk.inside;
    }
    walk.core = core;
    walk.core_end = core_end;
    return walk;
}

/// A place moved onto the half voxel that it is within SNAP of, and into the volume.
__device__ inline double snapped(double place, int from) {
    const double half = round(place * 2.0) / 2.0;
    const double on = fabs(place - half) < SNAP ? half : place;
    return fmin(fmax(on, 0.0), from - 1.0);
}

/// The value at a place up to half a voxel beyond the centres of the edge voxels, whose value holds there. Seldom run, so its
/// registers are not taken from what is run all the time.
template <typename S>
__device__ __noinline__ float near_edge(const S *source, const int from[3], const Placement &placement, const Walk &walk, int i) {
    int low[3], high[3];
    float weight[3];
    for (int a = 0; a < 3; ++a) {
        const double place = snapped(at_column(walk, placement, a, i), from[a]);
        // Nearest: a place midway belongs to the upper voxel.
        const int index = static_cast<int>(placement.is_nearest ? place + 0.5 : place);
        low[a] = index < from[a] - 1 ? index : from[a] - 1;
        high[a] = low[a] + 1 < from[a] ? low[a] + 1 : low[a];
        weight[a] = static_cast<float>(place - trunc(place));
    }
    const auto value = [&](int k, int j, int column) {
        return number(source[(static_cast<long long>(k) * from[1] + j) * from[2] + column]);
    };
    if (placement.is_nearest) {
        return value(low[0], low[1], low[2]);
    }
    const auto along = [&](int k, int j) { return mix(value(k, j, low[2]), value(k, j, high[2]), weight[2]); };
    const auto plane = [&](int k) { return mix(along(k, low[1]), along(k, high[1]), weight[1]); };
    return mix(plane(low[0]), plane(high[0]), weight[0]);
}

/// The value where all eight neighbours exist.
template <typename S>
__device__ inline float trilinear(const S *source, const int from[3], const Placement &placement, const Walk &walk, int i) {
    long long index[3];
    float weight[3];
    for (int a = 0; a < 3; ++a) {
        const long long place = walk.at[a] + placement.fixed[a] * (i - walk.core);
        index[a] = place >> FRACTION;
        weight[a] = static_cast<float>(static_cast<unsigned>(place) >> 8) * (1.0f / 16777216.0f);
    }
    const long long line = from[2], plane = line * from[1];
    const S *corner = source + index[0] * plane + index[1] * line + index[2];
    const auto pair = [&](const S *at) { return mix(number(at[0]), number(at[1]), weight[2]); };
    const float front = mix(pair(corner), pair(corner + line), weight[1]);
    const float back = mix(pair(corner + plane), pair(corner + plane + line), weight[1]);
    return mix(front, back, weight[0]);
}

/// Blocks of BLOCK_ROWS target rows, a warp for each row in turn.
template <typename S, typename D>
__device__ inline void preprocess_oblique(const S *__restrict__ source, Dims from_dims, D *__restrict__ target, Dims to,
                                          const Placement &placement, Tone tone, Walk *walks) {
    const int from[3] = {from_dims.slices, from_dims.rows, from_dims.columns};
    const int rows = to.slices * to.rows, first = static_cast<int>(blockIdx.x) * BLOCK_ROWS;
    const int thread = static_cast<int>(threadIdx.x);
    if (thread < BLOCK_ROWS && first + thread < rows) {
        const int row = first + thread;
        walks[thread] = walk_of(placement, from, to.columns, row / to.rows, row % to.rows);
    }
    __syncthreads();
    for (int n = thread / 32; n < BLOCK_ROWS && first + n < rows; n += static_cast<int>(blockDim.x) / 32) {
        const Walk &walk = walks[n];
        D *line = target + static_cast<long long>(first + n) * to.columns;
        for (int i = thread % 32; i < to.columns; i += 32) {
            float stored = tone.outside;
            if (walk.core <= i && i < walk.core_end) {
                stored = trilinear(source, from, placement, walk, i);
            } else if (walk.inside <= i && i < walk.inside_end) {
                stored = near_edge(source, from, placement, walk, i);
            }
            store_toned(tone, stored, line + i);
        }
    }
}

#define OBLIQUE(S, D, NAME)                                                                                          \
    extern "C" __global__ void NAME(const S *source, Dims from, D *target, Dims to, Placement placement, Tone tone) { \
        __shared__ Walk walks[BLOCK_ROWS];                                                                           \
        preprocess_oblique(source, from, target, to, placement, tone, walks);                                        \
    }
#define OBLIQUE_FROM(S, FROM)                            \
    OBLIQUE(S, float, preprocess_oblique_##FROM##_f32)   \
    OBLIQUE(S, f16, preprocess_oblique_##FROM##_f16)
OBLIQUE_FROM(unsigned char, u8)
OBLIQUE_FROM(short, i16)
OBLIQUE_FROM(unsigned short, u16)
OBLIQUE_FROM(int, i32)
OBLIQUE_FROM(float, f32)
