// SPDX-License-Identifier: Apache-2.0
// Agents under `srun --mpi=none` meet in a folder that all their hosts see: each round every agent writes one file and
// waits for those of the others. The folder and its files can be read by their owner only, and the first agent removes
// them at the end. Thread safety: the main thread only.
#pragma once

#include <filesystem>

#include "launch/agent_world.h"

namespace tutti::launch {

class SlurmWorld final : public AgentWorld {
 public:
  /// `shared` is a folder on a file system that all hosts see. The name of what is made in it comes from the job, its
  /// restart count and the step, so that a requeued job never reads its predecessor's files.
  static Result<std::unique_ptr<AgentWorld>> open(const Environment& environment, const std::filesystem::path& shared);
  SlurmWorld(std::filesystem::path folder, int rank, int size, pid_t launcher);
  ~SlurmWorld() override;

  int rank() const noexcept override { return rank_; }
  int size() const noexcept override { return size_; }
  Result<std::vector<std::string>> all_gather(const std::string& contribution, Deadline deadline) override;
  Result<std::string> broadcast(const std::string& contribution, Deadline deadline) override;
  /// Everyone parts with its own code: a lost host must not keep the others.
  int leave(int exit_code, Deadline deadline) override;
  pid_t launcher() const noexcept override { return launcher_; }
  bool outlives_agents() const noexcept override { return true; }
  void forget(const std::vector<int>& lost) override { lost_ = lost; }

 private:
  std::filesystem::path file_of(int rank) const;
  Result<> publish(const std::string& contribution) const;
  Result<std::string> await(int rank, Deadline deadline) const;

  const std::filesystem::path folder_;
  const int rank_, size_;
  const pid_t launcher_;
  int round_ = 0;
  std::vector<int> lost_;
};

}  // namespace tutti::launch
