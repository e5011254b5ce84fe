// SPDX-License-Identifier: Apache-2.0
// Members as threads, a coordinator, and loopback between them.
#include "common/control/member.h"

#include <gmock/gmock.h>

#include <atomic>
#include <future>
#include <thread>

#include "common/control/agent_link.h"
#include "common/control/coordinator.h"
#include "common/control/report.h"
#include "tests/common/net/loopback.h"
#include "tests/common/net/relay.h"

namespace tutti::testing {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TimePoint soon() {
  return std::chrono::steady_clock::now() + std::chrono::milliseconds(100);
}
TimePoint late() {
  return std::chrono::steady_clock::now() + kPatience;
}

class Run : public ::testing::Test {
 protected:
  void start(int workers, int servers = 0, int agents = 0) { start(workers, servers, agents, clock); }
  void start(int workers, int servers, int agents, const Clock& coordinators) {
    Coordinator::Options options;
    options.machine.workers = workers;
    options.machine.servers = servers;
    options.machine.agents = agents;
    options.machine.absence = options.machine.timeout = absence;
    options.machine.replacements = absence > Duration::zero() ? 3 : 0;
    options.secret = credentials().secret;
    options.job = credentials().job;
    Coordinator::Callbacks callbacks;
    callbacks.print = [this](const std::string& line) { lines.put(line); };
    callbacks.reported = [this](const MemberId& from, const Report& report) { reported.put({from, report}); };
    callbacks.finished = [this](int code) { finished.put(code); };
    coordinator = Coordinator::start(loop, options, coordinators, Logger::none(), callbacks).value();
  }
  Result<std::unique_ptr<Member>> join(std::int32_t rank, Role role = Role::kWorker, int workers = 0) {
    Member::Options options;
    options.coordinator = relay ? relay->endpoint() : coordinator->endpoint();
    options.absence = absence;
    options.credentials = credentials({role, rank, 1});
    options.host = "node" + std::to_string(rank);
    options.workers = workers;
    return Member::join(loop, options, Logger::none());
  }
  std::unique_ptr<AgentLink> join_as_agent(std::int32_t rank) {
    AgentLink::Options options;
    options.coordinator = relay ? relay->endpoint() : coordinator->endpoint();
    options.absence = absence;
    options.credentials = credentials({Role::kAgent, rank, 1});
    options.host = "node" + std::to_string(rank);
    AgentLink::Callbacks callbacks;
    callbacks.on_shutdown = [this](int code) { shutdowns.put(code); };
    callbacks.on_evict = [this](const MemberId& member) { evicted.put(member); };
    callbacks.on_lost = [this](const Failure& why) { lost.put(why); };
    return AgentLink::join(loop, options, callbacks, Logger::none()).value();
  }
  /// Runs `body` for each rank in a thread of its own.
  void on_each(int workers, const std::function<void(std::int32_t, Member&)>& body) {
    std::vector<std::jthread> threads;
    for (std::int32_t rank = 0; rank < workers; ++rank) {
      threads.emplace_back([this, rank, &body] {
        auto member = join(rank);
        ASSERT_TRUE(member) << member.error().text();
        body(rank, **member);
      });
    }
  }

