// SPDX-License-Identifier: Apache-2.0
// Finds out which of the three ways this process was started in, and joins the run: an inherited descriptor of tutti's
// (managed), then an MPI rank in the environment or a communicator of the user's (embedded), then alone. SLURM_* alone
// means nothing. Thread safety: made and destroyed on the training thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "common/bootstrap.h"
#include "common/clock.h"
#include "common/config.h"
#include "common/control/member.h"
#include "common/host_memory.h"
#include "common/log.h"
#include "common/net/loop.h"
#include "common/result.h"

namespace tutti {
class MpiWorld;
}
namespace tutti::monitor {
class WatchedCoordinator;
}

namespace tutti::worker {

enum class Way { kAlone, kEmbedded, kManaged };

struct Identity {
  Way way = Way::kAlone;
  int rank = 0, world_size = 1;
  int local_rank = 0, local_size = 1;  ///< among the ranks of this host
  int host_index = 0, hosts = 1;       ///< among the hosts of the run, in the order of their ranks
  bool newcomer = false;               ///< takes the place of a process that was lost
  std::string host;
  std::string address = "127.0.0.1";  ///< where the others of the run reach this process
  std::string host_memory;            ///< the keeper of this host's shared memory; empty when alone
};

/// This process as a member of its run. The members are destroyed in reverse order: the loop last but for MPI.
struct Rendezvous {
  Rendezvous();
  ~Rendezvous();
  Rendezvous(Rendezvous&&) noexcept;
  Rendezvous& operator=(Rendezvous&&) noexcept;

  Identity identity;
  RunConfig config;
  std::string recordings;  ///< the folder for this process' recording; empty: none is made
  JobId job{};
  Secret secret;
  std::unique_ptr<MpiWorld> mpi;                             ///< embedded only
  std::unique_ptr<Loop> loop;                                ///< null when alone
  std::optional<StatusPage> status;                          ///< managed only
  std::unique_ptr<monitor::WatchedCoordinator> coordinator;  ///< rank 0 of an embedded run
  std::unique_ptr<SegmentKeeper> keeper;                     ///< the first rank of a host in an embedded run
  std::unique_ptr<Member> member;                            ///< null when alone
};

/// The folder for the recordings of a run that no agent makes one for; `name`: "mpi-8c1f03a1".
std::string recordings_folder(const RunConfig& config, const std::string& name);

/// `mpi`: the user's own communicator, or null. Errors: kConfig, kAuthentication, kUnavailable, kTimeout, kMismatch.
Result<Rendezvous> meet(const Environment& environment, std::unique_ptr<MpiWorld> mpi, const Clock& clock, Logger& log);

}  // namespace tutti::worker
