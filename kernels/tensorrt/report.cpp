// What TensorRT says, on its way out: log lines to one sink, errors to the operation that met them.
#include "half.h"
#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace sund::SUND_HALF {
namespace {

std::atomic<SundLog> sink{nullptr};

class Logger final : public nvinfer1::ILogger {
public:
    void log(Severity severity, const char* line) noexcept override {
        SundLog to = sink.load(std::memory_order_acquire);
        if (to != nullptr && line != nullptr && severity < Severity::kVERBOSE) {
            to(static_cast<int32_t>(severity), line, strnlen(line, SUND_WHY));
        }
    }
};

} // namespace

nvinfer1::ILogger& logger() noexcept {
    alignas(Logger) static unsigned char place[sizeof(Logger)];
    static Logger* const logger = new (place) Logger;
    return *logger;
}

void log_to(SundLog to) noexcept { sink.store(to, std::memory_order_release); }

void write(SundWhy& why, std::string_view text) noexcept {
    why.length = std::min(text.size(), sizeof why.text);
    std::memcpy(why.text, text.data(), why.length);
}

int32_t Errors::getNbErrors() const noexcept {
    std::lock_guard lock(mutex);
    return std::min(count, 1);
}

nvinfer1::ErrorCode Errors::getErrorCode(int32_t index) const noexcept {
    std::lock_guard lock(mutex);
    return index == 0 ? first_code : nvinfer1::ErrorCode::kSUCCESS;
}

Errors::ErrorDesc Errors::getErrorDesc(int32_t index) const noexcept { return index == 0 ? first : ""; }

bool Errors::hasOverflowed() const noexcept {
    std::lock_guard lock(mutex);
    return count > 1;
}

void Errors::clear() noexcept {
    std::lock_guard lock(mutex);
    count = 0;
    first_code = nvinfer1::ErrorCode::kSUCCESS;
    first[0] = '\0';
}

bool Errors::reportError(nvinfer1::ErrorCode code, ErrorDesc description) noexcept {
    const char* text = description != nullptr ? description : "";
    logger().log(nvinfer1::ILogger::Severity::kERROR, text);
    std::lock_guard lock(mutex);
    if (count == 0) {
        first_code = code;
        const size_t length = strnlen(text, sizeof first - 1);
        std::memcpy(first, text, length);
        first[length] = '\0';
    }
    count = std::min(count + 1, 2);
    return true;
}

SundStatus Errors::take(SundStatus status, SundWhy& why, std::string_view otherwise) noexcept {
    {
        std::lock_guard lock(mutex);
        write(why, count == 0 ? otherwise : std::string_view(first));
        // `... (cudaError 35: CUDA driver version is insufficient for CUDA runtime version)`: TensorRT's own codes do not tell.
        static constexpr char NUMBER[] = "cudaError ";
        if (const char* at = std::strstr(first, NUMBER); at != nullptr) {
            switch (std::strtol(at + sizeof NUMBER - 1, nullptr, 10)) {
            case 2: // cudaErrorMemoryAllocation
                status = SUND_MEMORY;
                break;
            case 3:   // cudaErrorInitializationError
            case 35:  // cudaErrorInsufficientDriver, also where there is none
            case 46:  // cudaErrorDevicesUnavailable
            case 100: // cudaErrorNoDevice
            case 101: // cudaErrorInvalidDevice
            case 803: // cudaErrorSystemDriverMismatch
                status = SUND_DEVICE;
                break;
            default:
                break;
            }
        }
    }
    clear();
    return status;
}

nvinfer1::Dims to_dims(const SundDims& dims) noexcept {
    nvinfer1::Dims to{};
    to.nbDims = std::clamp(dims.rank, 0, static_cast<int32_t>(SUND_RANK));
    std::copy_n(dims.length, to.nbDims, to.d);
    return to;
}

SundDims from_dims(const nvinfer1::Dims& dims) noexcept {
    static_assert(nvinfer1::Dims::MAX_DIMS == SUND_RANK);
    SundDims from{};
    from.rank = std::min(dims.nbDims, static_cast<int32_t>(SUND_RANK));
    std::copy_n(dims.d, std::max(from.rank, 0), from.length);
    return from;
}

} // namespace sund::SUND_HALF
