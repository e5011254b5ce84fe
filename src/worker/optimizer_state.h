// SPDX-License-Identifier: Apache-2.0
// What each of LibTorch's optimizers keeps for a parameter, by name. LibTorch offers it only as an archive whose keys
// are addresses. Thread safety: functions without state.
#pragma once

#include <c10/util/Type.h>
#include <torch/optim/adagrad.h>
#include <torch/optim/adam.h>
#include <torch/optim/adamw.h>
#include <torch/optim/lbfgs.h>
#include <torch/optim/rmsprop.h>
#include <torch/optim/sgd.h>

#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "tutti/error.h"

namespace tutti::worker {

struct StateFields {
  std::vector<std::pair<const char*, at::Tensor*>> tensors;  ///< undefined where the optimizer does not keep it
  std::vector<std::pair<const char*, std::int64_t*>> counters;
};

namespace optim = torch::optim;

inline StateFields list(optim::SGDParamState& s) {
  return {{{"momentum_buffer", &s.momentum_buffer()}}, {}};
}

template <class AdamState>
StateFields list_adam(AdamState& s) {
  return {{{"exp_avg", &s.exp_avg()}, {"exp_avg_sq", &s.exp_avg_sq()}, {"max_exp_avg_sq", &s.max_exp_avg_sq()}},
          {{"step", &s.step()}}};
}
inline StateFields list(optim::AdamParamState& s) {
  return list_adam(s);
}
inline StateFields list(optim::AdamWParamState& s) {
  return list_adam(s);
}

inline StateFields list(optim::AdagradParamState& s) {
  return {{{"sum", &s.sum()}}, {{"step", &s.step()}}};
}

inline StateFields list(optim::RMSpropParamState& s) {
  return {{{"square_avg", &s.square_avg()}, {"momentum_buffer", &s.momentum_buffer()}, {"grad_avg", &s.grad_avg()}},
          {{"step", &s.step()}}};
}

/// Calls f with a null pointer of the state type that belongs to the optimizer's type.
template <class F>
auto with_state_type(const optim::Optimizer& optimizer, F f) {
  if (dynamic_cast<const optim::SGD*>(&optimizer)) return f(std::type_identity<optim::SGDParamState>{});
  if (dynamic_cast<const optim::AdamW*>(&optimizer)) return f(std::type_identity<optim::AdamWParamState>{});
  if (dynamic_cast<const optim::Adam*>(&optimizer)) return f(std::type_identity<optim::AdamParamState>{});
  if (dynamic_cast<const optim::Adagrad*>(&optimizer)) return f(std::type_identity<optim::AdagradParamState>{});
  if (dynamic_cast<const optim::RMSprop*>(&optimizer)) return f(std::type_identity<optim::RMSpropParamState>{});
  throw UsageError(
      "the state of optimizer " + c10::demangle(typeid(optimizer).name()) +
      " cannot be read: SGD, Adam, AdamW, Adagrad and RMSprop can; register another one's with Session::state()");
}

/// Throws UsageError for LBFGS: its state cannot be read before its first step, and its closure calls backward as often
/// as it likes.
inline void refuse_lbfgs(const optim::Optimizer& optimizer) {
  if (!dynamic_cast<const optim::LBFGS*>(&optimizer)) return;
  throw UsageError(
      "LBFGS cannot be trained data-parallel: its closure calls backward as often as it likes, and its state cannot be "
      "saved before its first step");
}

/// The fields of `state`, which belongs to `optimizer`. Throws UsageError for a type of the program's own.
inline StateFields fields_of(const optim::Optimizer& optimizer, optim::OptimizerParamState& state) {
  return with_state_type(optimizer,
                         [&state](auto type) { return list(static_cast<typename decltype(type)::type&>(state)); });
}

/// A new state of the type that `optimizer` keeps.
inline std::unique_ptr<optim::OptimizerParamState> new_state_of(const optim::Optimizer& optimizer) {
  return with_state_type(optimizer, [](auto type) -> std::unique_ptr<optim::OptimizerParamState> {
    return std::make_unique<typename decltype(type)::type>();
  });
}

}  // namespace tutti::worker
