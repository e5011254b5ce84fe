// SPDX-License-Identifier: Apache-2.0
// Kills workers while they push, at a byte of the push that was chosen before. Thread safety: called on the proxy's
// thread; strikes() from any.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <mutex>
#include <random>
#include <set>
#include <vector>

#include "tests/chaos/chaos_run.h"
#include "tests/chaos/proxy.h"

namespace tutti::testing {

/// Four workers and two shards over TCP, in chunks small enough for each shard to get several.
ChaosOptions through(const Proxy& proxy);

/// Kill `rank` when so many bytes of a push of `step` have passed, the one after `pushes_before`.
struct Blow {
  std::uint64_t step = 0;
  int rank = 0;
  std::uint64_t offset = 0;  ///< beyond the end of the message: all of it passes
  int pushes_before = 0;
  bool has_struck = false;
};

/// A script for the proxy.
class PushKiller {
 public:
  explicit PushKiller(std::vector<Blow> blows) : blows_(std::move(blows)) {}
  Decision operator()(const Piece& piece);
  std::vector<Strike> strikes() const;

 private:
  Blow* due(const Piece& piece);
  void strike(Blow& blow, pid_t pid);

  std::vector<Blow> blows_;
  std::set<pid_t> dead_;
  mutable std::mutex mutex_;
  std::vector<Strike> strikes_;  // guarded by mutex_
};

inline constexpr std::uint64_t kEndOfFrame = ~std::uint64_t{0};
/// So many bytes has the longest chunk of these runs.
inline constexpr std::uint64_t kChunkBytes = 131072;
/// A run that loses a worker at each of these bytes of a push, one after the other. At most seven.
void expect_replaced(const std::vector<std::uint64_t>& offsets, std::mt19937& random);

}  // namespace tutti::testing
