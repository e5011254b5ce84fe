// SPDX-License-Identifier: Apache-2.0
// Communication hides behind backward: with the link held at 200 Mbit/s, most bytes are on the wire before the last
// hook fires. The link is the loopback of a network namespace of the test's own, which needs root.
#include <unistd.h>

#include <map>

#include "tests/common/trace/trace_document.h"
#include "tests/worker/training_run.h"

namespace tutti::testing {
namespace {

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
  const TraceDocument shown = TraceDocument::of(trace);
  std::map<std::int64_t, double> last_hook;  // by step
  for (const ShownSlice& backward : shown.slices("rank 0", "backward"))
    last_hook[backward.argument("step")] = backward.end();
  double before = 0, all = 0;
  for (const ShownSlice& push : shown.slices("rank 0", "push")) {
    const auto hook = last_hook.find(push.argument("step"));
    if (hook == last_hook.end()) continue;
    const auto bytes = static_cast<double>(push.argument("bytes"));
    all += bytes;
    if (push.end() < hook->second) before += bytes;
  }
  std::printf("%.0f %% of %.1f MB were on the wire before the last hook\n", 100 * before / all, all / 1e6);
  EXPECT_GT(all, 3 * 6 * 640 * 640 * 4.0);
  EXPECT_GE(before / all, 0.6);
}

}  // namespace
}  // namespace tutti::testing
