// SPDX-License-Identifier: Apache-2.0
// What members ask the coordinator for: gathers, the store, the goodbye.
#include <utility>

#include "common/control/coordinator_fsm.h"

namespace tutti {
namespace {

constexpr MemberId worker(std::int32_t rank) {
  return {Role::kWorker, rank};
}

}  // namespace

Result<> CoordinatorFsm::on_contribute(const MemberId& from, Contribute message) {
  const GatherTable::Waiter waiter{from.rank, message.request, deadline_of(message.wait_ns)};
  // A rank is never more than one step behind another.
  const bool is_collective = message.gather.kind == GatherKey::Kind::kCollective;
  if (is_collective && message.gather.scope > 1) gathers_.forget_before(message.gather.scope - 1);
  const auto gather = gathers_.contribute(message.gather, waiter, std::move(message.bytes));
  if (gather) complete(*gather);
  return {};
}

void CoordinatorFsm::complete(const GatherTable::Complete& gather) {
  Reply all;
  all.values = gather.contributions;
  for (const auto& waiter : gather.waiters) {
    all.request = waiter.request;
    reply(worker(waiter.rank), FrameType::kGathered, all);
  }
}

Result<> CoordinatorFsm::on_store(const MemberId& from, StoreRequest message) {
  if (message.keys.empty()) return fail(Errc::kProtocol, "a store request that names no key");
  const std::string& key = message.keys.front();
  Reply answer;
  answer.request = message.request;
  switch (message.verb) {
    case StoreVerb::kSet:
      set(from, message, std::move(message.value), 0);
      return {};
    case StoreVerb::kAdd: {
      const auto sum = store_.sum(key, message.amount);
      if (sum)
        set(from, message, std::to_string(*sum), *sum);
      else
        refuse(from, FrameType::kStoreReply, message.request, sum.error());
      return {};
    }
    case StoreVerb::kGet:
      if (const std::string* value = store_.find(key)) {
        answer.values = {*value};
        break;
      }
      store_.wait(key, {from, message.request, deadline_of(message.wait_ns)});
      return {};
    case StoreVerb::kContains:
      answer.number = store_.contains(message.keys);
      break;
    case StoreVerb::kErase:
      answer.number = store_.erase(key);
      break;
  }
  reply(from, FrameType::kStoreReply, answer);
  return {};
}

void CoordinatorFsm::set(const MemberId& from, const StoreRequest& message, std::string value, std::int64_t number) {
  Reply answer;
  answer.values = {value};
  auto waiters = store_.set(message.keys.front(), std::move(value), from);
  if (!waiters) return refuse(from, FrameType::kStoreReply, message.request, waiters.error());
  for (const auto& waiter : *waiters) {
    answer.request = waiter.request;
    reply(waiter.member, FrameType::kStoreReply, answer);
  }
  Reply done;
  done.request = message.request;
  done.number = number;
  reply(from, FrameType::kStoreReply, done);
}

// Servers leave when all workers have; they are nobody that a worker waits for.
Result<> CoordinatorFsm::on_leave(const MemberId& from, Leave message) {
  const GatherTable::Waiter waiter{from.rank, message.request, deadline_of(message.wait_ns)};
  if (from.role == Role::kServer) {
    leaving_servers_.push_back(waiter);
    if (roster_.all(Role::kWorker, &Roster::Entry::left)) on_all_left();
    return {};
  }
  const auto everybody = goodbyes_.contribute({}, waiter, {});
  if (!everybody) return {};
  for (std::int32_t rank = 0; rank < options_.workers; ++rank) roster_.at(worker(rank)).left = true;
  for (const auto& leaving : everybody->waiters) {
    Reply goodbye;
    goodbye.request = leaving.request;
    reply(worker(leaving.rank), FrameType::kLeft, goodbye);
  }
  on_all_left();
  return {};
}

Result<CoordinatorFsm::Actions> CoordinatorFsm::ask(Wish wish, TimePoint now) {
  now_ = now;
  if (phase_ != Phase::kRunning || verdict_.cause() || roster_.any(Role::kWorker, &Roster::Entry::left))
    return fail(Errc::kUsage, "the run is ending");
  if (restarting_ || !roster_.all(Role::kWorker, &Roster::Entry::joined))
    return fail(Errc::kUsage, "not all workers are there yet");
  if (wish == Wish::kCheckpoint) {
    // Of one rank alone: another that heard of it a step later would make all save once more.
    send(worker(0), FrameType::kWish, encode(WishMessage{wish}));
    return std::exchange(actions_, {});
  }
  is_asked_to_stop_ = true;
  for (const MemberId& member : roster_.connected(Role::kWorker)) tell_to_stop(member);
  notice("the run is asked to stop after this step", What::kStopping);
  return std::exchange(actions_, {});
}

void CoordinatorFsm::tell_to_stop(const MemberId& who) {
  send(who, FrameType::kWish, encode(WishMessage{Wish::kStop}));
}

void CoordinatorFsm::answer_late_requests() {
  for (const auto& late : gathers_.expire(now_)) {
    refuse(worker(late.waiter.rank), FrameType::kGathered, late.waiter.request,
           fail(Errc::kTimeout, "waiting for " + roster_.describe_workers(late.missing)));
  }
  for (const auto& late : goodbyes_.expire(now_)) {
    refuse(worker(late.waiter.rank), FrameType::kLeft, late.waiter.request,
           fail(Errc::kTimeout, "waiting for the goodbye of " + roster_.describe_workers(late.missing)));
  }
  for (const auto& late : store_.expire(now_)) {
    refuse(late.waiter.member, FrameType::kStoreReply, late.waiter.request,
           fail(Errc::kTimeout, "nobody has set key '" + late.key + "'"));
  }
}

}  // namespace tutti
