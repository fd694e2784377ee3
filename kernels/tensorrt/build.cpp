// From ONNX to a plan.
#include "half.h"
#include <algorithm>
#include <memory>

namespace sund::SUND_HALF {
namespace {

using nvinfer1::OptProfileSelector;

std::string parser_errors(const nvonnxparser::IParser& parser) {
    std::string text;
    for (int i = 0; i < parser.getNbErrors() && text.size() < SUND_WHY; ++i) {
        const nvonnxparser::IParserError* error = parser.getError(i);
        const char* description = error->desc();
        const char* node = error->nodeName();
        const char* op = error->nodeOperator();
        text += text.empty() ? "" : "; ";
        if (op != nullptr && *op != '\0') {
            text.append("operator ").append(op).append(" of node ").append(std::to_string(error->node()));
            text.append(node != nullptr && *node != '\0' ? " " : "").append(node != nullptr ? node : "").append(": ");
        }
        text += description != nullptr ? description : "no description";
    }
    return text.empty() ? "the parser does not say why" : text;
}

// An input of the network by its name; none if there is no such input.
const nvinfer1::ITensor* input_named(const nvinfer1::INetworkDefinition& network, std::string_view name) {
    for (int32_t i = 0; i < network.getNbInputs(); ++i) {
        const nvinfer1::ITensor* input = network.getInput(i);
        if (name == input->getName()) {
            return input;
        }
    }
    return nullptr;
}

// Whether a dimension that the network fixes is left as it is by all three shapes.
bool fits(const nvinfer1::Dims& dims, const SundRange& range) {
    for (const SundDims* shape : {&range.shortest, &range.usual, &range.longest}) {
        if (shape->rank != dims.nbDims) {
            return false;
        }
        for (int32_t axis = 0; axis < dims.nbDims; ++axis) {
            if (dims.d[axis] >= 0 && shape->length[axis] != dims.d[axis]) {
                return false;
            }
        }
    }
    return true;
}

bool is_dynamic(const nvinfer1::Dims& dims) {
    return std::any_of(dims.d, dims.d + std::max(dims.nbDims, 0), [](int64_t length) { return length < 0; });
}

// An input with a dynamic axis that a profile leaves out, or all of them where there is no profile.
const char* left_out(const nvinfer1::INetworkDefinition& network, const SundRange* from, const SundRange* to) {
    for (int32_t i = 0; i < network.getNbInputs(); ++i) {
        const nvinfer1::ITensor* input = network.getInput(i);
        const std::string_view name = input->getName();
        if (is_dynamic(input->getDimensions()) && std::none_of(from, to, [&](const SundRange& one) { return name == one.input; })) {
            return input->getName();
        }
    }
    return nullptr;
}

SundStatus add_profiles(nvinfer1::IBuilder& builder, const nvinfer1::INetworkDefinition& network,
    nvinfer1::IBuilderConfig& config, const SundBuild& request, SundWhy& why) {
    const SundRange* const end = request.ranges + request.range_count;
    const SundRange* range = request.ranges;
    do {
        const SundRange* const first = range;
        range = std::find_if(first, end, [&](const SundRange& one) { return one.profile != first->profile; });
        if (const char* input = left_out(network, first, range); input != nullptr) {
            write(why, std::string("no profile gives the lengths of the dynamic axes of input ") + input);
            return SUND_OPTIONS;
        }
        if (first == range) {
            return SUND_OK;
        }
        nvinfer1::IOptimizationProfile* profile = builder.createOptimizationProfile();
        if (profile == nullptr) {
            throw std::bad_alloc();
        }
        for (const SundRange* one = first; one != range; ++one) {
            const nvinfer1::ITensor* input = input_named(network, one->input);
            if (input == nullptr || !fits(input->getDimensions(), *one)) {
                write(why, std::string(input == nullptr ? "there is no input " : "a profile does not fit input ") + one->input);
                return SUND_OPTIONS;
            }
            if (!profile->setDimensions(one->input, OptProfileSelector::kMIN, to_dims(one->shortest))
                || !profile->setDimensions(one->input, OptProfileSelector::kOPT, to_dims(one->usual))
                || !profile->setDimensions(one->input, OptProfileSelector::kMAX, to_dims(one->longest))) {
                write(why, std::string("TensorRT does not take a profile of input ") + one->input);
                return SUND_OPTIONS;
            }
        }
        if (config.addOptimizationProfile(profile) < 0) {
            write(why, "TensorRT does not take a profile");
            return SUND_OPTIONS;
        }
    } while (range != end);
    return SUND_OK;
}

SundStatus set_targets(nvinfer1::IBuilderConfig& config, const SundBuild& request, SundWhy& why) {
#ifdef SUND_RTX
    const int32_t count = static_cast<int32_t>(request.target_count);
    bool taken = config.setNbComputeCapabilities(count == 0 ? 1 : count);
    if (count == 0) {
        taken = taken && config.setComputeCapability(nvinfer1::ComputeCapability::kCURRENT, 0);
    }
    for (int32_t i = 0; taken && i < count; ++i) {
        taken = config.setComputeCapability(static_cast<nvinfer1::ComputeCapability>(request.targets[i]), i);
    }
    if (!taken) {
        write(why, "TensorRT does not take the targets");
        return SUND_OPTIONS;
    }
#else
    (void)config;
    if (request.target_count != 0) {
        write(why, "enterprise TensorRT builds for the GPU of its machine alone");
        return SUND_OPTIONS;
    }
#endif
    return SUND_OK;
}

SundStatus built(const SundEntries& entries, const SundBuild& request, SundBlob& plan, SundWhy& why) {
    Errors errors; // first made, last destroyed: the others report to it
    const std::unique_ptr<nvinfer1::IBuilder> builder(
        static_cast<nvinfer1::IBuilder*>(entries.builder(&logger(), NV_TENSORRT_VERSION)));
    if (!builder) {
        write(why, "TensorRT gives no builder: it found no driver or no GPU that it serves");
        return SUND_DEVICE;
    }
    builder->setErrorRecorder(&errors);
    if (request.threads > 1 && !builder->setMaxThreads(request.threads)) {
        return errors.take(SUND_OPTIONS, why, "TensorRT does not take the number of threads");
    }
    const std::unique_ptr<nvinfer1::INetworkDefinition> network(builder->createNetworkV2(0));
    const std::unique_ptr<nvinfer1::IBuilderConfig> config(builder->createBuilderConfig());
    if (!network || !config) {
        throw std::bad_alloc();
    }
    // Destroyed before the network that it fills.
    const std::unique_ptr<nvonnxparser::IParser> parser(
        static_cast<nvonnxparser::IParser*>(entries.parser(network.get(), &logger(), NV_ONNX_PARSER_VERSION)));
    if (!parser) {
        write(why, "TensorRT gives no ONNX parser");
        return SUND_BUILD;
    }
    // Weights in files of their own would be looked for beside this path, where there can be none: a package's network is
    // whole, and nothing else of this machine is read for it.
    if (!parser->parse(request.onnx, request.onnx_size, "/dev/null/network.onnx")) {
        write(why, parser_errors(*parser));
        return SUND_NETWORK;
    }
    if (network->getNbInputs() == 0 || network->getNbOutputs() == 0) {
        write(why, "it has no input or no output");
        return SUND_NETWORK;
    }
    // 32-bit reals are 32-bit reals: TensorFloat-32 has 10 bits of mantissa, and the package was not validated with them.
    config->clearFlag(nvinfer1::BuilderFlag::kTF32);
    if (request.workspace != 0) {
        config->setMemoryPoolLimit(nvinfer1::MemoryPoolType::kWORKSPACE, request.workspace);
    }
    if (SundStatus status = set_targets(*config, request, why); status != SUND_OK) {
        return status;
    }
    if (SundStatus status = add_profiles(*builder, *network, *config, request, why); status != SUND_OK) {
        return status;
    }
    std::unique_ptr<nvinfer1::IHostMemory> bytes(builder->buildSerializedNetwork(*network, *config));
    if (!bytes) {
        return errors.take(SUND_BUILD, why, "TensorRT does not say why");
    }
    plan = {bytes.get(), static_cast<const uint8_t*>(bytes->data()), bytes->size()};
    bytes.release();
    return SUND_OK;
}

} // namespace

SundStatus build(const SundEntries* entries, const SundBuild* request, SundBlob* plan, SundWhy* why) noexcept {
    return guarded(*why, [&] { return built(*entries, *request, *plan, *why); });
}

void free_blob(void* owner) noexcept { delete static_cast<nvinfer1::IHostMemory*>(owner); }

} // namespace sund::SUND_HALF
