// SPDX-License-Identifier: Apache-2.0
#include "worker/nccl_communicator.h"

#include <fmt/format.h>

#include <cstring>
#include <thread>

namespace tutti::worker {

NcclCommunicator::~NcclCommunicator() {
  abort(fail(Errc::kCancelled, "the exchange is over"));
}

Result<std::string> NcclCommunicator::new_id() {
  ncclUniqueId id;
  const ncclResult_t status = ncclGetUniqueId(&id);
  if (status != ncclSuccess)
    return fail(Errc::kCollective, fmt::format("NCCL: no communicator id: {}", ncclGetErrorString(status)));
  return std::string(id.internal, sizeof id.internal);
}

Result<> NcclCommunicator::init(const std::string& id, int rank, int world_size, Deadline deadline) {
  ncclUniqueId unique;
  if (id.size() != sizeof unique.internal) {
    return fail(Errc::kProtocol,
                fmt::format("NCCL: an id of {} bytes, expected {}", id.size(), sizeof unique.internal));
  }
  std::memcpy(unique.internal, id.data(), id.size());
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  return settle(ncclCommInitRankConfig(&communicator_, world_size, unique, rank, &config), "communicator", deadline);
}

Result<> NcclCommunicator::settle(ncclResult_t status, const char* what, Deadline deadline) {
  while (status == ncclInProgress) {
    TUTTI_TRY(check());
    if (clock_.now() >= deadline) return fail(Errc::kTimeout, fmt::format("NCCL: {} was not ready in time", what));
    if (const ncclResult_t asked = ncclCommGetAsyncError(communicator_, &status); asked != ncclSuccess) status = asked;
    std::this_thread::yield();
  }
  if (status != ncclSuccess) return failed(status, what);
  return {};
}

Result<> NcclCommunicator::check() const {
  const std::lock_guard lock(mutex_);
  if (aborted_) return *aborted_;
  ncclResult_t status = ncclSuccess;
  if (communicator_ == nullptr) return {};
  ncclCommGetAsyncError(communicator_, &status);
  if (status != ncclSuccess && status != ncclInProgress) return failed(status, "communication");
  return {};
}

void NcclCommunicator::abort(const Failure& cause) noexcept {
  const std::lock_guard lock(mutex_);
  if (aborted_) return;
  aborted_ = cause;
  if (communicator_ != nullptr) ncclCommAbort(communicator_);
}

Failure NcclCommunicator::failed(ncclResult_t status, const char* what) const {
  const char* detail = communicator_ != nullptr ? ncclGetLastError(communicator_) : "";
  return fail(Errc::kCollective, fmt::format("NCCL: {}: {} {}", what, ncclGetErrorString(status), detail));
}

}  // namespace tutti::worker
