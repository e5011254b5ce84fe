// SPDX-License-Identifier: Apache-2.0
#include "worker/segment_allocator.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>

#include <algorithm>
#include <mutex>
#include <utility>
#include <vector>

namespace tutti::worker {
namespace {

constexpr std::uint8_t kAboveLibTorchsOwn = 200;

/// A tensor's memory; goes back to its places when the tensor dies.
struct Held {
  std::shared_ptr<Birthplaces> places;
  BucketMemory memory;
  std::uint64_t bytes;
};

void let_go(void* context) {
  const std::unique_ptr<Held> held(static_cast<Held*>(context));
  held->places->give_back(std::move(held->memory), held->bytes);
}

/// LibTorch keeps the one it is given for the rest of the process: so there is one, which is never destroyed.
class Allocator final : public c10::Allocator {
 public:
  explicit Allocator(c10::Allocator& before) : before_(before) {}

  c10::DataPtr allocate(std::size_t bytes) override {
    if (bytes < Birthplaces::kBytesMin) return before_.allocate(bytes);
    if (auto held = take(bytes)) {
      std::byte* const memory = held->memory.get();
      return {memory, held.release(), &let_go, c10::Device(c10::kCPU)};
    }
    return before_.allocate(bytes);
  }
  c10::DeleterFnPtr raw_deleter() const override { return before_.raw_deleter(); }
  void copy_data(void* to, const void* from, std::size_t bytes) const override { before_.copy_data(to, from, bytes); }

  void add(std::shared_ptr<Birthplaces> places) {
    const std::lock_guard lock(mutex_);
    places_.push_back(std::move(places));
  }
  void remove(const std::shared_ptr<Birthplaces>& places) {
    const std::lock_guard lock(mutex_);
    std::erase(places_, places);
  }

 private:
  std::unique_ptr<Held> take(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    for (const auto& places : places_) {
      if (BucketMemory memory = places->take(bytes)) {
        return std::make_unique<Held>(Held{places, std::move(memory), bytes});
      }
    }
    return nullptr;
  }

  c10::Allocator& before_;
  std::mutex mutex_;
  std::vector<std::shared_ptr<Birthplaces>> places_;  // guarded by mutex_
};

Allocator& allocator() {
  static Allocator& installed = [&]() -> Allocator& {
    auto* const made = new Allocator(*c10::GetCPUAllocator());
    c10::SetCPUAllocator(made, kAboveLibTorchsOwn);
    return *made;
  }();
  return installed;
}

}  // namespace

AllocateIn::AllocateIn(std::shared_ptr<Birthplaces> places) : places_(std::move(places)) {
  allocator().add(places_);
}

AllocateIn::~AllocateIn() {
  allocator().remove(places_);
}

}  // namespace tutti::worker
