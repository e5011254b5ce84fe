// SPDX-License-Identifier: Apache-2.0
// common/mpi: MPI as tutti uses it to start: who am I, who are the others, small agreements. <mpi.h> stays in the
// sources, so that a communicator is named by its Fortran handle (MPI_Comm_c2f), an int on every MPI. Thread safety:
// one thread, the one that made it: an MPI of less than MPI_THREAD_MULTIPLE demands no less.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/mpi/mpi_environment.h"
#include "common/result.h"

namespace tutti {

class MpiWorld {
 public:
  /// MPI_COMM_WORLD, duplicated. Initialises MPI, asking for MPI_THREAD_MULTIPLE, unless the user already did.
  /// Collective.
  static Result<std::unique_ptr<MpiWorld>> init();
  /// A communicator of the user's, duplicated. Collective over it. REQUIRES: MPI is initialised.
  static Result<std::unique_ptr<MpiWorld>> over(int fortran_communicator);
  /// Those ranks that belong, as a world of their own in the same order; null on the others. Collective over all.
  Result<std::unique_ptr<MpiWorld>> part(bool belongs, Deadline deadline);
  /// Gives the communicator back. Never waits, and leaves finalizing to finalize(): other ranks may be gone.
  ~MpiWorld();
  MpiWorld(const MpiWorld&) = delete;
  MpiWorld& operator=(const MpiWorld&) = delete;

  int rank() const noexcept { return rank_; }
  int size() const noexcept { return size_; }
  /// Whether a second thread may call MPI while this one does.
  bool thread_multiple() const noexcept { return thread_multiple_; }
  int fortran_communicator() const noexcept;

  // --- collective: every rank makes the same calls. Errors: kCollective, in MPI's words; kTimeout, after which the
  // world is of no use but its memory stays valid for the messages that may still come.
  /// In rank order; contributions may differ in length.
  Result<std::vector<std::string>> all_gather(const std::string& contribution, Deadline deadline);
  /// Any bytes; `contribution` counts on `root` only.
  Result<std::string> broadcast(const std::string& contribution, int root, Deadline deadline);
  /// The greatest of all ranks' values.
  Result<int> agree(int value, Deadline deadline);

  /// Ends MPI if init() began it. The other verbs must not be called afterwards. Waits for the other ranks.
  Result<> finalize();

 private:
  struct Communicator;  // hides MPI_Comm
  explicit MpiWorld(std::unique_ptr<Communicator> communicator);
  static Result<std::unique_ptr<MpiWorld>> adopt(std::unique_ptr<Communicator> communicator);
  Result<> find_place();

  const std::unique_ptr<Communicator> communicator_;
  int rank_ = 0, size_ = 1;
  bool thread_multiple_ = false;
  bool finalizes_ = false;
};

}  // namespace tutti
