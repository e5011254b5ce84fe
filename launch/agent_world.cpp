// SPDX-License-Identifier: Apache-2.0
#include "launch/agent_world.h"

#include <unistd.h>

#if TUTTI_WITH_MPI
#include "common/mpi/mpi_world.h"
#endif

namespace tutti::launch {
namespace {

class LocalWorld final : public AgentWorld {
 public:
  explicit LocalWorld(pid_t launcher) : launcher_(launcher) {}
  int rank() const noexcept override { return 0; }
  int size() const noexcept override { return 1; }
  Result<std::vector<std::string>> all_gather(const std::string& contribution, Deadline) override {
    return std::vector<std::string>{contribution};
  }
  Result<std::string> broadcast(const std::string& contribution, Deadline) override { return contribution; }
  int leave(int exit_code, Deadline) override { return exit_code; }
  pid_t launcher() const noexcept override { return launcher_; }

 private:
  const pid_t launcher_;
};

#if TUTTI_WITH_MPI
class MpiAgentWorld final : public AgentWorld {
 public:
  explicit MpiAgentWorld(std::unique_ptr<MpiWorld> mpi) : mpi_(std::move(mpi)) {}
  int rank() const noexcept override { return mpi_->rank(); }
  int size() const noexcept override { return mpi_->size(); }
  Result<std::vector<std::string>> all_gather(const std::string& contribution, Deadline deadline) override {
    return mpi_->all_gather(contribution, deadline);
  }
  Result<std::string> broadcast(const std::string& contribution, Deadline deadline) override {
    return mpi_->broadcast(contribution, 0, deadline);
  }
  int leave(int exit_code, Deadline deadline) override {
    // mpirun ends the others as soon as one exits with another code than 0: first agree, then finalize, then exit.
    const auto agreed = mpi_->agree(exit_code, deadline);
    if (!agreed) return exit_code;
    (void)mpi_->finalize();
    // One of them carries it: mpirun takes a second for its own ending, and another for each further failure.
    return mpi_->rank() == 0 ? *agreed : 0;
  }
  pid_t launcher() const noexcept override { return launcher_; }

 private:
  const std::unique_ptr<MpiWorld> mpi_;
  const pid_t launcher_ = getppid();
};
#endif

}  // namespace

std::unique_ptr<AgentWorld> make_local_world(pid_t launcher) {
  return std::make_unique<LocalWorld>(launcher);
}

Result<std::unique_ptr<AgentWorld>> open_mpi_world() {
#if TUTTI_WITH_MPI
  auto mpi = MpiWorld::init();
  if (!mpi) return std::move(mpi).error().wrap("cannot start MPI");
  return std::unique_ptr<AgentWorld>(std::make_unique<MpiAgentWorld>(std::move(*mpi)));
#else
  return fail(Errc::kUnavailable, "this process is an MPI rank, but tutti was built without MPI");
#endif
}

}  // namespace tutti::launch
