// SPDX-License-Identifier: Apache-2.0
// Drives the coordinator's machine line by line: what members say goes in, and what each of them is told is kept for
// the test to take.
#pragma once

#include <gtest/gtest.h>

#include <csignal>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/control/coordinator_fsm.h"
#include "common/control/resumable_stream.h"

namespace tutti::testing {

constexpr MemberId rank(std::int32_t number) {
  return {Role::kWorker, number};
}
constexpr MemberId shard(std::int32_t number) {
  return {Role::kServer, number};
}
constexpr MemberId agent(std::int32_t number) {
  return {Role::kAgent, number};
}
constexpr int exit_status(int code) {
  return code << 8;
}

inline CoordinatorOptions world(int workers, int servers = 0, int agents = 0) {
  CoordinatorOptions options;
  options.workers = workers;
  options.servers = servers;
  options.agents = agents;
  return options;
}

class Driver {
 public:
  explicit Driver(const CoordinatorOptions& world) : options(world), machine(world) {}

  Result<> join(MemberId who, int workers = 0) {
    Join message;
    message.workers = workers;
    message.host = "node" + std::to_string(who.rank);
    const std::string control = encode(message);
    auto actions = machine.join(who, header(FrameType::kJoin), std::as_bytes(std::span(control)), now);
    if (!actions) return std::move(actions).error();
    take(*actions);
    EXPECT_TRUE(reply(who, FrameType::kJoined).ok);
    return {};
  }
  /// Over a connection of its own, as a process that has joined before.
  Result<> come_again(MemberId who, std::optional<std::uint32_t> generation = std::nullopt) {
    FrameHeader head = header(FrameType::kJoin);
    head.flags = kComesAgain;
    if (generation) head.generation = *generation;
    const std::string control = encode(Join());
    auto actions = machine.join(who, head, std::as_bytes(std::span(control)), now);
    if (!actions) return std::move(actions).error();
    EXPECT_EQ(actions->size(), 1u) << "what it has missed is the shell's to say";
    take(*actions);
    EXPECT_TRUE(reply(who, FrameType::kJoined).ok);
    return {};
  }
  /// The whole world joins: agents, servers, workers.
  void join_all() {
    for (int i = 0; i < options.agents; ++i) EXPECT_TRUE(join(agent(i)));
    for (int i = 0; i < options.servers; ++i) EXPECT_TRUE(join(shard(i)));
    for (int i = 0; i < options.workers; ++i) EXPECT_TRUE(join(rank(i)));
  }

  Result<> frame(MemberId from, FrameType type, const std::string& control, std::uint64_t step = 0,
                 std::optional<std::uint32_t> generation = std::nullopt) {
    FrameHeader head = header(type);
    head.step = step;
    if (generation) head.generation = *generation;
    auto actions = machine.frame(from, head, std::as_bytes(std::span(control)), now);
    if (!actions) return std::move(actions).error();
    take(*actions);
    return {};
  }
  template <class Message>
  void say(MemberId from, FrameType type, const Message& message) {
    EXPECT_TRUE(frame(from, type, encode(message)));
  }
  void progress(MemberId from, std::uint64_t step) { EXPECT_TRUE(frame(from, FrameType::kProgress, "", step)); }
  void contribute(MemberId from, std::string bytes, Duration wait = std::chrono::seconds(30)) {
    contribute(from, {GatherKey::Kind::kCollective, 0, gathers_[from]++}, std::move(bytes), wait);
  }
  void contribute(MemberId from, const GatherKey& gather, std::string bytes, Duration wait = std::chrono::seconds(30)) {
    say(from, FrameType::kContribute, Contribute{++request, nanoseconds(wait), gather, std::move(bytes)});
  }
  void leave(MemberId from, Duration wait = std::chrono::seconds(30)) {
    say(from, FrameType::kLeave, Leave{++request, nanoseconds(wait)});
  }
  void report(MemberId from, Errc code, std::string text) {
    say(from, FrameType::kAbort, Abort{code, from, std::move(text)});
  }
  void exited(MemberId from_agent, MemberId child, int wait_status, std::string last_error = "") {
    say(from_agent, FrameType::kChildExited, ChildExited{child, wait_status, 0, std::move(last_error)});
  }
  void closed(MemberId who) { take(machine.closed(who, fail(Errc::kPeerLost, "the connection broke"), now)); }
  /// Its connection was given up after so long.
  void fell_silent(MemberId who, Duration silent) {
    take(machine.closed(who, fail(Errc::kTimeout, "nothing has been heard"), now, silent));
  }
  Result<> ask(Wish wish) {
    auto actions = machine.ask(wish, now);
    if (!actions) return std::move(actions).error();
    take(*actions);
    return {};
  }
  void resize(int workers) { take(machine.resize(workers, now)); }
  void pass(Duration time) {
    now += time;
    take(machine.tick(now));
  }

  /// The next frame for `who` that was not taken yet; it must be of `type`.
  std::string told(MemberId who, FrameType type) {
    auto& queue = sent_[who];
    if (queue.empty()) {
      ADD_FAILURE() << describe(who) << " was told nothing";
      return {};
    }
    CoordinatorAction action = std::move(queue.front());
    queue.pop_front();
    EXPECT_EQ(action.type, type);
    return std::move(action.control);
  }
  template <class Message>
  Message told(MemberId who, FrameType type) {
    const std::string control = told(who, type);
    auto message = decode<Message>(std::as_bytes(std::span(control)));
    EXPECT_TRUE(message);
    return message ? *message : Message();
  }
  Reply reply(MemberId who, FrameType type) { return told<Reply>(who, type); }
  bool told_nothing(MemberId who) { return sent_[who].empty(); }

  const CoordinatorOptions options;
  CoordinatorFsm machine;
  TimePoint now{};
  std::uint64_t request = 100;
  std::vector<std::string> lines;
  std::vector<std::string> notices;
  std::vector<Happening> happenings;  // the notices among them
  std::optional<int> exit_code;

 private:
  FrameHeader header(FrameType type) const {
    FrameHeader header;
    header.type = type;
    header.generation = machine.generation();
    return header;
  }
  static std::uint64_t nanoseconds(Duration wait) { return static_cast<std::uint64_t>(wait.count()); }
  void take(const CoordinatorFsm::Actions& actions) {
    for (const CoordinatorAction& action : actions) {
      EXPECT_FALSE(exit_code) << "nothing follows the end";
      switch (action.kind) {
        case CoordinatorAction::Kind::kSend:
          sent_[action.to].push_back(action);
          break;
        case CoordinatorAction::Kind::kNotice:
          notices.push_back(action.happening.text);
          happenings.push_back(action.happening);
          break;
        case CoordinatorAction::Kind::kHappened:
          happenings.push_back(action.happening);
          break;
        case CoordinatorAction::Kind::kLine:
          lines.push_back(action.line);
          break;
        case CoordinatorAction::Kind::kFinished:
          exit_code = action.exit_code;
          break;
      }
    }
  }

  std::map<MemberId, std::uint32_t> gathers_;
  std::map<MemberId, std::deque<CoordinatorAction>> sent_;
};

}  // namespace tutti::testing