  SteadyClock clock;
  Mailbox<std::string> lines;
  Mailbox<int> finished;
  Mailbox<std::pair<MemberId, Report>> reported;
  Mailbox<int> shutdowns;
  Mailbox<Failure> lost;
  Mailbox<MemberId> evicted;
  Duration absence{};  // set before start()
  Loop loop;
  std::unique_ptr<Coordinator> coordinator;
  std::unique_ptr<Relay> relay;  // null: nothing stands between members and coordinator
};

TEST_F(Run, GathersBroadcastsAndLeaves) {
  start(4);
  on_each(4, [](std::int32_t rank, Member& member) {
    for (int round = 0; round < 20; ++round) {
      const auto all = member.all_gather(std::to_string(100 * round + rank), late());
      ASSERT_TRUE(all) << all.error().text();
      for (int other = 0; other < 4; ++other) EXPECT_EQ((*all)[other], std::to_string(100 * round + other));
    }
    EXPECT_EQ(member.broadcast("from " + std::to_string(rank), 2, late()).value(), "from 2");
    EXPECT_TRUE(member.barrier(late()));
    EXPECT_TRUE(member.leave(late()));
  });
  EXPECT_EQ(finished.take(), 0);
  EXPECT_EQ(lines.size(), 0u);
}

TEST_F(Run, SharesTheStoreBetweenWorkersAndServers) {
  start(1, 1);
  const auto worker = join(0).value();
  const auto server = join(0, Role::kServer).value();
  auto waiting = std::async(std::launch::async, [&] { return worker->get("address", late()); });
  EXPECT_TRUE(server->set("address", "10.0.0.7:5000"));
  EXPECT_EQ(waiting.get().value(), "10.0.0.7:5000");
  EXPECT_EQ(worker->add("count", 2).value(), 2);
  EXPECT_EQ(server->add("count", 3).value(), 5);
  EXPECT_TRUE(worker->contains({"address", "count"}).value());
  EXPECT_TRUE(worker->erase("address").value());
  EXPECT_FALSE(worker->contains({"address", "count"}).value());
  EXPECT_EQ(worker->get("address", soon()).error().code, Errc::kTimeout);
  EXPECT_EQ(worker->local_address(), "127.0.0.1");
  EXPECT_EQ(worker->generation(), 1u);
}

TEST_F(Run, RecordsQuestionsAndTheirAnswers) {
  start(1);
  EventBuffer events(8);
  const auto member = join(0).value();
  member->record_to(events);
  member->progress(17);
  ASSERT_TRUE(member->set("key", "value"));
  ASSERT_TRUE(member->barrier(late()));
  ASSERT_TRUE(member->leave(late()));
  std::vector<std::pair<EventKind, FrameType>> recorded;
  for (const Event& event : events.events()) {
    recorded.emplace_back(event.kind, static_cast<FrameType>(event.bucket));
    EXPECT_EQ(event.rank, 0);
    EXPECT_EQ(event.step, 17u);
  }
  EXPECT_THAT(recorded, ElementsAre(std::pair(EventKind::kRequestBegin, FrameType::kStoreRequest),
                                    std::pair(EventKind::kRequestEnd, FrameType::kStoreRequest),
                                    std::pair(EventKind::kRequestBegin, FrameType::kContribute),
                                    std::pair(EventKind::kRequestEnd, FrameType::kContribute),
                                    std::pair(EventKind::kRequestBegin, FrameType::kLeave),
                                    std::pair(EventKind::kRequestEnd, FrameType::kLeave)));
}

/// Five seconds ahead of the machine's.
class ClockAhead final : public Clock {
 public:
  TimePoint now() const noexcept override { return SteadyClock().now() + std::chrono::seconds(5); }
};

class EventMailbox final : public EventSink {
 public:
  void record(const Event& event) noexcept override { events.put(event); }
  Mailbox<Event> events;
};

void expect_five_seconds(const std::optional<Event>& event) {
  ASSERT_TRUE(event);
  EXPECT_EQ(event->kind, EventKind::kClockOffset);
  EXPECT_EQ(event->rank, 0);
  const Duration error = Duration(static_cast<std::int64_t>(event->bytes)) - std::chrono::seconds(5);
  EXPECT_GT(event->step, 0u);
  EXPECT_LE(std::chrono::abs(error).count(), static_cast<std::int64_t>(event->step / 2 + 1)) << "half the round trip";
}

TEST_F(Run, RecordsHowFarTheCoordinatorsClockIsAtOnceAndLaterAndAtTheEnd) {
  const ClockAhead ahead;
  EventMailbox trace;
  start(1, 0, 0, ahead);
  auto member = join(0).value();
  member->record_clock_to(trace);
  expect_five_seconds(trace.events.take());
  expect_five_seconds(trace.events.take());  // of its own accord, after a second
  ASSERT_TRUE(member->leave(late()));
  expect_five_seconds(trace.events.take());
  member.reset();
  coordinator.reset();  // before its clock
}

TEST_F(Run, RecordsNoClockWhereNoneIsAskedFor) {
  start(1);
  EventMailbox events;
  const auto member = join(0).value();
  member->record_to(events);
  ASSERT_TRUE(member->leave(late()));
  while (events.events.size() > 0) EXPECT_NE(events.events.take()->kind, EventKind::kClockOffset);
}

TEST_F(Run, TellsAWaiterWhoIsMissing) {
  start(3);
  const auto zero = join(0).value();
  const auto one = join(1).value();
  one->progress(17);
  ASSERT_TRUE(one->set("told", ""));  // behind the progress, on the same connection
  const auto failure = zero->barrier(soon());
  ASSERT_FALSE(failure);
  EXPECT_EQ(failure.error().code, Errc::kTimeout);
  EXPECT_THAT(failure.error().message, HasSubstr("rank 1 on node1 (last at step 17), rank 2 (has not joined)"));
}

TEST_F(Run, RefusesATakenRankAndAnotherWorldSize) {
  start(2);
  const auto zero = join(0, Role::kWorker, 2).value();
  EXPECT_EQ(join(0).error().code, Errc::kMismatch);
  EXPECT_EQ(join(2).error().code, Errc::kMismatch);
  EXPECT_EQ(join(1, Role::kWorker, 3).error().code, Errc::kMismatch);
  EXPECT_TRUE(join(1));
}

TEST_F(Run, RefusesContributionsBeyondAMebibyteButNotUpToIt) {
  start(1);
  const auto member = join(0).value();
  EXPECT_EQ(member->all_gather(std::string(1 << 20, 'x'), late()).error().code, Errc::kUsage);
  EXPECT_TRUE(member->all_gather(std::string((1 << 20) - 256, 'x'), late()));
}

TEST_F(Run, LostWorkerEndsTheOthersWaitsWithACauseThatNamesIt) {
  start(3);
  std::vector<std::unique_ptr<Member>> members;
  for (int rank = 0; rank < 3; ++rank) members.push_back(join(rank).value());
  Mailbox<Failure> told;
  members[1]->on_abort([&](const Failure& why) { told.put(why); });
  members[2]->progress(37);
  auto zero = std::async(std::launch::async, [&] { return members[0]->barrier(late()); });
  auto one = std::async(std::launch::async, [&] { return members[1]->get("never", late()); });
  members[2].reset();
  for (const Failure& why : {zero.get().error(), one.get().error(), *told.take()}) {
    EXPECT_EQ(why.code, Errc::kPeerLost);
    EXPECT_THAT(why.message, HasSubstr("rank 2 on node2 was lost at step 37"));
  }
  EXPECT_TRUE(members[0]->aborted());
  EXPECT_EQ(members[0]->barrier(late()).error().code, Errc::kPeerLost) << "so ends every later wait";
  members.clear();
  EXPECT_EQ(finished.take(), 69);
  EXPECT_THAT(*lines.take(), HasSubstr("rank 2 on node2 was lost at step 37"));
}

TEST_F(Run, ReportedFailureReachesTheOthersThoughItsMemberIsGoneAtOnce) {
  start(2);
  auto zero = join(0).value();
  auto one = join(1).value();
  one->progress(5);
  one->report_failure(fail(Errc::kBadData, "the loss is not a number"));
  one.reset();
  const auto failure = zero->barrier(late());
  EXPECT_EQ(failure.error().code, Errc::kBadData);
  EXPECT_EQ(failure.error().message, "rank 1 on node1 failed at step 5: the loss is not a number");
  zero.reset();
  EXPECT_EQ(finished.take(), 65);
}

TEST_F(Run, LostCoordinatorEndsEveryWait) {
  start(2);
  const auto zero = join(0).value();
  auto waiting = std::async(std::launch::async, [&] { return zero->barrier(late()); });
  Mailbox<Failure> told;
  zero->on_abort([&](const Failure& why) { told.put(why); });
  coordinator.reset();
  EXPECT_EQ(waiting.get().error().code, Errc::kPeerLost);
  EXPECT_THAT(told.take()->message, HasSubstr("lost the coordinator"));
  Mailbox<Failure> told_later;
  zero->on_abort([&](const Failure& why) { told_later.put(why); });
  EXPECT_TRUE(told_later.take()) << "at once when the end came already";
}

TEST_F(Run, ManagedRunEndsWellThroughItsAgents) {
  start(2, 0, 2);
  const auto first = join_as_agent(0);
  const auto second = join_as_agent(1);
  on_each(2, [](std::int32_t, Member& member) { EXPECT_TRUE(member.leave(late())); });
  first->child_exited({Role::kWorker, 0}, 0, 10, "");
  second->child_exited({Role::kWorker, 1}, 0, 10, "");
  EXPECT_EQ(shutdowns.take(), 0);
  EXPECT_EQ(shutdowns.take(), 0);
  EXPECT_EQ(finished.size(), 0u);
  first->done();
  second->done();
  EXPECT_EQ(finished.take(), 0);
}

TEST_F(Run, AgentsReportOfAKilledChildReachesEverybody) {
  start(2, 0, 1);
  const auto agent = join_as_agent(0);
  const auto zero = join(0).value();
  auto one = join(1).value();
  auto waiting = std::async(std::launch::async, [&] { return zero->barrier(late()); });
  one.reset();
  agent->child_exited({Role::kWorker, 1}, 9, 21, "", "had waited 1.204 s for bucket 3");
  EXPECT_THAT(waiting.get().error().message, HasSubstr("rank 1 on node1 was killed by signal 9 (Killed) at step 21"));
  EXPECT_EQ(shutdowns.take(), 70);
  agent->done();
  EXPECT_EQ(finished.take(), 70);
  EXPECT_EQ(shutdowns.size(), 0u) << "an agent is told once";
}

TEST_F(Run, AgentLearnsThatTheCoordinatorIsLost) {
  start(1, 0, 1);
  const auto agent = join_as_agent(0);
  coordinator.reset();
  EXPECT_THAT(lost.take()->message, HasSubstr("lost the coordinator"));
}

TEST_F(Run, ConnectionsThatBreakAreMadeAgainAndNothingIsLostOrHandledTwice) {
  constexpr int kWorkers = 3, kRounds = 200;
  absence = kPatience;
  start(kWorkers, 0, 1);
  relay = std::make_unique<Relay>(coordinator->endpoint());
  const auto agent = join_as_agent(0);
  on_each(kWorkers, [this](std::int32_t rank, Member& member) {
    for (int round = 0; round < kRounds; ++round) {
      if (round > 0 && round % 10 == rank) relay->cut();  // all have joined by then
      ASSERT_TRUE(member.add("count", 1));
      const auto all = member.all_gather(std::to_string(100 * round + rank), late());
      ASSERT_TRUE(all) << all.error().text();
      for (int other = 0; other < kWorkers; ++other) EXPECT_EQ((*all)[other], std::to_string(100 * round + other));
    }
    EXPECT_EQ(member.add("count", 0).value(), kWorkers * kRounds);
    EXPECT_TRUE(member.leave(late()));
  });
  EXPECT_GE(relay->connections(), 20) << "they were cut";
  for (int rank = 0; rank < kWorkers; ++rank) agent->child_exited({Role::kWorker, rank}, 0, kRounds, "");
  EXPECT_EQ(shutdowns.take(), 0);
  agent->done();
  EXPECT_EQ(finished.take(), 0);
  EXPECT_EQ(lines.size(), 0u);
  EXPECT_EQ(lost.size(), 0u);
}

TEST_F(Run, SilentConnectionsAreMadeAgainWhenTheNetworkIsBack) {
  absence = std::chrono::seconds(2);
  start(2, 0, 1);
  relay = std::make_unique<Relay>(coordinator->endpoint());
  const auto agent = join_as_agent(0);
  const auto zero = join(0).value(), one = join(1).value();
  const int before = relay->connections();
  relay->hold(true);
  auto waiting = std::async(std::launch::async, [&] { return zero->get("key", late()); });
  const TimePoint give_up = late();
  while (relay->connections() < before + 3 && std::chrono::steady_clock::now() < give_up)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  relay->hold(false);
  EXPECT_TRUE(one->set("key", "value"));
  EXPECT_EQ(waiting.get().value(), "value");
  EXPECT_FALSE(zero->aborted());
}

Report report_of_step(std::uint64_t step) {
  Report report;
  report.metrics.step = step;
  report.metrics.step_time.add(std::chrono::milliseconds(3));
  report.usage.gpu_utilization = 0.5;
  report.position = {1, 5, 20, 100};
  report.values = {{"loss", 21, 1000, 0.25}};
  return report;
}

TEST_F(Run, ReportsOfMembersAndAgentsReachWhoeverWatches) {
  start(1, 0, 1);
  const auto agent = join_as_agent(0);
  const auto zero = join(0).value();
  loop.run([&] { zero->report(encode(report_of_step(17))); });
  const auto [from, report] = reported.take().value();
  EXPECT_EQ(from, (MemberId{Role::kWorker, 0}));
  EXPECT_EQ(report.metrics.step, 17u);
  EXPECT_EQ(report.metrics.step_time.count(), 1u);
  EXPECT_EQ(report.metrics.step_time.sum, std::chrono::milliseconds(3));
  EXPECT_EQ(report.usage.gpu_utilization, 0.5);
  EXPECT_EQ(report.position.steps, 100);
  ASSERT_EQ(report.values.size(), 1u);
  EXPECT_EQ(report.values[0].name, "loss");
  EXPECT_EQ(report.values[0].value, 0.25);
  loop.run([&] { agent->report(encode(Report())); });
  EXPECT_EQ(reported.take()->first, (MemberId{Role::kAgent, 0}));
}

TEST_F(Run, ReportThatFindsNoConnectionIsDroppedAndNotKept) {
  absence = kPatience;
  start(1, 0, 1);
  relay = std::make_unique<Relay>(coordinator->endpoint());
  const auto agent = join_as_agent(0);
  const auto zero = join(0).value();
  relay->hold(true);
  relay->cut();
  const TimePoint give_up = late();
  while (relay->connections() < 4 && std::chrono::steady_clock::now() < give_up)
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  ASSERT_GE(relay->connections(), 4) << "both have begun to come again, and get no further";
  for (std::uint64_t step = 1; step < 100; ++step) loop.run([&] { zero->report(encode(report_of_step(step))); });
  auto setting = std::async(std::launch::async, [&] { return zero->set("key", "value"); });
  relay->hold(false);
  EXPECT_TRUE(setting.get()) << "what matters is kept";
  loop.run([&] { zero->report(encode(report_of_step(100))); });
  EXPECT_EQ(reported.take()->second.metrics.step, 100u) << "the others are missed by nobody";
}

TEST_F(Run, WishesReachTheMemberThoughTheyCameBeforeItListened) {
  start(2);
  const auto zero = join(0).value();
  EXPECT_EQ(coordinator->ask(Wish::kStop).error().code, Errc::kUsage);
  const auto one = join(1).value();
  ASSERT_TRUE(coordinator->ask(Wish::kCheckpoint));
  ASSERT_TRUE(coordinator->ask(Wish::kStop));
  ASSERT_TRUE(zero->set("told", "")) << "the answer comes behind the wishes";
  ASSERT_TRUE(one->set("told", ""));
  Mailbox<Wish> of_zero, of_one;
  zero->on_wish([&](Wish wish) { of_zero.put(wish); });
  one->on_wish([&](Wish wish) { of_one.put(wish); });
  EXPECT_EQ(of_zero.take(), Wish::kCheckpoint);
  EXPECT_EQ(of_zero.take(), Wish::kStop);
  EXPECT_EQ(of_one.take(), Wish::kStop);
  EXPECT_EQ(of_one.size(), 0u);
  ASSERT_TRUE(coordinator->ask(Wish::kCheckpoint));
  EXPECT_EQ(of_zero.take(), Wish::kCheckpoint);
  zero->on_wish(nullptr);  // nothing of the test's is called after it
  one->on_wish(nullptr);
}

TEST_F(Run, CoordinatorWhoseProcessIsGoneIsNotWaitedFor) {
  absence = kPatience;
  start(1, 0, 1);
  const auto agent = join_as_agent(0);
  coordinator.reset();
  EXPECT_THAT(lost.take()->text(), HasSubstr("lost the coordinator"));
}

TEST_F(Run, WhoWasGivenUpIsToldSoWhenItComesAgain) {
  absence = std::chrono::seconds(1);
  start(2, 0, 1);
  const auto agent = join_as_agent(0);
  const auto zero = join(0).value();
  relay = std::make_unique<Relay>(coordinator->endpoint());
  const auto one = join(1).value();
  Mailbox<Failure> told;
  one->on_abort([&](const Failure& why) { told.put(why); });
  relay->hold(true);
  relay->cut();
  EXPECT_EQ(evicted.take(), (MemberId{Role::kWorker, 1}));
  relay->hold(false);
  const auto why = told.take();
  ASSERT_TRUE(why);
  EXPECT_THAT(why->text(), HasSubstr("rank 1 of generation 1 was given up"));
}

TEST_F(Run, StrangerWithTheSecretButNoJoinIsDropped) {
  start(1);
  RawClient raw(coordinator->endpoint());
  ASSERT_TRUE(raw.shake_hands(credentials({Role::kWorker, 0, 1})));
  FrameHeader header;
  header.type = FrameType::kProgress;
  header.generation = 1;
  header.crc = checksum(header, {}, {});
  raw.write(encode(header));
  EXPECT_TRUE(raw.sees_close());
  EXPECT_TRUE(join(0)) << "the rank is still free";
}

}  // namespace
}  // namespace tutti::testing
