// SPDX-License-Identifier: Apache-2.0
#include "worker/snapshot.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <iterator>
#include <sstream>

#include "tutti/error.h"
#include "worker/data_parallel_impl.h"

namespace tutti::worker {
namespace {

constexpr const char* kScalarPrefix = "scalar/";
constexpr const char* kUserPrefix = "user/";
constexpr const char* kBufferPrefix = "buffers/";

std::span<const std::byte> bytes_of(const at::Tensor& tensor) {
  return {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()};
}

std::vector<std::string> save_user_states(DataParallelImpl& parallel) {
  std::vector<std::string> saved;
  for (const UserState& state : parallel.session().user_states()) {
    std::ostringstream out;
    state.save(out);
    saved.push_back(std::move(out).str());
  }
  return saved;
}

std::string join(std::span<const float> values) {
  std::string text;
  for (const float value : values) text += fmt::format("{}{}", text.empty() ? "" : " ", value);
  return text;
}

Metadata metadata_of(DataParallelImpl& parallel, const DataPosition& position) {
  Metadata metadata;
  for (const auto& [name, value] : parallel.state().scalars()) metadata[kScalarPrefix + name] = value;
  metadata["position/epoch"] = std::to_string(position.epoch);
  metadata["position/step_in_epoch"] = std::to_string(position.step_in_epoch);
  metadata["position/step"] = std::to_string(position.step);
  metadata["seed"] = std::to_string(parallel.session().seed());
  metadata["world_size"] = std::to_string(parallel.session().identity().world_size);
  for (std::size_t i = 0; i < parallel.schedules().size(); ++i) {
    metadata[fmt::format("schedule/{}", i)] = join(parallel.schedules()[i].metrics);
  }
  return metadata;
}

/// `tensors` by name, then the user's own states.
Snapshot make_snapshot(DataParallelImpl& parallel, std::vector<StateView::Entry> tensors, std::vector<std::string> user,
                       Metadata metadata) {
  Snapshot snapshot{{}, std::move(user), {}, std::move(metadata)};
  for (const StateView::Entry& entry : tensors) {
    snapshot.tensors.push_back(entry.tensor.detach().cpu().contiguous());
    const at::Tensor& tensor = snapshot.tensors.back();
    snapshot.entries.push_back({entry.name, dtype_of(tensor, entry.name), tensor.sizes().vec(), bytes_of(tensor)});
  }
  const std::vector<UserState>& states = parallel.session().user_states();
  for (std::size_t i = 0; i < snapshot.user.size(); ++i) {
    const std::string& bytes = snapshot.user[i];
    snapshot.entries.push_back({kUserPrefix + states[i].name,
                                DType::kUInt8,
                                {static_cast<std::int64_t>(bytes.size())},
                                std::as_bytes(std::span(bytes))});
  }
  return snapshot;
}

std::int64_t integer(const Metadata& metadata, const std::string& key, const std::string& source) {
  const auto found = metadata.find(key);
  std::int64_t value = 0;
  if (found != metadata.end()) {
    const std::string& text = found->second;
    if (std::from_chars(text.data(), text.data() + text.size(), value).ptr == text.data() + text.size()) return value;
  }
  throw DataError(fmt::format("{} has no number for \"{}\"", source, key));
}

void restore_tensors(DataParallelImpl& parallel, std::span<const NamedBytes> named_bytes, const Metadata& metadata) {
  std::vector<StateView::Entry> entries;
  for (const NamedBytes& named : named_bytes) {
    if (named.name.starts_with(kUserPrefix)) continue;
    at::Tensor tensor = at::empty(named.shape, at::TensorOptions(scalar_type_of(named.dtype)));
    if (!named.bytes.empty()) std::memcpy(tensor.mutable_data_ptr(), named.bytes.data(), named.bytes.size());
    entries.push_back({named.name, std::move(tensor)});
  }
  StateView::Scalars scalars;
  for (const auto& [key, value] : metadata) {
    if (key.starts_with(kScalarPrefix)) scalars[key.substr(std::strlen(kScalarPrefix))] = value;
  }
  parallel.state().assign(entries, scalars);
}

void restore_user_states(DataParallelImpl& parallel, std::span<const NamedBytes> entries, const std::string& source) {
  for (UserState& state : parallel.session().user_states()) {
    const std::string name = kUserPrefix + state.name;
    const auto found =
        std::find_if(entries.begin(), entries.end(), [&](const NamedBytes& named) { return named.name == name; });
    if (found == entries.end()) throw MismatchError(fmt::format("{} holds no state \"{}\"", source, state.name));
    std::istringstream in(std::string(reinterpret_cast<const char*>(found->bytes.data()), found->bytes.size()));
    state.load(in);
  }
}

/// Before the optimizer's state: a scheduler's step sets learning rates, and those of the snapshot are to stand at the
/// end. Steps that were made already stay; more of them than the snapshot has cannot be taken back.
void replay_schedules(DataParallelImpl& parallel, const Metadata& metadata, const std::string& source) {
  for (std::size_t i = 0; i < parallel.schedules().size(); ++i) {
    const auto found = metadata.find(fmt::format("schedule/{}", i));
    if (found == metadata.end()) throw MismatchError(fmt::format("{} holds no schedule {}", source, i));
    Schedule& schedule = parallel.schedules()[i];
    std::istringstream in(found->second);
    const std::vector<float> metrics{std::istream_iterator<float>(in), {}};
    const std::size_t made = schedule.metrics.size();
    if (made > metrics.size() || !std::equal(schedule.metrics.begin(), schedule.metrics.end(), metrics.begin())) {
      throw DataError(fmt::format("{}: schedule {} has made {} steps, {} are kept: a scheduler cannot go back", source,
                                  i, made, metrics.size()));
    }
    for (std::size_t step = made; step < metrics.size(); ++step) schedule.advance(metrics[step]);
  }
}

template <class F>
void for_each_group(DataParallelImpl& parallel, F f) {
  for (std::size_t i = 0; i < parallel.optimizers().size(); ++i) {
    auto& groups = parallel.optimizers()[i]->param_groups();
    for (std::size_t g = 0; g < groups.size(); ++g) f(fmt::format("optimizer.{}/group.{}/lr", i, g), groups[g]);
  }
}

}  // namespace

Snapshot take_snapshot(DataParallelImpl& parallel, const DataPosition& position) {
  return make_snapshot(parallel, parallel.state().tensors(), save_user_states(parallel),
                       metadata_of(parallel, position));
}

void restore(DataParallelImpl& parallel, std::span<const NamedBytes> entries, const Metadata& metadata,
             const std::string& source) {
  replay_schedules(parallel, metadata, source);
  restore_tensors(parallel, entries, metadata);
  restore_user_states(parallel, entries, source);
  parallel.set_position({integer(metadata, "position/epoch", source),
                         integer(metadata, "position/step_in_epoch", source),
                         integer(metadata, "position/step", source)});
}

// Runs at every step: the copies' memory is kept from one to the next, and nothing is printed.
void remember(DataParallelImpl& parallel, StartOfStep& start) {
  const c10::NoGradGuard no_grad;
  if (start.buffers.empty()) {
    for (const StateView::Entry& entry : parallel.state().tensors()) {
      if (entry.name.starts_with(kBufferPrefix))
        start.buffers.push_back({entry.name, entry.tensor, at::empty_like(entry.tensor)});
    }
  }
  for (const StartOfStep::Buffer& buffer : start.buffers) buffer.copy.copy_(buffer.live);
  start.learning_rates.clear();
  for (torch::optim::Optimizer* optimizer : parallel.optimizers()) {
    for (const auto& group : optimizer->param_groups()) start.learning_rates.push_back(group.options().get_lr());
  }
  start.schedule_steps.clear();
  for (const Schedule& schedule : parallel.schedules()) start.schedule_steps.push_back(schedule.metrics.size());
  start.user = save_user_states(parallel);
}

Snapshot take_snapshot(DataParallelImpl& parallel, const DataPosition& position, const StartOfStep& start) {
  std::vector<StateView::Entry> tensors = parallel.state().tensors();
  for (StateView::Entry& entry : tensors) {
    for (const StartOfStep::Buffer& buffer : start.buffers) {
      if (entry.name == buffer.name) entry.tensor = buffer.copy;
    }
  }
  Metadata metadata = metadata_of(parallel, position);
  std::size_t group = 0;
  for_each_group(parallel, [&](const std::string& name, const auto&) {
    metadata[kScalarPrefix + name] = fmt::format("{}", start.learning_rates[group++]);
  });
  for (std::size_t i = 0; i < parallel.schedules().size(); ++i) {
    const std::span<const float> metrics(parallel.schedules()[i].metrics);
    metadata[fmt::format("schedule/{}", i)] = join(metrics.first(start.schedule_steps[i]));
  }
  return make_snapshot(parallel, std::move(tensors), start.user, std::move(metadata));
}

}  // namespace tutti::worker
