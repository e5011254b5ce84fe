// SPDX-License-Identifier: Apache-2.0
// Buckets of a rank in a test of an exchange, and numbers to put into them.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <utility>
#include <vector>

#include "worker/exchange.h"

namespace tutti::worker {

using Bytes = std::vector<std::byte>;

struct Memory {
  std::vector<BucketMemory> placed;
  std::vector<Bytes> own;
  ExchangePlan plan;
  float* floats(std::size_t bucket) const { return reinterpret_cast<float*>(plan.memory[bucket]); }
};

/// Opens the exchange over buckets in its own memory, or over buckets of the caller's.
inline Memory open(Exchange& exchange, std::vector<BucketSpec> buckets, Deadline deadline, std::uint32_t number = 0,
                   bool placed = true) {
  Memory memory;
  memory.plan.number = number;
  memory.plan.buckets = std::move(buckets);
  if (placed) {
    memory.placed = exchange.place(memory.plan, deadline).value();
    for (const BucketMemory& bucket : memory.placed) memory.plan.memory.push_back(bucket.get());
  } else {
    for (const BucketSpec& bucket : memory.plan.buckets) memory.own.emplace_back(bucket.bytes());
    for (Bytes& bucket : memory.own) memory.plan.memory.push_back(bucket.data());
  }
  EXPECT_TRUE(exchange.open(memory.plan, deadline));
  return memory;
}

template <class T>
void put(T value, std::byte* at) {
  std::memcpy(at, &value, sizeof value);
}

/// Numbers whose sums depend on their order.
inline Bytes input_of(const BucketSpec& spec, std::size_t rank, std::uint64_t round) {
  Bytes bytes(spec.bytes());
  std::mt19937_64 random(rank * 1000 + round);
  std::normal_distribution<double> number(0.0, 100.0);
  for (std::uint64_t i = 0; i < spec.elements; ++i) {
    std::byte* const at = bytes.data() + i * size_of(spec.dtype);
    const double drawn = number(random);
    if (spec.dtype == DType::kFloat64) put(drawn, at);
    if (spec.dtype == DType::kFloat32) put(static_cast<float>(drawn), at);
    if (spec.dtype == DType::kInt64) put(static_cast<std::int64_t>(drawn), at);
    if (size_of(spec.dtype) == 2) put(static_cast<std::uint16_t>(random() & 0xbbff), at);  // a finite number
  }
  return bytes;
}

inline void fill(const Memory& memory, std::uint32_t bucket, std::size_t rank, std::uint64_t round) {
  const Bytes input = input_of(memory.plan.buckets[bucket], rank, round);
  std::copy(input.begin(), input.end(), memory.plan.memory[bucket]);
}

inline bool holds(const Memory& memory, std::uint32_t bucket, const Bytes& expected) {
  return std::equal(expected.begin(), expected.end(), memory.plan.memory[bucket]);
}

}  // namespace tutti::worker
