// paste: a volume of one value with a part in it: the inverse of crop.
//
// Reference: kernels/src/region.rs; the same values.
#include "region.cuh"

template <typename T>
__device__ inline void paste(const T *part, Dims dims, T *target, Dims to, Voxel at, T fill) {
    const unsigned long long n = thread_index();
    if (n >= voxels_of(to)) {
        return;
    }
    const Voxel here = voxel_of(n, to);
    const Voxel inside = {here.slice - at.slice, here.row - at.row, here.column - at.column};
    const bool is_inside = inside.slice >= 0 && inside.slice < dims.slices && inside.row >= 0 && inside.row < dims.rows &&
                           inside.column >= 0 && inside.column < dims.columns;
    target[n] = is_inside ? part[index_of(inside, dims)] : fill;
}

#define PASTE(T, NAME)                                                                                           \
    extern "C" __global__ void NAME(const T *part, Dims dims, T *target, Dims to, Voxel at, T fill) { \
        paste(part, dims, target, to, at, fill);                                                                 \
    }
PASTE(unsigned char, paste_u8)
PASTE(float, paste_f32)
