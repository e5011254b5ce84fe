// SPDX-License-Identifier: Apache-2.0
#include "common/control/control_link.h"

#include <algorithm>
#include <future>
#include <utility>

#include "common/control/absence.h"
#include "common/net/later.h"

namespace tutti {
namespace {

// How much longer than its deadline a request waits for the coordinator's word on who is missing.
constexpr auto kAnswerGrace = std::chrono::seconds(2);
// Between two tries to reach the coordinator again.
constexpr auto kPause = std::chrono::milliseconds(50);

TimePoint now() {
  return std::chrono::steady_clock::now();
}

}  // namespace

ControlLink::ControlLink(Loop& loop, Options options, Logger log, OnNotice on_notice)
    : loop_(loop),
      options_(std::move(options)),
      log_(std::move(log)),
      on_notice_(std::move(on_notice)),
      generation_(options_.credentials.self.generation) {}

ControlLink::~ControlLink() {
  ignore_end();
  loop_.run([this] { close(); });
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return closed_; });
  lock.unlock();
  loop_.run([this] { connection_.reset(); });
}

Result<> ControlLink::join() {
  TUTTI_TRY(connect_to_coordinator());
  Join message;
  message.workers = options_.workers;
  message.host = options_.host;
  auto welcome = request(FrameType::kJoin, std::move(message), default_deadline());
  if (!welcome) return std::move(welcome).error().wrap("cannot join the run");
  log_.debug("joined the run at {}", options_.coordinator.text());
  return {};
}

Result<> ControlLink::connect_to_coordinator() {
  std::promise<Result<>> connected;
  auto outcome = connected.get_future();
  loop_.post([this, &connected] {
    connect(loop_.context(), options_.coordinator, options_.credentials, options_.timeout,
            [this, &connected](Result<std::shared_ptr<Connection>> connection) {
              if (!connection) return connected.set_value(std::move(connection).error());
              local_address_ = (*connection)->local_address();
              begin(*std::move(connection));
              connected.set_value(Result<>());
            });
  });
  return outcome.get();
}

void ControlLink::begin(std::shared_ptr<Connection> connection) {
  connection_ = std::move(connection);
  {
    const std::lock_guard lock(mutex_);
    closed_ = false;
  }
  connection_->keep_alive(options_.absence, KeepAlive::Sign::kAnswer);
  connection_->start(*this);
}

Result<std::uint64_t> ControlLink::expect_reply() {
  const std::lock_guard lock(mutex_);
  if (superseded_) return fail(Errc::kSuperseded, "a new generation of the run has begun");
  awaited_[next_request_];
  return next_request_++;
}

Result<Reply> ControlLink::wait_for(std::uint64_t request, Deadline deadline) {
  const auto give_up = std::min(deadline, now() + kLongestWait) + kAnswerGrace;
  std::unique_lock lock(mutex_);
  changed_.wait_until(lock, give_up, [&] { return ended_ || awaited_[request]; });
  const std::optional<Reply> reply = std::move(awaited_.extract(request).mapped());
  if (reply && reply->ok) return *reply;
  if (reply) return fail(reply->code, reply->text);
  if (ended_) return *ended_;
  return fail(Errc::kTimeout, "the coordinator at " + options_.coordinator.text() + " does not answer");
}

Deadline ControlLink::default_deadline() const {
  return now() + options_.timeout;
}

void ControlLink::send(FrameType type, std::string control, std::uint64_t step) {
  send(type, std::move(control), step, generation_);
}

void ControlLink::send(FrameType type, std::string control, std::uint64_t step, std::uint32_t generation) {
  loop_.post([this, type, control = std::move(control), step, generation]() mutable {
    write(type, std::move(control), step, generation);
  });
}

void ControlLink::send_now(FrameType type, std::string control, std::uint64_t step) {
  write(type, std::move(control), step, generation_);
}

void ControlLink::send_if_connected(FrameType type, std::string control, std::uint64_t step) {
  if (connection_ && is_joined_) write(type, std::move(control), step, generation_);
}

void ControlLink::write(FrameType type, std::string control, std::uint64_t step, std::uint32_t generation) {
  FrameHeader header;
  header.type = type;
  header.generation = generation;
  header.sender = static_cast<std::uint16_t>(options_.credentials.self.rank);
  header.step = step;
  const bool is_resumable = options_.absence > Duration::zero() && type != FrameType::kJoin;
  if (is_resumable) stream_.sent(header, control);
  if (!connection_ || (is_resumable && !is_joined_)) return;  // it goes out when this member has come again
  if (is_resumable) stream_.acknowledged(connection_->acknowledged());
  connection_->send(header, std::move(control));
}

void ControlLink::supersede(std::uint32_t generation) {
  const std::lock_guard lock(mutex_);
  generation_ = generation;
  superseded_ = true;
  for (auto& [request, reply] : awaited_) {
    if (reply) continue;
    reply.emplace();
    reply->ok = false;
    reply->code = Errc::kSuperseded;
    reply->text = "a new generation of the run has begun";
  }
  changed_.notify_all();
}

void ControlLink::acknowledge() {
  const std::lock_guard lock(mutex_);
  superseded_ = false;
}

bool ControlLink::is_superseded() const {
  const std::lock_guard lock(mutex_);
  return superseded_;
}

