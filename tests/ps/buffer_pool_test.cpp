// SPDX-License-Identifier: Apache-2.0
#include "ps/buffer_pool.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <optional>

namespace tutti::ps {
namespace {

TEST(BufferPool, UsesTheBufferThatCameBack) {
  BufferPool pool(100, 2);
  Buffer first = pool.take();
  std::byte* const place = first.get();
  first.reset();
  EXPECT_EQ(pool.in_use(), 0u);
  EXPECT_EQ(pool.take().get(), place);
  EXPECT_EQ(pool.allocated(), 1u);
}

TEST(BufferPool, GivesNoMoreThanItsLimit) {
  BufferPool pool(64, 2);
  Buffer first = pool.take();
  Buffer second = pool.take();
  EXPECT_FALSE(pool.take());
  second.reset();
  EXPECT_TRUE(pool.take());
}

TEST(BufferPool, AlignsItsBuffers) {
  BufferPool pool(1, 2);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(pool.take().get()) % 64, 0u);
  EXPECT_EQ(pool.buffer_bytes(), 64u);
}

TEST(BufferPool, TakesASharedBufferBackAfterItsLastUser) {
  BufferPool pool(64, 1);
  SharedBuffer one(pool.take());
  SharedBuffer other = one;
  one.reset();
  EXPECT_EQ(pool.in_use(), 1u);
  other.reset();
  EXPECT_EQ(pool.in_use(), 0u);
}

TEST(BufferPool, MayGoBeforeItsBuffers) {
  std::optional<BufferPool> pool(std::in_place, 64, 1);
  Buffer last = pool->take();
  pool.reset();
  last.get()[63] = std::byte{1};
}

}  // namespace
}  // namespace tutti::ps
