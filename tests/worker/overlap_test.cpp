// SPDX-License-Identifier: Apache-2.0
// Communication hides behind backward: with the link held at 200 Mbit/s, most bytes are on the wire before the last
// hook fires. The link is the loopback of a network namespace of the test's own, which needs root.
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <fstream>
#include <map>

#include "tests/worker/training_run.h"

namespace tutti::testing {
namespace {

struct Step {
  std::vector<std::pair<double, double>> sent;  // time, bytes
  double last_hook = 0;
};

std::map<std::int64_t, Step> read_steps(const std::string& path) {
  std::map<std::int64_t, Step> steps;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const boost::json::object event = boost::json::parse(line).as_object();
    const std::string kind(event.at("kind").as_string());
    const auto time = event.at("time_us").to_number<double>();
    Step& step = steps[event.at("step").to_number<std::int64_t>()];
    if (kind == "chunk_sent") step.sent.emplace_back(time, event.at("bytes").to_number<double>());
    if (kind == "backward_last_hook") step.last_hook = time;
  }
  return steps;
}

TEST(Overlap, MostBytesAreOnTheWireBeforeTheLastHookFires) {
  if (::geteuid() != 0) GTEST_SKIP() << "a network namespace of its own needs root";
  RunTutti place = scratch();
  const std::string trace = place.folder() + "/trace.json";
  const std::string hold =
      "ip link set lo up && tc qdisc add dev lo root tbf rate 200mbit burst 128kb latency 50ms && exec \"$@\"";
  RunTutti run({.arguments = {"unshare",
                              "--net",
                              "sh",
                              "-c",
                              hold,
                              "sh",
                              bin_folder() + "/tutti",
                              "run",
                              "launcher=local",
                              "workers=2",
                              "shards=1",
                              "exchange=ps",
                              "transport=tcp",
                              "bucket_bytes_first=262144",
                              "bucket_bytes_max=2097152",
                              "trace=" + trace,
                              "--",
                              bin_folder() + "/test_tutorial",
                              "--layers",
                              "8192"},
                .environment = one_thread(),
                .program = "/usr/bin/env"});
  ASSERT_EQ(run.wait(std::chrono::seconds(120)), 0) << run.err();
  const auto steps = read_steps(trace);
  double before = 0, all = 0;
  for (const auto& [number, step] : steps) {
    if (step.last_hook == 0) continue;
    for (const auto& [time, bytes] : step.sent) {
      all += bytes;
      if (time < step.last_hook) before += bytes;
    }
  }
  std::printf("%.0f %% of %.1f MB were on the wire before the last hook\n", 100 * before / all, all / 1e6);
  EXPECT_GT(all, 3 * 6 * 640 * 640 * 4.0);
  EXPECT_GE(before / all, 0.6);
}

}  // namespace
}  // namespace tutti::testing
