// SPDX-License-Identifier: Apache-2.0
#include "worker/snapshot.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <span>
#include <sstream>
#include <utility>

#include "worker/checkpoint_state.h"
#include "worker/data_parallel_impl.h"

namespace tutti::worker {
namespace {

constexpr const char* kBufferPrefix = "buffers/";

std::vector<std::string> save_user_states(DataParallelImpl& parallel) {
  std::vector<std::string> saved;
  for (const UserState& state : parallel.session().user_states()) {
    std::ostringstream out;
    state.save(out);
    saved.push_back(std::move(out).str());
  }
  return saved;
}

/// `tensors` by name, then the program's own states.
Snapshot make_snapshot(DataParallelImpl& parallel, const std::vector<StateView::Entry>& tensors,
                       std::vector<std::string> user, Metadata metadata) {
  Snapshot snapshot{{}, std::move(user), {}, std::move(metadata)};
  for (const StateView::Entry& entry : tensors) {
    const at::Tensor& tensor = snapshot.tensors.emplace_back(entry.tensor.detach().cpu().contiguous());
    snapshot.entries.push_back({entry.name,
                                dtype_of(tensor, entry.name),
                                tensor.sizes().vec(),
                                {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()}});
  }
  const std::vector<UserState>& states = parallel.session().user_states();
  for (std::size_t i = 0; i < snapshot.user.size(); ++i) {
    const auto bytes = std::as_bytes(std::span(snapshot.user[i]));
    snapshot.entries.push_back(
        {"user/" + states[i].name, DType::kUInt8, {static_cast<std::int64_t>(bytes.size())}, bytes});
  }
  return snapshot;
}

Metadata metadata_at(DataParallelImpl& parallel, const DataPosition& position) {
  DataParallelImpl* const models[] = {&parallel};
  Metadata metadata = metadata_of(models, parallel.session(), position);
  metadata.erase("ready_order");  // the newcomer joins the others' buckets, which are laid out
  metadata.erase("config");       // and has it already
  return metadata;
}

}  // namespace

Snapshot live_snapshot(DataParallelImpl& parallel, const DataPosition& position) {
  return make_snapshot(parallel, parallel.state().tensors(), save_user_states(parallel),
                       metadata_at(parallel, position));
}

StartOfStep begin_to_remember(DataParallelImpl& parallel) {
  StartOfStep start;
  for (const StateView::Entry& entry : parallel.state().tensors()) {
    if (entry.name.starts_with(kBufferPrefix))
      start.buffers.push_back({entry.name, entry.tensor, at::empty_like(entry.tensor)});
  }
  return start;
}

// Runs at every step: the copies' memory is kept from one to the next, and nothing is printed.
void remember(DataParallelImpl& parallel, StartOfStep& start, bool copies) {
  const c10::NoGradGuard no_grad;
  start.position = parallel.position();
  start.has_copies = copies;
  for (StartOfStep::Buffer& buffer : start.buffers) {
    if (copies) buffer.copy.copy_(buffer.live);
  }
  start.learning_rates.clear();
  for (torch::optim::Optimizer* optimizer : parallel.optimizers()) {
    for (const auto& group : optimizer->param_groups()) start.learning_rates.push_back(group.options().get_lr());
  }
  start.schedule_steps.clear();
  for (const Schedule& schedule : parallel.schedules()) start.schedule_steps.push_back(schedule.metrics.size());
  if (copies) start.user = save_user_states(parallel);
}

Snapshot snapshot_of(DataParallelImpl& parallel, const StartOfStep& start) {
  std::vector<StateView::Entry> tensors = parallel.state().tensors();
  for (StateView::Entry& entry : tensors) {
    for (const StartOfStep::Buffer& buffer : start.buffers) {
      if (start.has_copies && entry.name == buffer.name) entry.tensor = buffer.copy;
    }
  }
  Metadata metadata = metadata_at(parallel, start.position);
  std::size_t number = 0;
  for (std::size_t i = 0; i < parallel.optimizers().size(); ++i) {
    for (std::size_t group = 0; group < parallel.optimizers()[i]->param_groups().size(); ++group) {
      metadata[fmt::format("scalar/optimizer.{}/group.{}/lr", i, group)] =
          fmt::format("{}", start.learning_rates[number++]);
    }
  }
  for (std::size_t i = 0; i < parallel.schedules().size(); ++i) {
    const auto metrics = std::span(parallel.schedules()[i].metrics).first(start.schedule_steps[i]);
    metadata[fmt::format("schedule/{}", i)] = fmt::format("{}", fmt::join(metrics, " "));
  }
  return make_snapshot(parallel, tensors, start.has_copies ? start.user : save_user_states(parallel),
                       std::move(metadata));
}

}  // namespace tutti::worker
