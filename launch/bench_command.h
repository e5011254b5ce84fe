// SPDX-License-Identifier: Apache-2.0
// `tutti bench`: a run like any other whose program is tutti-bench. Thread safety: the main thread.
#pragma once

#include <string>
#include <vector>

#include "common/config.h"
#include "launch/bench/options.h"
#include "launch/run.h"

namespace tutti::launch {

struct BenchCommand {
  bench::Options options;
  int ranks = 0;                       ///< 0: as many as the hosts or mpirun give, else two
  int shards = -1;                     ///< -1: as a run has by default
  std::string exchange;                ///< empty: as a run chooses
  std::vector<std::string> overrides;  ///< "key=value": they win over all of these
};

/// The run that measures: one thread for each rank, on this machine unless hosts or a launcher are given. `program` is
/// tutti-bench's path.
RunRequest bench_request(const BenchCommand& command, const std::string& program, const Environment& environment);
/// Whether the ranks of such a run have to be MPI's own processes.
bool is_embedded(const RunRequest& request);
/// What mpirun is to start then: the program, with the configuration in variables that it hands to every host.
struct EmbeddedProgram {
  std::vector<std::string> line;
  Environment added;
};
EmbeddedProgram embedded_program(const RunRequest& request);

}  // namespace tutti::launch
