// SPDX-License-Identifier: Apache-2.0
#include "launch/bench_command.h"

#include <algorithm>
#include <cctype>

#include "common/mpi/mpi_environment.h"

namespace tutti::launch {
namespace {

constexpr const char* kMpiExchange = "exchange=mpi";

bool overrides_key(const BenchCommand& command, const std::string& key) {
  return std::ranges::any_of(command.overrides, [&](const std::string& word) { return word.starts_with(key + "="); });
}

std::string variable_of(std::string key) {
  std::ranges::transform(key, key.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return "TUTTI_" + key;
}

}  // namespace

RunRequest bench_request(const BenchCommand& command, const std::string& program, const Environment& environment) {
  RunRequest request;
  auto& keys = request.overrides;
  keys.push_back("threads=1");
  const bool placed_by_others = is_mpi_rank(environment) || overrides_key(command, "hosts");
  if (command.ranks > 0)
    keys.push_back("workers=" + std::to_string(command.ranks));
  else if (!placed_by_others)
    keys.push_back("workers=2");
  if (!placed_by_others && !environment.contains("SLURM_JOB_ID")) keys.push_back("launcher=local");
  if (command.shards >= 0) keys.push_back("shards=" + std::to_string(command.shards));
  if (command.options.bench == "pushpull") {
    keys.push_back("exchange=ps");
    keys.push_back("chunk_bytes=4000000");
  }
  if (bench::takes_turns(command.options.bench)) {
    keys.push_back("replacements=3");
    keys.push_back("replica_check_every=100");
    keys.push_back("checkpoint_every=50");
    keys.push_back("progress_s=86400");  // no lines of the loop between those of the bench
  }
  if (!command.exchange.empty()) keys.push_back("exchange=" + command.exchange);
  if (command.options.transport != "auto") keys.push_back("transport=" + command.options.transport);
  keys.insert(keys.end(), command.overrides.begin(), command.overrides.end());
  if (command.options.side == "bare") {  // whatever the user has said of the other
    for (const char* off :
         {"replacements=0", "replica_check_every=0", "checkpoint_every=0", "checkpoint_dir=", "nan_policy=ignore"})
      keys.push_back(off);
  }
  if (command.options.side == "unwatched") keys.push_back("monitor_port=-1");
  if (command.options.side == "watched") {
    keys.push_back("tensorboard=" + command.options.turns + "/tensorboard");
    keys.push_back("trace=" + command.options.turns + "/run.json");
  }
  request.program = bench::to_arguments(command.options);
  request.program.insert(request.program.begin(), program);
  return request;
}

bool is_embedded(const RunRequest& request) {
  const auto last = std::find_if(request.overrides.rbegin(), request.overrides.rend(),
                                 [](const std::string& word) { return word.starts_with("exchange="); });
  return last != request.overrides.rend() && *last == kMpiExchange;
}

EmbeddedProgram embedded_program(const RunRequest& request) {
  EmbeddedProgram program;
  for (const std::string& word : request.overrides) {
    const std::size_t equals = word.find('=');
    program.added[variable_of(word.substr(0, equals))] = word.substr(equals + 1);
  }
  for (const char* of_the_launch : {"TUTTI_WORKERS", "TUTTI_LAUNCHER", "TUTTI_HOSTS"})
    program.added.erase(of_the_launch);
  for (const auto& [name, value] : program.added) program.line.insert(program.line.end(), {"-x", name});
  program.line.insert(program.line.end(), request.program.begin(), request.program.end());
  return program;
}

}  // namespace tutti::launch