void ControlLink::end(const Failure& why) {
  std::unique_lock lock(mutex_);
  if (ended_) return;
  ended_ = why;
  auto callback = end_matters_ ? std::exchange(on_end_, nullptr) : nullptr;
  lock.unlock();
  changed_.notify_all();
  if (callback) callback(why);
}

void ControlLink::ignore_end() {
  const std::lock_guard lock(mutex_);
  end_matters_ = false;
}

void ControlLink::on_end(std::function<void(const Failure&)> f) {
  const std::lock_guard lock(mutex_);
  if (!ended_) {
    on_end_ = std::move(f);
  } else if (end_matters_) {
    loop_.post([f = std::move(f), why = *ended_] { f(why); });
  }
}

std::optional<Failure> ControlLink::ended() const {
  const std::lock_guard lock(mutex_);
  return end_matters_ ? ended_ : std::nullopt;
}

Result<std::span<std::byte>> ControlLink::payload_place(Connection&, const FrameHeader&, std::span<const std::byte>) {
  return fail(Errc::kProtocol, "the coordinator sent tensor bytes");
}

Result<> ControlLink::on_frame(Connection&, const FrameHeader& header, std::span<const std::byte> control,
                               std::span<std::byte>) {
  if (header.type == FrameType::kJoined && header.flags == kComesAgain) {
    on_joined_again(header, control);
    return {};
  }
  if (header.type != FrameType::kJoined) stream_.count_handled();
  const bool may_be_newer = is_agent() || header.type == FrameType::kJoined || header.type == FrameType::kRegroup;
  if (header.generation < generation_) return {};
  if (header.generation > generation_ && !may_be_newer)
    return fail(Errc::kProtocol, "a frame of a generation that has not begun");
  switch (header.type) {
    case FrameType::kJoined:
      if (!is_agent()) generation_ = header.generation;
      is_joined_ = true;
      return on_reply(control);
    case FrameType::kGathered:
    case FrameType::kStoreReply:
    case FrameType::kLeft:
      return on_reply(control);
    default:
      return on_notice_(header.type, control);
  }
}

Result<> ControlLink::on_reply(std::span<const std::byte> control) {
  auto reply = decode<Reply>(control);
  if (!reply) return std::move(reply).error();
  const std::lock_guard lock(mutex_);
  const auto awaited = awaited_.find(reply->request);
  if (awaited != awaited_.end() && !awaited->second) awaited->second = *std::move(reply);  // else nobody waits any more
  changed_.notify_all();
  return {};
}

void ControlLink::on_closed(Connection&, const Failure& why) {
  if (comes_again(why)) {
    log_.warning("the connection to the coordinator broke, and is made again: {}", why.text());
    absent_since_ = absent_since_.value_or(now());
    is_joined_ = false;
    connection_.reset();
    return come_again();
  }
  end(Failure(why).wrap("lost the coordinator at " + options_.coordinator.text()));
  set_closed();
}

// --- coming again

bool ControlLink::comes_again(const Failure& why) const {
  const std::lock_guard lock(mutex_);
  const bool may_pass = why.code == Errc::kPeerLost || why.code == Errc::kTimeout;
  return options_.absence > Duration::zero() && lives_ && may_pass && (is_joined_ || absent_since_) && !ended_ &&
         end_matters_;
}

void ControlLink::come_again() {
  Credentials credentials = options_.credentials;
  credentials.self.generation = generation_;
  connect(loop_.context(), options_.coordinator, std::move(credentials), options_.absence / 2,
          [this, lives = std::weak_ptr(lives_)](Result<std::shared_ptr<Connection>> connected) {
            if (lives.lock()) on_connected_again(std::move(connected));
          });
}

// Where nobody listens any more the coordinator's process is gone; whatever else is in the way may pass.
void ControlLink::on_connected_again(Result<std::shared_ptr<Connection>> connected) {
  if (!connected) return come_again_later(connected.error());
  begin(*std::move(connected));
  FrameHeader header;
  header.type = FrameType::kJoin;
  header.flags = kComesAgain;
  header.generation = generation_;
  header.sender = static_cast<std::uint16_t>(options_.credentials.self.rank);
  header.step = stream_.handled();
  Join message;
  message.workers = options_.workers;
  message.host = options_.host;
  connection_->send(header, encode(message));
}

void ControlLink::come_again_later(const Failure& why) {
  const bool may_pass = comes_again(why);
  if (!may_pass || now() - *absent_since_ > kCutOffTimeouts * options_.absence) {
    end(Failure(why).wrap("lost the coordinator at " + options_.coordinator.text()));
    return set_closed();
  }
  later(loop_.context(), kPause, [this, lives = std::weak_ptr(lives_)] {
    if (lives.lock()) come_again();
  });
}

void ControlLink::on_joined_again(const FrameHeader& header, std::span<const std::byte> control) {
  const auto reply = decode<Reply>(control);
  if (!reply || !reply->ok || !stream_.reaches(header.step)) {
    const Failure why = !reply       ? reply.error()
                        : !reply->ok ? fail(reply->code, reply->text)
                                     : fail(Errc::kPeerLost, "too much was said in its absence");
    return end(Failure(why).wrap("this process cannot come back to the run"));
  }
  is_joined_ = true;
  absent_since_.reset();
  for (const auto& [missed, bytes] : stream_.resume(header.step)) connection_->send(missed, bytes);
}

void ControlLink::close() {
  lives_.reset();
  if (connection_) return connection_->close();
  set_closed();
}

void ControlLink::set_closed() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
  changed_.notify_all();
}

}  // namespace tutti
