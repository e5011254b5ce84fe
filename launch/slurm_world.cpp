// SPDX-License-Identifier: Apache-2.0
#include "launch/slurm_world.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <span>

#include "common/file.h"

namespace tutti::launch {
namespace {

constexpr std::size_t kContributionBytesMax = 1u << 20;

int number(const Environment& environment, const char* name, int otherwise) {
  const auto found = environment.find(name);
  if (found == environment.end()) return otherwise;
  int value = otherwise;
  std::from_chars(found->second.data(), found->second.data() + found->second.size(), value);
  return value;
}

std::string text(const Environment& environment, const char* name) {
  const auto found = environment.find(name);
  return found == environment.end() ? "0" : found->second;
}

}  // namespace

Result<std::unique_ptr<AgentWorld>> SlurmWorld::open(const Environment& environment,
                                                     const std::filesystem::path& shared) {
  std::error_code error;
  std::filesystem::create_directories(shared, error);
  const auto folder = shared / (".meeting-" + text(environment, "SLURM_JOB_ID") + "." +
                                text(environment, "SLURM_STEP_ID") + "." + text(environment, "SLURM_RESTART_COUNT"));
  if (mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) return fail_errno("cannot make " + folder.string(), errno);
  struct stat found = {};
  if (stat(folder.c_str(), &found) != 0 || found.st_uid != geteuid() || (found.st_mode & 077) != 0) {
    return fail(Errc::kAuthentication,
                folder.string() + " can be read by others; the job's secret would pass through it");
  }
  return std::unique_ptr<AgentWorld>(std::make_unique<SlurmWorld>(folder, number(environment, "SLURM_PROCID", 0),
                                                                  number(environment, "SLURM_NTASKS", 1), getppid()));
}

SlurmWorld::SlurmWorld(std::filesystem::path folder, int rank, int size, pid_t launcher)
    : folder_(std::move(folder)), rank_(rank), size_(size), launcher_(launcher) {}

SlurmWorld::~SlurmWorld() {
  std::error_code ignored;
  if (rank_ == 0) std::filesystem::remove_all(folder_, ignored);
}

std::filesystem::path SlurmWorld::file_of(int rank) const {
  return folder_ / (std::to_string(round_) + "." + std::to_string(rank));
}

Result<> SlurmWorld::publish(const std::string& contribution) const {
  // Written aside and renamed: nobody reads half a file.
  const auto path = file_of(rank_);
  const auto aside = path.string() + ".new";
  FileDescriptor file(::open(aside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!file) return fail_errno("cannot write " + aside, errno);
  TUTTI_TRY(write_all(file.get(), std::as_bytes(std::span(contribution)), aside));
  if (rename(aside.c_str(), path.c_str()) != 0) return fail_errno("cannot rename " + aside, errno);
  return {};
}

Result<std::string> SlurmWorld::await(int rank, Deadline deadline) const {
  // Other hosts' files are not announced on a network file system, so that they can only be looked for.
  constexpr timespec kNap = {0, 20'000'000};
  const auto path = file_of(rank);
  while (access(path.c_str(), R_OK) != 0) {
    if (std::chrono::steady_clock::now() >= deadline) {
      return fail(Errc::kTimeout, "agent " + std::to_string(rank) + " of the Slurm step did not write " +
                                      path.string() + "; do all hosts see that folder?");
    }
    nanosleep(&kNap, nullptr);
  }
  return read_file(path.string(), kContributionBytesMax);
}

Result<std::vector<std::string>> SlurmWorld::all_gather(const std::string& contribution, Deadline deadline) {
  TUTTI_TRY(publish(contribution));
  std::vector<std::string> all;
  for (int rank = 0; rank < size_; ++rank) {
    auto one = await(rank, deadline);
    if (!one) return one.error();
    all.push_back(std::move(*one));
  }
  ++round_;
  return all;
}

Result<std::string> SlurmWorld::broadcast(const std::string& contribution, Deadline deadline) {
  if (rank_ == 0) TUTTI_TRY(publish(contribution));
  auto bytes = await(0, deadline);
  ++round_;
  return bytes;
}

int SlurmWorld::leave(int exit_code, Deadline deadline) {
  // The first agent stays until the others have read what they needed: it takes the folder away. They wait for nobody.
  (void)publish({});
  for (int rank = 1; rank_ == 0 && rank < size_; ++rank) {
    if (std::ranges::find(lost_, rank) == lost_.end()) (void)await(rank, deadline);
  }
  return exit_code;
}

}  // namespace tutti::launch
