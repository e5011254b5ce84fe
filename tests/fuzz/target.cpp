// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/target.h"

#include <atomic>

extern "C" {
// Of the sanitizers' runtimes; null where there is none.
[[gnu::weak]] int __sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void*, std::size_t),
                                                            void (*on_free)(const volatile void*));
}

namespace tutti::fuzz {
namespace {

std::uint64_t accepted_inputs = 0;
std::atomic<std::size_t> largest_block = 0;  // the allocator may be called by any thread

void note_block(const volatile void*, std::size_t size) {
  if (size > largest_block.load(std::memory_order_relaxed)) largest_block.store(size, std::memory_order_relaxed);
}

void ignore_block(const volatile void*) {}

}  // namespace

void accept() noexcept {
  ++accepted_inputs;
}

std::uint64_t accepted() noexcept {
  return accepted_inputs;
}

AllocationWatch::AllocationWatch() noexcept {
  static const bool hooked = __sanitizer_install_malloc_and_free_hooks != nullptr &&
                             __sanitizer_install_malloc_and_free_hooks(note_block, ignore_block) != 0;
  static_cast<void>(hooked);
  largest_block = 0;
}

std::size_t AllocationWatch::largest() const noexcept {
  return largest_block;
}

}  // namespace tutti::fuzz
