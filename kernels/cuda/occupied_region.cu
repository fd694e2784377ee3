// occupied_region: how many voxels of a mask are set in each slice, row and column; the host says which of these are occupied.
//
// Reference: kernels/src/region.rs; the same counts.
#include "region.cuh"

/// A thread for each line of columns. `counts`, those of slices, then rows, then columns, were zero.
extern "C" __global__ void occupied_region_lines(const unsigned char *mask, Dims dims, unsigned *counts) {
    const unsigned long long n = thread_index();
    if (n >= static_cast<unsigned long long>(dims.slices) * dims.rows) {
        return;
    }
    const unsigned char *line = mask + n * dims.columns;
    unsigned count = 0;
    for (int i = 0; i < dims.columns; ++i) {
        count += line[i] > 0 ? 1 : 0;
    }
    if (count > 0) {
        atomicAdd(counts + n / dims.rows, count);
        atomicAdd(counts + dims.slices + n % dims.rows, count);
    }
}

/// A thread for each slice and column.
extern "C" __global__ void occupied_region_columns(const unsigned char *mask, Dims dims, unsigned *counts) {
    const unsigned long long n = thread_index();
    if (n >= static_cast<unsigned long long>(dims.slices) * dims.columns) {
        return;
    }
    const int column = static_cast<int>(n % dims.columns);
    const unsigned char *plane = mask + n / dims.columns * dims.rows * dims.columns + column;
    unsigned count = 0;
    for (int j = 0; j < dims.rows; ++j) {
        count += plane[static_cast<long long>(j) * dims.columns] > 0 ? 1 : 0;
    }
    if (count > 0) {
        atomicAdd(counts + dims.slices + dims.rows + column, count);
    }
}
