// SPDX-License-Identifier: Apache-2.0
// The part of DataParallelImpl that stands faults: ranks that are replaced, and parameters that come to differ.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <span>
#include <sstream>
#include <type_traits>
#include <utility>

#include "common/crc32c.h"
#include "tutti/error.h"
#include "worker/checkpoints.h"
#include "worker/data_parallel_impl.h"

namespace tutti::worker {
namespace {

/// The progress' numbers under their names, for both ways.
template <class F>
void for_each_number(ReducerProgress& progress, F f) {
  f("reducer/plan", progress.plan);
  f("reducer/exchanges", progress.exchanges);
  f("reducer/rounds", progress.rounds);
  f("reducer/made_again", progress.made_again);
  f("reducer/skipped", progress.skipped_in_a_row);
}

}  // namespace

// --- ranks that are replaced

void DataParallelImpl::remember_start(bool copies) {
  if (session_.regrouper() == nullptr) return;
  start_count_ = session_.member()->count();
  remember(*this, start_, copies);
}

bool DataParallelImpl::enter_loop() {
  if (session_.is_newcomer()) {
    session_.checkpoints().skip_resume();
    session_.check(session_.regrouper()->enter());
  } else {
    session_.checkpoints().resume(*this);
  }
  in_loop_ = true;
  return std::exchange(began_at_boundary_, false);
}

void DataParallelImpl::begin_boundary() {
  in_boundary_ = true;
  remember_start(/*copies=*/!every_.empty() || !at_end_of_epoch_.empty());
}

void DataParallelImpl::end_boundary() noexcept {
  in_boundary_ = false;
  if (session_.regrouper() != nullptr) start_count_ = session_.member()->count();
}

std::optional<std::string> DataParallelImpl::cannot_go_on() const {
  if (!reducer_ || !exchange_->traits().outlives_losses)
    return fmt::format("exchanges by {}, which cannot go on after a loss", session_.exchange_name());
  if (!in_loop_) return "is not in its training loop";
  if (!reducer_->is_settled()) return "is in its first step";
  if (in_iteration_ && session_.exchange_count() != exchanges_before_) return "has exchanged in this step already";
  return std::nullopt;
}

std::vector<std::span<const std::byte>> DataParallelImpl::give_state() {
  given_ = std::make_unique<Given>();
  Snapshot& snapshot = given_->snapshot;
  snapshot = in_step_ || in_boundary_ ? snapshot_of(*this, start_) : live_snapshot(*this, position_);
  ReducerProgress progress = reducer_->progress();
  snapshot.metadata["boundary"] = in_boundary_ ? "1" : "0";
  snapshot.metadata["collective/scope"] = std::to_string(start_count_.next.scope);
  snapshot.metadata["collective/index"] = std::to_string(start_count_.next.index);
  snapshot.metadata["collective/step"] = std::to_string(start_count_.step);
  snapshot.metadata["reducer/order"] = fmt::format("{}", fmt::join(progress.order, " "));
  for_each_number(progress, [&](const char* name, auto& value) { snapshot.metadata[name] = std::to_string(value); });
  snapshot.metadata["stop"] = session_.agreed().stop ? "1" : "0";
  snapshot.metadata["save"] = session_.agreed().save ? "1" : "0";
  given_->header = make_tensor_header(snapshot.entries, snapshot.metadata).value();
  std::vector<std::span<const std::byte>> parts = {std::as_bytes(std::span(given_->header.bytes))};
  for (const std::size_t entry : given_->header.order) parts.push_back(snapshot.entries[entry].bytes);
  return parts;
}

/// Adam keeps three tensors for each parameter; an optimizer of the program's own may keep more.
std::uint64_t DataParallelImpl::state_bytes_max() const {
  constexpr std::uint64_t kCopiesMax = 16, kOther = 256u << 20;
  std::uint64_t bytes = 0;
  for (const StateView::Entry& entry : state().tensors()) bytes += entry.tensor.nbytes();
  return kCopiesMax * bytes + kOther;
}

Result<> DataParallelImpl::take_state(StateReceiver::State state, const Succession& succession) {
  const std::string source = "the state of a survivor";
  auto file = parse_tensors(std::move(state.bytes), state.size, source);
  TUTTI_TRY(file);
  Checkpoint checkpoint;
  checkpoint.folder = source;
  checkpoint.metadata = file->metadata;
  checkpoint.file = std::move(*file);
  DataParallelImpl* const models[] = {this};
  restore(models, *this, checkpoint);
  const Metadata& metadata = checkpoint.metadata;
  const auto number = [&](const char* key) { return std::stoull(metadata.at(key)); };
  ReducerProgress progress;
  for_each_number(progress, [&](const char* name, auto& value) {
    value = static_cast<std::remove_reference_t<decltype(value)>>(number(name));
  });
  std::istringstream order(metadata.at("reducer/order"));
  for (std::uint32_t parameter = 0; order >> parameter;) progress.order.push_back(parameter);
  TUTTI_TRY(reducer_->open_as(progress, succession, session_.deadline()));
  began_at_boundary_ = number("boundary") != 0;
  session_.decided({.wishes = {.stop = number("stop") != 0, .save = number("save") != 0}});
  const GatherKey next{GatherKey::Kind::kCollective, number("collective/scope"),
                       static_cast<std::uint32_t>(number("collective/index"))};
  session_.member()->count_from({next, number("collective/step")});
  return {};
}

Result<> DataParallelImpl::go_on(Deadline deadline) {
  given_.reset();
  return exchange_->go_on(deadline);
}

// --- parameters that come to differ

// A CRC sees every single flipped bit, and takes a tenth of the time of a cryptographic hash. Nobody attacks here.
std::uint32_t DataParallelImpl::replica_hash() const {
  std::uint32_t hash = 0;
  const auto add = [&](const at::Tensor& parameter) {
    at::Tensor bytes = parameter.detach();
    if (!bytes.is_cpu()) bytes = bytes.cpu();
    if (!bytes.is_non_overlapping_and_dense()) bytes = bytes.contiguous();
    hash = crc32c({static_cast<const std::byte*>(bytes.const_data_ptr()), bytes.nbytes()}, hash);
  };
  for (const NamedTensor& named : trained_parameters()) add(named.tensor);
  for (const NamedTensor& named : frozen_) add(named.tensor);
  return hash;
}

std::vector<std::string> DataParallelImpl::gather_hashes() {
  return session_.check(session_.member()->all_gather(fmt::format("{:08x}", replica_hash()), session_.deadline()));
}

bool DataParallelImpl::is_check_due() const noexcept {
  const int every = session_.config().replica_check_every;
  return reducer_ && every > 0 && (replicas_differ_ || position_.step % every == 0);
}

bool DataParallelImpl::may_save() {
  if (!reducer_ || session_.config().replica_check_every == 0) return true;
  const auto hashes = gather_hashes();
  const ReplicaVerdict verdict = compare_replicas(hashes);
  if (verdict.agree) return true;
  replicas_differ_ = true;
  if (!in_iteration_) halt_by_replicas(verdict, describe(verdict, hashes) + ": nothing is saved");
  return false;
}

bool DataParallelImpl::check_replicas(bool can_rewind) {
  replicas_differ_ = false;
  const auto hashes = gather_hashes();
  const ReplicaVerdict verdict = compare_replicas(hashes);
  if (verdict.agree) return false;
  const std::string what = describe(verdict, hashes);
  const std::int64_t step = position_.step;
  if (!verdict.has_majority()) halt_by_replicas(verdict, what + ": none of them is known to be right");
  if (!can_rewind) halt_by_replicas(verdict, what + ": a loader of the program's own cannot go back");
  if (checkpoint_folder_.empty() || !session_.checkpoints().load(*this, checkpoint_folder_))
    halt_by_replicas(verdict, what + ": there is no checkpoint to go back to");
  if (session_.identity().rank == 0) {
    session_.logger().warning("after step {} the parameters differ: {}; all ranks go back to step {} of {}", step - 1,
                              what, position_.step, checkpoint_folder_);
  }
  return true;
}

// An odd rank tells it, if there is one: the run's last line then begins with its name.
void DataParallelImpl::halt_by_replicas(const ReplicaVerdict& verdict, const std::string& what) {
  const bool is_odd = std::ranges::count(verdict.odd, session_.identity().rank) != 0;
  if (!verdict.odd.empty() && !is_odd) session_.check(session_.member()->barrier(session_.deadline()));
  session_.raise(
      fail(Errc::kBadData, fmt::format("the ranks' parameters differ after step {}: {}", position_.step - 1, what)));
}

}  // namespace tutti::worker
