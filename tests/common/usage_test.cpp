// SPDX-License-Identifier: Apache-2.0
#include "common/usage.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>

namespace tutti {
namespace {

using namespace std::chrono_literals;

TEST(UsageMeter, SeesMemoryOnceItIsTouched) {
  constexpr std::size_t kBytes = 64 << 20;
  const UsageMeter meter;
  void* const memory = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  const std::uint64_t before = meter.read().memory_bytes;
  EXPECT_GT(before, 0u);
  std::memset(memory, 1, kBytes);
  const std::uint64_t touched = meter.read().memory_bytes;
  EXPECT_GE(touched, before + kBytes / 2);
#ifndef __SANITIZE_THREAD__  // which has memory of its own for each byte that is touched
  EXPECT_LE(touched, before + 2 * kBytes);
  ::munmap(memory, kBytes);
  EXPECT_LT(meter.read().memory_bytes, before + kBytes / 2);
#endif
}

TEST(UsageMeter, SeesTheProcessorsTimeOfAllThreads) {
  const UsageMeter meter;
  const Duration before = meter.read().cpu;
  while (meter.read().cpu < before + 20ms) {
  }
  EXPECT_GE(UsageMeter().read().cpu, before + 20ms) << "it is the process', not the meter's";
}

TEST(UsageMeter, WithoutAGpuHasNothingToTellOfOne) {
  for (const UsageMeter& meter : {UsageMeter(), UsageMeter("ffff:ff:ff.7")}) {
    EXPECT_FALSE(meter.read().gpu_memory_bytes);
    EXPECT_FALSE(meter.read().gpu_utilization);
  }
}

}  // namespace
}  // namespace tutti
