// SPDX-License-Identifier: Apache-2.0
// A run of so many minutes whose workers and shards are killed at random, with a mean gap of ten seconds. It has to end
// with the bits of an undisturbed one, and its processes must not grow. Prints what it drew its kills from and what it
// found; exits with 0 where all of it holds.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <sstream>

#include "tests/chaos/chaos_run.h"
#include "tests/worker/training_run.h"

namespace tutti::testing {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using Time = std::chrono::steady_clock::time_point;

constexpr int kHoldMs = 40;
constexpr double kStepS = 0.05;  // roughly, with what replacements take
constexpr double kMeanGapS = 10;
constexpr auto kLook = std::chrono::seconds(1);
constexpr auto kGrown = std::chrono::seconds(5);  // the age at which a process has all that it needs
constexpr double kGrowthMax = 0.05;

struct Usage {
  double descriptors = 0, threads = 0, memory_kb = 0;
};

double status_of(pid_t pid, const std::string& key) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(key + ":")) return std::stod(line.substr(key.size() + 1));
  }
  return 0;
}

std::optional<Usage> usage_of(pid_t pid) {
  std::error_code error;
  const fs::directory_iterator descriptors("/proc/" + std::to_string(pid) + "/fd", error);
  if (error) return std::nullopt;
  Usage usage{static_cast<double>(std::distance(descriptors, fs::directory_iterator())), status_of(pid, "Threads"),
              status_of(pid, "VmRSS")};
  if (usage.threads == 0 || usage.memory_kb == 0) return std::nullopt;
  return usage;
}

/// What the processes of each kind use, over time.
class Growth {
 public:
  void look(const RunTutti& run) {
    const Time now = std::chrono::steady_clock::now();
    for (const auto& [kind, command] : kKinds) {
      for (const MarkedProcess& process : run.processes(bin_folder() + command)) {
        const Time born = born_.try_emplace(process.pid, now).first->second;
        const auto usage = usage_of(process.pid);
        if (usage && now - born >= kGrown) seen_[kind].push_back(*usage);
      }
    }
  }

  /// Prints the medians of the first and of the last third, and says whether none has grown.
  bool report() const {
    bool good = true;
    for (const auto& [kind, samples] : seen_) {
      for (const auto& [name, field] : kFields) {
        const std::size_t third = samples.size() / 3;
        if (third == 0) continue;
        const double first = median({samples.data(), third}, field);
        const double last = median({samples.data() + samples.size() - third, third}, field);
        const double growth = last / first - 1;
        fmt::print("{} {}: {} -> {} ({:+.1f} %)\n", kind, name, first, last, growth * 100);
        good = good && growth <= kGrowthMax;
      }
    }
    return good && seen_.size() >= 2;
  }

 private:
  using Field = double Usage::*;
  inline static const std::map<std::string, std::string> kKinds{
      {"agent", "/tutti run"}, {"shard", "/tutti server"}, {"worker", "/test_chaos"}};
  inline static const std::map<std::string, Field> kFields{
      {"descriptors", &Usage::descriptors}, {"threads", &Usage::threads}, {"memory in KiB", &Usage::memory_kb}};

  static double median(std::span<const Usage> samples, Field field) {
    std::vector<double> values;
    for (const Usage& usage : samples) values.push_back(usage.*field);
    std::ranges::nth_element(values, values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2));
    return values[values.size() / 2];
  }

  std::map<pid_t, Time> born_;
  std::map<std::string, std::vector<Usage>> seen_;
};

/// Kills one process after the other until the run has ended.
class Killer {
 public:
  explicit Killer(unsigned seed) : random_(seed) {}

  std::optional<int> torment(ChaosRun& run, Growth& growth) {
    run.reaches(kStepsAround);  // a process that dies before anybody has joined ends the run
    Time due = next();
    while (true) {
      if (const auto code = run.finish(kLook)) return code;
      growth.look(run.run());
      if (std::chrono::steady_clock::now() < due) continue;
      due = next();
      strike(run.run());
    }
  }
  int workers() const { return workers_; }
  int shards() const { return shards_; }

 private:
  Time next() {
    const double gap = std::exponential_distribution<double>(1 / kMeanGapS)(random_);
    return std::chrono::steady_clock::now() + milliseconds(static_cast<int>(gap * 1000));
  }
  void strike(const RunTutti& run) {
    const auto workers = run.processes(bin_folder() + "/test_chaos");
    const auto shards = run.processes(bin_folder() + "/tutti server");
    const std::size_t count = workers.size() + shards.size();
    if (count == 0) return;
    const std::size_t drawn = random_() % count;
    const bool is_worker = drawn < workers.size();
    const pid_t pid = is_worker ? workers[drawn].pid : shards[drawn - workers.size()].pid;
    if (::kill(pid, SIGKILL) == 0) ++(is_worker ? workers_ : shards_);
  }

  std::mt19937 random_;
  int workers_ = 0, shards_ = 0;
};

struct Arguments {
  double minutes = 1;
  std::string exchange = "ps";
  unsigned seed = std::random_device()();
};

bool soak(const Arguments& arguments) {
  ChaosOptions options{.exchange = arguments.exchange, .shards = arguments.exchange == "ps" ? 2 : 0};
  options.hold_ms = kHoldMs;
  options.steps = std::max<std::int64_t>(1, std::llround(arguments.minutes * 60 / kStepS / 50)) * 50;
  fmt::print("soak exchange={} steps={} seed={}\n", options.exchange, options.steps, arguments.seed);
  std::fflush(stdout);
  Killer killer(arguments.seed);
  Growth growth;
  const std::int64_t begin = monotonic_ns();
  ChaosRun run(options);
  const auto code = killer.torment(run, growth);
  const double minutes = static_cast<double>(monotonic_ns() - begin) / 60e9;
  const std::size_t replaced = count(run.err(), "begins with a new process");
  const bool same = value_of(run.run().out(), "hash") == undisturbed_hash(options);
  fmt::print("measured row=soak exchange={} minutes={:.1f} kills={} workers={} shards={} replaced={} code={} SHA={}\n",
             options.exchange, minutes, killer.workers() + killer.shards(), killer.workers(), killer.shards(), replaced,
             code.value_or(-1), same ? "yes" : "no");
  const bool steady = growth.report();
  if (code != 0 || !same) fmt::print("{}\n", run.err());
  return code == 0 && same && steady && killer.workers() + killer.shards() > 0;
}

}  // namespace
}  // namespace tutti::testing

int main(int argc, char** argv) {
  tutti::testing::Arguments arguments;
  CLI::App app("kills processes of a run at random");
  app.add_option("minutes", arguments.minutes)->required();
  app.add_option("--exchange", arguments.exchange, "ps or shm");
  app.add_option("--seed", arguments.seed, "of the moments and the victims");
  CLI11_PARSE(app, argc, argv);
  return tutti::testing::soak(arguments) ? 0 : 1;
}
