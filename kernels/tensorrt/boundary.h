// What Rust and C++ say to each other: plain C, mirrored in src/tensorrt/boundary.rs. One table of functions for each half.
#pragma once
#include <stddef.h>
#include <stdint.h>

extern "C" {

enum { SUND_RANK = 8, SUND_NAME = 256, SUND_WHY = 1024 };

// Whose fault it is. The text beside it is TensorRT's, cut to SUND_WHY bytes.
enum SundStatus : int32_t {
    SUND_OK = 0,
    SUND_NETWORK = 1,   // the ONNX: not ONNX, an operator that TensorRT does not have, external files
    SUND_OPTIONS = 2,   // targets, profiles or names that do not fit the network
    SUND_BUILD = 3,     // TensorRT could not make an engine of the network
    SUND_DEVICE = 4,    // no driver, no GPU, or not one that this TensorRT serves
    SUND_PLAN = 5,      // the plan: truncated, foreign, of another version or for another GPU
    SUND_SHAPE = 6,     // a shape, a name or an address that the engine does not take
    SUND_EXECUTION = 7, // the GPU or TensorRT failed while it ran
    SUND_MEMORY = 8,    // no memory left
    SUND_EXCEPTION = 9  // a C++ exception that should not have been
};

struct SundWhy {
    size_t length; // of text
    char text[SUND_WHY];
};

// Bytes that TensorRT made; `owner` frees them.
struct SundBlob {
    void* owner;
    const uint8_t* data;
    size_t size;
};

// Entry points of the library that was opened. TensorRT's own declarations say that they do not throw; a library that is no
// TensorRT may.
struct SundEntries {
    void* (*builder)(void* logger, int32_t version);
    void* (*runtime)(void* logger, int32_t version);
    void* (*parser)(void* network, void* logger, int version);
};

struct SundDims {
    int32_t rank;
    int64_t length[SUND_RANK];
};

// Shapes of one input under one profile; `input` ends with a zero.
struct SundRange {
    const char* input;
    int32_t profile;
    SundDims shortest, usual, longest;
};

struct SundBuild {
    const uint8_t* onnx;
    size_t onnx_size;
    const int32_t* targets; // compute capabilities, 75 for 7.5; none: the GPU of this machine
    size_t target_count;
    const SundRange* ranges; // by profile, ascending
    size_t range_count;
    uint64_t workspace; // bytes; 0: what the GPU has
    int32_t threads;    // of the builder
};

struct SundTensor {
    char name[SUND_NAME];
    int32_t is_input;
    int32_t type;      // nvinfer1::DataType
    int32_t on_device; // else its values are read on the host
    SundDims dims;     // -1: dynamic
};

struct SundSession; // opaque

typedef void (*SundLog)(int32_t severity, const char* line, size_t length);

struct SundTable {
    int32_t major, minor, patch; // of the headers
    void (*log_to)(SundLog sink);
    void (*free_blob)(void* owner);
    SundStatus (*build)(const SundEntries*, const SundBuild*, SundBlob* plan, SundWhy*);
    SundStatus (*open)(const SundEntries*, const uint8_t* plan, size_t size, const uint8_t* cache, size_t cache_size,
        SundSession** session, SundWhy*);
    void (*close)(SundSession*);
    int32_t (*tensor_count)(const SundSession*);
    SundStatus (*tensor)(const SundSession*, int32_t index, SundTensor*, SundWhy*);
    int32_t (*profile_count)(const SundSession*);
    SundStatus (*range)(const SundSession*, int32_t index, int32_t profile, SundRange*, SundWhy*);
    int64_t (*device_memory)(const SundSession*);
    SundStatus (*set_profile)(SundSession*, int32_t profile, void* stream, SundWhy*);
    SundStatus (*set_shape)(SundSession*, int32_t index, const SundDims*, SundWhy*);
    SundStatus (*shape)(SundSession*, int32_t index, SundDims*, SundWhy*);
    SundStatus (*set_address)(SundSession*, int32_t index, void* address, SundWhy*);
    SundStatus (*enqueue)(SundSession*, void* stream, SundWhy*);
    SundStatus (*cache)(SundSession*, SundBlob*, SundWhy*); // an empty blob where there is none
};

const SundTable* sund_tensorrt_rtx();
const SundTable* sund_tensorrt_enterprise();
}
