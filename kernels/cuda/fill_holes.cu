// fill_holes: background that does not reach the volume's edge through faces becomes part of the mask.
//
// Reference: `fill_holes` in kernels/src/component.rs; the same values. Four launches: runs, unite, open, keep.
#include "runs.cuh"

extern "C" __global__ void fill_holes_runs(const unsigned char *mask, Dims dims, unsigned *parent) {
    find_runs<true>(mask, dims, parent);
}

extern "C" __global__ void fill_holes_unite(const unsigned char *mask, Dims dims, unsigned *parent) {
    unite_runs<true, false>(mask, dims, parent);
}

/// Marks the roots of background at the volume's edge; `open` was zero.
extern "C" __global__ void fill_holes_open(const unsigned *parent, Dims dims, unsigned *open) {
    const unsigned long long n = thread_index();
    const unsigned long long voxels = static_cast<unsigned long long>(dims.slices) * dims.rows * dims.columns;
    if (n >= voxels || parent[n] == NO_RUN) {
        return;
    }
    const int i = static_cast<int>(n % dims.columns), line = static_cast<int>(n / dims.columns);
    const int j = line % dims.rows, k = line / dims.rows;
    const bool is_edge = i == 0 || j == 0 || k == 0 || i + 1 == dims.columns || j + 1 == dims.rows || k + 1 == dims.slices;
    if (is_edge) {
        unsigned *flag = open + root_of(parent, parent[n]);
        if (peek(flag) == 0) {
            atomicOr(flag, 1u);
        }
    }
}

extern "C" __global__ void fill_holes_keep(const unsigned *parent, unsigned long long voxels, const unsigned *open,
                                           unsigned char *filled) {
    const unsigned long long n = thread_index();
    if (n < voxels) {
        filled[n] = parent[n] != NO_RUN && open[root_of(parent, parent[n])] != 0 ? 0 : 1;
    }
}
