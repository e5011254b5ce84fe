// SPDX-License-Identifier: Apache-2.0
#include "tests/chaos/chaos_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <limits>
#include <stdexcept>

#include "common/recording.h"
#include "tests/support/eventually.h"
#include "tests/worker/training_run.h"

namespace tutti::testing {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::seconds kEnd{150};
constexpr std::chrono::milliseconds kStep{100};  // far more than one takes
constexpr const char* kAgentsRecording = "agent-0000.g1.rec";

std::string compute_undisturbed(const ChaosOptions& options) {
  ChaosOptions plain;
  plain.exchange = options.exchange;
  plain.shards = options.shards;
  plain.workers = options.workers;
  plain.hosts = options.hosts;
  plain.optimizer = options.optimizer;
  plain.steps = options.steps;
  RunTutti run(chaos_run(plain, ""));
  EXPECT_EQ(run.wait(kPatience + plain.steps * kStep), 0) << run.err();
  return value_of(run.out(), "hash");
}

std::string name_of(const Strike& strike) {
  if (strike.role == Role::kAgent) return fmt::format("agent-{}", strike.rank);
  if (strike.role == Role::kServer) return "shard";
  return strike.rank < 0 ? "all" : fmt::format("rank-{}", strike.rank);
}

std::string seconds(const std::optional<double>& value) {
  return value ? fmt::format("{:.3f}", *value) : "-";
}

/// The same command on each of so many hosts, as mpirun starts it.
RunTutti::Options on_hosts(int hosts, const Strings& arguments, const Environment& environment) {
  Strings line = {"mpirun", "--bind-to", "none", "--oversubscribe"};
  for (int host = 0; host < hosts; ++host) {
    if (host > 0) line.push_back(":");
    line = line +
           Strings{"-np",
                   "1",
                   "env",
                   "CHAOS_HOST=host" + std::to_string(host),
                   "LD_PRELOAD=" + bin_folder() + "/libtest_redirect.so",
                   bin_folder() + "/tutti"} +
           arguments;
  }
  return {.arguments = line, .environment = environment, .program = "/usr/bin/env"};
}

}  // namespace

RunTutti::Options chaos_run(const ChaosOptions& options, const std::string& marks) {
  Strings arguments = {"run", "workers=" + std::to_string(options.workers), "exchange=" + options.exchange,
                       "shards=" + std::to_string(options.shards)};
  arguments.push_back(options.hosts > 1 ? "interface=lo" : "launcher=" + options.launcher);
  arguments = arguments + options.configuration +
              Strings{"--",        bin_folder() + "/test_chaos",    "--optimizer", options.optimizer,
                      "--hold-ms", std::to_string(options.hold_ms), "--steps",     std::to_string(options.steps)};
  if (!options.slow.empty()) arguments = arguments + Strings{"--slow", options.slow};
  if (!marks.empty()) arguments = arguments + Strings{"--marks", marks};
  for (const std::string& fault : options.faults) arguments = arguments + Strings{"--fault", fault};
  Environment environment = options.environment;
  environment.merge(one_thread());
  if (options.hosts > 1) return on_hosts(options.hosts, arguments + options.arguments, environment);
  return {.arguments = arguments + options.arguments, .environment = environment};
}

std::string undisturbed_hash(const ChaosOptions& options) {
  const std::string program = bin_folder() + "/test_chaos";
  const std::string folder = bin_folder() + "/undisturbed";
  fs::create_directories(folder);
  const bool is_engine = options.exchange == "gloo" || options.exchange == "nccl";
  const std::string order = is_engine ? options.exchange : "ranks";  // in which the sums go
  const std::string path =
      fmt::format("{}/{}-{}-{}-{}-{}-{}", folder, order, options.workers, options.hosts, options.optimizer,
                  options.steps, fs::last_write_time(program).time_since_epoch().count());
  std::string hash;
  if (std::ifstream(path) >> hash) return hash;
  hash = compute_undisturbed(options);
  if (hash.empty()) throw std::runtime_error("an undisturbed run has failed");
  const std::string made = path + "-" + std::to_string(getpid());
  std::ofstream(made) << hash;
  fs::rename(made, path);
  return hash;
}

