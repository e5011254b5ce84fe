// SPDX-License-Identifier: Apache-2.0
// The bench step: training steps on synthetic input, with the gradients averaged by tutti or, in tests/perf, by a peer.
//
// What is measured. Two models with the same parameters take turns in the same processes, some steps each: one whose
// gradients are averaged, one that every rank trains for itself. The ranks begin each step together. Exposed
// communication is the median of the first less that of the second: what the exchange costs that backward does not
// hide. The learning rate is 0: the optimizer does all of its work, and yet each step's averaged gradients can be told
// in advance, from one backward of each rank's input. Three inputs take turns, so that a result of the step before is
// a wrong one. Thread safety: the training thread.
#pragma once

#include <string>
#include <vector>

#include "launch/bench/report.h"

namespace at {
class Tensor;
}
namespace torch {
namespace nn {
class Module;
}
namespace optim {
class Optimizer;
}
}  // namespace torch

namespace tutti::bench {

/// Who averages the gradients over the ranks.
class Averaging {
 public:
  virtual ~Averaging() = default;
  /// Once, before the first step; both outlive the Averaging's last use.
  virtual void attach(torch::nn::Module& model, torch::optim::Optimizer& optimizer) = 0;
  /// Around the backward of the attached model.
  virtual void before_backward(const at::Tensor& loss) { (void)loss; }
  virtual void after_backward() {}
  /// Returns when every rank has called it.
  virtual void meet() = 0;
  /// Every rank's numbers, one rank behind the other.
  virtual std::vector<double> collect(const std::vector<double>& numbers) = 0;
};

struct StepSettings {
  std::string model;  ///< "mlp", "lenet"
  int rank = 0, ranks = 1;
  int rounds = 0;        ///< averaged steps to measure; 0: 20
  double tolerance = 0;  ///< of an averaged gradient, relative to the ranks' mean magnitude; 0: the same bits
};

/// Collective. Fills what the settings and the times say; the caller adds names. Beside exposed_us: alone_us (the
/// median without exchange), forward_us, backward_us, optimizer_us (medians of the averaged step).
/// Errors: tutti::Error for a gradient that is not the average, naming parameter and element.
Measurement measure_step(Averaging& averaging, const StepSettings& settings);

}  // namespace tutti::bench
