// SPDX-License-Identifier: Apache-2.0
#include "common/control/member.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <set>
#include <utility>

#include "common/control/clock_watch.h"
#include "common/control/control_link.h"

namespace tutti {

struct Member::Impl {
  Impl(Loop& loop, ControlLink::Options options, Logger log)
      : link(loop, std::move(options), std::move(log),
             [this](FrameType type, std::span<const std::byte> control) { return on_notice(type, control); }) {}
  ~Impl() {
    link.loop().run([this] { clock_watch.reset(); });  // where its timer looks for it
  }

  Result<> on_notice(FrameType type, std::span<const std::byte> control);
  Result<> on_regroup(std::span<const std::byte> control);
  Result<> on_wish(std::span<const std::byte> control);
  Result<std::vector<std::string>> gather(GatherKey key, std::string bytes, Deadline deadline);
  /// A question to the coordinator, recorded. Makes it again in each new generation that its owner comes to.
  template <class Message>
  Result<Reply> request(FrameType type, const Message& message, Deadline deadline);
  Result<Reply> store(StoreVerb verb, std::vector<std::string> keys, std::string value, std::int64_t amount,
                      Deadline deadline);

  void record(EventKind kind, FrameType type) noexcept;

  EventSink* events = nullptr;  // null: nothing is recorded
  std::atomic<std::uint64_t> step = 0;
  std::atomic<bool> progress_is_posted = false;
  std::function<Result<>()> on_superseded;  // constant once requests are made
  GatherKey next_gather;                    // owned by whoever makes the collectives
  std::mutex mutex;
  std::optional<Regroup> regroup;                       // guarded by mutex; what was not asked for yet
  std::function<void(const Regroup&)> tell_of_regroup;  // guarded by mutex
  std::function<void(Wish)> tell_of_wish;               // owned by the loop
  std::shared_ptr<ClockWatch> clock_watch;              // owned by the loop; null: nobody asks for it
  std::set<Wish> untold_wishes;                         // owned by the loop; they came before anybody listened
  ControlLink link;  // the last: it closes before anything that its callbacks touch goes
};

Result<> Member::Impl::on_notice(FrameType type, std::span<const std::byte> control) {
  if (type == FrameType::kRegroup) return on_regroup(control);
  if (type == FrameType::kWish) return on_wish(control);
  if (type == FrameType::kClockAnswer) {
    const auto answer = decode<ClockAnswer>(control);
    if (!answer) return answer.error();
    if (clock_watch) clock_watch->take(*answer);
    return {};
  }
  if (type != FrameType::kAbort) return fail(Errc::kProtocol, "the coordinator sent a frame that is for agents only");
  auto abort = decode<Abort>(control);
  if (!abort) return std::move(abort).error();
  link.end(fail(abort->code, std::move(abort->text)));
  return {};
}

Result<> Member::Impl::on_regroup(std::span<const std::byte> control) {
  auto message = decode<Regroup>(control);
  if (!message) return std::move(message).error();
  link.supersede(message->generation);  // first: who is told of it acknowledges it
  std::function<void(const Regroup&)> tell;
  {
    const std::lock_guard lock(mutex);
    if (regroup) message->lost.insert(message->lost.end(), regroup->lost.begin(), regroup->lost.end());
    regroup = *message;
    tell = tell_of_regroup;
  }
  if (tell) tell(*message);
  return {};
}

Result<> Member::Impl::on_wish(std::span<const std::byte> control) {
  const auto message = decode<WishMessage>(control);
  if (!message) return message.error();
  if (tell_of_wish)
    tell_of_wish(message->wish);
  else
    untold_wishes.insert(message->wish);
  return {};
}

Result<std::vector<std::string>> Member::Impl::gather(GatherKey key, std::string bytes, Deadline deadline) {
  Contribute message;
  message.gather = key;
  message.bytes = std::move(bytes);
  const bool is_meeting = key.kind == GatherKey::Kind::kRegroup;
  auto reply = is_meeting ? link.request(FrameType::kContribute, std::move(message), deadline)
                          : request(FrameType::kContribute, message, deadline);
  if (!reply) return std::move(reply).error();
  return std::move(reply->values);
}

template <class Message>
Result<Reply> Member::Impl::request(FrameType type, const Message& message, Deadline deadline) {
  const Duration patience = std::min<Duration>(deadline - std::chrono::steady_clock::now(), kLongestWait);
  while (true) {
    record(EventKind::kRequestBegin, type);
    auto reply = link.request(type, message, deadline);
    if (reply) record(EventKind::kRequestEnd, type);
    if (reply || reply.error().code != Errc::kSuperseded || !on_superseded) return reply;
    TUTTI_TRY(on_superseded());
    deadline = std::chrono::steady_clock::now() + patience;
  }
}

void Member::Impl::record(EventKind kind, FrameType type) noexcept {
  if (events == nullptr) return;
  const PeerIdentity& self = link.options().credentials.self;
  events->record(
      {SteadyClock().now(), kind, self.rank, link.generation(), step, 0, static_cast<std::uint32_t>(type), 0});
}

Result<Reply> Member::Impl::store(StoreVerb verb, std::vector<std::string> keys, std::string value, std::int64_t amount,
                                  Deadline deadline) {
  StoreRequest message;
  message.verb = verb;
  message.keys = std::move(keys);
  message.value = std::move(value);
  message.amount = amount;
  return request(FrameType::kStoreRequest, message, deadline);
}

Member::Member() = default;
Member::~Member() = default;

void Member::record_to(EventSink& events) noexcept {
  impl_->events = &events;
}

void Member::record_clock_to(EventSink& trace) {
  impl_->link.loop().post([impl = impl_.get(), &trace] {
    ControlLink& link = impl->link;
    impl->clock_watch = std::make_shared<ClockWatch>(
        link.loop(), link.options().credentials.self.rank, trace,
        [&link](const ClockQuestion& question) { link.send_now(FrameType::kClockQuestion, encode(question), 0); });
    impl->clock_watch->begin();
  });
}

Result<std::unique_ptr<Member>> Member::join(Loop& loop, Options options, Logger log) {
  ControlLink::Options link{options.coordinator, options.credentials, options.host,
                            options.workers,     options.timeout,     options.absence};
  std::unique_ptr<Member> member(new Member);
  member->impl_ = std::make_shared<Impl>(loop, std::move(link), std::move(log));
  TUTTI_TRY(member->impl_->link.join());
  return member;
}

std::uint32_t Member::generation() const noexcept {
  return impl_->link.generation();
}
const std::string& Member::local_address() const noexcept {
  return impl_->link.local_address();
}

Result<std::vector<std::string>> Member::all_gather(std::string contribution, Deadline deadline) {
  auto all = impl_->gather(impl_->next_gather, std::move(contribution), deadline);
  // What was contributed late stays; in a new generation it is contributed again.
  if (all || all.error().code != Errc::kSuperseded) ++impl_->next_gather.index;
  return all;
}

std::optional<Regroup> Member::regroup() {
  const std::lock_guard lock(impl_->mutex);
  if (impl_->regroup) impl_->link.acknowledge();
  return std::exchange(impl_->regroup, std::nullopt);
}

void Member::on_regroup(std::function<void(const Regroup&)> f) {
  const std::lock_guard lock(impl_->mutex);
  impl_->tell_of_regroup = std::move(f);
  if (!impl_->regroup) return;
  impl_->link.loop().post([f = impl_->tell_of_regroup, regroup = *impl_->regroup] { f(regroup); });
}

bool Member::is_superseded() const {
  return impl_->link.is_superseded();
}

void Member::on_superseded(std::function<Result<>()> f) {
  impl_->on_superseded = std::move(f);
}

Result<std::vector<std::string>> Member::meet(std::uint32_t phase, std::string contribution, Deadline deadline) {
  return impl_->gather({GatherKey::Kind::kRegroup, generation(), phase}, std::move(contribution), deadline);
}

void Member::ask_to_begin_again(const std::string& why) {
  impl_->link.send(FrameType::kRestart, encode(Restart{why}), impl_->step);
}

Member::Count Member::count() const noexcept {
  return {impl_->next_gather, impl_->step};
}

void Member::count_from(const Count& count) noexcept {
  impl_->next_gather = count.next;
  impl_->step = count.step;
}

Result<std::string> Member::broadcast(std::string contribution, int root, Deadline deadline) {
  const PeerIdentity& self = impl_->link.options().credentials.self;
  auto all = all_gather(self.rank == root ? std::move(contribution) : std::string(), deadline);
  if (!all) return std::move(all).error();
  if (root < 0 || static_cast<std::size_t>(root) >= all->size()) {
    return fail(Errc::kUsage, "a broadcast from rank " + std::to_string(root) + ", which does not exist");
  }
  return std::move((*all)[static_cast<std::size_t>(root)]);
}

Result<> Member::barrier(Deadline deadline) {
  auto all = all_gather({}, deadline);
  if (!all) return std::move(all).error();
  return {};
}

Result<> Member::set(const std::string& key, std::string value) {
  auto reply = impl_->store(StoreVerb::kSet, {key}, std::move(value), 0, impl_->link.default_deadline());
  if (!reply) return std::move(reply).error();
  return {};
}

Result<std::string> Member::get(const std::string& key, Deadline deadline) {
  auto reply = impl_->store(StoreVerb::kGet, {key}, {}, 0, deadline);
  if (!reply) return std::move(reply).error();
  if (reply->values.size() != 1) return fail(Errc::kProtocol, "the coordinator answered a get without a value");
  return std::move(reply->values.front());
}

Result<std::int64_t> Member::add(const std::string& key, std::int64_t amount) {
  auto reply = impl_->store(StoreVerb::kAdd, {key}, {}, amount, impl_->link.default_deadline());
  if (!reply) return std::move(reply).error();
  return reply->number;
}

Result<bool> Member::contains(const std::vector<std::string>& keys) {
  if (keys.empty()) return true;
  auto reply = impl_->store(StoreVerb::kContains, keys, {}, 0, impl_->link.default_deadline());
  if (!reply) return std::move(reply).error();
  return reply->number != 0;
}

Result<bool> Member::erase(const std::string& key) {
  auto reply = impl_->store(StoreVerb::kErase, {key}, {}, 0, impl_->link.default_deadline());
  if (!reply) return std::move(reply).error();
  return reply->number != 0;
}

// A step that is told while the last one still waits for the loop takes its place: a busy loop does not pile them up.
void Member::progress(std::uint64_t step) noexcept {
  GatherKey& next = impl_->next_gather;
  if (next.scope == 0 || impl_->step != step) next = {GatherKey::Kind::kCollective, next.scope + 1, 0};
  impl_->step = step;
  if (impl_->progress_is_posted.exchange(true)) return;
  impl_->link.loop().post([impl = impl_.get()] {
    impl->progress_is_posted = false;
    impl->link.send_now(FrameType::kProgress, {}, impl->step);
  });
}

void Member::report(std::string report) {
  impl_->link.send_if_connected(FrameType::kReport, std::move(report), impl_->step);
}

void Member::on_wish(std::function<void(Wish)> f) {
  impl_->link.loop().run([&] {
    impl_->tell_of_wish = std::move(f);
    for (const Wish wish : std::exchange(impl_->untold_wishes, {})) impl_->tell_of_wish(wish);
  });
}

void Member::report_failure(const Failure& failure) noexcept {
  const PeerIdentity& self = impl_->link.options().credentials.self;
  const Abort abort{failure.code, {self.role, self.rank}, failure.text()};
  impl_->link.send(FrameType::kAbort, encode(abort), impl_->step);
}

void Member::cannot_reach(std::uint32_t generation, const Unreachable& peers) {
  impl_->link.send(FrameType::kUnreachable, encode(peers), impl_->step, generation);
}

void Member::on_abort(std::function<void(const Failure&)> f) {
  impl_->link.on_end(std::move(f));
}
std::optional<Failure> Member::aborted() const {
  return impl_->link.ended();
}

Result<> Member::leave(Deadline deadline) {
  impl_->link.loop().post([impl = impl_.get()] {
    if (impl->clock_watch) impl->clock_watch->look();
  });
  auto goodbye = impl_->request(FrameType::kLeave, Leave(), deadline);
  if (!goodbye) return std::move(goodbye).error();
  impl_->link.ignore_end();
  return {};
}

}  // namespace tutti
