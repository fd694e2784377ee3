// crop: the part of a volume that begins at a voxel.
//
// Reference: kernels/src/region.rs; the same values.
#include "region.cuh"

template <typename T>
__device__ inline void crop(const T *source, Dims from, T *part, Dims dims, Voxel at) {
    const unsigned long long n = thread_index();
    if (n >= voxels_of(dims)) {
        return;
    }
    const Voxel here = voxel_of(n, dims);
    part[n] = source[index_of({at.slice + here.slice, at.row + here.row, at.column + here.column}, from)];
}

#define CROP(T, NAME)                                                                                    \
    extern "C" __global__ void NAME(const T *source, Dims from, T *part, Dims dims, Voxel at) { \
        crop(source, from, part, dims, at);                                                              \
    }
CROP(unsigned char, crop_u8)
CROP(float, crop_f32)
