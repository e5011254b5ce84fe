// SPDX-License-Identifier: Apache-2.0
// What every member's connection to the coordinator has in common: joining, requests that wait for their reply, and the
// end, which ends all waits. A connection that breaks or falls silent is made again, and both sides go on from what the
// other has handled. Member and AgentLink are made of it.
// Thread safety: any thread but the loop's, except where said.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "common/clock.h"
#include "common/control/messages.h"
#include "common/control/resumable_stream.h"
#include "common/log.h"
#include "common/net/connection.h"
#include "common/net/loop.h"
#include "common/result.h"

namespace tutti {

class ControlLink final : private FrameSink {
 public:
  struct Options {
    Endpoint coordinator;
    Credentials credentials;
    std::string host;
    int workers = 0;                              ///< the world size to agree on; 0: whatever the coordinator's is
    Duration timeout = std::chrono::seconds(30);  ///< of join and of each request that names no deadline
    Duration absence{};  ///< for so long the coordinator keeps this member's place (absence.h); zero: not at all
  };
  /// Takes what the coordinator says of itself. Called on the loop.
  using OnNotice = std::function<Result<>(FrameType type, std::span<const std::byte> control)>;

  ControlLink(Loop& loop, Options options, Logger log, OnNotice on_notice);
  /// Closes after what was sent is written, and waits for that (2 s at most).
  ~ControlLink() override;

  Result<> join();
  /// Sends `message` (with a `request` and a `wait_ns`) and waits for its reply, for as long as `deadline` and a moment
  /// more: the coordinator itself answers a late request, and knows more.
  template <class Message>
  Result<Reply> request(FrameType type, Message message, Deadline deadline);
  Deadline default_deadline() const;
  void send(FrameType type, std::string control, std::uint64_t step = 0);
  void send(FrameType type, std::string control, std::uint64_t step, std::uint32_t generation);
  /// The same without a detour. REQUIRES: called on the loop.
  void send_now(FrameType type, std::string control, std::uint64_t step);
  /// The same, for what nobody misses: it does not wait for a connection that broke. REQUIRES: called on the loop.
  void send_if_connected(FrameType type, std::string control, std::uint64_t step);
  Loop& loop() noexcept { return loop_; }

  /// Of the run, as far as this member knows; an agent's is the first for good.
  std::uint32_t generation() const noexcept { return generation_; }
  /// A new generation: ends every wait, and every request until acknowledge(), with kSuperseded. REQUIRES: called on
  /// the loop.
  void supersede(std::uint32_t generation);
  /// Whoever makes the requests knows of the new generation.
  void acknowledge();
  bool is_superseded() const;

  /// Ends every wait, now and later, with `why`, and calls the on_end callback. Only the first call counts. REQUIRES:
  /// called on the loop.
  void end(const Failure& why);
  /// This member is done: no end is told any more.
  void ignore_end();
  /// `f` is called once, on the loop: at once if the end came already.
  void on_end(std::function<void(const Failure&)> f);
  std::optional<Failure> ended() const;

  const Options& options() const noexcept { return options_; }
  const std::string& local_address() const noexcept { return local_address_; }

 private:
  Result<std::span<std::byte>> payload_place(Connection& from, const FrameHeader& header,
                                             std::span<const std::byte> control) override;
  Result<> on_frame(Connection& from, const FrameHeader& header, std::span<const std::byte> control,
                    std::span<std::byte> payload) override;
  void on_closed(Connection& connection, const Failure& why) override;
  Result<> on_reply(std::span<const std::byte> control);
  Result<> connect_to_coordinator();
  void begin(std::shared_ptr<Connection> connection);
  bool comes_again(const Failure& why) const;
  void come_again();
  void come_again_later(const Failure& why);
  void on_connected_again(Result<std::shared_ptr<Connection>> connected);
  void on_joined_again(const FrameHeader& header, std::span<const std::byte> control);
  void close();
  void set_closed();
  Result<Reply> wait_for(std::uint64_t request, Deadline deadline);
  Result<std::uint64_t> expect_reply();
  void write(FrameType type, std::string control, std::uint64_t step, std::uint32_t generation);
  bool is_agent() const noexcept { return options_.credentials.self.role == Role::kAgent; }

  // Constant after join.
  Loop& loop_;
  const Options options_;
  const Logger log_;
  const OnNotice on_notice_;
  std::string local_address_;

  // Owned by the loop.
  std::shared_ptr<Connection> connection_;
  ResumableStream stream_;
  bool is_joined_ = false;  // on the connection that there is
  std::optional<TimePoint> absent_since_;
  std::shared_ptr<bool> lives_ = std::make_shared<bool>(true);  // null: what comes of a try to connect is not wanted

  std::atomic<std::uint32_t> generation_;  // changed on the loop

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_.
  std::uint64_t next_request_ = 0;
  std::map<std::uint64_t, std::optional<Reply>> awaited_;
  std::optional<Failure> ended_;
  std::function<void(const Failure&)> on_end_;
  bool end_matters_ = true;
  bool superseded_ = false;
  bool closed_ = true;
};

template <class Message>
Result<Reply> ControlLink::request(FrameType type, Message message, Deadline deadline) {
  const auto wait = std::chrono::nanoseconds(deadline - std::chrono::steady_clock::now()).count();
  const auto number = expect_reply();
  if (!number) return number.error();
  const std::uint32_t generation = generation_;
  message.request = *number;
  message.wait_ns = wait > 0 ? static_cast<std::uint64_t>(wait) : 0;
  std::string control = encode(message);
  if (control.size() > kControlBytesMax) {
    return fail(Errc::kUsage, std::to_string(control.size()) + " bytes are more than a control message holds");
  }
  send(type, std::move(control), 0, generation);
  return wait_for(message.request, deadline);
}

}  // namespace tutti
