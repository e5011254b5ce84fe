// SPDX-License-Identifier: Apache-2.0
#include "launch/bench/options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "common/dtype.h"

namespace tutti::bench {
namespace {

constexpr std::uint64_t kBytesMax = std::uint64_t{1} << 30;  // a few copies of it on each rank are still no burden

}  // namespace

void add_options(CLI::App& app, Options& options) {
  app.add_option("bench", options.bench,
                 "allreduce, pushpull (parameter server), step (training), guards (what faults cost beforehand) or "
                 "watching (what it costs to be seen)")
      ->required()
      ->check(CLI::IsMember({"allreduce", "pushpull", "step", "guards", "watching"}));
  app.add_option("--bytes", options.bytes, "sizes of one rank's tensors, by comma")
      ->delimiter(',')
      ->allow_extra_args(false);
  app.add_option("--model", options.model,
                 "of step, guards and watching: mlp (22.6 million parameters) or lenet (1.2 million)")
      ->check(CLI::IsMember({"mlp", "lenet"}))
      ->capture_default_str();
  app.add_option("--transport", options.transport, "auto, or tcp between processes of one host, too")
      ->check(CLI::IsMember({"auto", "tcp"}))
      ->capture_default_str();
  app.add_option("--memory", options.memory, "tensors of allreduce lie in the exchange's own memory, or anywhere")
      ->check(CLI::IsMember({"exchange", "anywhere"}))
      ->capture_default_str();
  app.add_option("--vs", options.vs, "this machine's limits, measured in the same run: memcpy, tcp")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::IsMember({"memcpy", "tcp"}));
  app.add_option("--rounds", options.rounds, "0: as many as take a second, 20 at least")
      ->check(CLI::Range(0, 1'000'000))
      ->capture_default_str();
  app.add_option("--tolerance", options.tolerance, "relative error that a result may have; -1: the exchange's own")
      ->capture_default_str();
  // What `tutti bench guards` and `tutti bench watching` tell their own runs.
  app.add_option("--side", options.side)->check(CLI::IsMember({"guarded", "bare", "watched", "unwatched"}))->group("");
  app.add_option("--turns", options.turns)->group("");
  app.add_flag("--json", options.json, "one object a line instead of a table");
}

Result<> complete(Options& options) {
  if (options.bytes.empty() && options.bench == "allreduce")
    options.bytes = {4u << 10, 256u << 10, 4u << 20, 32u << 20, 128u << 20};
  if (options.bytes.empty() && options.bench == "pushpull") options.bytes = {100'000'000};
  for (const std::uint64_t bytes : options.bytes) {
    if (bytes >= sizeof(float) && bytes % sizeof(float) == 0 && bytes <= kBytesMax) continue;
    return fail(Errc::kUsage,
                fmt::format("--bytes: found {}, expected a multiple of 4 between 4 and {}", bytes, kBytesMax));
  }
  if ((options.bench == "step" || takes_turns(options.bench)) && !options.bytes.empty())
    return fail(Errc::kUsage, "--bytes: steps move the gradients of --model, of whatever size");
  return {};
}

std::vector<std::string> to_arguments(const Options& options) {
  std::vector<std::string> arguments = {options.bench};
  const auto add = [&arguments](std::string option, std::string value) {
    arguments.push_back(std::move(option));
    arguments.push_back(std::move(value));
  };
  if (!options.bytes.empty()) add("--bytes", fmt::format("{}", fmt::join(options.bytes, ",")));
  add("--model", options.model);
  add("--transport", options.transport);
  add("--memory", options.memory);
  if (!options.vs.empty()) add("--vs", fmt::format("{}", fmt::join(options.vs, ",")));
  add("--rounds", std::to_string(options.rounds));
  add("--tolerance", fmt::format("{}", options.tolerance));
  if (!options.side.empty()) add("--side", options.side);
  if (!options.turns.empty()) add("--turns", options.turns);
  if (options.json) arguments.push_back("--json");
  return arguments;
}

Result<Options> parse_options(std::vector<std::string> arguments) {
  CLI::App app("One rank of `tutti bench`", "tutti-bench");
  Options options;
  add_options(app, options);
  std::reverse(arguments.begin(), arguments.end());  // as CLI11 takes them
  try {
    app.parse(arguments);
  } catch (const CLI::ParseError& error) {
    return fail(Errc::kUsage, std::string(error.what()) + "; see tutti bench --help");
  }
  TUTTI_TRY(complete(options));
  return options;
}

}  // namespace tutti::bench
