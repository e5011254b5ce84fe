// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/membership.h"

#include <utility>

#include "tests/sim/world.h"

namespace tutti::sim {
namespace {

// How much longer than its deadline a request waits for the coordinator's word on who is missing.
constexpr Duration kAnswerGrace = std::chrono::seconds(2);

}  // namespace

Membership::Membership(Process& process, Owner& owner, std::uint32_t generation)
    : process_(process), owner_(owner), generation_(generation) {}

void Membership::join(int workers) {
  workers_ = workers;
  const MemberId& self = process_.member();
  link_ = Link::connect(process_, kCoordinatorPort, {self.role, self.rank, generation_, 0}, kTimeout, *this);
}

void Membership::on_open(Link&) {
  Join message;
  message.workers = workers_;
  message.host = fmt::format("host{}", process_.host());
  message.request = expect(kTimeout, [this](const Result<Reply>& welcome) {
    welcome ? owner_.on_joined() : owner_.on_run_ended(welcome.error());
  });
  tell(FrameType::kJoin, encode(message));
}

std::uint64_t Membership::expect(Duration wait, Done done) {
  const std::uint64_t request = next_request_++;
  awaited_[request] = std::move(done);
  process_.after(wait + kAnswerGrace, [this, request] {
    auto late = awaited_.extract(request);
    if (late) late.mapped()(fail(Errc::kTimeout, "the coordinator does not answer"));
  });
  return request;
}

void Membership::gather(const GatherKey& key, std::string bytes, Duration wait, Done done) {
  Contribute message;
  message.gather = key;
  message.bytes = std::move(bytes);
  request(FrameType::kContribute, std::move(message), wait, std::move(done));
}

void Membership::tell(FrameType type, const std::string& control) {
  FrameHeader header;
  header.type = type;
  header.generation = generation_;
  header.sender = static_cast<std::uint16_t>(process_.member().rank);
  header.step = step_;
  if (link_) link_->send(header, control);
}

void Membership::progress(std::uint64_t step) {
  step_ = step;
  tell(FrameType::kProgress, {});
}

Result<std::span<std::byte>> Membership::payload_place(Link&, const FrameHeader&, std::span<const std::byte>) {
  return fail(Errc::kProtocol, "the coordinator sent tensor bytes");
}

Result<> Membership::on_frame(Link&, const FrameHeader& header, std::span<const std::byte> control) {
  const bool is_agent = process_.member().role == Role::kAgent;
  const bool may_be_newer = is_agent || header.type == FrameType::kJoined || header.type == FrameType::kRegroup;
  if (header.generation < generation_) return {};
  if (header.generation > generation_ && !may_be_newer)
    return fail(Errc::kProtocol, "a frame of a generation that has not begun");
  switch (header.type) {
    case FrameType::kJoined:
      if (!is_agent) generation_ = header.generation;
      return on_reply(control);
    case FrameType::kGathered:
    case FrameType::kStoreReply:
    case FrameType::kLeft:
      return on_reply(control);
    case FrameType::kRegroup: {
      const auto message = decode<Regroup>(control);
      TUTTI_TRY(message);
      generation_ = message->generation;
      awaited_.clear();
      owner_.on_regroup(*message);
      return {};
    }
    case FrameType::kAbort: {
      const auto abort = decode<Abort>(control);
      TUTTI_TRY(abort);
      owner_.on_run_ended(fail(abort->code, abort->text));
      return {};
    }
    default:
      return owner_.on_order(header.type, control);
  }
}

Result<> Membership::on_reply(std::span<const std::byte> control) {
  const auto reply = decode<Reply>(control);
  TUTTI_TRY(reply);
  auto awaited = awaited_.extract(reply->request);
  if (!awaited) return {};  // nobody waits any more
  awaited.mapped()(reply->ok ? Result<Reply>(*reply) : Result<Reply>(fail(reply->code, reply->text)));
  return {};
}

void Membership::on_closed(Link&, const Failure& why) {
  owner_.on_run_ended(Failure(why).wrap("lost the coordinator"));
}

}  // namespace tutti::sim
