// A plan that runs: engine and context, its tensors, its profiles, its cache.
#include "half.h"
#include <cstring>
#include <memory>

struct SundSession {
    virtual ~SundSession() = default;
};

namespace sund::SUND_HALF {
namespace {

// Made from the first to the last, destroyed from the last to the first.
struct Session final : SundSession {
    Errors errors;
    std::unique_ptr<nvinfer1::IRuntime> runtime;
    std::unique_ptr<nvinfer1::ICudaEngine> engine;
    std::unique_ptr<nvinfer1::IRuntimeConfig> config;
#ifdef SUND_RTX
    std::unique_ptr<nvinfer1::IRuntimeCache> cache;
#endif
    std::unique_ptr<nvinfer1::IExecutionContext> context;

    // One of the engine's tensors; none past the last.
    const char* name(int32_t index) const noexcept {
        return index >= 0 && index < engine->getNbIOTensors() ? engine->getIOTensorName(index) : nullptr;
    }
};

Session& of(SundSession* session) noexcept { return *static_cast<Session*>(session); }
const Session& of(const SundSession* session) noexcept { return *static_cast<const Session*>(session); }

#ifdef SUND_RTX
// Kernels are compiled for this GPU at the first run, at once for each shape: kernels that were exchanged in the background
// would change answers from one run to the next. What was compiled before comes from the cache; one that does not fit this
// GPU or this TensorRT is dropped by TensorRT.
void set_cache(Session& session, const uint8_t* bytes, size_t size) {
    session.config->setDynamicShapesKernelSpecializationStrategy(nvinfer1::DynamicShapesKernelSpecializationStrategy::kEAGER);
    session.cache.reset(session.config->createRuntimeCache());
    if (!session.cache) {
        return;
    }
    if (size != 0 && !session.cache->deserialize(bytes, size)) {
        session.cache->reset();
    }
    if (!session.config->setRuntimeCache(*session.cache)) {
        session.cache.reset();
    }
}
#else
void set_cache(Session&, const uint8_t*, size_t) {}
#endif

SundStatus opened(const SundEntries& entries, const uint8_t* plan, size_t size, const uint8_t* cache, size_t cache_size,
    SundSession*& out, SundWhy& why) {
    auto session = std::make_unique<Session>();
    session->runtime.reset(static_cast<nvinfer1::IRuntime*>(entries.runtime(&logger(), NV_TENSORRT_VERSION)));
    if (!session->runtime) {
        write(why, "TensorRT gives no runtime: it found no driver or no GPU that it serves");
        return SUND_DEVICE;
    }
    session->runtime->setErrorRecorder(&session->errors);
    session->engine.reset(session->runtime->deserializeCudaEngine(plan, size));
    if (!session->engine) {
        return session->errors.take(SUND_PLAN, why, "TensorRT does not say why");
    }
    session->engine->setErrorRecorder(&session->errors);
    session->config.reset(session->engine->createRuntimeConfig());
    if (!session->config) {
        return session->errors.take(SUND_MEMORY, why, "TensorRT gives no configuration");
    }
    set_cache(*session, cache, cache_size);
    session->context.reset(session->engine->createExecutionContext(session->config.get()));
    if (!session->context) {
        return session->errors.take(SUND_MEMORY, why, "TensorRT gives no context: the GPU's memory may be full");
    }
    session->context->setErrorRecorder(&session->errors);
    session->errors.clear();
    out = session.release();
    return SUND_OK;
}

SundStatus open(const SundEntries* entries, const uint8_t* plan, size_t size, const uint8_t* cache, size_t cache_size,
    SundSession** session, SundWhy* why) noexcept {
    return guarded(*why, [&] { return opened(*entries, plan, size, cache, cache_size, *session, *why); });
}

void close(SundSession* session) noexcept { delete session; }

int32_t tensor_count(const SundSession* session) noexcept { return of(session).engine->getNbIOTensors(); }

SundStatus tensor(const SundSession* session, int32_t index, SundTensor* out, SundWhy* why) noexcept {
    return guarded(*why, [&] {
        const nvinfer1::ICudaEngine& engine = *of(session).engine;
        const char* name = of(session).name(index);
        const size_t length = name == nullptr ? 0 : strnlen(name, SUND_NAME);
        if (length == 0 || length == SUND_NAME) {
            write(*why, "a tensor has no name, or one that is too long");
            return SUND_PLAN;
        }
        *out = {};
        std::memcpy(out->name, name, length);
        out->is_input = engine.getTensorIOMode(name) == nvinfer1::TensorIOMode::kINPUT;
        out->type = static_cast<int32_t>(engine.getTensorDataType(name));
        out->on_device = engine.getTensorLocation(name) == nvinfer1::TensorLocation::kDEVICE
            && !(out->is_input && engine.isShapeInferenceIO(name));
        out->dims = from_dims(engine.getTensorShape(name));
        return SUND_OK;
    });
}

int32_t profile_count(const SundSession* session) noexcept { return of(session).engine->getNbOptimizationProfiles(); }

SundStatus range(const SundSession* session, int32_t index, int32_t profile, SundRange* out, SundWhy* why) noexcept {
    return guarded(*why, [&] {
        using nvinfer1::OptProfileSelector;
        const nvinfer1::ICudaEngine& engine = *of(session).engine;
        const char* name = of(session).name(index);
        if (name == nullptr) {
            write(*why, "there is no such tensor");
            return SUND_SHAPE;
        }
        out->input = name;
        out->profile = profile;
        out->shortest = from_dims(engine.getProfileShape(name, profile, OptProfileSelector::kMIN));
        out->usual = from_dims(engine.getProfileShape(name, profile, OptProfileSelector::kOPT));
        out->longest = from_dims(engine.getProfileShape(name, profile, OptProfileSelector::kMAX));
        return SUND_OK;
    });
}

int64_t device_memory(const SundSession* session) noexcept { return of(session).engine->getDeviceMemorySizeV2(); }

SundStatus set_profile(SundSession* session, int32_t profile, void* stream, SundWhy* why) noexcept {
    return guarded(*why, [&] {
        const bool taken = of(session).context->setOptimizationProfileAsync(profile, static_cast<cudaStream_t>(stream));
        return taken ? SUND_OK : of(session).errors.take(SUND_SHAPE, *why, "the engine has no such profile");
    });
}

SundStatus set_shape(SundSession* session, int32_t index, const SundDims* dims, SundWhy* why) noexcept {
    return guarded(*why, [&] {
        const char* name = of(session).name(index);
        const bool taken = name != nullptr && of(session).context->setInputShape(name, to_dims(*dims));
        return taken ? SUND_OK : of(session).errors.take(SUND_SHAPE, *why, "the shape is outside the profile");
    });
}

SundStatus shape(SundSession* session, int32_t index, SundDims* dims, SundWhy* why) noexcept {
    return guarded(*why, [&] {
        const char* name = of(session).name(index);
        if (name == nullptr) {
            write(*why, "there is no such tensor");
            return SUND_SHAPE;
        }
        *dims = from_dims(of(session).context->getTensorShape(name));
        return dims->rank >= 0 ? SUND_OK : of(session).errors.take(SUND_SHAPE, *why, "the shapes of the inputs do not give one");
    });
}

SundStatus set_address(SundSession* session, int32_t index, void* address, SundWhy* why) noexcept {
    return guarded(*why, [&] {
        const char* name = of(session).name(index);
        const bool taken = name != nullptr && of(session).context->setTensorAddress(name, address);
        return taken ? SUND_OK : of(session).errors.take(SUND_SHAPE, *why, "the address is not aligned to 256 bytes");
    });
}

SundStatus enqueue(SundSession* session, void* stream, SundWhy* why) noexcept {
    return guarded(*why, [&] {
        const bool taken = of(session).context->enqueueV3(static_cast<cudaStream_t>(stream));
        return taken ? SUND_OK : of(session).errors.take(SUND_EXECUTION, *why, "TensorRT does not say why");
    });
}

SundStatus cache(SundSession* session, SundBlob* out, SundWhy* why) noexcept {
    return guarded(*why, [&] {
        *out = {};
#ifdef SUND_RTX
        if (of(session).cache) {
            std::unique_ptr<nvinfer1::IHostMemory> bytes(of(session).cache->serialize());
            if (!bytes) {
                return of(session).errors.take(SUND_MEMORY, *why, "TensorRT does not give its cache");
            }
            *out = {bytes.get(), static_cast<const uint8_t*>(bytes->data()), bytes->size()};
            bytes.release();
        }
#else
        (void)session;
#endif
        return SUND_OK;
    });
}

} // namespace

const SundTable& table() noexcept {
    static const SundTable table = {
        NV_TENSORRT_MAJOR,
        NV_TENSORRT_MINOR,
        NV_TENSORRT_PATCH,
        log_to,
        free_blob,
        build,
        open,
        close,
        tensor_count,
        tensor,
        profile_count,
        range,
        device_memory,
        set_profile,
        set_shape,
        shape,
        set_address,
        enqueue,
        cache,
    };
    return table;
}

} // namespace sund::SUND_HALF

#ifdef SUND_RTX
extern "C" const SundTable* sund_tensorrt_rtx() { return &sund::rtx::table(); }
#else
extern "C" const SundTable* sund_tensorrt_enterprise() { return &sund::enterprise::table(); }
#endif
