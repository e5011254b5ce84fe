// SPDX-License-Identifier: Apache-2.0
// The training program of a simulated worker, and the plain loop that says what its bits have to be: a gradient that
// follows from (parameters, step, rank), and an update by the averaged one. An error in any byte of any step is in all
// parameters that follow.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "ps/messages.h"
#include "tests/ps/reference.h"

namespace tutti::sim {

using ps::Bytes;
/// By bucket: parameters, gradients and results have the same shapes.
using Buckets = std::vector<Bytes>;

Buckets initial_parameters(const ps::ObjectTable& table);
/// What `rank` contributes to the step after `step` steps.
void compute_gradient(const ps::ObjectTable& table, const Buckets& parameters, std::uint64_t step, int rank,
                      Buckets& gradient);
void update(const ps::ObjectTable& table, const Buckets& result, Buckets& parameters);

/// The undisturbed world: one process that does every rank's part, one after the other.
class PlainLoop {
 public:
  explicit PlainLoop(ps::ObjectTable table);
  /// After so many steps.
  const Buckets& parameters(std::uint64_t steps);
  /// Of all ranks' gradients in the step after `step` steps.
  const Buckets& result(std::uint64_t step);

 private:
  void advance();

  const ps::ObjectTable table_;
  std::deque<Buckets> parameters_;  // by steps done
  std::deque<Buckets> results_;     // by steps done before
};

}  // namespace tutti::sim
