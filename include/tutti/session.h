// SPDX-License-Identifier: Apache-2.0
// A Session is this process' place in a run: who it is, who the others are. The same program is alone (./train), an MPI
// rank (mpirun -np 4 ./train) or a managed worker (tutti run -- ./train); the Session finds out which, and joins.
// Thread safety: the training thread.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <functional>
#include <iosfwd>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tutti {

namespace worker {
class SessionImpl;
}

class MpiCommunicator;  // <tutti/mpi.h>

/// What all_reduce() makes of the ranks' numbers.
enum class Combine { kSum, kMean, kMin, kMax };

class Session {
 public:
  /// Joins the run this process was started in. Seeds LibTorch's random numbers, sets deterministic algorithms and the
  /// number of intra-op threads (docs/configuration.md says how to keep them as they are). Errors: ConfigError,
  /// AuthenticationError, PeerLost, Timeout, MismatchError. An Error that no one catches ends the process with its exit
  /// code after one line on stderr.
  Session(int argc, char** argv);
  /// The ranks of an MPI communicator of the program's own, which is duplicated: `tutti::Session session(comm)` with
  /// <tutti/mpi.h>. REQUIRES: MPI_Init was called, and MPI_Finalize comes after the Session is gone.
  explicit Session(const MpiCommunicator& communicator);
  /// Waits until every rank is here, then leaves; after an exception it leaves at once and the run ends. A run that was
  /// asked to stop ends its process here, with exit code 75; not where MPI is the program's own: its main returns 75.
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  int rank() const noexcept;
  int world_size() const noexcept;
  /// Among the ranks of this host: the index of the GPU to use.
  int local_rank() const noexcept;
  /// "rank 1 on node2"
  std::string name() const;
  /// The GPU of this rank where tutti was built with CUDA and there is one, the CPU otherwise.
  c10::Device device() const;
  std::uint64_t seed() const noexcept;
  /// The run was asked to stop (TERM or USR1, to any of its processes), and batches() or consume() has ended early on
  /// every rank: leave out what follows the loop.
  bool stopping() const noexcept;
  /// "local", "shm", "ps", "gloo", "mpi", "nccl", "shm+ps", "shm+gloo" or "shm+mpi"
  std::string_view exchange() const noexcept;
  /// Shards of the parameter server; 0 where there is none.
  int shards() const noexcept;

  // --- the program's own numbers. Collective: every rank makes the same calls in the same order.
  double all_reduce(double value, Combine combine = Combine::kMean);
  /// Element by element, in place; the same number of elements on every rank. Sums run in rank order.
  void all_reduce(std::span<double> values, Combine combine = Combine::kMean);
  std::string broadcast(std::string value, int root = 0);
  /// Every rank's value, by rank.
  std::vector<std::string> all_gather(std::string value);
  void barrier();

  /// A number of the program's own (loss, accuracy) for the progress line and the summary. Costs nothing on ranks that
  /// show none.
  void log(std::string_view name, double value);
  /// State of the program's own that belongs into checkpoints, by a name of its own.
  void state(std::string name, std::function<void(std::ostream&)> save, std::function<void(std::istream&)> load);

  worker::SessionImpl& impl() noexcept { return *impl_; }

 private:
  std::unique_ptr<worker::SessionImpl> impl_;
};

}  // namespace tutti
