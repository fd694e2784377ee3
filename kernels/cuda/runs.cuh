// Connected components: runs (neighbouring voxels of one row) that are united where they touch, as in kernels/src/component.rs.
//
// A run goes by the index of its first voxel. `parent` holds for each voxel that belongs its run, for a run's first voxel an
// earlier run of the same component or the run itself: the root, the component's first voxel, whatever the order in which
// threads come. So the answer is always the same.
#pragma once
#include "tone.cuh"

/// The parent of a voxel that does not belong.
constexpr unsigned NO_RUN = 0xffffffffu;

/// Which value belongs: of the mask, or of its background.
template <bool BACKGROUND>
__device__ inline bool belongs(unsigned char value) {
    return BACKGROUND ? value == 0 : value > 0;
}

/// The root of a run.
__device__ inline unsigned root_of(const unsigned *parent, unsigned run) {
    unsigned above = peek(parent + run);
    while (above != run) {
        run = above;
        above = peek(parent + run);
    }
    return run;
}

/// The earlier of two roots becomes the root of both.
__device__ inline void unite(unsigned *parent, unsigned one, unsigned other) {
    for (;;) {
        one = root_of(parent, one);
        other = root_of(parent, other);
        if (one == other) {
            return;
        }
        const unsigned later = one > other ? one : other, earlier = one > other ? other : one;
        // Another thread may have given the later one a parent meanwhile; that one has to be united too.
        const unsigned before = atomicMin(parent + later, earlier);
        if (before == later) {
            return;
        }
        one = before;
        other = earlier;
    }
}

/// Finds the runs. The thread of a run's first voxel follows it to its end.
template <bool BACKGROUND>
__device__ inline void find_runs(const unsigned char *mask, Dims dims, unsigned *parent) {
    const unsigned long long n = thread_index();
    const unsigned long long voxels = static_cast<unsigned long long>(dims.slices) * dims.rows * dims.columns;
    if (n >= voxels) {
        return;
    }
    if (!belongs<BACKGROUND>(mask[n])) {
        parent[n] = NO_RUN;
        return;
    }
    const unsigned column = static_cast<unsigned>(n % dims.columns);
    if (column > 0 && belongs<BACKGROUND>(mask[n - 1])) {
        return;
    }
    const unsigned first = static_cast<unsigned>(n);
    for (unsigned i = 0; column + i < static_cast<unsigned>(dims.columns) && belongs<BACKGROUND>(mask[n + i]); ++i) {
        parent[n + i] = first;
    }
}

/// A voxel that belongs, and a row before its own: which of that row's runs it has to unite with.
template <bool BACKGROUND, bool CORNERS>
__device__ inline void unite_with_row(const unsigned char *mask, int columns, unsigned *parent, unsigned n, unsigned beside, int i) {
    const bool is_first = i == 0 || !belongs<BACKGROUND>(mask[n - 1]);
    if (belongs<BACKGROUND>(mask[beside])) {
        // The voxel before has united the same two runs, unless one of them begins here.
        if (is_first || !belongs<BACKGROUND>(mask[beside - 1])) {
            unite(parent, n, beside);
        }
        return;
    }
    if (CORNERS && is_first && i > 0 && belongs<BACKGROUND>(mask[beside - 1])) {
        unite(parent, n, beside - 1);
    }
    if (CORNERS && i + 1 < columns && belongs<BACKGROUND>(mask[beside + 1])) {
        unite(parent, n, beside + 1);
    }
}

/// Unites the runs that touch: through faces, or through edges and corners too.
template <bool BACKGROUND, bool CORNERS>
__device__ inline void unite_runs(const unsigned char *mask, Dims dims, unsigned *parent) {
    const unsigned long long n = thread_index();
    const unsigned long long voxels = static_cast<unsigned long long>(dims.slices) * dims.rows * dims.columns;
    if (n >= voxels || !belongs<BACKGROUND>(mask[n])) {
        return;
    }
    const unsigned voxel = static_cast<unsigned>(n), line = dims.columns, plane = line * dims.rows;
    const int i = static_cast<int>(n % line), j = static_cast<int>(n / line % dims.rows), k = static_cast<int>(n / plane);
    const auto with = [&](unsigned beside) {
        unite_with_row<BACKGROUND, CORNERS>(mask, dims.columns, parent, voxel, beside, i);
    };
    if (j > 0) {
        with(voxel - line);
    }
    if (k > 0) {
        with(voxel - plane);
    }
    if (CORNERS && k > 0 && j > 0) {
        with(voxel - plane - line);
    }
    if (CORNERS && k > 0 && j + 1 < dims.rows) {
        with(voxel - plane + line);
    }
}
