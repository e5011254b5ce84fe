// SPDX-License-Identifier: Apache-2.0
#include "worker/checkpoint_state.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/mman.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <new>
#include <sstream>

#include "common/alignment.h"
#include "tutti/version.h"
#include "worker/data_parallel_impl.h"

namespace tutti::worker {
namespace {

constexpr std::string_view kScalarPrefix = "scalar/";
constexpr const char* kUserPrefix = "user/";
constexpr std::size_t kHugePage = 2 << 20;

std::string prefix_of(std::size_t model) {
  return model == 0 ? "" : fmt::format("model.{}/", model);
}

bool belongs_to_another(const std::string& name) {
  return name.starts_with("model.");
}

// --- taking

/// Something to copy: a tensor, or text.
struct Source {
  std::string name;
  at::Tensor tensor;
  std::string text;

  std::size_t bytes() const { return tensor.defined() ? tensor.nbytes() : text.size(); }
  std::size_t room() const { return rounded_up(bytes(), kCacheLineBytes); }
};

std::vector<Source> sources_of(Models models, SessionImpl& session) {
  std::vector<Source> sources;
  for (std::size_t m = 0; m < models.size(); ++m) {
    for (StateView::Entry& entry : models[m]->state().tensors())
      sources.push_back({prefix_of(m) + entry.name, entry.tensor.detach(), ""});
  }
  for (const UserState& state : session.user_states()) {
    std::ostringstream out;
    state.save(out);
    sources.push_back({kUserPrefix + state.name, {}, std::move(out).str()});
  }
  return sources;
}

NamedBytes copy_to(std::span<std::byte> place, const Source& source) {
  if (!source.tensor.defined()) {
    std::ranges::copy(std::as_bytes(std::span(source.text)), place.begin());
    return {source.name, DType::kUInt8, {static_cast<std::int64_t>(place.size())}, place};
  }
  const at::Tensor& tensor = source.tensor;
  if (!place.empty()) at::from_blob(place.data(), tensor.sizes(), tensor.options().device(at::kCPU)).copy_(tensor);
  return {source.name, dtype_of(tensor, source.name), tensor.sizes().vec(), place};
}

template <class Number>
std::string join(const std::vector<Number>& values) {
  return fmt::format("{}", fmt::join(values, " "));
}

DataPosition position_after(DataParallelImpl& iterating) {
  DataPosition position = iterating.position();
  if (iterating.in_iteration()) position.end_step();
  return position.to_go_on_from();
}

/// The position's numbers under their names, for both ways.
template <class F>
void for_each_number(DataPosition& position, F f) {
  f("position/step", position.step);
  f("position/epoch", position.epoch);
  f("position/step_in_epoch", position.step_in_epoch);
  f("position/samples_in_epoch", position.samples_before);
  f("position/samples", position.samples);
  f("position/order_ranks", position.order_ranks);
}

void describe_model(DataParallelImpl& model, const std::string& prefix, Metadata& metadata) {
  for (const auto& [name, value] : model.state().scalars())
    metadata[prefix + std::string(kScalarPrefix) + name] = value;
  const std::vector<Schedule>& schedules = model.schedules();
  for (std::size_t i = 0; i < schedules.size(); ++i)
    metadata[fmt::format("{}schedule/{}", prefix, i)] = join(schedules[i].metrics);
  if (model.reducer() != nullptr) metadata[prefix + "ready_order"] = join(model.reducer()->settled_order());
}

}  // namespace

Metadata metadata_of(Models models, SessionImpl& session, DataPosition position) {
  Metadata metadata = {{"tutti", kVersion},
                       {"seed", std::to_string(session.seed())},
                       {"world_size", std::to_string(session.identity().world_size)},
                       {"models", std::to_string(models.size())},
                       {"config", to_toml(session.config())}};
  for_each_number(position, [&](const char* name, std::int64_t value) { metadata[name] = std::to_string(value); });
  for (std::size_t m = 0; m < models.size(); ++m) describe_model(*models[m], prefix_of(m), metadata);
  return metadata;
}

namespace {

// --- restoring

template <class Number>
Number number(const Checkpoint& checkpoint, const std::string& key) {
  const auto found = checkpoint.metadata.find(key);
  Number value = 0;
  if (found != checkpoint.metadata.end()) {
    const std::string& text = found->second;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error == std::errc{} && end == text.data() + text.size()) return value;
  }
  throw DataError(fmt::format("{}: the manifest has no number for \"{}\"", checkpoint.folder, key));
}

void check_same_program(Models models, SessionImpl& session, const Checkpoint& checkpoint) {
  const auto held = number<std::size_t>(checkpoint, "models");
  if (held != models.size()) {
    throw MismatchError(fmt::format("{} holds {} models, this program has {}", checkpoint.folder, held, models.size()));
  }
  const auto seed = number<std::uint64_t>(checkpoint, "seed");
  if (seed == session.seed()) return;
  throw MismatchError(fmt::format("{} is of a run with seed {}, this one has {}: the data would come in another order",
                                  checkpoint.folder, seed, session.seed()));
}

/// Those that the checkpoint has taken beyond what the program's own load has. Before the optimizer's state: a
/// scheduler's step sets learning rates, and those of the checkpoint are to stand at the end.
void replay(Schedule& schedule, const std::string& name, const Checkpoint& checkpoint) {
  const auto found = checkpoint.metadata.find(name);
  if (found == checkpoint.metadata.end()) throw MismatchError(fmt::format("{} holds no {}", checkpoint.folder, name));
  std::istringstream in(found->second);
  std::vector<float> metrics;
  for (float metric = 0; in >> metric;) metrics.push_back(metric);
  const std::size_t taken = schedule.metrics.size();
  if (taken > metrics.size() || !std::equal(schedule.metrics.begin(), schedule.metrics.end(), metrics.begin())) {
    throw DataError(fmt::format("{} cannot be taken back to {}: the program has stepped the scheduler otherwise", name,
                                checkpoint.folder));
  }
  for (std::size_t i = taken; i < metrics.size(); ++i) schedule.advance(metrics[i]);
}

void restore_tensors(DataParallelImpl& model, const std::string& prefix, const Checkpoint& checkpoint) {
  const auto is_own = [&](const std::string& name) {
    return prefix.empty() ? !belongs_to_another(name) && !name.starts_with(kUserPrefix) : name.starts_with(prefix);
  };
  std::vector<StateView::Entry> entries;
  for (const NamedBytes& named : checkpoint.file.tensors) {
    if (!is_own(named.name)) continue;
    at::Tensor tensor = at::empty(named.shape, at::TensorOptions(scalar_type_of(named.dtype)));
    if (!named.bytes.empty()) std::memcpy(tensor.mutable_data_ptr(), named.bytes.data(), named.bytes.size());
    entries.push_back({named.name.substr(prefix.size()), std::move(tensor)});
  }
  const std::string scalar = prefix + std::string(kScalarPrefix);
  StateView::Scalars scalars;
  for (const auto& [key, value] : checkpoint.metadata) {
    if (key.starts_with(scalar)) scalars[key.substr(scalar.size())] = value;
  }
  model.state().assign(entries, scalars);
}

/// The same buckets as in the run before: sums of some exchanges depend on them.
void restore_plan(DataParallelImpl& model, const std::string& prefix, const Checkpoint& checkpoint) {
  const auto found = checkpoint.metadata.find(prefix + "ready_order");
  if (model.reducer() == nullptr || found == checkpoint.metadata.end() || found->second.empty()) return;
  std::istringstream in(found->second);
  std::vector<std::uint32_t> order;
  for (std::uint32_t parameter = 0; in >> parameter;) order.push_back(parameter);
  SessionImpl& session = model.session();
  session.check(model.reducer()->settle(order, session.deadline()));
}

void restore_user_states(SessionImpl& session, const Checkpoint& checkpoint) {
  for (UserState& state : session.user_states()) {
    const auto& tensors = checkpoint.file.tensors;
    const auto found = std::ranges::find(tensors, kUserPrefix + state.name, &NamedBytes::name);
    if (found == tensors.end())
      throw MismatchError(fmt::format("{} holds no state \"{}\"", checkpoint.folder, state.name));
    std::istringstream in(std::string(reinterpret_cast<const char*>(found->bytes.data()), found->bytes.size()));
    state.load(in);
  }
}

}  // namespace

