// Voxels by slice, row and column.
#pragma once
#include "tone.cuh"

struct Voxel {
    int slice, row, column;
};

__device__ inline unsigned long long voxels_of(Dims dims) {
    return static_cast<unsigned long long>(dims.slices) * dims.rows * dims.columns;
}

__device__ inline Voxel voxel_of(unsigned long long n, Dims dims) {
    const unsigned long long line = n / dims.columns;
    return {static_cast<int>(line / dims.rows), static_cast<int>(line % dims.rows), static_cast<int>(n % dims.columns)};
}

__device__ inline unsigned long long index_of(Voxel at, Dims dims) {
    return (static_cast<unsigned long long>(at.slice) * dims.rows + at.row) * dims.columns + at.column;
}
