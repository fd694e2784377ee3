// z_score: `(x - mean) / s`, s the sample deviation, in 64 bits.
//
// Reference: kernels/src/intensity.rs; the same bits. A lane sums every LANES-th value, so that the order of a sum depends on the
// number of values alone; the host sums the lanes.
#include "element.cuh"

/// Lanes of a sum: `LANES` in kernels/src/intensity.rs.
constexpr unsigned LANES = 16384;

template <typename Term>
__device__ inline void sum_lane(const float *values, unsigned long long n, double *sums, Term term) {
    const unsigned long long lane = thread_index();
    if (lane >= LANES) {
        return;
    }
    double sum = 0.0;
    for (unsigned long long position = lane; position < n; position += LANES) {
        sum += term(static_cast<double>(values[position]));
    }
    sums[lane] = sum;
}

extern "C" __global__ void z_score_sums(const float *values, unsigned long long n, double *sums) {
    sum_lane(values, n, sums, [](double value) { return value; });
}

extern "C" __global__ void z_score_squares(const float *values, unsigned long long n, double mean, double *sums) {
    sum_lane(values, n, sums, [mean](double value) { return (value - mean) * (value - mean); });
}

extern "C" __global__ void z_score_apply(const float *values, unsigned long long n, double mean, double scale, float *scores) {
    const unsigned long long position = thread_index();
    if (position < n) {
        scores[position] = static_cast<float>((static_cast<double>(values[position]) - mean) * scale);
    }
}
