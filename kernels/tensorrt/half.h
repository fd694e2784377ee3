// One half of the shim. The same sources are compiled twice: against the headers of TensorRT-RTX (SUND_HALF is rtx) and against
// those of enterprise TensorRT (enterprise). Each is in a namespace of its own, and the build renames NVIDIA's namespaces
// likewise: the two sets of headers declare different classes under the same names.
#pragma once
#include "boundary.h"
#include <NvInfer.h>
#include <NvOnnxParser.h>
#include <atomic>
#include <exception>
#include <mutex>
#include <new>
#include <string>
#include <string_view>

#if defined(SUND_RTX) && !defined(TRT_MAJOR_RTX)
#error "these are not the headers of TensorRT-RTX: see kernels/TENSORRT.md"
#elif !defined(SUND_RTX) && defined(TRT_MAJOR_RTX)
#error "these are the headers of TensorRT-RTX, and not those of enterprise TensorRT: see kernels/TENSORRT.md"
#endif

namespace sund::SUND_HALF {

// What TensorRT logs goes to one sink: information and worse, in lines of at most SUND_WHY bytes. TensorRT keeps the first
// logger that it is given for as long as it lives, so there is one, and it is never destroyed.
nvinfer1::ILogger& logger() noexcept;
void log_to(SundLog sink) noexcept;

// The first error of one operation, for the one who asked for it; it and all that follow from it go to the log. TensorRT
// reports from several threads.
class Errors final : public nvinfer1::IErrorRecorder {
public:
    int32_t getNbErrors() const noexcept override;
    nvinfer1::ErrorCode getErrorCode(int32_t index) const noexcept override;
    ErrorDesc getErrorDesc(int32_t index) const noexcept override;
    bool hasOverflowed() const noexcept override;
    void clear() noexcept override;
    bool reportError(nvinfer1::ErrorCode code, ErrorDesc description) noexcept override;
    // An operation owns its errors and outlives what reports to them: nothing is counted.
    RefCount incRefCount() noexcept override { return 1; }
    RefCount decRefCount() noexcept override { return 1; }

    // Writes the first error, or `otherwise` if none was reported, and forgets it. Gives `status`, unless CUDA's number in
    // the error says that the device or its memory is at fault.
    SundStatus take(SundStatus status, SundWhy& why, std::string_view otherwise) noexcept;

private:
    mutable std::mutex mutex;
    int32_t count = 0;
    nvinfer1::ErrorCode first_code = nvinfer1::ErrorCode::kSUCCESS;
    char first[SUND_WHY] = {};
};

void write(SundWhy& why, std::string_view text) noexcept;

nvinfer1::Dims to_dims(const SundDims& dims) noexcept;
SundDims from_dims(const nvinfer1::Dims& dims) noexcept;

// Runs `body` and lets no exception out: the caller is Rust.
template <typename Body>
SundStatus guarded(SundWhy& why, Body&& body) noexcept {
    try {
        why.length = 0;
        return body();
    } catch (const std::bad_alloc&) {
        write(why, "memory ran out");
        return SUND_MEMORY;
    } catch (const std::exception& exception) {
        write(why, exception.what());
        return SUND_EXCEPTION;
    } catch (...) {
        write(why, "an exception of no known kind");
        return SUND_EXCEPTION;
    }
}

SundStatus build(const SundEntries* entries, const SundBuild* request, SundBlob* plan, SundWhy* why) noexcept;
void free_blob(void* owner) noexcept;

} // namespace sund::SUND_HALF
