// largest_component: of a mask the largest 26-connected component, the first of equals.
//
// Reference: `largest_component` in kernels/src/component.rs; the same values. Five launches: runs, unite, measure, choose, keep.
#include "runs.cuh"

extern "C" __global__ void largest_component_runs(const unsigned char *mask, Dims dims, unsigned *parent) {
    find_runs<false>(mask, dims, parent);
}

extern "C" __global__ void largest_component_unite(const unsigned char *mask, Dims dims, unsigned *parent) {
    unite_runs<false, true>(mask, dims, parent);
}

/// Adds each run's length to the size of its root; `sizes` was zero.
extern "C" __global__ void largest_component_measure(const unsigned char *mask, Dims dims, const unsigned *parent,
                                                     unsigned *sizes) {
    const unsigned long long n = thread_index();
    const unsigned long long voxels = static_cast<unsigned long long>(dims.slices) * dims.rows * dims.columns;
    if (n >= voxels || mask[n] == 0) {
        return;
    }
    const unsigned column = static_cast<unsigned>(n % dims.columns);
    if (column > 0 && mask[n - 1] > 0) {
        return;
    }
    unsigned length = 1;
    while (column + length < static_cast<unsigned>(dims.columns) && mask[n + length] > 0) {
        ++length;
    }
    atomicAdd(sizes + root_of(parent, static_cast<unsigned>(n)), length);
}

/// The largest size with the first root, as size * 2^32 + (2^32 - 1 - root): the largest such number; `best` was zero.
extern "C" __global__ void largest_component_choose(const unsigned *sizes, unsigned long long voxels, unsigned long long *best) {
    const unsigned long long n = thread_index();
    if (n >= voxels || sizes[n] == 0) {
        return;
    }
    const unsigned long long rank = static_cast<unsigned long long>(sizes[n]) << 32 | (0xffffffffull - n);
    // Most are smaller than what is there already, and need not queue for it.
    if (rank > peek(best)) {
        atomicMax(best, rank);
    }
}

extern "C" __global__ void largest_component_keep(const unsigned *parent, unsigned long long voxels,
                                                  const unsigned long long *best, unsigned char *largest) {
    const unsigned long long n = thread_index();
    if (n < voxels) {
        const unsigned root = 0xffffffffu - static_cast<unsigned>(*best);
        largest[n] = parent[n] != NO_RUN && root_of(parent, parent[n]) == root ? 1 : 0;
    }
}
