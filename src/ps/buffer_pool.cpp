// SPDX-License-Identifier: Apache-2.0
#include "ps/buffer_pool.h"

#include <cstdlib>
#include <new>
#include <vector>

#include "common/alignment.h"

namespace tutti::ps {

namespace {
struct Free {
  void operator()(std::byte* memory) const noexcept { std::free(memory); }
};
}  // namespace

struct BufferPool::Shelf {
  std::size_t buffer_bytes = 0;
  std::size_t limit = 0;
  std::size_t in_use = 0;
  std::vector<std::unique_ptr<std::byte, Free>>
      idle;  // its capacity is the number of buffers: to give one back never allocates
};

BufferPool::BufferPool(std::size_t buffer_bytes, std::size_t limit) : shelf_(std::make_shared<Shelf>()) {
  shelf_->buffer_bytes = rounded_up(buffer_bytes, kCacheLineBytes);
  shelf_->limit = limit;
}

Buffer BufferPool::take() {
  Shelf& shelf = *shelf_;
  if (shelf.in_use == shelf.limit) return {};
  if (shelf.idle.empty()) {
    shelf.idle.reserve(shelf.in_use + 1);
    auto* memory = static_cast<std::byte*>(std::aligned_alloc(kCacheLineBytes, shelf.buffer_bytes));
    if (memory == nullptr) throw std::bad_alloc();
    shelf.idle.emplace_back(memory);
  }
  std::byte* memory = shelf.idle.back().release();  // the one used last: it is warm
  shelf.idle.pop_back();
  ++shelf.in_use;
  return Buffer(memory, Return{shelf_});
}

void BufferPool::Return::operator()(std::byte* buffer) const noexcept {
  shelf->idle.emplace_back(buffer);
  --shelf->in_use;
}

std::size_t BufferPool::in_use() const noexcept {
  return shelf_->in_use;
}
std::size_t BufferPool::allocated() const noexcept {
  return shelf_->in_use + shelf_->idle.size();
}
std::size_t BufferPool::buffer_bytes() const noexcept {
  return shelf_->buffer_bytes;
}

}  // namespace tutti::ps
