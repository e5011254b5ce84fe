// SPDX-License-Identifier: Apache-2.0
// The part of Reducer that decides, with all other ranks, what becomes of an exchange's results: they are taken, or the
// step is left out, or the run ends.
#include <ATen/Functions.h>
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "ps/finite.h"
#include "worker/reducer.h"

namespace tutti::worker {

// Where the exchange does not, while the bytes are still in the cache.
void Reducer::look_for_nan(std::size_t p) {
  if (!nan_guard_.looks() || exchange_.traits().looks_for_nan || not_finite_) return;
  const at::Tensor& gradient = tensors_[p].grad();
  const auto number = static_cast<std::uint32_t>(p);
  if (!gradient.is_cpu()) {
    checked_.emplace_back(number, at::isfinite(gradient).all());
    return;
  }
  const auto* bytes = static_cast<const std::byte*>(gradient.const_data_ptr());
  if (!ps::all_finite(planned_[p].dtype, bytes, planned_[p].elements)) not_finite_ = number;
}

std::optional<std::uint32_t> Reducer::first_not_finite() {
  std::vector<at::Tensor> flags;
  for (const auto& [parameter, finite] : checked_) flags.push_back(finite);
  if (flags.empty()) return not_finite_;
  const at::Tensor finite = at::stack(flags).cpu();
  for (std::size_t i = 0; i < checked_.size(); ++i) {
    if (!finite.const_data_ptr<bool>()[i]) return checked_[i].first;
  }
  return std::nullopt;
}

Result<> Reducer::decide() {
  outcome_ = count(votes());
  ask_for_nan();
  const auto ranks = static_cast<std::size_t>(options_.world_size);
  for (int rank = 0; outcome_.done.size() < ranks; ++rank) {
    last_at_work_ = rank;
    if (!std::ranges::binary_search(outcome_.done, rank)) break;
  }
  if (options_.decided) options_.decided(outcome_);
  switch (nan_guard_.judge(outcome_)) {
    case NanGuard::Decision::kHalt:
      if (options_.await_cause && std::max(outcome_.not_finite.front().rank, 0) != options_.rank)
        TUTTI_TRY(options_.await_cause());
      return halted();
    case NanGuard::Decision::kSkip:
      leave_step_out();
      break;
    case NanGuard::Decision::kTake:
      adopt_results();
  }
  buffers_kept_ = false;
  if (!stepped_by_iteration_) keep_buffers();
  return {};
}

void Reducer::ask_for_nan() {
  if (!nan_guard_.looks()) return;
  for (const NotFinite& found : exchange_.not_finite()) {
    const int rank = found.rank ? static_cast<int>(*found.rank) : kOnlyTheSum;
    add_not_finite(outcome_, rank, parameter_at(buckets_->plan(found.bucket), found.element));
  }
}

std::string Reducer::describe(const Outcome::NotFinite& found) const {
  const std::string name =
      found.parameter < parameters_.size() ? parameters_[found.parameter].name : std::to_string(found.parameter);
  if (found.rank == kOnlyTheSum)
    return fmt::format("the sum of the ranks' gradients of parameter \"{}\" is not finite", name);
  return fmt::format("rank {}'s gradient of parameter \"{}\" is not finite", found.rank, name);
}

// Told by rank 0, whose words the user sees, and where it happened.
void Reducer::leave_step_out() {
  record(EventKind::kStepSkipped);
  drop_gradients();
  buffers_.restore();
  for (const Outcome::NotFinite& found : outcome_.not_finite) {
    if (options_.rank != 0 && options_.rank != found.rank) continue;
    log_.warning("{}: step {} is left out on all ranks: {}", options_.name, step(), describe(found));
  }
}

Failure Reducer::halted() const {
  const char* const why = options_.nan_policy == NanPolicy::kHalt ? "" : " in the third step in a row";
  return fail(Errc::kBadData,
              fmt::format("{}: step {}: {}{}", options_.name, step(), describe(outcome_.not_finite.front()), why));
}

void Reducer::drop_gradients() noexcept {
  for (const at::Tensor& tensor : tensors_) tensor.mutable_grad().reset();
}

void Reducer::keep_buffers() {
  if (!nan_guard_.looks() || std::exchange(buffers_kept_, true)) return;
  buffers_.keep();
}

Result<Outcome> Reducer::take_part(Deadline deadline) {
  drop_gradients();
  done_ = true;
  const Result<> finished = finish(deadline);
  done_ = false;
  TUTTI_TRY(finished);
  drop_gradients();
  return outcome_;
}

void Reducer::adopt_results() {
  // A rank 0 without data has buffers of its last step for those that are still at work.
  if (!std::ranges::binary_search(outcome_.done, 0)) buffers_.scatter();
  if (done_) return;
  for (std::size_t p = 0; p < parameters_.size(); ++p) {
    Parameter& parameter = parameters_[p];
    at::Tensor& gradient = parameter.tensor.mutable_grad();
    const bool ours = gradient.defined();
    if (presence()[p] == 0) {
      gradient.reset();
    } else if (!ours) {
      gradient = buckets_->gradient(p);
      if (!std::exchange(parameter.told_missing, true)) {
        log_.warning(
            "{}: parameter \"{}\" got no gradient on rank {} at step {}, but on another rank: it counts as zeros",
            options_.name, parameter.name, options_.rank, step());
      }
    }
  }
}

}  // namespace tutti::worker
