// accumulate_tile and normalise_tiles: a network's scores tile by tile, blended by a bell over each tile.
//
// Reference: kernels/src/tiles.rs; the same bits. Tiles come one after another on one stream, and a voxel has one thread: no
// atomic addition, so that the order of the sums, and with it their last bit, is always the same.
#include "tone.cuh"

/// Blocks: columns of the tile by threads, its rows, its slices. `weights` are those of the tile's slices, rows, columns.
template <typename T>
__device__ inline void accumulate_tile(const T *__restrict__ scores, unsigned channels, Dims tile, Dims at, Dims dims,
                                       const float *__restrict__ weights, float *__restrict__ sums,
                                       float *__restrict__ weight_sums) {
    const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    const int j = static_cast<int>(blockIdx.y), k = static_cast<int>(blockIdx.z);
    // What of the tile lies beyond the volume was padded.
    if (i >= tile.columns || at.columns + i >= dims.columns || at.rows + j >= dims.rows || at.slices + k >= dims.slices) {
        return;
    }
    const float weight = weights[k] * weights[tile.slices + j] * weights[tile.slices + tile.rows + i];
    const long long voxels = static_cast<long long>(dims.slices) * dims.rows * dims.columns;
    const long long tile_voxels = static_cast<long long>(tile.slices) * tile.rows * tile.columns;
    const long long place = (static_cast<long long>(at.slices + k) * dims.rows + at.rows + j) * dims.columns + at.columns + i;
    const T *score = scores + (static_cast<long long>(k) * tile.rows + j) * tile.columns + i;
    weight_sums[place] += weight;
    for (unsigned c = 0; c < channels; ++c) {
        sums[c * voxels + place] += weight * number(score[c * tile_voxels]);
    }
}

extern "C" __global__ void accumulate_tile_f32(const float *scores, unsigned channels, Dims tile, Dims at, Dims dims,
                                               const float *weights, float *sums, float *weight_sums) {
    accumulate_tile(scores, channels, tile, at, dims, weights, sums, weight_sums);
}
extern "C" __global__ void accumulate_tile_f16(const f16 *scores, unsigned channels, Dims tile, Dims at, Dims dims,
                                               const float *weights, float *sums, float *weight_sums) {
    accumulate_tile(scores, channels, tile, at, dims, weights, sums, weight_sums);
}

/// Weighted sums to weighted means, in place; 0 where no tile was.
extern "C" __global__ void normalise_tiles(float *sums, unsigned channels, unsigned long long voxels, const float *weight_sums) {
    const unsigned long long n = thread_index();
    if (n >= voxels) {
        return;
    }
    const float weight = weight_sums[n];
    for (unsigned c = 0; c < channels; ++c) {
        float *sum = sums + c * voxels + n;
        *sum = weight > 0.0f ? *sum / weight : 0.0f;
    }
}