std::span<std::byte> SnapshotMemory::reserve(std::size_t bytes) {
  if (bytes > size_) {
    const std::size_t size = (bytes + kHugePage - 1) / kHugePage * kHugePage;
    bytes_.reset();  // before the larger one is taken
    size_ = 0;
    bytes_.reset(static_cast<std::byte*>(std::aligned_alloc(kHugePage, size)));
    if (!bytes_) throw std::bad_alloc();
    size_ = size;
    (void)::madvise(bytes_.get(), size, MADV_HUGEPAGE);  // a kernel without them has small ones
  }
  return {bytes_.get(), bytes};
}

void SnapshotMemory::prepare(std::size_t bytes) noexcept {
  try {
    const std::span<std::byte> memory = reserve(bytes);
    for (std::size_t at = 0; at < memory.size(); at += kPageBytes) memory[at] = std::byte{0};
  } catch (const std::bad_alloc&) {
    // The first checkpoint will say so, if it is still true then.
  }
}

namespace {

std::size_t room_for(const std::vector<Source>& sources) {
  std::size_t room = 0;
  for (const Source& source : sources) room += source.room();
  return room;
}

}  // namespace

std::size_t snapshot_bytes(Models models, SessionImpl& session) {
  return room_for(sources_of(models, session));
}

CheckpointContent take_snapshot(Models models, DataParallelImpl& iterating, SnapshotMemory& memory) {
  const c10::NoGradGuard no_grad;
  SessionImpl& session = iterating.session();
  const std::vector<Source> sources = sources_of(models, session);
  std::span<std::byte> place = memory.reserve(room_for(sources));

  const DataPosition position = position_after(iterating);
  CheckpointContent content{static_cast<std::uint64_t>(position.step), {}, metadata_of(models, session, position)};
  for (const Source& source : sources) {
    content.tensors.push_back(copy_to(place.first(source.bytes()), source));
    place = place.subspan(source.room());
  }
  return content;
}

void restore(Models models, DataParallelImpl& iterating, const Checkpoint& checkpoint) {
  SessionImpl& session = iterating.session();
  check_same_program(models, session, checkpoint);
  DataPosition position;
  for_each_number(position,
                  [&](const char* name, std::int64_t& value) { value = number<std::int64_t>(checkpoint, name); });
  for (std::size_t m = 0; m < models.size(); ++m) {
    const std::string prefix = prefix_of(m);
    std::vector<Schedule>& schedules = models[m]->schedules();
    for (std::size_t i = 0; i < schedules.size(); ++i)
      replay(schedules[i], fmt::format("{}schedule/{}", prefix, i), checkpoint);
    restore_tensors(*models[m], prefix, checkpoint);
    restore_plan(*models[m], prefix, checkpoint);
  }
  restore_user_states(session, checkpoint);
  iterating.set_position(position);
}

}  // namespace tutti::worker
