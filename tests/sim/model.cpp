// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/model.h"

#include <cmath>
#include <cstring>

namespace tutti::sim {
namespace {

// A number for each place, step and rank, of very different magnitudes: sums of them depend on their order.
float noise(std::uint64_t seed) {
  seed += 0x9e3779b97f4a7c15;  // splitmix64 (Steele, Lea and Flood, 2014)
  seed = (seed ^ (seed >> 30)) * 0xbf58476d1ce4e5b9;
  seed = (seed ^ (seed >> 27)) * 0x94d049bb133111eb;
  seed ^= seed >> 31;
  const auto fraction = static_cast<float>(seed >> 40) / 16777216.0f - 0.5f;
  return std::ldexp(fraction, static_cast<int>(seed % 16) - 12);
}

float* floats(Bytes& bytes) {
  return reinterpret_cast<float*>(bytes.data());
}
const float* floats(const Bytes& bytes) {
  return reinterpret_cast<const float*>(bytes.data());
}

Buckets shaped_like(const ps::ObjectTable& table) {
  Buckets buckets;
  for (const BucketSpec& bucket : table.buckets) buckets.emplace_back(bucket.bytes());
  return buckets;
}

}  // namespace

Buckets initial_parameters(const ps::ObjectTable& table) {
  Buckets parameters = shaped_like(table);
  for (std::size_t bucket = 0; bucket < parameters.size(); ++bucket) {
    float* const to = floats(parameters[bucket]);
    for (std::size_t i = 0; i < table.buckets[bucket].elements; ++i) to[i] = noise(bucket << 32 | i);
  }
  return parameters;
}

void compute_gradient(const ps::ObjectTable& table, const Buckets& parameters, std::uint64_t step, int rank,
                      Buckets& gradient) {
  if (gradient.empty()) gradient = shaped_like(table);
  for (std::size_t bucket = 0; bucket < gradient.size(); ++bucket) {
    const float* const from = floats(parameters[bucket]);
    float* const to = floats(gradient[bucket]);
    const std::uint64_t place = (step + 1) << 40 | static_cast<std::uint64_t>(rank) << 32 | bucket << 24;
    for (std::size_t i = 0; i < table.buckets[bucket].elements; ++i) to[i] = noise(place | i) + 0.125f * from[i];
  }
}

void update(const ps::ObjectTable& table, const Buckets& result, Buckets& parameters) {
  for (std::size_t bucket = 0; bucket < result.size(); ++bucket) {
    const float* const from = floats(result[bucket]);
    float* const to = floats(parameters[bucket]);
    // Buffers that rank 0 hands out are everybody's.
    const bool is_taken = table.buckets[bucket].reduction == Reduction::kBroadcast;
    for (std::size_t i = 0; i < table.buckets[bucket].elements; ++i)
      to[i] = is_taken ? from[i] : to[i] - 0.05f * from[i];
  }
}

PlainLoop::PlainLoop(ps::ObjectTable table) : table_(std::move(table)) {
  parameters_.push_back(initial_parameters(table_));
}

const Buckets& PlainLoop::parameters(std::uint64_t steps) {
  while (parameters_.size() <= steps) advance();
  return parameters_[steps];
}

const Buckets& PlainLoop::result(std::uint64_t step) {
  while (results_.size() <= step) advance();
  return results_[step];
}

void PlainLoop::advance() {
  const Buckets& before = parameters_.back();
  std::vector<Buckets> gradients(static_cast<std::size_t>(table_.world_size));
  for (int rank = 0; rank < table_.world_size; ++rank)
    compute_gradient(table_, before, results_.size(), rank, gradients[static_cast<std::size_t>(rank)]);
  Buckets result;
  for (std::size_t bucket = 0; bucket < table_.buckets.size(); ++bucket) {
    std::vector<Bytes> contributions;
    for (Buckets& gradient : gradients) contributions.push_back(std::move(gradient[bucket]));
    result.push_back(
        ps::reference_reduce(table_.buckets[bucket].dtype, table_.buckets[bucket].reduction, contributions));
  }
  Buckets after = before;
  update(table_, result, after);
  results_.push_back(std::move(result));
  parameters_.push_back(std::move(after));
}

}  // namespace tutti::sim
