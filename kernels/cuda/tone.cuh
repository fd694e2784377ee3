// What preprocess does with an interpolated stored value, and the shape of volumes.
#pragma once
#include "element.cuh"

/// Slices, rows, columns; column fastest.
struct Dims {
    int slices, rows, columns;
};

/// `clip(x * slope + intercept, 0, 1) * scale + offset`, the clipping where `is_clipped`.
struct Tone {
    float slope, intercept;
    int is_clipped;
    float scale, offset;
    /// The stored value beyond the volume.
    float outside;
};

/// To 0..1. Comparisons leave NaN as it is.
__device__ inline float clipped(float value) { return value < 0.0f ? 0.0f : value > 1.0f ? 1.0f : value; }

template <typename D>
__device__ inline void store_toned(const Tone &tone, float stored, D *place) {
    float value = stored * tone.slope + tone.intercept;
    if (tone.is_clipped) {
        value = clipped(value);
    }
    store(value * tone.scale + tone.offset, place);
}
