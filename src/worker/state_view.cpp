// SPDX-License-Identifier: Apache-2.0
#include "tutti/state_view.h"

#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/nn/module.h>

#include <charconv>
#include <set>
#include <unordered_map>

#include "common/secret.h"
#include "tutti/error.h"
#include "worker/optimizer_state.h"

namespace tutti {
namespace {

using Entry = StateView::Entry;
using torch::optim::Optimizer;

std::string describe(const at::Tensor& tensor) {
  return fmt::format("{} [{}]", c10::toString(tensor.scalar_type()), fmt::join(tensor.sizes(), ", "));
}

void hash_into(Sha256& sha, const Entry& entry) {
  const std::string head = entry.name + " " + describe(entry.tensor) + "\n";
  sha.update(std::as_bytes(std::span(head)));
  const at::Tensor tensor = entry.tensor.detach().cpu().contiguous();
  sha.update({static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()});
}

/// Calls f(name, parameter) for each parameter of an optimizer, in the order of its groups.
template <class F>
void for_each_parameter(const Optimizer& optimizer, const std::vector<Entry>& parameters, F f) {
  std::unordered_map<const void*, const std::string*> names;
  for (const Entry& entry : parameters) names.emplace(entry.tensor.unsafeGetTensorImpl(), &entry.name);
  std::size_t unnamed = 0;
  for (const auto& group : optimizer.param_groups()) {
    for (const at::Tensor& parameter : group.params()) {
      const auto found = names.find(parameter.unsafeGetTensorImpl());
      f(found != names.end() ? found->second->substr(sizeof("parameters/") - 1) : fmt::format("parameter{}", unnamed++),
        parameter);
    }
  }
}

template <class Number>
Number number(const StateView::Scalars& scalars, const std::string& name) {
  const auto found = scalars.find(name);
  if (found == scalars.end()) throw MismatchError(fmt::format("the state has no \"{}\"", name));
  Number value{};
  const auto [end, error] = std::from_chars(found->second.data(), found->second.data() + found->second.size(), value);
  if (error == std::errc{} && end == found->second.data() + found->second.size()) return value;
  throw MismatchError(fmt::format("\"{}\" of the state is \"{}\", expected a number", name, found->second));
}

using ByName = std::unordered_map<std::string, at::Tensor>;

void check_against(const std::vector<Entry>& own, const ByName& given) {
  for (const Entry& entry : own) {
    const auto found = given.find(entry.name);
    if (found == given.end())
      throw MismatchError(fmt::format("\"{}\" ({}) is missing in the state", entry.name, describe(entry.tensor)));
    if (found->second.sizes() == entry.tensor.sizes() && found->second.scalar_type() == entry.tensor.scalar_type())
      continue;
    throw MismatchError(fmt::format("\"{}\" is {} in the state and {} in the program", entry.name,
                                    describe(found->second), describe(entry.tensor)));
  }
}

/// Every "parameters/" and "buffers/" entry of the state is one of the program's, and every optimizer's parameter is
/// one of its own.
void check_nothing_extra(const std::vector<Entry>& given, const std::set<std::string>& known) {
  for (const Entry& entry : given) {
    const std::string owner =
        entry.name.starts_with("optimizer.") ? entry.name.substr(0, entry.name.rfind('/')) : entry.name;
    if (!known.contains(owner))
      throw MismatchError(
          fmt::format("\"{}\" ({}) of the state is not in the program", entry.name, describe(entry.tensor)));
  }
}

void assign_optimizer(Optimizer& optimizer, const std::string& prefix, const std::vector<Entry>& parameters,
                      const ByName& tensors, const StateView::Scalars& scalars) {
  optimizer.state().clear();
  for_each_parameter(optimizer, parameters, [&](const std::string& name, const at::Tensor& parameter) {
    if (!scalars.contains(prefix + name)) return;
    auto state = worker::new_state_of(optimizer);
    const worker::StateFields fields = worker::fields_of(optimizer, *state);
    for (const auto& [field, tensor] : fields.tensors) {
      const auto found = tensors.find(prefix + name + "/" + field);
      if (found != tensors.end()) *tensor = found->second.to(parameter.device(), /*non_blocking=*/false, /*copy=*/true);
    }
    for (const auto& [field, counter] : fields.counters)
      *counter = number<std::int64_t>(scalars, prefix + name + "/" + field);
    optimizer.state()[parameter.unsafeGetTensorImpl()] = std::move(state);
  });
  for (std::size_t g = 0; g < optimizer.param_groups().size(); ++g) {
    optimizer.param_groups()[g].options().set_lr(number<double>(scalars, fmt::format("{}group.{}/lr", prefix, g)));
  }
}

}  // namespace

StateView::StateView(const torch::nn::Module& module, std::vector<Optimizer*> optimizers)
    : optimizers_(std::move(optimizers)) {
  for (Optimizer* optimizer : optimizers_) worker::refuse_lbfgs(*optimizer);
  std::set<const void*> seen;
  for (const auto& item : module.named_parameters()) {
    if (seen.insert(item.value().unsafeGetTensorImpl()).second)
      parameters_.push_back({"parameters/" + item.key(), item.value()});
  }
  model_ = parameters_;
  for (const auto& item : module.named_buffers()) {
    if (item.value().defined() && seen.insert(item.value().unsafeGetTensorImpl()).second)
      model_.push_back({"buffers/" + item.key(), item.value()});
  }
}

std::vector<StateView::Entry> StateView::tensors() const {
  std::vector<Entry> all = model_;
  for (std::size_t i = 0; i < optimizers_.size(); ++i) {
    Optimizer& optimizer = *optimizers_[i];
    for_each_parameter(optimizer, parameters_, [&](const std::string& name, const at::Tensor& parameter) {
      const auto state = optimizer.state().find(parameter.unsafeGetTensorImpl());
      if (state == optimizer.state().end()) return;
      for (const auto& [field, tensor] : worker::fields_of(optimizer, *state->second).tensors) {
        if (tensor->defined()) all.push_back({fmt::format("optimizer.{}/{}/{}", i, name, field), *tensor});
      }
    });
  }
  return all;
}

StateView::Scalars StateView::scalars() const {
  Scalars scalars;
  for (std::size_t i = 0; i < optimizers_.size(); ++i) {
    Optimizer& optimizer = *optimizers_[i];
    const std::string prefix = fmt::format("optimizer.{}/", i);
    for_each_parameter(optimizer, parameters_, [&](const std::string& name, const at::Tensor& parameter) {
      const auto state = optimizer.state().find(parameter.unsafeGetTensorImpl());
      if (state == optimizer.state().end()) return;
      scalars[prefix + name] = "kept";
      for (const auto& [field, counter] : worker::fields_of(optimizer, *state->second).counters) {
        scalars[prefix + name + "/" + field] = std::to_string(*counter);
      }
    });
    for (std::size_t g = 0; g < optimizer.param_groups().size(); ++g) {
      scalars[fmt::format("{}group.{}/lr", prefix, g)] =
          fmt::format("{}", optimizer.param_groups()[g].options().get_lr());
    }
  }
  return scalars;
}

void StateView::assign(const std::vector<Entry>& tensors, const Scalars& scalars) {
  const c10::NoGradGuard no_grad;
  ByName given;
  for (const Entry& entry : tensors) given.emplace(entry.name, entry.tensor);
  std::set<std::string> known;
  for (const Entry& entry : model_) known.insert(entry.name);
  for (std::size_t i = 0; i < optimizers_.size(); ++i) {
    for_each_parameter(*optimizers_[i], parameters_, [&](const std::string& name, const at::Tensor&) {
      known.insert(fmt::format("optimizer.{}/{}", i, name));
    });
  }
  check_against(model_, given);
  check_nothing_extra(tensors, known);
  for (const Entry& entry : model_) entry.tensor.variable_data().copy_(given.at(entry.name));
  for (std::size_t i = 0; i < optimizers_.size(); ++i) {
    assign_optimizer(*optimizers_[i], fmt::format("optimizer.{}/", i), parameters_, given, scalars);
  }
}

std::string StateView::model_hash() const {
  Sha256 sha;
  for (const Entry& entry : model_) hash_into(sha, entry);
  return hex(sha.finish());
}

}  // namespace tutti
