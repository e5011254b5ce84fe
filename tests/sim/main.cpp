// SPDX-License-Identifier: Apache-2.0
// Runs the worlds of the seeds that it is given, and says how many faults of which kind they saw. Ends with 1 when a
// world broke a promise, and names its seed.
//
//   tutti_sim [--jobs N] [--first] [--tell] SEED|FROM:TO...     --first: ends at the first one
#include <fmt/format.h>

#include <unistd.h>
#include <atomic>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <optional>
#include <string_view>
#include <thread>
#include <vector>

#include "tests/sim/world.h"

namespace {

using tutti::sim::Fault;
using tutti::sim::kFaults;
using tutti::sim::World;

struct Totals {
  std::uint64_t worlds = 0, steps = 0, runs = 0, faults = 0, digest = 0;
  tutti::sim::Faults::Counts counts{};
  tutti::sim::Faults::Counts worlds_with{};
};

// An assertion of a machine's ends the process; its seed has to be told all the same.
thread_local char present_seed[64] = "";

void tell_the_seed(int signal) {
  const auto written = ::write(STDERR_FILENO, present_seed, std::strlen(present_seed));
  static_cast<void>(written);
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

struct Runner {
  std::vector<std::uint64_t> seeds;
  bool tells = false, stops_at_first = false;
  std::atomic<std::size_t> next = 0;
  std::atomic<bool> failed = false;
  std::mutex mutex;
  Totals totals;  // guarded by mutex

  void work() {
    for (std::size_t at = next++; at < seeds.size() && !(failed && stops_at_first); at = next++) run(seeds[at]);
  }

  void run(std::uint64_t seed) {
    fmt::format_to_n(present_seed, sizeof present_seed - 1, "seed {}: crashed\n", seed);
    World world(seed, tells);
    try {
      world.run();
      add(world);
    } catch (const std::exception& broken) {
      const std::lock_guard lock(mutex);
      failed = true;
      fmt::print(stderr, "seed {}: {}\n", seed, broken.what());
    }
  }

  void add(World& world) {
    const std::lock_guard lock(mutex);
    ++totals.worlds;
    totals.steps += world.checks().steps();
    totals.runs += static_cast<std::uint64_t>(world.runs());
    totals.faults += static_cast<std::uint64_t>(world.faults().happened());
    totals.digest += world.checks().digest();
    for (std::size_t i = 0; i < kFaults; ++i) {
      totals.counts[i] += world.faults().counts()[i];
      totals.worlds_with[i] += world.faults().counts()[i] > 0;
    }
  }
};

bool parse_seeds(std::string_view text, std::vector<std::uint64_t>& seeds) {
  std::uint64_t from = 0, to = 0;
  const auto first = std::from_chars(text.data(), text.data() + text.size(), from);
  if (first.ec != std::errc{}) return false;
  to = from + 1;
  const char* const end = text.data() + text.size();
  if (first.ptr != end) {
    if (*first.ptr != ':') return false;
    const auto second = std::from_chars(first.ptr + 1, end, to);
    if (second.ec != std::errc{} || second.ptr != end) return false;
  }
  for (; from < to; ++from) seeds.push_back(from);
  return true;
}

void print(const Totals& totals) {
  fmt::print("{} worlds, {} steps, {} runs, {} faults, digest {:016x}\n", totals.worlds, totals.steps, totals.runs,
             totals.faults, totals.digest);
  for (std::size_t i = 0; i < kFaults; ++i) {
    fmt::print("{:>28}: {:>7} in {:>5} worlds\n", name_of(static_cast<Fault>(i)), totals.counts[i],
               totals.worlds_with[i]);
  }
}

}  // namespace

int main(int argc, char** argv) {
  Runner runner;
  unsigned jobs = 1;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--first") {
      runner.stops_at_first = true;
    } else if (argument == "--tell") {
      runner.tells = true;
    } else if (argument == "--jobs" && i + 1 < argc) {
      jobs = static_cast<unsigned>(std::max(1, std::atoi(argv[++i])));
    } else if (!parse_seeds(argument, runner.seeds)) {
      fmt::print(stderr, "tutti_sim: expected a seed or FROM:TO, found '{}'\n", argument);
      return 64;
    }
  }
  std::signal(SIGABRT, tell_the_seed);
  std::signal(SIGSEGV, tell_the_seed);
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < jobs; ++i) threads.emplace_back([&runner] { runner.work(); });
  for (std::thread& thread : threads) thread.join();
  print(runner.totals);
  return runner.failed ? 1 : 0;
}
