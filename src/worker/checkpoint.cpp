// SPDX-License-Identifier: Apache-2.0
#include "worker/checkpoint.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <charconv>
#include <cstring>
#include <span>
#include <sstream>

#include "common/checkpoint_file.h"
#include "worker/data_parallel_impl.h"

namespace tutti::worker {
namespace {

constexpr const char* kScalarPrefix = "scalar/";
constexpr const char* kUserPrefix = "user/";

/// What the checkpoint's bytes point into, kept while they are written.
struct Snapshot {
  std::vector<at::Tensor> tensors;
  std::vector<std::string> user;
  std::vector<NamedBytes> entries;
};

std::span<const std::byte> bytes_of(const at::Tensor& tensor) {
  return {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()};
}

Snapshot take_snapshot(DataParallelImpl& parallel) {
  Snapshot snapshot;
  for (const StateView::Entry& entry : parallel.state().tensors()) {
    snapshot.tensors.push_back(entry.tensor.detach().cpu().contiguous());
    const at::Tensor& tensor = snapshot.tensors.back();
    snapshot.entries.push_back({entry.name, dtype_of(tensor, entry.name), tensor.sizes().vec(), bytes_of(tensor)});
  }
  const std::vector<UserState>& states = parallel.session().user_states();
  snapshot.user.reserve(states.size());
  for (const UserState& state : states) {
    std::ostringstream out;
    state.save(out);
    snapshot.user.push_back(std::move(out).str());
    const std::string& bytes = snapshot.user.back();
    snapshot.entries.push_back({kUserPrefix + state.name,
                                DType::kUInt8,
                                {static_cast<std::int64_t>(bytes.size())},
                                std::as_bytes(std::span(bytes))});
  }
  return snapshot;
}

DataPosition position_to_save(DataParallelImpl& parallel) {
  DataPosition position = parallel.position();
  if (parallel.in_iteration()) {
    ++position.step;
    ++position.step_in_epoch;
  }
  return position;
}

std::string join(const std::vector<float>& values) {
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

std::int64_t integer(const Checkpoint& checkpoint, const std::string& key) {
  const auto found = checkpoint.metadata.find(key);
  std::int64_t value = 0;
  if (found != checkpoint.metadata.end()) {
    const std::string& text = found->second;
    if (std::from_chars(text.data(), text.data() + text.size(), value).ptr == text.data() + text.size()) return value;
  }
  throw DataError(fmt::format("{}: the manifest has no number for \"{}\"", checkpoint.folder, key));
}

void restore_tensors(DataParallelImpl& parallel, const Checkpoint& checkpoint) {
  std::vector<StateView::Entry> entries;
  for (const NamedBytes& named : checkpoint.file.tensors) {
    if (named.name.starts_with(kUserPrefix)) continue;
    at::Tensor tensor = at::empty(named.shape, at::TensorOptions(scalar_type_of(named.dtype)));
    if (!named.bytes.empty()) std::memcpy(tensor.mutable_data_ptr(), named.bytes.data(), named.bytes.size());
    entries.push_back({named.name, std::move(tensor)});
  }
  StateView::Scalars scalars;
  for (const auto& [key, value] : checkpoint.metadata) {
    if (key.starts_with(kScalarPrefix)) scalars[key.substr(std::strlen(kScalarPrefix))] = value;
  }
  parallel.state().assign(entries, scalars);
}

void restore_user_states(DataParallelImpl& parallel, const Checkpoint& checkpoint) {
  for (UserState& state : parallel.session().user_states()) {
    const std::string name = kUserPrefix + state.name;
    const auto& tensors = checkpoint.file.tensors;
    const auto found =
        std::find_if(tensors.begin(), tensors.end(), [&](const NamedBytes& named) { return named.name == name; });
    if (found == tensors.end())
      throw MismatchError(fmt::format("{} holds no state \"{}\"", checkpoint.folder, state.name));
    std::istringstream in(std::string(reinterpret_cast<const char*>(found->bytes.data()), found->bytes.size()));
    state.load(in);
  }
}

/// Before the optimizer's state: a scheduler's step sets learning rates, and those of the checkpoint are to stand at
/// the end.
void replay_schedules(DataParallelImpl& parallel, const Checkpoint& checkpoint) {
  for (std::size_t i = 0; i < parallel.schedules().size(); ++i) {
    const auto found = checkpoint.metadata.find(fmt::format("schedule/{}", i));
    if (found == checkpoint.metadata.end())
      throw MismatchError(fmt::format("{} holds no schedule {}", checkpoint.folder, i));
    std::istringstream in(found->second);
    for (float metric = 0; in >> metric;) parallel.schedules()[i].advance(metric);
  }
}

void agree_on_step(DataParallelImpl& parallel, const std::string& found) {
  SessionImpl& session = parallel.session();
  if (session.member() == nullptr) return;
  const auto all = session.check(session.member()->all_gather(found, session.deadline()));
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    if (all[rank] == all[0]) continue;
    session.raise(fail(Errc::kMismatch,
                       fmt::format("rank {} found checkpoint \"{}\" and rank 0 \"{}\": the folder must be the same on "
                                   "every host",
                                   rank, all[rank], all[0])));
  }
}

}  // namespace

void save(DataParallelImpl& parallel, const std::string& folder) {
  SessionImpl& session = parallel.session();
  session.record(EventKind::kCheckpointBegin);
  std::string failure;
  if (session.identity().rank == 0) {
    const Snapshot snapshot = take_snapshot(parallel);
    const DataPosition position = position_to_save(parallel);
    auto saved = save_checkpoint(folder, static_cast<std::uint64_t>(position.step), snapshot.entries,
                                 metadata_of(parallel, position));
    if (!saved) failure = saved.error().text();
  }
  if (session.member() != nullptr) failure = session.check(session.member()->broadcast(failure, 0, session.deadline()));
  if (!failure.empty()) session.raise(fail(Errc::kIo, "rank 0 could not save: " + failure));
  session.record(EventKind::kCheckpointEnd);
}

bool load(DataParallelImpl& parallel, const std::string& folder) {
  SessionImpl& session = parallel.session();
  const auto newest = session.check(newest_checkpoint(folder));
  Checkpoint checkpoint;
  if (newest) checkpoint = session.check(load_checkpoint(*newest));
  agree_on_step(parallel, newest ? std::to_string(checkpoint.step) : "none");
  if (!newest) return false;

  replay_schedules(parallel, checkpoint);
  restore_tensors(parallel, checkpoint);
  restore_user_states(parallel, checkpoint);
  parallel.position() = {integer(checkpoint, "position/epoch"), integer(checkpoint, "position/step_in_epoch"),
                         integer(checkpoint, "position/step")};
  return true;
}

}  // namespace tutti::worker
