// SPDX-License-Identifier: Apache-2.0
#include "worker/checkpoint.h"

#include <fmt/format.h>

#include "common/checkpoint_file.h"
#include "worker/data_parallel_impl.h"
#include "worker/snapshot.h"

namespace tutti::worker {
namespace {

DataPosition position_to_save(DataParallelImpl& parallel) {
  DataPosition position = parallel.position();
  if (parallel.in_iteration()) {
    ++position.step;
    ++position.step_in_epoch;
  }
  return position;
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
  parallel.set_checkpoint_folder(folder);
  if (!parallel.may_save()) return;
  std::string failure;
  if (session.identity().rank == 0) {
    const DataPosition position = position_to_save(parallel);
    const Snapshot snapshot = take_snapshot(parallel, position);
    auto saved =
        save_checkpoint(folder, static_cast<std::uint64_t>(position.step), snapshot.entries, snapshot.metadata);
    if (!saved) failure = saved.error().text();
  }
  if (session.member() != nullptr) failure = session.check(session.member()->broadcast(failure, 0, session.deadline()));
  if (!failure.empty()) session.raise(fail(Errc::kIo, "rank 0 could not save: " + failure));
}

bool load(DataParallelImpl& parallel, const std::string& folder) {
  SessionImpl& session = parallel.session();
  parallel.set_checkpoint_folder(folder);
  const auto newest = session.check(newest_checkpoint(folder));
  Checkpoint checkpoint;
  if (newest) checkpoint = session.check(load_checkpoint(*newest));
  agree_on_step(parallel, newest ? std::to_string(checkpoint.step) : "none");
  if (!newest) return false;

  restore(parallel, checkpoint.file.tensors, checkpoint.metadata, checkpoint.folder);
  return true;
}

}  // namespace tutti::worker
