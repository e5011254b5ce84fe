// SPDX-License-Identifier: Apache-2.0
// The state of a training run as named tensors: parameters, buffers, and the optimizers' state, read through their
// state() and param_groups() in the order of the parameters, so that two equal states are equal tensor by tensor
// (LibTorch's archives are keyed by addresses). Checkpoints, comparison and transfer all go through it. Thread safety:
// the training thread, between steps.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

namespace torch::nn {
class Module;
}
namespace torch::optim {
class Optimizer;
}

namespace tutti {

class StateView {
 public:
  struct Entry {
    std::string name;   ///< "parameters/fc.weight", "buffers/bn.running_mean", "optimizer.0/fc.weight/momentum_buffer"
    at::Tensor tensor;  ///< shares the memory of parameters and buffers
  };
  using Scalars =
      std::map<std::string, std::string>;  ///< "optimizer.0/fc.weight/step" -> "20"; numbers round-trip exactly

  /// `module` and `optimizers` must outlive the view. Errors: UsageError for an optimizer whose state cannot be read
  /// (LBFGS).
  StateView(const torch::nn::Module& module, std::vector<torch::optim::Optimizer*> optimizers);

  std::vector<Entry> tensors() const;
  Scalars scalars() const;
  /// Puts a state of equal names and shapes in place of this one; optimizer state that is not in it is emptied first.
  /// Parameters and buffers are written where they lie. Errors: MismatchError naming the first tensor that is missing,
  /// extra or of another shape or dtype; nothing was changed then.
  void assign(const std::vector<Entry>& tensors, const Scalars& scalars);
  /// SHA-256 over names, dtypes, shapes and bytes of parameters and buffers; the first 16 hex digits name a model in
  /// tutti's output.
  std::string model_hash() const;

 private:
  std::vector<Entry> model_;       // parameters, then buffers
  std::vector<Entry> parameters_;  // each tensor once, under its first name
  std::vector<torch::optim::Optimizer*> optimizers_;
};

}  // namespace tutti
