// SPDX-License-Identifier: Apache-2.0
#include "common/event.h"

#include <gtest/gtest.h>

#include <set>
#include <thread>

namespace tutti {
namespace {

Event event_of_step(std::uint64_t step) {
  Event event;
  event.kind = EventKind::kExchangeDone;
  event.step = step;
  return event;
}

std::vector<std::uint64_t> steps_in(const EventBuffer& buffer) {
  std::vector<std::uint64_t> steps;
  for (const Event& event : buffer.events()) steps.push_back(event.step);
  return steps;
}

TEST(EventBuffer, KeepsTheLastOnesInOrder) {
  EventBuffer buffer(3);
  EXPECT_TRUE(buffer.events().empty());
  buffer.record(event_of_step(1));
  buffer.record(event_of_step(2));
  EXPECT_EQ(steps_in(buffer), (std::vector<std::uint64_t>{1, 2}));
  for (std::uint64_t step = 3; step <= 8; ++step) buffer.record(event_of_step(step));
  EXPECT_EQ(steps_in(buffer), (std::vector<std::uint64_t>{6, 7, 8}));
}

TEST(EventBuffer, TakesEventsFromSeveralThreads) {
  EventBuffer buffer(1000);
  {
    std::jthread one([&] {
      for (int i = 0; i < 400; ++i) buffer.record(event_of_step(1));
    });
    std::jthread two([&] {
      for (int i = 0; i < 400; ++i) buffer.record(event_of_step(2));
    });
  }
  EXPECT_EQ(buffer.events().size(), 800u);
}

TEST(EventTee, HandsEveryEventToEverySink) {
  EventTee tee;
  tee.record(event_of_step(1));
  EventBuffer one(3), two(3);
  tee.add(one);
  tee.add(two);
  tee.record(event_of_step(2));
  EXPECT_EQ(steps_in(one), (std::vector<std::uint64_t>{2}));
  EXPECT_EQ(steps_in(two), (std::vector<std::uint64_t>{2}));
}

TEST(EventKind, HasANameOfItsOwnForEach) {
  std::set<std::string_view> names;
  const int count = static_cast<int>(last_enumerator(EventKind())) + 1;
  for (int kind = 0; kind < count; ++kind) names.insert(name_of(static_cast<EventKind>(kind)));
  EXPECT_EQ(names.size(), static_cast<std::size_t>(count));
  EXPECT_FALSE(names.contains("unknown"));
}

}  // namespace
}  // namespace tutti
