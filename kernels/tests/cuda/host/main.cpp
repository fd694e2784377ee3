// The kernels as a program: memory and launches asked for on the standard input, results on the standard output. Native byte order.
//
//   'A' u64 n, n bytes           a block of memory with these bytes; blocks are numbered from 0
//   'F' u64 block                frees it
//   'R' u64 block                answers with its bytes
//   'L' name (u32 length, bytes), u32 blocks[3], u32 threads, u32 arguments, then each argument:
//       'P' u64 block            a pointer to a block of memory
//       'V' u32 n, n bytes       a value
//       answers with a byte: 1, or 0 where there is no kernel of that name or with that number of arguments
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

// Behind the standard headers, which have their own use for some of its names.
#include "device.hpp"

#include "kernels.cu"

namespace {

/// A kernel: how many arguments it takes, whether its threads wait for each other, and a call with pointers to the arguments.
struct Kernel {
    std::size_t arguments;
    bool waits;
    std::function<void(void **)> call;
};

template <typename... Arguments>
Kernel kernel(void (*function)(Arguments...), bool waits = false) {
    const auto call = [function]<std::size_t... N>(void **arguments, std::index_sequence<N...>) {
        function(*static_cast<Arguments *>(arguments[N])...);
    };
    return {sizeof...(Arguments), waits,
            [call](void **arguments) { call(arguments, std::index_sequence_for<Arguments...>()); }};
}

#define NAMED(name) {#name, kernel(name)}
#define WAITING(name) {#name, kernel(name, true)}
#define PREPROCESSING(from, to)                                                               \
    NAMED(preprocess_nothing_##from##_##to), NAMED(preprocess_plane_##from##_##to),           \
        NAMED(preprocess_volume_##from##_##to), WAITING(preprocess_oblique_##from##_##to)
const std::map<std::string, Kernel> KERNELS = {
    PREPROCESSING(u8, f32), PREPROCESSING(u8, f16), PREPROCESSING(i16, f32), PREPROCESSING(i16, f16),
    PREPROCESSING(u16, f32), PREPROCESSING(u16, f16), PREPROCESSING(i32, f32), PREPROCESSING(i32, f16),
    PREPROCESSING(f32, f32), PREPROCESSING(f32, f16),
    NAMED(softmax_f32), NAMED(softmax_f16), NAMED(argmax_f32), NAMED(argmax_f16), NAMED(threshold_f32), NAMED(threshold_f16),
    NAMED(largest_component_runs), NAMED(largest_component_unite), NAMED(largest_component_measure),
    NAMED(largest_component_choose), NAMED(largest_component_keep),
    NAMED(fill_holes_runs), NAMED(fill_holes_unite), NAMED(fill_holes_open), NAMED(fill_holes_keep),
    NAMED(accumulate_tile_f32), NAMED(accumulate_tile_f16), NAMED(normalise_tiles), NAMED(overlay),
    NAMED(argmax_is), NAMED(not_finite_f32), NAMED(not_finite_f16), NAMED(quantiles_upper), NAMED(quantiles_lower),
    NAMED(z_score_sums), NAMED(z_score_squares), NAMED(z_score_apply), NAMED(occupied_region_lines),
    NAMED(occupied_region_columns), NAMED(crop_u8), NAMED(crop_f32), NAMED(paste_u8), NAMED(paste_f32),
    NAMED(window), NAMED(clip_range), NAMED(scale_offset),
};

/// Several blocks at once, the threads of each one after another.
void run_blocks(const Kernel &kernel, void **arguments) {
    const std::uint64_t blocks = std::uint64_t(gridDim.x) * gridDim.y * gridDim.z;
    std::atomic<std::uint64_t> next = 0;
    const auto work = [&] {
        for (std::uint64_t n = next++; n < blocks; n = next++) {
            blockIdx = {unsigned(n % gridDim.x), unsigned(n / gridDim.x % gridDim.y), unsigned(n / gridDim.x / gridDim.y)};
            for (threadIdx = {0, 0, 0}; threadIdx.x < blockDim.x; ++threadIdx.x) {
                kernel.call(arguments);
            }
        }
    };
    std::vector<std::jthread> workers;
    for (std::uint64_t n = 1; n < std::min<std::uint64_t>(blocks, 4); ++n) {
        workers.emplace_back(work);
    }
    work();
}

/// One block at a time, all its threads at once.
void run_threads(const Kernel &kernel, void **arguments) {
    std::barrier<> barrier(blockDim.x);
    block_barrier = &barrier;
    std::vector<std::jthread> threads;
    for (unsigned thread = 0; thread < blockDim.x; ++thread) {
        threads.emplace_back([&, thread] {
            threadIdx = {thread, 0, 0};
            for (unsigned n = 0; n < gridDim.x; ++n) {
                blockIdx = {n, 0, 0};
                kernel.call(arguments);
                barrier.arrive_and_wait();
            }
        });
    }
}

template <typename T>
T read() {
    T value{};
    std::cin.read(reinterpret_cast<char *>(&value), sizeof value);
    if (!std::cin) {
        std::cerr << "the request ends early\n";
        std::exit(2);
    }
    return value;
}

/// Exactly as large as asked for, so that AddressSanitizer sees a step beyond.
struct Memory {
    std::size_t size;
    std::unique_ptr<char[]> bytes;
};

Memory read_bytes(std::size_t size) {
    Memory memory{size, std::unique_ptr<char[]>(new char[size])};
    std::cin.read(memory.bytes.get(), static_cast<std::streamsize>(size));
    return memory;
}

bool launch(std::map<std::uint64_t, Memory> &memory) {
    const Memory name = read_bytes(read<std::uint32_t>());
    gridDim = read<Index>();
    blockDim = {read<std::uint32_t>(), 1, 1};
    std::vector<Memory> values(read<std::uint32_t>());
    std::vector<void *> arguments;
    for (Memory &value : values) {
        if (read<char>() == 'P') {
            value = {sizeof(char *), std::unique_ptr<char[]>(new char[sizeof(char *)])};
            char *pointer = memory.at(read<std::uint64_t>()).bytes.get();
            std::memcpy(value.bytes.get(), &pointer, sizeof pointer);
        } else {
            value = read_bytes(read<std::uint32_t>());
        }
        arguments.push_back(value.bytes.get());
    }
    const auto found = KERNELS.find(std::string(name.bytes.get(), name.size));
    if (found == KERNELS.end() || found->second.arguments != arguments.size()) {
        return false;
    }
    const auto run = found->second.waits ? run_threads : run_blocks;
    run(found->second, arguments.data());
    return true;
}

}  // namespace

int main() {
    std::ios::sync_with_stdio(false);
    std::map<std::uint64_t, Memory> memory;
    std::uint64_t next = 0;
    char command;
    while (std::cin.get(command)) {
        if (command == 'A') {
            memory[next++] = read_bytes(read<std::uint64_t>());
        } else if (command == 'F') {
            memory.erase(read<std::uint64_t>());
        } else if (command == 'R') {
            const Memory &block = memory.at(read<std::uint64_t>());
            std::cout.write(block.bytes.get(), static_cast<std::streamsize>(block.size)).flush();
        } else if (command == 'L') {
            std::cout.put(launch(memory) ? 1 : 0).flush();
        } else {
            std::cerr << "no such command\n";
            return 2;
        }
    }
}
