// A library that stands in for TensorRT where there is no GPU: it has NVIDIA's classes, runs on the machine's own memory, and
// doubles what it is given. Its plans are words: `stand-in`, and what is wrong with them.
//
//     x, y: 32-bit reals of [n, 4]; profile 0 takes n = 1 to 8, profile 1 takes n = 9 to 32; y = 2 x
#include "stubs.h" // every function of NVIDIA's classes, made to end the program
#include <cstring>
#include <string>

namespace {

using namespace nvinfer1;

constexpr char X[] = "x";
constexpr char Y[] = "y";

struct Bytes final : IHostMemory, StubHostMemory {
    std::string bytes;
    explicit Bytes(std::string from) : bytes(std::move(from)) { mImpl = this; }
    void* data() const noexcept override { return const_cast<char*>(bytes.data()); }
    std::size_t size() const noexcept override { return bytes.size(); }
};

#ifdef TRT_MAJOR_RTX
struct Cache final : IRuntimeCache, StubRuntimeCache {
    mutable std::string kernels;
    Cache() { mImpl = this; }
    IHostMemory* serialize() const noexcept override { return new Bytes(kernels); }
    bool deserialize(void const* blob, size_t size) noexcept override {
        kernels.assign(static_cast<const char*>(blob), size);
        return kernels.rfind("kernels", 0) == 0;
    }
    bool reset() noexcept override {
        kernels.clear();
        return true;
    }
};
#endif

struct Config final : IRuntimeConfig, StubRuntimeConfig {
    Config() { mImpl = this; }
#ifdef TRT_MAJOR_RTX
    Cache const* cache = nullptr;
    bool eager = false;
    IRuntimeCache* createRuntimeCache() const noexcept override { return new Cache; }
    bool setRuntimeCache(IRuntimeCache const& from) noexcept override {
        cache = static_cast<Cache const*>(&from);
        return true;
    }
    void setDynamicShapesKernelSpecializationStrategy(DynamicShapesKernelSpecializationStrategy to) noexcept override {
        eager = to == DynamicShapesKernelSpecializationStrategy::kEAGER;
    }
#endif
};

struct Context final : IExecutionContext, StubExecutionContext {
    std::string plan;
    Config const& config;
    IErrorRecorder* errors = nullptr;
    int64_t rows = -1;
    int32_t profile = 0;
    float const* x = nullptr;
    float* y = nullptr;

    Context(std::string of, Config const& with) : plan(std::move(of)), config(with) { mImpl = this; }
    void setErrorRecorder(IErrorRecorder* to) noexcept override { errors = to; }
    bool setOptimizationProfileAsync(int32_t to, cudaStream_t) noexcept override {
        profile = to;
        rows = -1;
        return to == 0 || to == 1;
    }
    bool setInputShape(char const* name, Dims const& dims) noexcept override {
        const int64_t least = profile == 0 ? 1 : 9;
        const int64_t most = profile == 0 ? 8 : 32;
        if (std::strcmp(name, X) != 0 || dims.nbDims != 2 || dims.d[1] != 4 || dims.d[0] < least || dims.d[0] > most) {
            errors->reportError(ErrorCode::kINVALID_ARGUMENT, "the shape is outside the profile");
            return false;
        }
        rows = dims.d[0];
        return true;
    }
    Dims getTensorShape(char const*) const noexcept override { return Dims{2, {rows, 4}}; }
    bool setTensorAddress(char const* name, void* data) noexcept override {
        if (std::strcmp(name, X) == 0) {
            x = static_cast<float const*>(data);
        } else {
            y = static_cast<float*>(data);
        }
        return data != nullptr;
    }
    bool enqueueV3(cudaStream_t) noexcept override {
        if (plan == "stand-in that fails") {
            errors->reportError(ErrorCode::kFAILED_EXECUTION, "no kernel (cudaError 700: an illegal memory access)");
            errors->reportError(ErrorCode::kFAILED_EXECUTION, "what follows from it");
            return false;
        }
#ifdef TRT_MAJOR_RTX
        if (!config.eager) {
            return false;
        }
        config.cache->kernels = "kernels for " + std::to_string(rows);
#endif
        for (int64_t i = 0; i < rows * 4; ++i) {
            y[i] = 2 * x[i];
        }
        return true;
    }
};

struct Engine final : ICudaEngine, StubCudaEngine {
    std::string plan;
    IErrorRecorder* errors = nullptr;
    explicit Engine(std::string of) : plan(std::move(of)) { mImpl = this; }
    bool is(char const* flaw) const { return plan == flaw; }

