// SPDX-License-Identifier: Apache-2.0
// What TensorBoard is told of a step's gradients, read where they are what all of the step's backwards and its exchange
// made of them: when the exchange's results are in place, or, where nothing is exchanged, at the end of backward. After
// optimizer.step() would be too late: a program may have zeroed them by then, and zeros that are not the step's look
// like those that are. So what the program itself does to them later, such as clipping, is not seen.
//
// In the steps of which nothing is asked nothing is computed, and no hook is set.
// Thread safety: the thread that calls backward; the hooks come on any of LibTorch's.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <vector>

#include "common/clock.h"
#include "worker/reducer.h"
#include "worker/scalars.h"

namespace tutti::worker {

class GradientWatch {
 public:
  /// `follows_backward`: nobody else calls read().
  GradientWatch(std::vector<NamedTensor> parameters, bool follows_backward);
  ~GradientWatch();
  GradientWatch(const GradientWatch&) = delete;
  GradientWatch& operator=(const GradientWatch&) = delete;

  /// Before the backward that is to be read.
  void begin(GradientQuestions asked);
  /// The gradients are in place, of the last backward so far. On a GPU: waits for it, once for the norm.
  void read();
  /// The step is over: what was read last. Nothing where there was no gradient, or it was left out.
  std::optional<GradientNumbers> take();

 private:
  class Hook;
  void on_gradient();
  void set_hooks();
  void remove_hooks() noexcept;
  std::optional<double> norm() const;

  const SteadyClock clock_;
  const std::vector<NamedTensor> parameters_;
  const bool follows_backward_;
  const std::shared_ptr<GradientWatch*> alive_;  ///< lets a callback that outlives this find that out
  GradientQuestions asked_;
  std::optional<GradientNumbers> numbers_;
  bool has_hooks_ = false;
  std::atomic<bool> follows_ = false;  ///< the end of a backward that is under way
};

}  // namespace tutti::worker
