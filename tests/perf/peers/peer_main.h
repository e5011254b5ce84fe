// SPDX-License-Identifier: Apache-2.0
// The command line and the output that all peers in C++ share: those of tutti-bench. Thread safety: the main thread.
#pragma once

#include <cstdio>
#include <exception>
#include <string>

#include "launch/bench/options.h"
#include "launch/bench/report.h"

namespace tutti::perf {

inline bench::Options options_or_exit(int argc, char** argv) {
  auto options = bench::parse_options({argv + 1, argv + argc});
  if (options) return *options;
  std::fprintf(stderr, "%s: %s\n", argv[0], options.error().text().c_str());
  std::exit(64);
}

inline void tell(bench::Measurement measurement, const std::string& name, int rank) {
  measurement.exchange = name;
  measurement.transport = "auto";
  if (rank == 0) std::printf("%s\n", bench::to_json(measurement).c_str());
}

}  // namespace tutti::perf