std::size_t count(const std::string& in, const std::string& text) {
  std::size_t found = 0;
  for (std::size_t at = in.find(text); at != std::string::npos; at = in.find(text, at + 1)) ++found;
  return found;
}

ChaosRun::ChaosRun(ChaosOptions options)
    : options_(std::move(options)),
      marks_folder_(options_.marks.empty() ? folder_.path() : options_.marks),
      marks_(marks_folder_, options_.workers),
      run_(chaos_run(options_, marks_folder_)) {}

bool ChaosRun::reaches(std::int64_t committed) {
  return eventually(kPatience, [&] {
    keep_recording();
    return marks_.committed() >= committed;
  });
}

void ChaosRun::strike(int rank, int signal) {
  strike(Role::kWorker, rank, marks_.pid(rank), signal);
}

void ChaosRun::strike(Role role, int rank, pid_t pid, int signal) {
  ASSERT_GT(pid, 0) << "nobody is there to be struck";
  note({rank, marks_.committed(), monotonic_ns(), role});
  EXPECT_EQ(::kill(pid, signal), 0) << "process " << pid << " is not there";
}

// A run that ends well takes its recordings away; a second name keeps this one.
void ChaosRun::keep_recording() {
  const std::string kept = folder_.file(kAgentsRecording);
  std::error_code ignored;
  if (fs::exists(kept, ignored)) return;
  for (const auto& entry : fs::directory_iterator(run_.folder() + "/runs", ignored)) {
    fs::create_hard_link(entry.path() / "recordings" / kAgentsRecording, kept, ignored);
  }
}

std::optional<int> ChaosRun::finish(std::chrono::milliseconds patience) {
  if (code_) return code_;
  eventually(patience, [&] {
    keep_recording();
    if (!code_) code_ = run_.wait(std::chrono::milliseconds(0));
    return code_.has_value();
  });
  return code_;
}

void ChaosRun::expect_same_bits() {
  EXPECT_EQ(finish(kEnd), 0) << run_.err();
  const std::string hash = value_of(run_.out(), "hash");
  same_bits_ = hash == undisturbed_hash(options_) ? "yes" : "no";
  EXPECT_EQ(same_bits_, "yes") << run_.err();
}

std::vector<std::pair<Strike, Measured>> ChaosRun::measured() const {
  std::vector<Strike> strikes = marks_.strikes();
  strikes.insert(strikes.end(), own_strikes_.begin(), own_strikes_.end());
  std::ranges::sort(strikes, {}, &Strike::ns);
  const auto recording = read_recording(folder_.file(kAgentsRecording));
  const auto diaries = marks_.diaries();
  std::vector<std::pair<Strike, Measured>> all;
  for (std::size_t i = 0; i < strikes.size(); ++i) {
    const std::int64_t until = i + 1 < strikes.size() ? strikes[i + 1].ns : std::numeric_limits<std::int64_t>::max();
    all.emplace_back(strikes[i],
                     measure(diaries, strikes[i], until,
                             recording ? std::span<const Event>(recording->events) : std::span<const Event>()));
  }
  return all;
}

void ChaosRun::report(const std::string& row, std::size_t faults, std::int64_t lost) const {
  const auto all = measured();
  EXPECT_EQ(all.size(), faults) << "faults that struck";
  if (all.empty()) return;
  EXPECT_GE(all.front().second.before, kStepsAround);
  EXPECT_GE(all.back().second.after, kStepsAround);
  for (const auto& [strike, result] : all) {
    EXPECT_LE(result.lost, lost);
    fmt::print("measured row={} exchange={} struck={} step={} D={} R={} L={} SHA={}\n", row, options_.exchange,
               name_of(strike), strike.step, seconds(result.detected_s), seconds(result.resumed_s), result.lost,
               same_bits_);
  }
}

}  // namespace tutti::testing
