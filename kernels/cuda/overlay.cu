// overlay: a mask drawn over an RGB picture, in place; outline strong, within tinted.
//
// Reference: kernels/src/overlay.rs; the same values.
#include "element.cuh"

struct Colour {
    unsigned char red, green, blue;
};

__device__ inline unsigned char tinted(unsigned char channel, unsigned char tint, float share) {
    return static_cast<unsigned char>(number(channel) * (1.0f - share) + number(tint) * share);
}

extern "C" __global__ void overlay(unsigned char *rgb, const unsigned char *mask, unsigned rows, unsigned columns, Colour colour,
                                   float outline, float within) {
    const unsigned long long n = thread_index();
    if (n >= static_cast<unsigned long long>(rows) * columns || mask[n] == 0) {
        return;
    }
    const unsigned row = static_cast<unsigned>(n / columns), column = static_cast<unsigned>(n % columns);
    const bool is_outline = row == 0 || column == 0 || row + 1 == rows || column + 1 == columns || mask[n - 1] == 0 ||
                            mask[n + 1] == 0 || mask[n - columns] == 0 || mask[n + columns] == 0;
    const float share = is_outline ? outline : within;
    unsigned char *pixel = rgb + 3 * n;
    pixel[0] = tinted(pixel[0], colour.red, share);
    pixel[1] = tinted(pixel[1], colour.green, share);
    pixel[2] = tinted(pixel[2], colour.blue, share);
}