    void setErrorRecorder(IErrorRecorder* to) noexcept override { errors = to; }
    int32_t getNbIOTensors() const noexcept override { return is("stand-in of many") ? 1000 : is("stand-in of none") ? 0 : 2; }
    int32_t getNbOptimizationProfiles() const noexcept override { return is("stand-in of many profiles") ? 1000 : 2; }
    char const* getIOTensorName(int32_t index) const noexcept override {
        static const std::string endless(10000, 'x');
        return index == 1 ? Y : is("stand-in of endless names") ? endless.c_str() : X;
    }
    TensorIOMode getTensorIOMode(char const* name) const noexcept override {
        return std::strcmp(name, Y) == 0 ? TensorIOMode::kOUTPUT : TensorIOMode::kINPUT;
    }
    DataType getTensorDataType(char const*) const noexcept override {
        return is("stand-in of 4 bits") ? DataType::kINT4 : DataType::kFLOAT;
    }
    TensorLocation getTensorLocation(char const*) const noexcept override {
        return is("stand-in on the host") ? TensorLocation::kHOST : TensorLocation::kDEVICE;
    }
    bool isShapeInferenceIO(char const*) const noexcept override { return is("stand-in of shapes"); }
    Dims getTensorShape(char const*) const noexcept override { return Dims{is("stand-in without shape") ? -1 : 2, {-1, 4}}; }
    Dims getProfileShape(char const*, int32_t profile, OptProfileSelector which) const noexcept override {
        const int64_t rows[2][3] = {{1, 4, 8}, {9, 16, 32}};
        return Dims{2, {rows[profile][static_cast<int32_t>(which)], 4}};
    }
    int64_t getDeviceMemorySizeV2() const noexcept override { return 4096; }
    IRuntimeConfig* createRuntimeConfig() noexcept override { return new Config; }
    IExecutionContext* createExecutionContextWithRuntimeConfig(IRuntimeConfig* config) noexcept override {
        if (is("stand-in too large")) {
            errors->reportError(ErrorCode::kFAILED_ALLOCATION, "no room (cudaError 2: out of memory)");
            return nullptr;
        }
        return new Context(plan, *static_cast<Config*>(config));
    }
};

struct Runtime final : IRuntime, StubRuntime {
    IErrorRecorder* errors = nullptr;
    Runtime() { mImpl = this; }
    void setErrorRecorder(IErrorRecorder* to) noexcept override { errors = to; }
    ICudaEngine* deserializeCudaEngine(void const* blob, std::size_t size) noexcept override {
        std::string plan(static_cast<const char*>(blob), size);
        if (plan.rfind("stand-in", 0) != 0) {
            errors->reportError(ErrorCode::kINVALID_ARGUMENT, "this is no plan");
            return nullptr;
        }
        return new Engine(plan);
    }
};

} // namespace

extern "C" {
int32_t getInferLibMajorVersion() noexcept { return NV_TENSORRT_MAJOR; }
int32_t getInferLibMinorVersion() noexcept { return NV_TENSORRT_MINOR; }
int32_t getInferLibPatchVersion() noexcept { return NV_TENSORRT_PATCH; }
void* createInferBuilder_INTERNAL(void*, int32_t) { return nullptr; }
void* createInferRuntime_INTERNAL(void*, int32_t version) noexcept {
    return version == NV_TENSORRT_VERSION ? static_cast<IRuntime*>(new Runtime) : nullptr;
}
}
