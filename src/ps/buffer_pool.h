// SPDX-License-Identifier: Apache-2.0
// Buffers of one size that are used again and again: a shard's memory for contributions and results, with a bound.
// Thread safety: a pool and its buffers belong to one thread (the loop). Buffers may outlive their pool.
#pragma once

#include <cstddef>
#include <memory>

namespace tutti::ps {

class BufferPool {
 private:
  struct Shelf;
  struct Return {
    std::shared_ptr<Shelf> shelf;
    void operator()(std::byte* buffer) const noexcept;
  };

 public:
  /// Goes back to the pool when it is dropped. Aligned to 64 bytes; what it holds at first is unspecified.
  using Buffer = std::unique_ptr<std::byte, Return>;

  /// Buffers of `buffer_bytes`, at most `limit` at a time; each is allocated when it is first needed.
  BufferPool(std::size_t buffer_bytes, std::size_t limit);

  /// Null when `limit` buffers are out.
  Buffer take();

  std::size_t in_use() const noexcept;
  std::size_t allocated() const noexcept;
  std::size_t buffer_bytes() const noexcept;

 private:
  std::shared_ptr<Shelf> shelf_;
};

using Buffer = BufferPool::Buffer;
/// A buffer that several sends read from.
using SharedBuffer = std::shared_ptr<const std::byte>;

}  // namespace tutti::ps
