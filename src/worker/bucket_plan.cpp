// SPDX-License-Identifier: Apache-2.0
#include "worker/bucket_plan.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <map>
#include <numeric>
#include <utility>

#include "common/assert.h"

namespace tutti::worker {
namespace {

constexpr std::uint64_t kAlignmentBytes = 64;

std::uint64_t align(std::uint64_t elements, DType dtype) {
  const std::uint64_t unit = kAlignmentBytes / size_of(dtype);
  return (elements + unit - 1) / unit * unit;
}

/// A run of parameters of one dtype and device, by index, in ready order.
struct Group {
  std::vector<std::uint32_t> parameters;
  std::uint64_t bytes = 0;
};

/// Cuts one kind's parameters, in ready order, into groups: a small one, full ones, a small one.
std::vector<Group> cut(const std::vector<std::uint32_t>& ready, const std::vector<PlannedParameter>& parameters,
                       const BucketLimits& limits) {
  const auto bytes_of = [&](std::uint32_t p) { return parameters[p].elements * size_of(parameters[p].dtype); };
  std::size_t tail = ready.size();  // where the last, small group begins
  for (std::uint64_t bytes = 0; tail > 1 && bytes + bytes_of(ready[tail - 1]) <= limits.bytes_edge; --tail) {
    bytes += bytes_of(ready[tail - 1]);
  }
  std::vector<Group> groups;
  for (std::size_t i = 0; i < ready.size(); ++i) {
    const std::uint64_t limit = groups.size() <= 1 ? limits.bytes_edge : limits.bytes_max;
    const std::uint64_t bytes = bytes_of(ready[i]);
    const bool overflows = !groups.empty() && groups.back().bytes + bytes > limit;
    if (groups.empty() || overflows || (i == tail && groups.size() > 1)) groups.emplace_back();
    groups.back().parameters.push_back(ready[i]);
    groups.back().bytes += bytes;
  }
  return groups;
}

Bucket lay_out(const Group& group, const std::vector<PlannedParameter>& parameters) {
  const PlannedParameter& first = parameters[group.parameters.front()];
  Bucket bucket{first.dtype, first.device, 0, {}};
  for (const std::uint32_t p : group.parameters) {
    bucket.entries.push_back({p, bucket.elements, parameters[p].elements});
    bucket.elements += align(parameters[p].elements, bucket.dtype);
  }
  return bucket;
}

}  // namespace

std::vector<std::uint32_t> reverse_order(std::size_t parameters) {
  std::vector<std::uint32_t> order(parameters);
  std::iota(order.rbegin(), order.rend(), 0u);
  return order;
}

bool is_order_of(std::vector<std::uint32_t> order, std::size_t parameters) {
  std::ranges::sort(order, std::greater<>());
  return order == reverse_order(parameters);
}

std::vector<Bucket> plan_buckets(const std::vector<PlannedParameter>& parameters,
                                 const std::vector<std::uint32_t>& ready_order, const BucketLimits& limits) {
  TUTTI_ASSERT(ready_order.size() == parameters.size(), "every parameter is ready once");
  std::map<std::pair<int, DType>, std::vector<std::uint32_t>> kinds;
  std::vector<std::size_t> place(parameters.size());  // of each parameter in the order
  for (std::size_t i = 0; i < ready_order.size(); ++i) {
    const PlannedParameter& parameter = parameters[ready_order[i]];
    kinds[{parameter.device, parameter.dtype}].push_back(ready_order[i]);
    place[ready_order[i]] = i;
  }
  std::vector<Bucket> buckets;
  for (const auto& [kind, ready] : kinds) {
    for (const Group& group : cut(ready, parameters, limits)) buckets.push_back(lay_out(group, parameters));
  }
  // A bucket is full when its last entry is.
  std::stable_sort(buckets.begin(), buckets.end(), [&](const Bucket& a, const Bucket& b) {
    return place[a.entries.back().parameter] < place[b.entries.back().parameter];
  });
  return buckets;
}

std::uint32_t parameter_at(const Bucket& bucket, std::uint64_t element) {
  const auto after = std::ranges::upper_bound(bucket.entries, element, {}, &BucketEntry::offset);
  TUTTI_ASSERT(after != bucket.entries.begin(), "a bucket begins with an entry");
  return std::prev(after)->parameter;
}

}  // namespace tutti::worker
