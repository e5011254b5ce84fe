// SPDX-License-Identifier: Apache-2.0
// The part of DataParallelImpl that compares all ranks' parameters.
#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "common/crc32c.h"
#include "tutti/error.h"
#include "worker/checkpoints.h"
#include "worker/data_parallel_impl.h"

namespace tutti::worker {

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
