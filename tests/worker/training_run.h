// SPDX-License-Identifier: Apache-2.0
// Runs of the exacting model (tests/worker/programs), as processes: what they print, and the hash of the parameters
// they end with.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/run_tutti.h"

namespace tutti::testing {

using Strings = std::vector<std::string>;

inline Strings operator+(Strings a, const Strings& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

/// One thread for every process: another number gives other bits, by LibTorch.
inline Environment one_thread() {
  return {{"OMP_NUM_THREADS", "1"},     {"OMPI_ALLOW_RUN_AS_ROOT", "1"},       {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"},
          {"OMPI_MCA_btl", "self,tcp"}, {"OMPI_MCA_btl_tcp_if_include", "lo"}, {"OMPI_MCA_oob_tcp_if_include", "lo"}};
}

inline constexpr std::chrono::seconds kPatience{60};

/// The value behind "key=" in `text`; empty where there is none.
inline std::string value_of(const std::string& text, const std::string& key) {
  const std::size_t at = text.rfind(key + "=");
  if (at == std::string::npos) return "";
  const std::size_t begin = at + key.size() + 1;
  return text.substr(begin, text.find_first_of(" \n", begin) - begin);
}

/// A folder that goes when it does: any run has one.
inline RunTutti scratch() {
  return RunTutti({.arguments = {"--version"}});
}

/// The hash that a finished run printed.
inline std::string hash_of(RunTutti& run) {
  const auto code = run.wait(kPatience);
  EXPECT_EQ(code, 0) << run.out() << run.err();
  const std::string hash = value_of(run.out(), "hash");
  EXPECT_EQ(hash.size(), 64u) << run.out() << run.err();
  return hash;
}

inline std::string exacting() {
  return bin_folder() + "/test_exacting";
}

/// One process that does what `ranks` ranks do, in plain LibTorch.
inline std::string reference_hash(int ranks, const Strings& arguments = {}) {
  RunTutti run({.arguments = Strings{"--reference", std::to_string(ranks)} + arguments,
                .environment = one_thread(),
                .program = exacting()});
  return hash_of(run);
}

/// `tutti run` of the exacting model on this machine.
inline RunTutti::Options managed(int workers, const Strings& configuration, const Strings& arguments = {}) {
  return {.arguments = Strings{"run", "launcher=local", "workers=" + std::to_string(workers)} + configuration +
                       Strings{"--", exacting()} + arguments,
          .environment = one_thread()};
}

/// The model as ranks of mpirun, without agents.
inline RunTutti::Options embedded(int ranks, const Environment& configuration, const Strings& arguments = {}) {
  Environment environment = one_thread();
  environment.insert(configuration.begin(), configuration.end());
  return {
      .arguments = Strings{"mpirun", "-np", std::to_string(ranks), "--bind-to", "none", "--oversubscribe", exacting()} +
                   arguments,
      .environment = environment,
      .program = "/usr/bin/env"};
}

}  // namespace tutti::testing
