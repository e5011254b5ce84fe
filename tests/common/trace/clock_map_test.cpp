// SPDX-License-Identifier: Apache-2.0
#include "common/trace/clock_map.h"

#include <gmock/gmock.h>

#include "tests/common/trace/trace_events.h"

namespace tutti::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;

constexpr std::int64_t kWallNs = 1'800'000'000'000'000'000;

ClockReading reading(Duration at, Duration offset, Duration round_trip = 100us) {
  return {TimePoint(at), offset, round_trip};
}

ClockSource source(const std::string& host, std::vector<ClockReading> readings, Duration started = 0s,
                   std::int64_t wall_ns = kWallNs) {
  return {host, wall_ns, TimePoint(started), std::move(readings)};
}

std::int64_t placed(const ClockMap& clocks, const std::string& host, Duration time) {
  return clocks.ns_of(host, TimePoint(time));
}

std::int64_t ns(Duration time) {
  return time.count();
}

TEST(ClockMap, MovesTwoHostsByFiveSecondsTowardsEachOther) {
  const std::vector<ClockSource> sources = {source("behind", {reading(10s, 5s)}), source("ahead", {reading(10s, -5s)}),
                                            source("own", {reading(10s, 20us)})};
  const ClockMap clocks(sources);
  EXPECT_EQ(placed(clocks, "behind", 10s), ns(15s));
  EXPECT_EQ(placed(clocks, "ahead", 20s), ns(15s));
  EXPECT_EQ(placed(clocks, "own", 15s), ns(15s));
}

TEST(ClockMap, TakesAnOffsetThatMayBeNoneForNone) {
  const std::vector<ClockSource> sources = {source("own", {reading(1s, 40us), reading(20s, -30us)}),
                                            source("other", {reading(1s, 40us), reading(20s, 60us)})};
  const ClockMap clocks(sources);
  EXPECT_EQ(placed(clocks, "own", 5s), ns(5s));
  EXPECT_EQ(placed(clocks, "other", 20s), ns(20s + 60us));
}

TEST(ClockMap, MovesEvenlyBetweenReadingsAndNotAtAllBeyondThem) {
  const std::vector<ClockSource> sources = {source("node1", {reading(100s, 1s), reading(200s, 1s + 10ms)})};
  const ClockMap clocks(sources);
  EXPECT_EQ(placed(clocks, "node1", 50s), ns(51s));
  EXPECT_EQ(placed(clocks, "node1", 125s), ns(126s + 2'500us));
  EXPECT_EQ(placed(clocks, "node1", 300s), ns(301s + 10ms));
}

TEST(ClockMap, BelievesTheShortestRoundTripOfAMoment) {
  const std::vector<ClockSource> sources = {source("node1", {reading(1s, 5s + 1ms, 3ms), reading(2s, 5s, 80us)}),
                                            source("node1", {reading(3s, 5s + 2ms, 5ms)})};
  const ClockMap clocks(sources);
  const ClockMap::HostClock& clock = clocks.hosts().at("node1");
  ASSERT_EQ(clock.readings.size(), 1u);
  EXPECT_EQ(placed(clocks, "node1", 1s), ns(6s));
  EXPECT_EQ(ClockMap::uncertainty(clock), 40us);
}

// Half a second after the others by the wall clock, though its machine has run for a day longer.
TEST(ClockMap, PlacesAHostWithoutReadingsByItsWallClock) {
  const std::vector<ClockSource> sources = {source("own", {reading(1s, 0s)}, 1s),
                                            source("silent", {}, 24h, kWallNs + ns(500ms))};
  const ClockMap clocks(sources);
  EXPECT_EQ(clocks.hosts().at("silent").by, ClockMap::HostClock::By::kWallClock);
  EXPECT_EQ(placed(clocks, "silent", 24h), ns(1s + 500ms));
  EXPECT_EQ(clocks.wall_ns_of(ns(1s)), kWallNs);
}

TEST(ClockMap, TakesTheFirstProcessHostForTheCoordinatorsWhereNobodyHasRead) {
  const std::vector<ClockSource> sources = {source("node1", {}, 1s), source("node2", {}, 100s, kWallNs + ns(2s))};
  const ClockMap clocks(sources);
  EXPECT_EQ(placed(clocks, "node1", 1s), ns(1s));
  EXPECT_EQ(placed(clocks, "node2", 100s), ns(3s));
}

// What is pushed from a host five seconds ahead, and pulled by one five seconds behind, is summed in between.
TEST(ClockMap, PutsTheEventsOfHostsWhoseClocksAreTenSecondsApartOnOneAxis) {
  const auto us = [](Duration time) { return time / 1us; };
  const auto trace = trace_of(all_of_them(
      traced_process({.role = Role::kWorker, .rank = 0, .host = "ahead"},
                     {traced(us(105s), EventKind::kPushStarted, 1), traced(us(105s + 1ms), EventKind::kChunkSent, 1)},
                     us(104s), {reading(104s, -5s)}),
      traced_process(
          {.role = Role::kWorker, .rank = 1, .host = "behind"},
          {traced(us(95s + 4ms), EventKind::kResultArriving, 1), traced(us(95s + 5ms), EventKind::kChunkReceived, 1)},
          us(94s), {reading(94s, 5s)}),
      traced_process(
          {.role = Role::kServer, .rank = 0, .host = "own"},
          {traced(us(100s + 2ms), EventKind::kPushArrived, 1), traced(us(100s + 3ms), EventKind::kChunkSummed, 1)},
          us(98s), {reading(98s, 0s)})));
  std::vector<std::pair<std::string, double>> begins;
  for (const ShownSlice& slice : trace.slices()) begins.emplace_back(slice.name, slice.ts);
  // Zero is the first process' start, at 98 s.
  EXPECT_THAT(begins, ElementsAre(std::pair("push 0", 2'000'000.0), std::pair("pull 0", 2'004'000.0),
                                  std::pair("sum 0", 2'002'000.0)));
}

}  // namespace
}  // namespace tutti::testing
