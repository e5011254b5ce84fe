// SPDX-License-Identifier: Apache-2.0
// A non-blocking NCCL communicator: every call returns at once, and whoever waits has a deadline. It ends by abort
// only, whichever way it went: NCCL allows no mixture with destroy, and a destroy waits for peers that may be gone.
// Thread safety: one thread, but abort(), which any may call.
#pragma once

#include <nccl.h>

#include <mutex>
#include <optional>
#include <string>

#include "common/clock.h"
#include "common/result.h"

namespace tutti::worker {

class NcclCommunicator {
 public:
  explicit NcclCommunicator(const Clock& clock) : clock_(clock) {}
  ~NcclCommunicator();
  NcclCommunicator(const NcclCommunicator&) = delete;
  NcclCommunicator& operator=(const NcclCommunicator&) = delete;

  static Result<std::string> new_id();
  /// Collective. The current CUDA device is the rank's.
  Result<> init(const std::string& id, int rank, int world_size, Deadline deadline);
  /// What `status`, which a call on get() returned, comes to: waits while it is in progress.
  Result<> settle(ncclResult_t status, const char* what, Deadline deadline);
  /// The failure NCCL has found by itself, or the cause given to abort().
  Result<> check() const;
  ncclComm_t get() const noexcept { return communicator_; }
  void abort(const Failure& cause) noexcept;

 private:
  Failure failed(ncclResult_t status, const char* what) const;

  const Clock& clock_;
  ncclComm_t communicator_ = nullptr;
  mutable std::mutex mutex_;
  std::optional<Failure> aborted_;  // guarded by mutex_
};

}  // namespace tutti::worker
